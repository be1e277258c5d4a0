"""The public functions of ``import robustcmr``: train, load, compare, and list what can be chosen."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustcmr import plugins
from robustcmr.config.flags import FLAGS
from robustcmr.errors import ArgumentError, ComparisonError
from robustcmr.jobs.trained import AnyPath, TrainedRun, checked_path
from robustcmr.runs.read import find_runs

if TYPE_CHECKING:
    from robustcmr.reporting.compared import Comparison

logger = logging.getLogger("robustcmr")


def load(
    path: AnyPath,
    *,
    device: str = "auto",
    batch_size: int = 256,
    checkpoint: str = "best",
    trusted: bool = False,
) -> TrainedRun:
    """Open a run folder; the model is read at the first call that needs it, and no data is.

    Args:
        path: the run folder.
        device: where the model computes: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        batch_size: images or captions encoded at once, >= 1.
        checkpoint: ``best`` or ``last``.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here;
            otherwise the model, and what needs it, raises ``TrustError``.

    Raises:
        UserError: there is no run, or an argument is of the wrong kind.

    Example:
        >>> robustcmr.load("runs/a").search("a red star", k=5)  # doctest: +SKIP
    """
    return TrainedRun(path, device, batch_size, checkpoint, trusted)


def train(
    *,
    noise: float | None = None,
    noise_kind: str | None = None,
    noise_protocol: str | None = None,
    noise_file: AnyPath | None = None,
    noise_seed: int | None = None,
    data: str | None = None,
    data_root: AnyPath | None = None,
    matcher: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    config: AnyPath | None = None,
    settings: Mapping[str, Any] | None = None,
    output: AnyPath | None = None,
    resume: AnyPath | None = None,
    warm_start: AnyPath | TrainedRun | None = None,
    overwrite: bool = False,
    progress: bool = True,
    trusted: bool = False,
) -> TrainedRun:
    """Train as ``robustcmr train`` does, with the same options and defaults.

    Args:
        noise: share of the pairs to mismatch, or of the labels to make wrong, in [0, 1).
        noise_kind: kind of noise.
        noise_protocol: unit of noise, such as ``caption`` or ``image``.
        noise_file: published or saved noise file.
        noise_seed: seed of the noise; by default ``seed``.
        data: data set, see :func:`list_datasets`, or ``package.module:Class``.
        data_root: folder of its files.
        matcher: see :func:`list_matchers`, or ``package.module:Class``.
        method: see :func:`list_methods`, or ``package.module:Class``.
        seed: of weights, batches and noise.
        epochs: passes over the training pairs.
        batch_size: pairs a batch.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        config: a YAML recipe: a path, or the name of a shipped one.
        settings: any other keys, such as ``{"optim.lr": 1e-4}`` or ``{"optim": {"lr": 1e-4}}``.
        output: run folder; by default a new one in ``runs``.
        resume: a stopped run to take up again, or a finished one to extend to more ``epochs``; goes with
            ``epochs``, ``progress`` and ``trusted`` alone.
        warm_start: a run of the same matcher whose best weights to start from, as ``--from`` does.
        overwrite: replace a run that is already there.
        progress: whether to show notes and a bar on stderr, or in the notebook.
        trusted: import each ``package.module:Class`` that ``config`` or the run to resume names; those given
            as arguments always are.

    Returns:
        The finished run.

    Raises:
        UserError: an argument or input does not fit, or a file names code without consent; nothing is
            written unless training had begun.
        KeyboardInterrupt: training was interrupted; the message says how to resume it.

    Example:
        >>> run = robustcmr.train(noise=0.4, epochs=6)  # doctest: +SKIP
        >>> run.results.rsum  # doctest: +SKIP
    """
    given = {name: value for name, value in locals().items() if name in FLAGS and value is not None}
    from robustcmr.config.resolve import compose
    from robustcmr.jobs import train as job
    from robustcmr.jobs.notes import shown_notes
    from robustcmr.terminal import Console
    from robustcmr.training import processes
    from robustcmr.training.interrupt import TrainingStopped

    console = Console(stderr=True, quiet=not (progress and processes.is_writer()))
    if resume is not None:
        others = {**given, "config": config, "settings": settings, "output": output}
        others |= {"warm_start": warm_start, "overwrite": overwrite}
        if named := [name for name, value in others.items() if value and name != "epochs"]:
            raise ArgumentError(
                f"resume continues a run as it was configured and does not go with {', '.join(named)}; leave "
                "them out, or start a new run without resume"
            )
        start = partial(job.resume, checked_path(resume, "resume"), console, trusted, epochs)
    else:
        flags = {FLAGS[name]: _plain(value) for name, value in given.items()}
        recipe = None if config is None else os.fspath(checked_path(config, "config"))
        with shown_notes(console):
            chosen = compose(recipe, {**flags, **_flat(settings)}, (), trusted)
        target = None if output is None else checked_path(output, "output")
        path = warm_start.path if isinstance(warm_start, TrainedRun) else warm_start
        weights = None if path is None else checked_path(path, "warm_start")
        start = partial(job.train, chosen, target, overwrite, console, weights)
    try:
        with shown_notes(console):
            run = start()
    except TrainingStopped as stop:
        how = "and saved; resume" if stop.saved else "at once; resume from the last checkpoint"
        raise KeyboardInterrupt(f"stopped {how} with robustcmr.train(resume={str(stop.folder)!r})") from stop
    return TrainedRun(run.path, trusted=trusted)


def compare(
    runs: AnyPath | TrainedRun | Iterable[AnyPath | TrainedRun],
    *,
    split: str = "test",
    mixed: bool = False,
    against: str | None = None,
) -> Comparison:
    """Compare finished runs: mean and deviation over seeds, rank, robustness to noise, and significance.

    Args:
        runs: runs, run folders, folders of them, or sweep folders.
        split: which of the measured splits.
        mixed: allow different data, protocols or noise files, and mark every row.
        against: test the others against this method; the best one by default.

    Returns:
        Rows, differences and curves; a table in a terminal or notebook.

    Raises:
        UserError: there is no finished run, or the runs cannot be compared.
    """
    from robustcmr.reporting.comparison import compare as compare_runs
    from robustcmr.sweeps.planned import planned_runs

    given: Iterable[Any] = [runs] if isinstance(runs, str | os.PathLike | TrainedRun) else runs
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ArgumentError(f"the runs are {runs!r}, expected run folders such as ['runs/a', 'runs/b']")
    paths = [
        each.path if isinstance(each, TrainedRun) else checked_path(each, "a run folder") for each in given
    ]
    if not paths:
        raise ComparisonError("no run folder was given; name some")
    found = find_runs(paths)
    for path in found.unfinished:
        logger.warning("left out, not finished: %s", path)
    for sentence in found.damaged.values():
        logger.warning("left out: %s", sentence)
    if not found.finished:
        raise ComparisonError(f"there is no finished run in {', '.join(map(str, paths))}; train some first")
    planned, notes = planned_runs(paths, found)
    return compare_runs(found.finished, split, mixed, against, planned=planned, notes=notes)


def list_matchers() -> list[str]:
    """Return the names of all matchers, those of installed plug-ins included."""
    return plugins.matchers.names()


def list_methods() -> list[str]:
    """Return the names of all methods, those of installed plug-ins included."""
    return plugins.methods.names()


def list_datasets() -> list[str]:
    """Return the names of all data sets, those of installed plug-ins included."""
    return plugins.datasets.names()


def _plain(value: Any) -> Any:
    """A path as text, and a number of NumPy as one of Python."""
    if isinstance(value, os.PathLike):
        return os.fspath(Path(value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _flat(settings: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) and key for key in settings):
        raise ArgumentError(
            f"settings are {settings!r}, expected keys with values such as {{'optim.lr': 1e-4}}"
        )
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and value
        flat.update(_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": _plain(value)})
    return flat
