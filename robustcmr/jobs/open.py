"""A trained run taken up again: its data, and its matchers with the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from robustcmr.config.resolve import RunConfig, read_config, resolve
from robustcmr.errors import CheckpointError
from robustcmr.matchers.base import Matcher
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.build import build_track
from robustcmr.training.checkpoint import load_modules, recover
from robustcmr.training.devices import build_accelerator
from robustcmr.training.sharding import shard


@dataclass(frozen=True)
class LoadedRun:
    """A run ready to score images and texts.

    Attributes:
        config: as it was trained.
        track: its data, vocabulary and noise.
        matchers: with the checkpoint's weights, on ``accelerator.device``; more than one of methods that
            train several.
        accelerator: where, and how exactly, they compute.
    """

    config: RunConfig
    track: Track
    matchers: list[Matcher]
    accelerator: Accelerator

    @property
    def device(self) -> torch.device:
        """Where the matchers are."""
        device: torch.device = self.accelerator.device
        return device


def build_matchers(config: RunConfig, track: Track, accelerator: Accelerator) -> list[Matcher]:
    """As many matchers as the method trains, with fresh weights."""
    count: int = config.method.cls.n_matchers  # type: ignore[attr-defined]  # the registry checked the class
    make: Callable[..., Matcher] = config.matcher.cls
    matchers = [shard(make(config.matcher.options, track.spec)) for _ in range(count)]
    # to the device, in the precision asked for; how processes share the work is not accelerate's to wrap
    return [accelerator.prepare_model(matcher, evaluation_mode=True) for matcher in matchers]


def load_run(
    path: Path, checkpoint: str = "best", device: str | None = None, accelerator: Accelerator | None = None
) -> LoadedRun:
    """Take up a run with the weights of one of its checkpoints.

    Args:
        path: the run folder.
        checkpoint: ``best`` or ``last``.
        device: where to compute; the run's own setting when None.
        accelerator: of another run that this one is to compute with; decides in place of ``device``.

    Raises:
        UserError: there is no run, its data is not where it was or not what it was, or its checkpoint is
            missing or damaged.
    """
    run = RunFolder(path)
    run.require()
    config = resolve(read_config(run.config))
    training = config.settings.training
    if accelerator is None:
        accelerator = build_accelerator(training.device if device is None else device, training.precision)
    track = build_track(config, run)
    matchers = build_matchers(config, track, accelerator)
    folder = run.checkpoint(checkpoint)
    recover(folder)
    if not folder.exists():
        run.require_trained()
        raise CheckpointError(
            f"{run.path} has no {checkpoint} checkpoint yet; train it further by --resume {run.path}"
        )
    load_modules(folder, {f"matcher_{i}": matcher for i, matcher in enumerate(matchers)})
    return LoadedRun(config, track, matchers, accelerator)
