"""Start a run, or resume one that was stopped: assemble, fit, finish."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

import robustcmr
from robustcmr import terminal
from robustcmr.config.resolve import RunConfig, read_config, remember_run, run_config
from robustcmr.environment import describe_environment
from robustcmr.errors import ConfigError, InUseError, LockError, RunFolderError
from robustcmr.files import check_kind, write_json
from robustcmr.jobs.continuation import (
    check_epochs,
    extended,
    is_finished,
    load_warm_start,
    records,
    save_extension,
    warm_start_of,
)
from robustcmr.jobs.findings import report_findings
from robustcmr.jobs.open import OpenRun, build_matchers, build_method
from robustcmr.reporting.run_charts import save_run_charts, since_restart
from robustcmr.runs.folder import RunFolder, unused_folder
from robustcmr.runs.older import lost_options
from robustcmr.runs.queries import write_queries
from robustcmr.runs.schemas import Config as SavedConfig
from robustcmr.tracks.build import build_track
from robustcmr.training import processes
from robustcmr.training.batches import check_batch_size
from robustcmr.training.checkpoint import load_modules, recover
from robustcmr.training.compilation import compile_parts
from robustcmr.training.devices import build_accelerator, peak_memory_bytes
from robustcmr.training.interrupt import StopAtOnce, TrainingStopped
from robustcmr.training.loop import Trainer
from robustcmr.training.outcome import training_warnings, warm_up_warnings
from robustcmr.training.seeds import seed_everything
from robustcmr.training.trackers import check_trackers, tracking

logger = logging.getLogger("robustcmr")


def train(
    config: RunConfig,
    output: Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
    warm_start: Path | None = None,
) -> RunFolder:
    """Train, measure the test split once with the best epoch, and write everything into a run folder.

    Args:
        config: the resolved configuration.
        output: run folder; by default a new one under ``runs`` named after the configuration.
        overwrite: replace a run that is already there.
        console: shows progress; stderr by default.
        warm_start: run folder with the same matcher, whose best weights training starts from. Only matchers
            take them; optimiser, schedule and the method's other networks start anew.

    Returns:
        The run folder, finished.

    Raises:
        UserError: an input does not fit; nothing is written unless training had begun.
        InUseError: another process writes into that folder.
        TrainingStopped: a signal asked to stop; the run is saved, unless it came twice.

    Example:
        Train on the embedded data with 40% of the captions mismatched::

            config = resolve({"data": "scenes", "noise": {"ratio": 0.4}})
            run = train(config, Path("runs/my-run"))
            print(run.read_results()["splits"]["test"]["rsum"])
    """
    history = {} if warm_start is None else {"warm_start": warm_start_of(warm_start, config, output)}
    accelerator = _accelerator(config)
    with ExitStack() as held:
        path = _take_folder(held, config, output, overwrite) if processes.is_writer() else Path()
        folder = RunFolder(processes.as_the_writer_says(path))
        with _log() as log:
            run = _assemble(config, folder, accelerator, new=True, history=history)
            if processes.is_writer():
                folder.start(config.to_yaml(), describe_environment(), partial(_save, run, history))
                remember_run(folder.config, config)
                logger.info("run folder %s", folder.path)
            return _train(run, log, console)


def resume(
    path: Path, console: Console | None = None, trusted: bool = False, epochs: int | None = None
) -> RunFolder:
    """Resume a run that was stopped, to the same numbers as without the stop, or extend a finished one.

    With more ``epochs`` every remaining epoch has the learning rate that it has in a run begun with that
    many. Milestones thus go on, to the same numbers as such a run; a cosine, which had fallen to 0, is
    stretched: the rate rises once and falls to 0 at the new end. Warm-up is not repeated. The best epoch is
    that of all epochs, and results, charts and estimates are written anew at the end.

    Args:
        path: the run folder.
        console: shows progress; stderr by default.
        trusted: import the ``package.module:Class`` that the run names, even if it was not begun here.
        epochs: epochs in all, at least those it is configured for; those by default.

    Returns:
        The run folder, finished. A run that had already finished is left as it is.

    Raises:
        UserError: ``epochs`` is less than configured, there is no run, it is in use, it names code without
            consent, or its data or checkpoint do not fit.
        TrainingStopped: a signal asked to stop; the run is saved, unless it came twice.
    """
    check_epochs(epochs)
    folder = RunFolder(path)
    folder.require_trained()
    if epochs is None and is_finished(folder):  # which needs no permission to write
        if folder.lock.exists() and processes.is_writer():
            with suppress(LockError), folder.locked():
                pass  # it was killed after its last file: this removes the lock
        return folder
    with ExitStack() as held:
        if processes.is_writer():
            held.enter_context(folder.locked())
            folder.require_trained()
            if epochs is None and is_finished(folder):  # another process has just finished it
                return folder
        if lost := lost_options(read_config(folder.config, SavedConfig)):
            raise RunFolderError(
                f"{path} was begun by version 0.1 with method options that no longer exist "
                f"({', '.join(lost)}); resume it with robustcmr 0.1, or train it again"
            )
        before = run_config(folder.config, trusted)
        config = extended(folder, before, epochs)
        if is_finished(folder, config.settings.training.epochs):
            return folder
        if processes.is_writer():
            remember_run(folder.config, config)
        accelerator = _accelerator(config)
        with _log() as log:
            run = _assemble(config, folder, accelerator, new=False, history=folder.read_history())
            if processes.is_writer():
                run.track.save(folder)
                if config != before or folder.results.exists():
                    save_extension(folder, before, config)
                    remember_run(folder.config, config)
            return _train(run, log, console)


def _take_folder(held: ExitStack, config: RunConfig, output: Path | None, overwrite: bool) -> Path:
    """Return the folder of a new run, locked until ``held`` is closed."""
    while True:
        folder = RunFolder(planned_folder(config, output))
        try:
            held.enter_context(folder.locked())
        except InUseError:
            if output is not None:
                raise
            continue  # another process has just taken that name
        folder.check_free(overwrite)
        return folder.path


def planned_folder(config: RunConfig, output: Path | None) -> Path:
    """Return the folder of a new run: ``output``, or an unused one under ``runs`` named after ``config``."""
    if output is not None:
        return output
    noise = config.settings.noise
    kinds = [noise.kind, noise.protocol] if noise.kind != "mismatch" else [noise.protocol]
    made = "-".join([f"{noise.ratio:g}", *map(str, kinds)])
    parts = [part.name.rpartition(":")[2] for part in (config.data, config.matcher, config.method)]
    given = "file" if noise.file is not None else made
    return unused_folder(Path("runs"), f"{'-'.join(parts)}-noise{given}-seed{config.settings.seed}")


def _accelerator(config: RunConfig) -> Accelerator:
    """Build the accelerator, refusing devices and trackers that are not available here."""
    settings = config.settings
    check_trackers(settings.tracking.names)
    return build_accelerator(settings.training.device, settings.training.precision)


def _save(run: OpenRun, history: Mapping[str, Any], folder: RunFolder) -> None:
    """Write what a new run must not be without."""
    run.track.save(folder)
    if history:
        write_json(folder.history, history)


def _assemble(
    config: RunConfig, folder: RunFolder, accelerator: Accelerator, new: bool, history: Mapping[str, Any]
) -> OpenRun:
    """Open the data and build matchers and method as training begins; ``new`` ignores the run folder."""
    settings = config.settings
    with processes.writer_first():  # the writer fills the cache that the others read
        track = build_track(config, None if new else folder)
        if not new and processes.is_writer():
            recover(folder.checkpoint("last"))
            recover(folder.checkpoint("best"))
    if settings.evaluation.select not in track.splits():
        raise ConfigError(
            f"evaluation.select is '{settings.evaluation.select}', "
            f"but the data has only {', '.join(track.splits())}"
        )
    if new:
        measured = ("train", settings.evaluation.select, settings.evaluation.test)
        track.read_captions([split for split in measured if split in track.splits()])
    check_batch_size(settings.training.batch_size, len(track.training))
    seed_everything(settings.seed)
    matchers = build_matchers(config, track.spec, accelerator)
    if new or not folder.checkpoint("last").exists():
        bare = [accelerator.unwrap_model(matcher) for matcher in matchers]
        if "warm_start" in history:
            load_warm_start(history["warm_start"], bare, track)
        else:
            for matcher in bare:
                matcher.load_pretrained()
    if settings.training.compile:
        compile_parts(matchers)
    method = build_method(config, track, matchers, accelerator)
    track.place_training(accelerator.device)
    return OpenRun(folder, config, track, matchers, accelerator, method)


def _train(run: OpenRun, log: MemoryHandler, console: Console | None) -> RunFolder:
    """Train an assembled run to its end; only one process writes and shows progress."""
    if processes.is_writer():
        try:
            log.setTarget(_LogFile(run.folder.log))
        except OSError as error:
            raise RunFolderError(
                f"cannot write {run.folder.log}: {error.strerror}; remove what is in its place, and resume "
                f"the run with --resume {run.folder.path}"
            ) from error
        log.flush()
    else:
        console = terminal.Console(quiet=True)
    try:
        trainer = fit(run, console or terminal.Console(stderr=True))
        with StopAtOnce():
            finish(run, trainer)
    except (TrainingStopped, KeyboardInterrupt) as reason:
        stop = reason if isinstance(reason, TrainingStopped) else TrainingStopped(signal.SIGINT, saved=False)
        stop.folder = run.folder.path
        raise stop from None
    return run.folder


def fit(run: OpenRun, console: Console) -> Trainer:
    """Train to the last epoch, from the last checkpoint if there is one."""
    if run.method is None:
        raise ValueError("a run cannot be trained without its method")
    settings = run.config.settings
    trainer = Trainer(settings, run.track, run.matchers, run.method, run.accelerator, run.folder, console)
    trainer.restore()
    if trainer.state.global_step:
        logger.info("resumed at epoch %d, step %d", trainer.state.epoch + 1, trainer.state.step + 1)
    config, done = run.config.to_dict(), trainer.state.epoch
    with tracking(run.accelerator, settings.tracking, run.folder, config, done) as send:
        trainer.fit(send)
    return trainer


def finish(run: OpenRun, trainer: Trainer) -> None:
    """Measure the splits with the best epoch's weights and write findings, charts and results."""
    evaluation, folder, track = run.config.settings.evaluation, run.folder, run.track
    processes.wait_for_all()  # until the best epoch has been written
    load_modules(folder.checkpoint("best"), trainer.modules)
    findings = report_findings(trainer, folder)
    measured, queries = {}, {}
    alone: dict[str, list[dict[str, Any]]] = {}
    for split in dict.fromkeys([evaluation.select, evaluation.test]):
        if split is None:
            continue
        if split not in track.splits():
            logger.info("the data has no %s split, so it is not measured", split)
            continue
        found = track.measure(track.members(run.matchers, split), split, run.device)
        measured[split], queries[split] = found.metrics, found.queries
        if len(found.by_model) > 1:
            alone[split] = found.by_model
    if not processes.is_writer():
        return
    warnings = _warnings(run, trainer)
    for sentence in warnings:
        logger.warning("%s", sentence)
    save_run_charts(trainer.state.rows, measured, folder.plots, evaluation.select)
    for split, outcomes in queries.items():
        write_queries(folder.queries(split), outcomes)
    results = _results(run, trainer, measured)
    write_json(
        folder.results,
        {
            **results,
            **({"by_model": alone} if alone else {}),
            **({"warnings": warnings} if warnings else {}),
            **({"findings": findings} if findings else {}),
        },
    )


