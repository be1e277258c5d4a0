"""Audit somebody's own pairs: open them, find or make their vectors, and judge them."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import torch

from robustcmr.audit.rows import ReadPairs
from robustcmr.errors import DataError, RunFolderError
from robustcmr.jobs.audit_mathematics import product_mathematics
from robustcmr.jobs.audit_progress import AuditProgress, known_pairs
from robustcmr.jobs.audit_run import Given, run_audit
from robustcmr.jobs.audit_settings import AuditSettings, check_folder
from robustcmr.jobs.made_problems import PairsWithProblems
from robustcmr.jobs.made_vectors import Made
from robustcmr.jobs.make_vectors import make_vectors
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import Vectors, check_widths, open_vectors, own_vectors
from robustcmr.training.devices import check_device

if TYPE_CHECKING:
    from robustcmr.terminal import Console

_SIDES = ("image", "text")


def audit(
    settings: AuditSettings,
    output: Path,
    console: Console,
    restart: bool = False,
    model: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    trusted: bool = False,
) -> AuditFolder:
    """Audit pairs, or go on with an audit that was stopped.

    Args:
        settings: what to audit, and how.
        output: folder of the audit.
        console: for progress.
        restart: whether to remove an audit that is there; vectors that were made in its folder stay.
        model: local folder or hub name of a CLIP or SigLIP model that makes the vectors.
        run: folder of a trained run that makes them.
        trusted: import the ``package.module:Class`` that a run names.

    Returns:
        The folder of the finished audit.

    Raises:
        UserError: pairs or vectors cannot be read, or do not fit each other, or the folder holds something
            else.
    """
    check_device(settings.device, "fp32")
    maker = model if run is None else run
    settings = replace(
        settings,
        sources=tuple(_absolute(each) for each in settings.sources),
        device=_device(settings.device),
        made_by=None if maker is None else os.fspath(maker),
    )
    check_folder(AuditFolder(output), restart)
    source = open_source(
        list(settings.sources),
        format=settings.format,
        image=settings.image,
        text=settings.text,
        id=settings.id,
    )
    read: ReadPairs = pairs
    says: tuple[str, ...] = ()
    if settings.made_by is not None:
        folder = output / "vectors"
        _make(source, settings, folder, console, restart, by_run=run is not None, trusted=trusted)
        settings = replace(settings, image_vectors=str(folder), text_vectors=str(folder))
        if (made := Made.read(folder)) is not None:
            settings, says = replace(settings, model=made.model), made.says
        read = PairsWithProblems(folder)
    images, texts = (_vectors(source, getattr(settings, f"{side}_vectors"), side) for side in _SIDES)
    check_widths(images, texts)
    given = Given(source, fingerprint(source), images, texts, read, product_mathematics(), says=says)
    return run_audit(given, settings, output, console, restart, _command(settings))


def _make(
    source: Source,
    settings: AuditSettings,
    folder: Path,
    console: Console,
    restart: bool,
    by_run: bool,
    trusted: bool,
) -> None:
    """Make vectors, or complete those that are there; with ``restart``, in place of others."""
    options: dict[str, Any] = {
        "run": Path(str(settings.made_by)) if by_run else None,
        "model": None if by_run else settings.made_by,
        "where": settings.where,
        "device": settings.device,
        "trusted": trusted,
    }
    with AuditProgress(console) as progress, progress.stage("making vectors", known_pairs(source)):
        try:
            make_vectors(source, output=folder, progress=progress.pairs, **options)
        except RunFolderError:
            if not restart:
                raise
            rmtree(folder, ignore_errors=True)
            make_vectors(source, output=folder, progress=progress.pairs, **options)


def _vectors(source: Source, given: str | None, side: Any) -> Vectors:
    found = own_vectors(source, side) if given is None else open_vectors(given, side, source)
    if found is None:
        raise DataError(
            f"there are no vectors of the {side} side, as {source.root} brings none; give --{side}-vectors, "
            f"such as {side}s.npy, or --model with the folder of a CLIP"
        )
    return found


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _absolute(source: str) -> str:
    """Return a path or pattern from the root, so that the audit can be applied from any folder."""
    path = Path(source)
    named = path.exists() or any(letter in source for letter in "*?[")
    return str(path.absolute()) if named and "://" not in source else source


def _command(settings: AuditSettings) -> str:
    """Return the command of this process, or the call that has the same outcome."""
    if Path(sys.argv[0]).name in ("robustcmr", "__main__.py"):
        words = ["robustcmr", *sys.argv[1:]]
        return shlex.join(word.encode("utf-8", "backslashreplace").decode("utf-8") for word in words)
    defaults = asdict(AuditSettings(()))
    changed = {name: value for name, value in asdict(settings).items() if value != defaults[name]}
    del changed["sources"]
    return f"audit of {list(settings.sources)} with {changed}"
