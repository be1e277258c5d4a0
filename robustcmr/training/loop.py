"""The training loop: plan an epoch, take its steps, measure, keep the best, and be able to stop anywhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from robustcmr.config.schema import Settings
from robustcmr.errors import CheckpointError, TrainingDivergedError
from robustcmr.files import write_json
from robustcmr.losses.fusing import fused_losses
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.training import processes
from robustcmr.training.batches import EpochBatches, step_ids
from robustcmr.training.checkpoint import load_modules, load_state, recover, save_checkpoint
from robustcmr.training.compilation import WarmUp
from robustcmr.training.devices import peak_memory_bytes
from robustcmr.training.interrupt import StopRequest, TrainingStopped
from robustcmr.training.optimiser import build_optimiser, lr_factor, set_lr
from robustcmr.training.progress import TrainingProgress
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.training.seeds import capture_generators, restore_generators
from robustcmr.training.sharding import sum_gradients
from robustcmr.types import EpochPlan, PairBatch, Rematch

logger = logging.getLogger("robustcmr")


class Trainer:
    """Trains the matchers of one method and keeps the run folder up to date.

    Args:
        settings: all settings of the run.
        track: data and measures.
        matchers: the method's matchers, on the accelerator's device.
        method: built on those matchers.
        accelerator: device and precision.
        run: where checkpoints and metrics go.
        console: where progress is drawn.
    """

    def __init__(
        self,
        settings: Settings,
        track: Track,
        matchers: Sequence[Matcher],
        method: Method,
        accelerator: Accelerator,
        run: RunFolder,
        console: Console,
    ) -> None:
        self.settings = settings
        self.track = track
        self.matchers = matchers
        self.method = method
        self.accelerator = accelerator
        self.run = run
        self.console = console
        self.optimiser = accelerator.prepare(build_optimiser(method.parameter_groups(), settings.optim))
        # position: the next step to take
        self.epoch = 0
        self.step = 0
        self.global_step = 0
        self.plan: EpochPlan | None = None
        self.sums: dict[str, float] = {}
        self.rematch_sums: dict[str, float] = {}
        self.diagnosis: dict[str, Any] = {}
        self.epoch_seconds = 0.0
        self.seconds = 0.0
        self._n_steps = 1
        self.warm_up = WarmUp() if settings.training.compile else None
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self._saved_at = time.monotonic()
        self._clock = time.monotonic()

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name."""
        matchers = {
            f"matcher_{i}": self.accelerator.unwrap_model(matcher) for i, matcher in enumerate(self.matchers)
        }
        return {**matchers, **self.method.auxiliary}

    @property
    def best_row(self) -> dict[str, Any]:
        """The metrics of the best epoch so far; empty before the first has ended."""
        best = None if self.best is None else self.best["epoch"]
        return next((row for row in self.rows if row["epoch"] == best), {})

    def fit(self, on_epoch: Callable[[Mapping[str, Any]], None]) -> None:
        """Train to the last epoch.

        Args:
            on_epoch: told of the metrics of each epoch that ends.

        Raises:
            TrainingStopped: a signal asked to stop; everything is saved.
            TrainingDivergedError: the loss is no finite number; the last checkpoint is kept.
        """
        self._clock = self._saved_at = time.monotonic()
        with StopRequest() as stop, TrainingProgress(self.console, self.settings.training.epochs) as progress:
            try:
                while self.epoch < self.settings.training.epochs:
                    self._train_epoch(stop, progress)
                    self._close_epoch(stop, progress, on_epoch)
            except TrainingStopped:
                self.save()
                raise

    def save(self) -> None:
        """Write the ``last`` checkpoint, if this is the process that writes."""
        self._tick()
        self._saved_at = time.monotonic()
        if not processes.is_writer():
            return
        state = {
            "position": {"epoch": self.epoch, "step": self.step, "global_step": self.global_step},
            "plan": None if self.plan is None else _plan_state(self.plan),
            "sums": self.sums,
            "rematch_sums": self.rematch_sums,
            "diagnosis": self.diagnosis,
            "epoch_seconds": self.epoch_seconds,
            "seconds": self.seconds,
            "rows": self.rows,
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "method": self.method.state_dict(),
            "generators": capture_generators(),
        }
        save_checkpoint(self.run.checkpoint("last"), self.modules, state)

    def restore(self) -> None:
        """Go back to the ``last`` checkpoint, or to the start if the run has none yet.

        Raises:
            CheckpointError: the checkpoint is damaged or of another architecture.
        """
        folder = self.run.checkpoint("last")
        if processes.is_writer():
            recover(folder)
            recover(self.run.checkpoint("best"))
        processes.wait_for_all()
        if not folder.exists():
            return
        state = load_state(folder)
        load_modules(folder, self.modules)
        try:
            self.optimiser.load_state_dict(state["optimiser"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.method.load_state_dict(state["method"])
            position = state["position"]
            self.epoch, self.step = position["epoch"], position["step"]
            self.global_step = position["global_step"]
            self.plan = None if state["plan"] is None else _plan_from_state(state["plan"])
            self.sums, self.rows, self.best = state["sums"], state["rows"], state["best"]
            self.rematch_sums, self.diagnosis = state["rematch_sums"], state["diagnosis"]
            self.epoch_seconds, self.seconds = state["epoch_seconds"], state["seconds"]
            restore_generators(state["generators"])
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"the checkpoint {folder} does not fit this run: {error}") from error
        if processes.is_writer():  # rows of epochs that ended after the checkpoint are measured again
            self.run.write_metrics(self.rows)

    def _train_epoch(self, stop: StopRequest, progress: TrainingProgress) -> None:
        settings = self.settings
        if self.plan is None:
            progress.note("planning")
            scorer = self.scorer(self.epoch, stop.raise_if_asked)
            self.plan = self._judged(self.method.plan_epoch(self.epoch, scorer))
        steps = step_ids(self.plan, settings.training.batch_size, settings.seed, self.epoch)
        batches = EpochBatches(self.track.training, steps, settings.seed, self.epoch)
        for module in self.modules.values():
            module.train()
        self._n_steps = len(steps)
        progress.begin_epoch(self.epoch, len(steps), self.step)
        for batch in batches.from_step(self.step, settings.training.workers):
            started = time.monotonic()
            loss, n_pairs = self._take_step(
                {name: part.to(self.accelerator.device) for name, part in batch.items()}
            )
            if self.warm_up is not None:
                self.warm_up.step(time.monotonic() - started)
            self.step += 1
            self.global_step += 1
            progress.step(loss, n_pairs / max(time.monotonic() - started, 1e-9))
            stop.raise_if_asked()
            if time.monotonic() - self._saved_at > 60 * settings.training.checkpoint_minutes:
                self.save()

    def scorer(self, epoch: int, after_batch: Callable[[], None] | None = None) -> TrainingSetScorer:
        """What gives a method evidence over the training set.

        Args:
            epoch: from 0; another epoch shuffles in another way.
            after_batch: called now and then, such as to ask whether to stop.
        """
        return TrainingSetScorer(
            self.track.training,
            self.settings.training.batch_size,
            self.accelerator.device,
            self.settings.seed,
            epoch,
            after_batch,
        )

    def _judged(self, plan: EpochPlan) -> EpochPlan:
        """Have what a new plan believes judged, and the plan without it; training never sees the verdict."""
        self.diagnosis = {} if plan.estimate is None else dict(self.track.diagnose(plan.estimate))
        self.rematch_sums = {}
        return replace(plan, estimate=None)

    def _judge(self, rematch: Rematch) -> None:
        for name, value in self.track.evaluate_rematch(rematch).items():
            self.rematch_sums[name] = self.rematch_sums.get(name, 0.0) + value

    def _take_step(self, batches: Mapping[str, PairBatch]) -> tuple[float, int]:
        set_lr(self.optimiser, self._lr_factor(self.step / self._n_steps))
        with fused_losses(self.settings.training.compile):
            result = self.method.training_step(batches)
        loss = float(result.loss.detach())
        if not math.isfinite(loss):
            self._diverged(batches, loss)
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(result.loss)
        sum_gradients(self.matchers)
        if self.settings.optim.clip is not None:
            for module in self.modules.values():  # an auxiliary network must not shorten the matcher's step
                self.accelerator.clip_grad_norm_(module.parameters(), self.settings.optim.clip)
        self.optimiser.step()
        if result.rematch is not None:
            self._judge(result.rematch)
        n_pairs = sum(len(batch) for batch in batches.values())
        for name, value in {"loss": loss, "pairs": n_pairs, "steps": 1, **result.metrics}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        return loss, n_pairs

    def _diverged(self, batches: Mapping[str, PairBatch], loss: float) -> None:
        ids = {name: batch.pair_ids.tolist() for name, batch in batches.items()}
        if processes.is_writer():
            at = {"epoch": self.epoch, "step": self.step}
            write_json(self.run.diverged, {**at, "loss": str(loss), "pair_ids": ids})
        first = [pair for stream in ids.values() for pair in stream][:5]
        raise TrainingDivergedError(
            f"the loss became {loss} in epoch {self.epoch + 1}, step {self.step + 1}, on pairs {first} and "
            f"others (all in {self.run.diverged}); the last checkpoint is kept, try a smaller optim.lr or "
            "check these pairs"
        )

    def _close_epoch(
        self,
        stop: StopRequest,
        progress: TrainingProgress,
        on_epoch: Callable[[Mapping[str, Any]], None],
    ) -> None:
        settings = self.settings
        if self.plan is None:
            raise RuntimeError("an epoch cannot be closed before it was planned")
        self.save()  # a stop during the measuring must not cost the epoch
        progress.note(f"measuring {settings.evaluation.select}")
        measured = self.track.evaluate(
            self.matchers,
            settings.evaluation.select,
            self.accelerator.device,
            after_block=stop.raise_if_asked,
        )
        self._tick()
        steps = self.sums.pop("steps")
        pairs = self.sums.pop("pairs")
        means = {name: total / steps for name, total in self.sums.items()}
        row = {
            "epoch": self.epoch + 1,
            **means,
            "lr": self._lr_factor(1.0) * settings.optim.lr,
            "steps": int(steps),
            **self.plan.metrics,
            **self.diagnosis,
            **({"rematch": self.track.rematch_quality(self.rematch_sums)} if self.rematch_sums else {}),
            settings.evaluation.select: measured,
            "pairs_seen": int(pairs),
            "seconds": round(self.epoch_seconds, 3),
        }
        score = self.track.selection_score(measured)
        self.rows.append(row)
        if self.best is None or score > self.best["score"]:
            self.best = {"epoch": self.epoch + 1, "score": score}
            if processes.is_writer():
                save_checkpoint(self.run.checkpoint("best"), self.modules, {"best": self.best})
        logger.info(
            "epoch %d/%d  loss %.4f  %s %.1f  best %.1f (epoch %d)  %.1f s",
            *(self.epoch + 1, settings.training.epochs, means["loss"], settings.evaluation.select, score),
            *(self.best["score"], self.best["epoch"], self.epoch_seconds),
        )
        self.epoch, self.step, self.plan, self.sums, self.epoch_seconds = self.epoch + 1, 0, None, {}, 0.0
        if processes.is_writer():
            self.run.write_metrics(self.rows)
            on_epoch(row)  # before the checkpoint: after a kill in between it is told again
        self.save()

    def _lr_factor(self, share: float) -> float:
        """What multiplies every learning rate when a share of the epoch is done."""
        done = (self.epoch + share) / self.settings.training.epochs
        return lr_factor(self.settings.optim, self.epoch, self.global_step, done)

    def _tick(self) -> None:
        now = time.monotonic()
        self.epoch_seconds += now - self._clock
        self.seconds += now - self._clock
        self._clock = now

    def peak_memory(self) -> dict[str, int]:
        """Largest memory held so far, in bytes."""
        return peak_memory_bytes(self.accelerator.device)


def _plan_state(plan: EpochPlan) -> dict[str, Any]:
    return {
        "groups": {name: torch.from_numpy(ids) for name, ids in plan.groups.items()},
        "metrics": dict(plan.metrics),
    }


def _plan_from_state(state: Mapping[str, Any]) -> EpochPlan:
    groups: Mapping[str, Tensor] = state["groups"]
    return EpochPlan({name: ids.numpy() for name, ids in groups.items()}, state["metrics"])
