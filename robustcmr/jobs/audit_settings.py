"""Settings of an audit, and the plan that an unfinished one keeps: what must not change before it resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import psutil

import robustcmr
from robustcmr.errors import DataError, RunFolderError
from robustcmr.files import read_json, reason, write_json
from robustcmr.runs.audits import AuditFolder

Engine = Literal["local", "ray"]

SAMPLE = 200_000
"""Pairs that a calibration is fitted on, at most."""

PLAN = "plan.json"


def default_memory() -> int:
    """Return the bytes that joins may take unless told: a quarter of the memory, between 0.5 and 4 GiB."""
    return int(min(max(psutil.virtual_memory().total // 4, 2**29), 2**32))


@dataclass(frozen=True)
class AuditSettings:
    """What to audit, and how.

    Attributes:
        sources: files, folders or a name of the hub, as ``open_source`` takes them.
        format: of the sources; None to guess it.
        image: column of pictures; None to guess it, as for the next two.
        text: column of captions.
        id: column of ids.
        where: SQL condition that rows must meet.
        image_vectors: of the pictures, as ``open_vectors`` takes them; None for those of the source.
        text_vectors: of the captions.
        deep: whether to train a head on the vectors.
        calibration: folder of an earlier audit, or file saved by one, to judge by.
        near_duplicates: whether to look for pairs near an earlier one, which takes about as long as all else.
        strict: whether a problem of any pair ends the audit.
        seed: of the sample and of what is fitted.
        sample: pairs that a calibration is fitted on, at most.
        device: where vectors are compared.
        engine: ``local``, or ``ray`` for the processes of a Ray cluster.
        address: of the cluster; None starts one here.
        memory: bytes that joins may take.
        made_by: model or run that makes the vectors, as given; None where vectors are given.
        model: identity of that model; None where vectors are given.
    """

    sources: tuple[str, ...]
    format: str | None = None
    image: str | None = None
    text: str | None = None
    id: str | None = None
    where: str | None = None
    image_vectors: str | None = None
    text_vectors: str | None = None
    deep: bool = False
    calibration: str | None = None
    near_duplicates: bool = True
    strict: bool = False
    seed: int = 0
    sample: int = SAMPLE
    device: str = "cpu"
    engine: Engine = "local"
    address: str | None = None
    memory: int = field(default_factory=default_memory)
    made_by: str | None = None
    model: dict[str, Any] | None = None

    def decisive(self) -> dict[str, Any]:
        """Return the settings that the outcome depends on."""
        free = ("engine", "address", "memory", "device", "strict")
        return {name: value for name, value in asdict(self).items() if name not in free}


def check_folder(folder: AuditFolder, restart: bool) -> None:
    """Raise RunFolderError if a folder holds a finished audit, unless ``restart``, or something else."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file; expected a folder for the audit, such as audits/web")
    if folder.holds_audit and not restart:
        raise RunFolderError(
            f"{path} holds a finished audit; read it with robustcmr report {path}, choose another folder, or "
            "do it again with --restart"
        )
    others = [each.name for each in path.iterdir() if not _is_ours(each)] if path.is_dir() else []
    if others and not (folder.work / PLAN).exists():
        raise RunFolderError(
            f"{path} holds {others[0]}, which is no part of an audit; choose another folder, such as "
            f"{path}/audit"
        )


def check_plan(folder: AuditFolder, plan: Mapping[str, Any], restart: bool) -> bool:
    """Return whether an unfinished audit with this plan goes on; else write the plan of a new one.

    Args:
        folder: of the audit.
        plan: plain values that the outcome depends on, by name.
        restart: whether to remove an audit that is there.

    Raises:
        RunFolderError: the folder holds a finished audit, one with another plan, or something else.
    """
    path = folder.path
    check_folder(folder, restart)
    if restart:
        remove_audit(folder)
    file = folder.work / PLAN
    if not file.exists():
        rmtree(folder.work, ignore_errors=True)
        write_json(file, dict(plan))
        return False
    try:
        old = read_json(file, dict[str, Any])
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise DataError(f"cannot read {file}: {why}; begin the audit again with --restart") from error
    given = json.loads(json.dumps(dict(plan)))
    for name in {**old, **given}:
        if old.get(name) != given.get(name):
            raise RunFolderError(_changed(path, name, old.get(name), given.get(name)))
    return True


def _changed(path: Path, name: str, old: Any, new: Any) -> str:
    advice = "begin again with --restart, or choose another folder"
    if name == "settings" and isinstance(old, dict) and isinstance(new, dict):
        key = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        began, now = old.get(key), new.get(key)
        return f"the unfinished audit in {path} began with {key} {began!r}, not {now!r}; {advice}"
    if name == "version":
        return f"the unfinished audit in {path} began with robustcmr {old}, and this is {new}; {advice}"
    return f"the {name} has changed since the unfinished audit in {path} began; {advice}"


def remove_audit(folder: AuditFolder) -> None:
    """Remove the files of an audit, finished or not, and nothing else."""
    folder.about.unlink(missing_ok=True)  # first: what is half removed is not taken for finished
    for path in (folder.work, folder.lists, folder.path / "suggesting"):
        rmtree(path, ignore_errors=True)
    if folder.path.is_dir():
        for path in folder.path.iterdir():
            if _is_ours(path) and path.is_file() and path.name != LOCK:
                path.unlink()


LOCK = ".lock"
"""Lock of an output folder, while an audit works in it."""

VERSION = robustcmr.__version__


def _is_ours(path: Path) -> bool:
    names = ("audit.json", "summary.json", "pairs.parquet", "suggestions.parquet", "report.html")
    folders = ("work", "lists", "suggesting", "vectors", "given")
    return (
        path.name in (*names, *folders, LOCK)
        or path.name.startswith("calibration")
        or path.name.endswith(".tmp")
    )