def _warnings(run: OpenRun, trainer: Trainer) -> list[str]:
    settings, rows = run.config.settings, since_restart(trainer.state.rows)
    select = settings.evaluation.select
    scores = [run.track.selection_score(row[select]) for row in rows]
    method, epochs = run.config.method, settings.training.epochs
    warm_up = getattr(method.options, "warmup_epochs", None)
    return [
        *(warm_up_warnings(method.name, epochs, warm_up) if isinstance(warm_up, int) else ()),
        *training_warnings(rows, scores, select, run.track.chance(select), settings.optim.lr),
    ]


def _results(run: OpenRun, trainer: Trainer, measured: dict[str, Any]) -> dict[str, Any]:
    config, settings, state = run.config, run.config.settings, trainer.state
    return {
        "data": config.data.name,
        "matcher": config.matcher.name,
        "method": config.method.name,
        "seed": settings.seed,
        "n_models": len(run.matchers),
        **run.track.provenance(),
        "selection_split": settings.evaluation.select,
        "best_epoch": None if state.best is None else state.best["epoch"],
        "epochs": settings.training.epochs,
        "splits": measured,
        "parameters": sum(p.numel() for matcher in run.matchers for p in matcher.parameters()),
        "device": str(run.device),
        "precision": settings.training.precision,
        "processes": processes.count(),
        "compile_seconds": None if trainer.warm_up is None else trainer.warm_up.seconds,
        "seconds": round(state.seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(run.device),
        "robustcmr_version": robustcmr.__version__,
        **records(run.folder),
    }


class _LogFile(logging.FileHandler):
    """A log file; its own failure, such as a full disk, is reported by the files that must be written."""

    def __init__(self, path: Path) -> None:
        if path.is_symlink():  # replaced, as writing any other file of the folder does, and not followed
            path.unlink()
        elif path.exists():
            check_kind(path.stat())
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """Ignore the failure."""


@contextmanager
def _log() -> Iterator[MemoryHandler]:
    """Keep log messages in memory until the handler has a target, and pass them on from then on."""
    memory = MemoryHandler(capacity=1)
    level = logger.level
    logger.addHandler(memory)
    logger.setLevel(logging.INFO)
    try:
        yield memory
    finally:
        logger.removeHandler(memory)
        logger.setLevel(level)
        file = memory.target
        memory.close()
        if file is not None:
            with suppress(OSError):  # a full disk
                file.close()
