"""The public functions of audits: ``robustcmr.audit_pairs`` and ``robustcmr.load_audit``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from robustcmr.device_names import EXPECTED, is_device_name
from robustcmr.errors import ArgumentError, ConfigError
from robustcmr.jobs.audit_packages import require_packages
from robustcmr.jobs.trained import AnyPath, checked_count, checked_path
from robustcmr.plugins import did_you_mean

require_packages()

from robustcmr.jobs.audit_given import given_source, given_vectors  # noqa: E402 - after the check
from robustcmr.jobs.audited import AuditedPairs  # noqa: E402

ENGINES = ("local", "ray")


def audit_pairs(
    source: Any,
    vectors: Any = None,
    *,
    image: str | None = None,
    text: str | None = None,
    id: str | None = None,
    where: str | None = None,
    format: str | None = None,
    output: AnyPath | None = None,
    model: AnyPath | None = None,
    run: AnyPath | None = None,
    deep: bool = False,
    calibration: AnyPath | None = None,
    sample: int = 200_000,
    seed: int = 0,
    device: str = "auto",
    engine: str = "local",
    address: str | None = None,
    memory: float | None = None,
    progress: bool = True,
    near_duplicates: bool = True,
    strict: bool = False,
    restart: bool = False,
    trusted: bool = False,
) -> AuditedPairs:
    """Say which pairs look wrong and how sure that is, as ``robustcmr audit`` does.

    The same call resumes an audit that was stopped.

    Args:
        source: files, folders or patterns of pairs, all of one format; or a ``pandas.DataFrame``, a
            ``pyarrow.Table`` or a mapping of columns, which is written to ``given/pairs.parquet`` in the
            folder of the audit.
        vectors: of images and captions: one place for both, or a pair of them: a path, a column, or an array
            (n, D), which is written as ``.npy`` likewise. Those that come with the source by default.
        image: column with the picture, or what names it; guessed by default, as the next two.
        text: column with the caption, or a list of captions.
        id: column with the id of the pair.
        where: condition of SQL on the columns.
        format: of the source; guessed by default.
        output: folder of the audit; by default ``audits`` and the name of the first source.
        model: CLIP or SigLIP that makes the vectors: a local folder, or a name of the hub.
        run: run of ``robustcmr.train`` whose model makes them.
        deep: train a head on the vectors, cross-fitted.
        calibration: folder of an earlier audit, or its file, to judge by.
        sample: pairs that a calibration is fitted on, >= 1.
        seed: of the sample and of what is fitted.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        engine: ``local``, or ``ray`` for the processes of a Ray cluster.
        address: of the cluster; None starts one here.
        memory: GiB that joins may take; a quarter of the memory, at most 4, by default.
        progress: whether to show notes and a bar on stderr, or in the notebook.
        near_duplicates: look for pairs near an earlier one, which takes about as long as all else.
        strict: stop if any pair cannot be judged, instead of setting it aside.
        restart: remove an audit that is in the folder.
        trusted: import the ``package.module:Class`` that ``run`` names, even if it was not trained here.

    Returns:
        The finished audit.

    Raises:
        UserError: the source or an argument does not fit, or a file is damaged.

    Example:
        >>> found = robustcmr.audit_pairs(frame, (images, texts), output="audits/shop")  # doctest: +SKIP
        >>> found.noise_rate.says, found.dropped  # doctest: +SKIP
    """
    from robustcmr.jobs.audit import audit
    from robustcmr.jobs.audit_settings import AuditSettings, default_memory
    from robustcmr.jobs.notes import shown_notes
    from robustcmr.terminal import Console

    if not isinstance(device, str) or not is_device_name(device):
        raise ArgumentError(f"device is {device!r}, expected {EXPECTED}")
    if engine not in ENGINES:
        raise ConfigError(
            f"there is no engine {engine!r}{did_you_mean(engine, ENGINES)}; choose of {', '.join(ENGINES)}"
        )
    if address is not None and engine != "ray":
        raise ConfigError("an address is that of a Ray cluster; add --engine ray, or leave out the address")
    makers = {"vectors": vectors, "a model": model, "a run": run}
    if len(given := [name for name, value in makers.items() if value is not None]) > 1:
        raise ConfigError(f"{' and '.join(given)} were given; expected one of them, which makes the vectors")
    target = _folder(source) if output is None else checked_path(output, "output")
    paths = given_source(source, target)
    images, texts = given_vectors(vectors, target)
    settings = AuditSettings(
        sources=tuple(paths),
        format=format,
        image=image,
        text=text,
        id=id,
        where=where,
        image_vectors=images,
        text_vectors=texts,
        deep=deep,
        calibration=None if calibration is None else str(checked_path(calibration, "calibration")),
        near_duplicates=near_duplicates,
        strict=strict,
        seed=checked_count(seed, "seed", 0),
        sample=checked_count(sample, "sample"),
        device=device,
        engine="ray" if engine == "ray" else "local",
        address=address,
        memory=default_memory() if memory is None else _bytes(memory),
    )
    console = Console(stderr=True, quiet=not progress)
    with shown_notes(console):
        folder = audit(
            settings,
            target,
            console,
            restart=restart,
            model=None if model is None else str(model),
            run=None if run is None else checked_path(run, "run"),
            trusted=trusted,
        )
    return AuditedPairs(folder.path)


def load_audit(path: AnyPath) -> AuditedPairs:
    """Open the folder of a finished audit.

    Raises:
        UserError: there is no finished audit.

    Example:
        >>> robustcmr.load_audit("audits/web").noise_rate.says  # doctest: +SKIP
    """
    return AuditedPairs(path)


def _folder(source: Any) -> Path:
    """The folder of an audit, named after its first source, a pattern after the folder that it looks in."""
    first = source[0] if isinstance(source, list) and source else source
    parts = Path(os.fspath(first)).parts if isinstance(first, str | os.PathLike) else ()
    plain = [part for part in parts if not set(part) & set("*?[")]
    return Path("audits") / (Path(plain[-1]).stem if plain and Path(plain[-1]).stem else "pairs")


def _bytes(memory: Any) -> int:
    if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory > 0:
        raise ArgumentError(f"memory is {memory!r}, expected GiB above 0 such as 4")
    return int(memory * 2**30)
