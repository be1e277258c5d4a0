"""A run that goes beyond its first training: more epochs, or the weights of another run to start from.

What happened is kept in ``history.json`` of the run folder. It is written before anything else changes, so a
run that is killed at any moment knows how far it was to go, and where its weights came from.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from robustcmr.config.resolve import RunConfig
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import CheckpointError, ConfigError, RunFolderError
from robustcmr.files import reason, write_json, write_text
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.training.checkpoint import is_saved, load_modules

logger = logging.getLogger("robustcmr")


def is_finished(folder: RunFolder, epochs: int | None = None) -> bool:
    """Return whether a run has finished all epochs it was ever to take, ``epochs`` included."""
    results = folder.read_results()
    wanted = [*folder.read_history().get("epochs", []), *([] if epochs is None else [epochs])]
    return results is not None and all(results["epochs"] >= total for total in wanted)


def check_epochs(epochs: int | None) -> None:
    """Raise ConfigError unless it is None or a number of epochs."""
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise ConfigError(f"epochs is {epochs!r}, expected a whole number of at least 1, such as 30")


def extended(folder: RunFolder, config: RunConfig, epochs: int | None) -> RunConfig:
    """Return the configuration of a run with the epochs it is to reach.

    Args:
        folder: the run, finished or not.
        config: its configuration.
        epochs: epochs in all; None for those asked for before.

    Raises:
        ConfigError: ``epochs`` is less than the run is configured for.
        CheckpointError: the run has finished, but the state to continue from is gone.
    """
    training = config.settings.training
    known = max([training.epochs, *folder.read_history().get("epochs", [])])
    if epochs is not None and epochs < known:
        raise ConfigError(
            f"--epochs is {epochs}, but {folder.path} is configured for {known}; expected more, such as "
            f"--epochs {2 * known}"
        )
    total = known if epochs is None else epochs
    last = folder.checkpoint("last")
    if total > training.epochs and folder.read_results() is not None and not is_saved(last):
        raise CheckpointError(
            f"{last}, from which training goes on, is gone; copy it again from where it was trained, or "
            f"start a new run from its best weights with --from {folder.path}"
        )
    settings = config.settings.model_copy(update={"training": training.model_copy(update={"epochs": total})})
    return replace(config, settings=settings)


def save_extension(folder: RunFolder, before: RunConfig, config: RunConfig) -> None:
    """Make a run one that has yet to reach the epochs of ``config``; it keeps its other files until then.

    ``results.json`` is removed, as the run has not finished.
    """
    new = config.settings.training.epochs
    history = folder.read_history()
    totals = history.get("epochs", [before.settings.training.epochs])
    if totals[-1] != new:
        totals = [*totals, new]
        write_json(folder.history, {**history, "epochs": totals})
    write_text(folder.config, config.to_yaml())
    try:
        folder.results.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot remove {folder.results}: {reason(error)}") from error
    cosine = config.settings.optim.schedule == "cosine"
    logger.info(
        "extended from %d to %d epochs; %s",
        totals[-2],
        new,
        f"the cosine of the learning rate now spans {new} epochs, so the rate rises once and falls to 0 again"
        if cosine
        else "the learning rate follows its milestones, as if begun with that many",
    )


def records(folder: RunFolder) -> dict[str, Any]:
    """Return what the results of a run say of its history: ``extended_from``, ``warm_start``; mostly none."""
    history = folder.read_history()
    warm = {key: history[key] for key in ("warm_start",) if key in history}
    totals = history.get("epochs", [])
    return {**({"extended_from": totals[:-1]} if totals else {}), **warm}


def warm_start_of(path: Path, config: RunConfig, output: Path | None) -> dict[str, Any]:
    """Return the record of a run whose best weights a new run starts from.

    Args:
        path: the run folder, trained here or converted.
        config: the new run's configuration.
        output: its folder, if it was named.

    Raises:
        UserError: there is no run with a best checkpoint, it is the new run's own folder, or its matcher or
            number of networks is another.
    """
    folder = RunFolder(path)
    folder.require()
    if output is not None and output.resolve() == path.resolve():
        raise ConfigError(f"--from and --output are both {path}; choose another --output, such as {path}-2")
    best = folder.checkpoint("best")
    if not is_saved(best):
        raise CheckpointError(
            f"{path} has no best checkpoint yet; write one with 'robustcmr train --resume {path}'"
        )
    theirs = folder.read_config()
    given, wanted = theirs["matcher"]["name"], config.matcher.name
    if given != wanted:
        raise ConfigError(
            f"{path} trained the matcher {given}, but this run has {wanted}; add --matcher {given}, or leave "
            "--from out"
        )
    weights = sorted(best.glob("matcher_*.safetensors"))
    count: int = config.method.cls.n_matchers  # type: ignore[attr-defined]  # the registry checked the class
    if len(weights) != count:
        raise ConfigError(
            f"{path} holds {len(weights)} network(s), but the method {config.method.name} trains {count}; "
            "start from a run of a method that trains as many"
        )
    results = folder.read_results() or {}
    return {
        "run": str(path.resolve()),
        "data": theirs["data"]["name"],
        "method": theirs["method"]["name"],
        "best_epoch": results.get("best_epoch"),
        "sha256": [_sha256(file) for file in weights],
    }


def load_warm_start(record: dict[str, Any], matchers: Sequence[nn.Module], track: Track) -> None:
    """Load the recorded weights into the matchers; the method's other networks and the optimiser start anew.

    Raises:
        UserError: the run is gone or was trained on since, or its vocabulary or architecture is another.
    """
    folder = RunFolder(Path(record["run"]))
    folder.require()
    best = folder.checkpoint("best")
    if isinstance(track.reader, Vocabulary):
        theirs = Vocabulary.load(folder.vocabulary)
        if theirs.words != track.reader.words:
            raise ConfigError(
                f"{folder.path} knows {len(theirs.words)} words and this run {len(track.reader.words)}, not "
                f"the same ones; add --set text.vocabulary={folder.vocabulary} to use those of that run"
            )
    found = [_sha256(best / f"matcher_{i}.safetensors") for i in range(len(matchers))]
    if found != record["sha256"]:
        raise CheckpointError(
            f"the weights in {best} have changed since this run began; start it again with --overwrite"
        )
    load_modules(best, {f"matcher_{i}": matcher for i, matcher in enumerate(matchers)})
    logger.info("started from the weights of %s", folder.path)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read the weights {path}: {reason(error)}") from error
