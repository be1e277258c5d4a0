"""Trackers such as TensorBoard or Weights & Biases, through accelerate; off by default."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers, get_available_trackers

from robustcmr.config.schema import TrackingOptions
from robustcmr.errors import ConfigError
from robustcmr.runs.folder import RunFolder
from robustcmr.training import processes

logger = logging.getLogger("robustcmr")

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "tensorboard": "'robustcmr[tensorboard]'",
        "comet_ml": "comet-ml",
        **{name: name for name in ("wandb", "mlflow", "aim", "clearml", "dvclive")},
    }
)
"""The package to install for each tracker."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError if the package of a tracker is not installed, with the command that installs it."""
    available = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    missing = [name for name in names if name not in available]
    if missing:
        raise ConfigError(
            f"tracking.names has {', '.join(missing)}, which needs a package that is not installed; "
            f"leave it out, or run: pip install {' '.join(PACKAGES[name] for name in missing)}"
        )


def send_epoch(accelerator: Accelerator, row: Mapping[str, Any]) -> None:
    """Send the finite numbers of an epoch's metrics to the started trackers, by names such as ``dev/rsum``.

    A tracker that fails is dropped with a warning; training continues.
    """
    values = scalars({name: value for name, value in row.items() if name != "epoch"})
    for tracker in list(accelerator.trackers):
        try:
            tracker.log(values, step=row["epoch"])
        except Exception as error:  # a tracker's network or disk must not stop the training
            logger.warning(
                "the tracker %s failed and gets no more metrics of this run: %s", tracker.name, error
            )
            accelerator.trackers.remove(tracker)


@contextmanager
def tracking(
    accelerator: Accelerator, options: TrackingOptions, run: RunFolder, config: Mapping[str, Any], done: int
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Run trackers during the block, which gets a function that sends them the metrics of an epoch.

    They show the run folder's name, and get the configuration once, when the run begins. ``done`` counts the
    epochs that have ended; an epoch sent again after a lost checkpoint replaces the first.

    Raises:
        ConfigError: a tracker does not start, such as without a login.
    """
    if options.names and processes.is_writer():
        try:
            accelerator.project_configuration.set_directories(str(run.tracking))
            accelerator.log_with = filter_trackers(list(options.names), accelerator.logging_dir)
            name, folder = run.path.resolve().name, str(run.tracking)
            own = {
                "tensorboard": {"purge_step": done + 1},
                "wandb": {"name": name, "dir": folder, "resume": "allow", "id": _identity(run)},
                "mlflow": {"run_name": name},
            }
            accelerator.init_trackers(options.project, init_kwargs=own)
            if done == 0:
                flat = {
                    key: value if isinstance(value, bool | int | float | str) else str(value)
                    for key, value in _leaves(config)
                }
                for tracker in accelerator.trackers:
                    tracker.store_init_configuration(flat)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"a tracker of {', '.join(options.names)} did not start: {reason}; set it up as its own "
                "instructions say, or leave it out of tracking.names"
            ) from error
    try:
        yield partial(send_epoch, accelerator)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _identity(run: RunFolder) -> str:
    """Return an id that a resumed run keeps and no other run has."""
    made = f"{run.path.resolve()} {run.environment.stat().st_mtime_ns}"
    return hashlib.sha256(made.encode()).hexdigest()[:16]


def scalars(tree: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a nested mapping by path, such as ``dev/rsum``; drop lists and text."""
    return {
        name: value
        for name, value in _leaves(tree)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
