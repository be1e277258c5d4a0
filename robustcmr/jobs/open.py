"""Open a trained run: its data, its matchers with the weights of a checkpoint, and its method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from robustcmr.config.resolve import RunConfig, run_config
from robustcmr.errors import CheckpointError, ConfigError
from robustcmr.matchers.base import Matcher, vector_width
from robustcmr.methods.base import Method
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.build import build_track
from robustcmr.training.checkpoint import is_saved, load_modules, load_state, named_modules
from robustcmr.training.devices import build_accelerator
from robustcmr.training.sharding import shard
from robustcmr.types import DataSpec


@dataclass(frozen=True)
class OpenRun:
    """A run ready to score images and captions.

    Attributes:
        folder: its files.
        config: its configuration.
        track: its data, vocabulary and noise.
        matchers: with the checkpoint's weights, on ``accelerator.device``; several if the method trains
            several.
        accelerator: device and precision.
        method: built on the matchers, with the checkpoint's auxiliary networks; None unless requested.
        epoch: the epoch, from 1, at whose end a ``best`` checkpoint was kept; None if unknown.
    """

    folder: RunFolder
    config: RunConfig
    track: Track
    matchers: list[Matcher]
    accelerator: Accelerator
    method: Method | None = None
    epoch: int | None = None

    @property
    def device(self) -> torch.device:
        """Device of the matchers."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        return named_modules(self.accelerator, self.matchers, self.method)


def open_data(path: Path, trusted: bool = False) -> tuple[RunConfig, Track]:
    """Read the configuration of the run in a folder and open its data, without its model.

    Args:
        path: the run folder.
        trusted: import the ``package.module:Class`` that it names, even if it was not trained here.

    Raises:
        UserError: there is no run, it names code without consent, or its data is missing or has changed.
    """
    folder = RunFolder(path)
    folder.require()
    config = run_config(folder.config, trusted)
    return config, build_track(config, folder)


def open_run(
    path: Path,
    method: bool = False,
    checkpoint: str = "best",
    device: str | None = None,
    accelerator: Accelerator | None = None,
    data: tuple[RunConfig, Track] | None = None,
    trusted: bool = False,
) -> OpenRun:
    """Open a run with the weights of one of its checkpoints.

    Args:
        path: the run folder.
        method: whether to build its method too.
        checkpoint: ``best`` or ``last``.
        device: where to compute, such as ``cpu``; the run's own setting if None.
        accelerator: that of another open run, to share its device and precision; overrides ``device``.
        data: the result of :func:`open_data`, if the data is already open.
        trusted: see :func:`open_data`.

    Raises:
        UserError: there is no run, it names code without consent, its data is missing or has changed, or its
            checkpoint is missing or damaged.

    Example:
        Score the first image of the test split against all captions::

            run = open_run(Path("runs/my-run"))
            measures = run.track.evaluate(run.matchers, "test", run.device)
            print(measures["rsum"])
    """
    folder = RunFolder(path)
    with folder.unreplaced():
        config, track = open_data(path, trusted) if data is None else data
        training = config.settings.training
        if accelerator is None:
            wanted = training.device if device is None else device
            accelerator = build_accelerator(wanted, training.precision)
        matchers = build_matchers(config, track.spec, accelerator)
        built = build_method(config, track, matchers, accelerator) if method else None
        saved = require_checkpoint(folder, checkpoint)
        epoch = _best_epoch(saved) if checkpoint == "best" else None
        run = OpenRun(folder, config, track, matchers, accelerator, built, epoch)
        load_modules(saved, run.modules)
    return run


def require_checkpoint(folder: RunFolder, name: str) -> Path:
    """Return the folder of the ``best`` or ``last`` checkpoint of a run.

    Raises:
        CheckpointError: there is none yet.
        RunFolderError: there is none, and the run was not trained here.
    """
    saved = folder.checkpoint(name)
    if not is_saved(saved):
        folder.require_trained()
        raise CheckpointError(
            f"{folder.path} has no {name} checkpoint yet; write one with 'robustcmr train --resume "
            f"{folder.path}'"
        )
    return saved


def _best_epoch(saved: Path) -> int | None:
    """The epoch of a ``best`` checkpoint; None where its state is missing, as its weights do without it."""
    try:
        best = load_state(saved).get("best")
    except CheckpointError:
        return None
    epoch = best.get("epoch") if isinstance(best, dict) else None
    return epoch if isinstance(epoch, int) else None


def build_matchers(config: RunConfig, spec: DataSpec, accelerator: Accelerator) -> list[Matcher]:
    """Build as many matchers as the method trains, with fresh weights, on the accelerator's device."""
    count: int = config.method.cls.n_matchers  # type: ignore[attr-defined]  # the registry checked the class
    make: Callable[..., Matcher] = config.matcher.cls
    matchers = [shard(make(config.matcher.options, spec)) for _ in range(count)]
    # evaluation mode: sharding shares the work of several processes, so accelerate must not wrap the matcher
    return [accelerator.prepare_model(matcher, evaluation_mode=True) for matcher in matchers]


def build_method(
    config: RunConfig, track: Track, matchers: Sequence[Matcher], accelerator: Accelerator
) -> Method:
    """Build the method of a run on its matchers, with fresh auxiliary networks on the accelerator's device.

    Raises:
        UserError: the matchers cannot be trained on the track's data.
    """
    make: Any = config.method.cls
    arguments = track.method_arguments(matchers, accelerator.device)
    named = {}
    if make.takes_width:
        few = track.training.batch(np.arange(min(2, len(track.training)), dtype=np.int64))
        named["width"] = vector_width(matchers[0], few.to(accelerator.device))
    size = config.settings.training.batch_size
    method: Method = make(config.method.options, matchers, len(track.training), size, *arguments, **named)
    start = track.starting_probability()
    if start is not None and not method.start_from(start):
        raise ConfigError(
            f"data.audit is weights, but the method {config.method.name} does not weigh pairs in a warm-up; "
            "use --method robust with method.warmup_epochs above 0, or --set data.audit=drop"
        )
    for network in method.auxiliary.values():
        network.to(accelerator.device)
    return method
