"""Open what an audit is given, make the vectors that it lacks, and run it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustcmr.errors import DataError
from robustcmr.jobs.audit import Given, run_audit
from robustcmr.jobs.audit_mathematics import product_mathematics
from robustcmr.jobs.audit_progress import AuditProgress, known_pairs
from robustcmr.jobs.audit_settings import AuditSettings, refuse_finished
from robustcmr.runs.audits import AuditFolder
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import Vectors, check_widths, open_vectors, own_vectors

if TYPE_CHECKING:
    from robustcmr.sources.clip_layout import Side
    from robustcmr.terminal import Console

VECTORS = "vectors"
"""Folder below the audit's for the vectors that are made."""


def audit(
    settings: AuditSettings,
    output: Path,
    console: Console,
    *,
    restart: bool = False,
    model: str | None = None,
    run: Path | None = None,
    trusted: bool = False,
    command: str | None = None,
) -> AuditFolder:
    """Audit pairs by their vectors, or go on with an audit that was stopped.

    Args:
        settings: what to audit, and how; the device may be ``auto``.
        output: folder of the audit.
        console: for progress.
        restart: whether to remove an audit that is there.
        model: CLIP or SigLIP that makes the vectors; None for those of the settings or of the source.
        run: run that makes them.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here.
        command: what the user gave, for ``audit.json``; None for that of this process.

    Raises:
        UserError: the source, the vectors, the model or a setting cannot be used, or the folder holds
            something else.
    """
    refuse_finished(AuditFolder(output), restart)
    settings = replace(settings, device=_device(settings.device))
    source = open_source(
        settings.sources, format=settings.format, image=settings.image, text=settings.text, id=settings.id
    )
    if model is not None or run is not None:
        images, texts = _made(source, settings, output, console, model, run, trusted)
    else:
        images = _opened(source, settings.image_vectors, "image")
        texts = _opened(source, settings.text_vectors, "text")
    check_widths(images, texts)
    given = Given(source, fingerprint(source), images, texts, pairs, product_mathematics())
    settings = replace(settings, sources=tuple(map(_absolute, settings.sources)))
    return run_audit(given, settings, output, console, restart, command)


def _made(
    source: Source,
    settings: AuditSettings,
    output: Path,
    console: Console,
    model: str | None,
    run: Path | None,
    trusted: bool,
) -> tuple[Vectors, Vectors]:
    """Vectors of both sides, made by a model or a run unless they are there."""
    from robustcmr.jobs.make_vectors import make_vectors

    with AuditProgress(console) as progress, progress.stage("making vectors", known_pairs(source)):
        folder = make_vectors(
            source,
            output=output / VECTORS,
            model=model,
            run=run,
            where=settings.where,
            device=settings.device,
            trusted=trusted,
            progress=progress.pairs,
        )
    return open_vectors(folder, "image", source), open_vectors(folder, "text", source)


def _opened(source: Source, spec: str | None, side: Side) -> Vectors:
    """The vectors that are named, or else those that come with the source."""
    found = own_vectors(source, side) if spec is None else open_vectors(spec, side, source)
    if found is None:
        raise DataError(
            f"there are no {side} vectors beside {source.root}; name them with --{side}-vectors, or have "
            "them made with --model or --run"
        )
    return found


def _absolute(path: str) -> str:
    """A path that means the same from another folder; a name of the hub stays as it is."""
    there = os.path.lexists(path) or any(sign in path for sign in "*?[")
    return os.path.abspath(path) if there and "://" not in path else path  # noqa: PTH100 - keeps patterns


def _device(name: str) -> str:
    if name != "auto":
        from robustcmr.training.devices import check_device

        check_device(name, "fp32")
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
