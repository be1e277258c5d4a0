"""Start a run, or resume one that was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

import robustcmr
from robustcmr.config.resolve import RunConfig, read_config, resolve
from robustcmr.environment import describe_environment
from robustcmr.errors import ConfigError
from robustcmr.files import write_json
from robustcmr.jobs.findings import report_findings
from robustcmr.jobs.open import build_matchers
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.reporting.plots import draw_run_plots
from robustcmr.reporting.scope_plot import draw_scopes
from robustcmr.runs.folder import RunFolder, unused_folder
from robustcmr.runs.queries import write_queries
from robustcmr.tracks.base import Track
from robustcmr.tracks.build import build_track
from robustcmr.training import processes
from robustcmr.training.batches import check_batch_size
from robustcmr.training.checkpoint import load_modules, recover
from robustcmr.training.compilation import compile_parts
from robustcmr.training.devices import build_accelerator, check_device
from robustcmr.training.loop import Trainer
from robustcmr.training.seeds import seed_everything
from robustcmr.training.trackers import check_trackers, tracking

logger = logging.getLogger("robustcmr")


def train(
    config: RunConfig, output: Path | None = None, overwrite: bool = False, console: Console | None = None
) -> RunFolder:
    """Train as configured, measure the test split once with the best epoch, and save everything.

    Args:
        config: the resolved configuration.
        output: run folder; by default a new one under ``runs`` named after the configuration.
        overwrite: replace a run that is already there.
        console: where progress is drawn; stderr by default.

    Returns:
        The run folder, finished.

    Raises:
        UserError: something given does not fit; unless training had begun, nothing is written.
        TrainingStopped: a signal asked to stop; the run is saved.
    """
    _check_machine(config)
    accelerator = build_accelerator(config.settings.training.device, config.settings.training.precision)
    run = RunFolder(processes.as_the_writer_says(planned_folder(config, output)))
    with processes.writer_first():
        if processes.is_writer():
            run.check_free(overwrite)
    with _remembered_log() as early:  # what is said before there is a folder to say it in
        with processes.writer_first():  # who makes what the others find in the cache
            track = build_track(config)
        _check_fits(config, track)
        matchers = _prepare(config, track, accelerator, pretrained=True)
        arguments = track.method_arguments(matchers, accelerator.device)
        track.place_training(accelerator.device)
    if not processes.is_writer():
        return _fit_and_finish(config, track, run, accelerator, matchers, arguments, Console(quiet=True))
    run.start(config.to_yaml(), describe_environment())
    with _log_to(run.log, early):
        track.save(run)
        logger.info("run folder %s", run.path)
        return _fit_and_finish(config, track, run, accelerator, matchers, arguments, console)


def resume(path: Path, console: Console | None = None) -> RunFolder:
    """Go on with a run that was stopped, to the same numbers as if it had not been.

    Args:
        path: the run folder.
        console: where progress is drawn; stderr by default.

    Returns:
        The run folder, finished. A run that had already finished is left as it is.

    Raises:
        UserError: there is no run, or its data or checkpoint do not fit.
    """
    run = RunFolder(path)
    run.require_trained()
    if run.read_results() is not None:
        return run
    config = resolve(read_config(run.config))
    _check_machine(config)
    accelerator = build_accelerator(config.settings.training.device, config.settings.training.precision)
    with processes.writer_first():
        track = build_track(config, run)
        if processes.is_writer():
            recover(run.checkpoint("last"))
    _check_fits(config, track)
    matchers = _prepare(config, track, accelerator, pretrained=not run.checkpoint("last").exists())
    arguments = track.method_arguments(matchers, accelerator.device)
    track.place_training(accelerator.device)
    if not processes.is_writer():
        return _fit_and_finish(config, track, run, accelerator, matchers, arguments, Console(quiet=True))
    with _log_to(run.log):
        track.save(run)
        return _fit_and_finish(config, track, run, accelerator, matchers, arguments, console)


def planned_folder(config: RunConfig, output: Path | None) -> Path:
    """The folder a new run will take: the one asked for, or a new one under ``runs`` that says what it is."""
    return output if output is not None else unused_folder(Path("runs"), _folder_name(config))


def _folder_name(config: RunConfig) -> str:
    noise = config.settings.noise
    kinds = [noise.kind, noise.protocol] if noise.kind != "mismatch" else [noise.protocol]
    made = "-".join([f"{noise.ratio:g}", *map(str, kinds)])
    kind = "file" if noise.file is not None else made
    parts = [config.data.name, config.matcher.name, config.method.name]
    plain = [part.rpartition(":")[2] for part in parts]
    return f"{'-'.join(plain)}-noise{kind}-seed{config.settings.seed}"


def _check_fits(config: RunConfig, track: Track) -> None:
    settings = config.settings
    if settings.evaluation.select not in track.splits():
        raise ConfigError(
            f"evaluation.select is '{settings.evaluation.select}', "
            f"but the data has only {', '.join(track.splits())}"
        )
    check_batch_size(settings.training.batch_size, len(track.training))


def _check_machine(config: RunConfig) -> None:
    """Refuse what this machine does not have, before anything is opened."""
    settings = config.settings
    check_device(settings.training.device, settings.training.precision)
    check_trackers(settings.tracking.names)


def _prepare(config: RunConfig, track: Track, accelerator: Accelerator, pretrained: bool) -> list[Matcher]:
    """The matchers as training begins; ``pretrained`` loads what they start from."""
    seed_everything(config.settings.seed)
    matchers = build_matchers(config, track, accelerator)
    if pretrained:
        for matcher in matchers:
            accelerator.unwrap_model(matcher).load_pretrained()
    if config.settings.training.compile:
        compile_parts(matchers)
    return matchers


def _fit_and_finish(
    config: RunConfig,
    track: Track,
    run: RunFolder,
    accelerator: Accelerator,
    matchers: list[Matcher],
    arguments: tuple[Any, ...],
    console: Console | None,
) -> RunFolder:
    settings = config.settings
    make: Callable[..., Method] = config.method.cls
    size = settings.training.batch_size
    method = make(config.method.options, matchers, len(track.training), size, *arguments)
    for network in method.auxiliary.values():
        network.to(accelerator.device)
    trainer = Trainer(settings, track, matchers, method, accelerator, run, console or Console(stderr=True))
    trainer.restore()
    if trainer.global_step:
        logger.info("resumed at epoch %d, step %d", trainer.epoch + 1, trainer.step + 1)
    with tracking(accelerator, settings.tracking, run, config.to_dict(), trainer.epoch) as trackers:
        trainer.fit(trackers.epoch)
    processes.wait_for_all()  # the best epoch has been written
    load_modules(run.checkpoint("best"), trainer.modules)
    believed = report_findings(track, trainer, run)
    measured, queries = {}, {}
    for split in dict.fromkeys([settings.evaluation.select, settings.evaluation.test]):
        if split is None:
            continue
        if split not in track.splits():
            logger.info("no %s split here, so the table has none", split)
            continue
        found = track.measure(track.members(matchers, split), split, accelerator.device)
        measured[split], queries[split] = found.metrics, found.queries
    if not processes.is_writer():
        return run
    draw_run_plots(trainer.rows, run.plots, settings.evaluation.select)
    for split, ranks in queries.items():
        write_queries(run.queries(split), ranks)
    draw_scopes(measured, run.plots)
    write_json(run.results, {**_results(config, track, trainer, measured, accelerator.device), **believed})
    return run


def _results(
    config: RunConfig, track: Track, trainer: Trainer, measured: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    settings = config.settings
    return {
        "data": config.data.name,
        "matcher": config.matcher.name,
        "method": config.method.name,
        "seed": settings.seed,
        "n_models": len(trainer.matchers),
        **track.provenance(),
        "selection_split": settings.evaluation.select,
        "best_epoch": None if trainer.best is None else trainer.best["epoch"],
        "epochs": settings.training.epochs,
        "splits": measured,
        "parameters": sum(p.numel() for matcher in trainer.matchers for p in matcher.parameters()),
        "device": str(device),
        "precision": settings.training.precision,
        "processes": processes.count(),
        "compile_seconds": None if trainer.warm_up is None else trainer.warm_up.seconds,
        "seconds": round(trainer.seconds, 1),
        "peak_memory_bytes": trainer.peak_memory(),
        "robustcmr_version": robustcmr.__version__,
    }


class _LogFile(logging.FileHandler):
    """A log file whose own failure, such as a full disk, is left to be told by what must be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """Say nothing."""


class _LogMemory(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@contextmanager
def _remembered_log() -> Iterator[list[logging.LogRecord]]:
    memory = _LogMemory()
    with _attached(memory):
        yield memory.records


@contextmanager
def _log_to(path: Path, early: Sequence[logging.LogRecord] = ()) -> Iterator[None]:
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for record in early:
        handler.emit(record)
    with _attached(handler):
        yield


@contextmanager
def _attached(handler: logging.Handler) -> Iterator[None]:
    """Have a handler listen for a while, from the level of information on."""
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
