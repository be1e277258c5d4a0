"""The training loop: plan an epoch, take its steps, measure, keep the best, and stop or resume anywhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from torch import nn

from robustcmr.config.schema import OptimOptions, Settings
from robustcmr.errors import CheckpointError, TrainingDivergedError
from robustcmr.files import write_json
from robustcmr.losses.fusing import fused_losses
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.training import processes
from robustcmr.training.batches import EpochBatches, step_ids
from robustcmr.training.checkpoint import load_modules, load_state, named_modules, save_checkpoint
from robustcmr.training.compilation import WarmUp
from robustcmr.training.interrupt import StopRequest, TrainingStopped
from robustcmr.training.optimiser import build_optimiser, lr_factor, set_lr
from robustcmr.training.progress import TrainingProgress
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.training.seeds import capture_generators, restore_generators
from robustcmr.training.sharding import sum_gradients
from robustcmr.training.state import TrainingState, from_version_0_1
from robustcmr.types import EpochPlan, PairBatch

logger = logging.getLogger("robustcmr")


@dataclass(eq=False)
class Trainer:
    """Trains the matchers of one method, on the accelerator's device, and keeps the run folder up to date.

    Attributes:
        state: position, sums and history; saved and restored as a whole.
    """

    settings: Settings
    track: Track
    matchers: Sequence[Matcher]
    method: Method
    accelerator: Accelerator
    run: RunFolder
    console: Console

    def __post_init__(self) -> None:
        optimiser = build_optimiser(self.method.parameter_groups(), self.settings.optim)
        self.optimiser = self.accelerator.prepare(optimiser)
        self.state = TrainingState()
        self.scores = self.track.epoch_scores()
        self.warm_up = WarmUp() if self.settings.training.compile else None
        self._saved_at = self._clock = time.monotonic()

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        return named_modules(self.accelerator, self.matchers, self.method)

    @property
    def best_row(self) -> dict[str, Any]:
        """The metrics of the best epoch so far; empty before the first has ended."""
        best = None if self.state.best is None else self.state.best["epoch"]
        return next((row for row in self.state.rows if row["epoch"] == best), {})

    def scorer(self, epoch: int, after_batch: Callable[[], None] | None = None) -> TrainingSetScorer:
        """Return the scorer of an epoch, from 0; see :class:`TrainingSetScorer`."""
        size, device, seed = self.settings.training.batch_size, self.accelerator.device, self.settings.seed
        return TrainingSetScorer(self.track.training, size, device, seed, epoch, after_batch)

    def fit(self, on_epoch: Callable[[Mapping[str, Any]], None]) -> None:
        """Train to the last epoch.

        ``on_epoch`` is called with the metrics of each epoch that ends, in the process that writes.

        Raises:
            TrainingStopped: a signal asked to stop; everything is saved.
            TrainingDivergedError: the loss is not finite; the last checkpoint is kept.
        """
        self._clock = self._saved_at = time.monotonic()
        if self.method.restarts and not self.state.global_step and processes.is_writer():
            save_checkpoint(self.run.checkpoint("first"), self.modules, {})
        with StopRequest() as stop, TrainingProgress(self.console, self.settings.training.epochs) as progress:
            try:
                while self.state.epoch < self.settings.training.epochs:
                    if self.state.plan is None:
                        progress.note("planning")
                        scorer = self.scorer(self.state.epoch, stop.raise_if_asked)
                        plan = self.method.plan_epoch(self.state.epoch, scorer)
                        if plan.restart:
                            self._restart()
                        self.state.plan = self._score_estimate(plan)
                    self._take_steps(self.state.plan, stop, progress)
                    self.save()  # a stop during measuring must not cost the epoch
                    progress.note(f"measuring {self.settings.evaluation.select}")
                    row = self._close_epoch(self.state.plan, stop)
                    if processes.is_writer():
                        self.run.write_metrics(self.state.rows)
                        on_epoch(row)  # before the checkpoint: if killed in between, it is reported again
                    self.save()
            except TrainingStopped:
                self.save()
                raise

    def _restart(self) -> None:
        """Return to the first weights of the run, with an optimiser that has seen nothing."""
        processes.wait_for_all()  # until they are written
        load_modules(self.run.checkpoint("first"), self.modules)
        self.optimiser.state.clear()
        self.state.restart()

    def _score_estimate(self, plan: EpochPlan) -> EpochPlan:
        """Compare a plan with the truth, and return it without its estimate."""
        self.scores.begin(plan)
        return replace(plan, estimate=None)

    def _take_steps(self, plan: EpochPlan, stop: StopRequest, progress: TrainingProgress) -> None:
        """Take the remaining steps of the epoch."""
        settings, state = self.settings, self.state
        steps = step_ids(plan, settings.training.batch_size, settings.seed, state.epoch)
        batches = EpochBatches(self.track.training, steps, settings.seed, state.epoch, plan.image_from)
        for module in self.modules.values():
            module.train()
        progress.begin_epoch(state.epoch, len(steps), state.step)
        for batch in batches.from_step(state.step, settings.training.workers):
            started = time.monotonic()
            set_lr(self.optimiser, self._lr_factor(state.step / len(steps)))
            on_device = {name: part.to(self.accelerator.device) for name, part in batch.items()}
            loss, n_pairs = self._take_step(on_device)
            if self.warm_up is not None:
                self.warm_up.step(time.monotonic() - started)
            state.step += 1
            state.global_step += 1
            progress.step(loss, n_pairs / max(time.monotonic() - started, 1e-9))
            stop.raise_if_asked()
            if time.monotonic() - self._saved_at > 60 * settings.training.checkpoint_minutes:
                self.save()

    def _take_step(self, batches: Mapping[str, PairBatch]) -> tuple[float, int]:
        """Minimise the method's loss on one batch per group; return the loss and the number of pairs."""
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
                if learnt := list(module.parameters()):
                    self.accelerator.clip_grad_norm_(learnt, self.settings.optim.clip)
        self.optimiser.step()
        self.scores.add(result)
        n_pairs = sum(len(batch) for batch in batches.values())
        self.state.add({"loss": loss, "pairs": n_pairs, "steps": 1, **result.metrics})
        return loss, n_pairs

    def _diverged(self, batches: Mapping[str, PairBatch], loss: float) -> None:
        ids = {name: batch.pair_ids.tolist() for name, batch in batches.items()}
        epoch, step = self.state.epoch, self.state.step
        if processes.is_writer():
            write_json(self.run.diverged, {"epoch": epoch, "step": step, "loss": str(loss), "pair_ids": ids})
        smaller = min(self.settings.optim.lr / 10, OptimOptions().lr)
        first = [pair for group in ids.values() for pair in group][:5]
        raise TrainingDivergedError(
            f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}, on pairs {first} and others (all "
            f"in {self.run.diverged}); the last checkpoint is kept, check these pairs, or train again with a "
            f"smaller learning rate, such as --set optim.lr={smaller:g}"
        )

    def _close_epoch(self, plan: EpochPlan, stop: StopRequest) -> dict[str, Any]:
        """Measure the epoch, keep its weights if it is the best, and return its metrics."""
        settings, state = self.settings, self.state
        select = settings.evaluation.select
        measured = self.track.evaluate(
            self.matchers, select, self.accelerator.device, after_block=stop.raise_if_asked
        )
        self._tick()
        steps, pairs = state.sums.pop("steps"), state.sums.pop("pairs")
        means = {name: total / steps for name, total in state.sums.items()}
        row = {
            "epoch": state.epoch + 1,
            **({"restarted": state.first_epoch + 1} if state.first_epoch else {}),
            **means,
            "lr": self._lr_factor(1.0) * settings.optim.lr,
            "steps": int(steps),
            **plan.metrics,
            **self.scores.metrics(),
            select: measured,
            "pairs_seen": int(pairs),
            "seconds": round(state.epoch_seconds, 3),
        }
        score = self.track.selection_score(measured)
        state.rows.append(row)
        if state.best is None or score > state.best["score"]:
            state.best = {"epoch": state.epoch + 1, "score": score}
            if processes.is_writer():
                save_checkpoint(self.run.checkpoint("best"), self.modules, {"best": state.best})
        losses = {name.removesuffix("_loss"): mean for name, mean in means.items() if name.endswith("_loss")}
        parts = ", ".join(f"{name} {mean:.3f}" for name, mean in losses.items())
        logger.info(
            "epoch %d/%d  loss %.4f%s  %s %.1f  best %.1f (epoch %d)  %.1f s",
            *(state.epoch + 1, settings.training.epochs, means["loss"], f" ({parts})" if parts else ""),
            *(select, score),
            *(state.best["score"], state.best["epoch"], state.epoch_seconds),
        )
        state.next_epoch()
        return row

    def _lr_factor(self, share: float) -> float:
        """Return the factor of every learning rate once a share of the epoch is done, since a restart."""
        state = self.state
        epoch, step = state.epoch - state.first_epoch, state.global_step - state.first_step
        done = (epoch + share) / (self.settings.training.epochs - state.first_epoch)
        return lr_factor(self.settings.optim, epoch, step, done)

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.epoch_seconds += now - self._clock
        self.state.seconds += now - self._clock
        self._clock = now

    def save(self) -> None:
        """Write the ``last`` checkpoint, in the process that writes."""
        self._tick()
        self._saved_at = time.monotonic()
        if not processes.is_writer():
            return
        self.state.scores = self.scores.state_dict()
        saved = {
            "training": self.state.to_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "method": self.method.state_dict(),
            "generators": capture_generators(),
        }
        save_checkpoint(self.run.checkpoint("last"), self.modules, saved)

    def restore(self) -> None:
        """Go back to the ``last`` checkpoint, if there is one; raise CheckpointError if it does not fit."""
        folder = self.run.checkpoint("last")
        if not folder.exists():
            return
        saved = load_state(folder)
        load_modules(folder, self.modules)
        try:
            training = saved["training"] if "training" in saved else from_version_0_1(saved)
            self.state = TrainingState.from_dict(training)
            self.scores.load_state_dict(self.state.scores)
            self.optimiser.load_state_dict(saved["optimiser"])
            if self.accelerator.scaler is not None and saved["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(saved["scaler"])
            self.method.load_state_dict(saved["method"])
            restore_generators(saved["generators"])
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"the checkpoint {folder} does not fit this run: {reason}") from error
        if processes.is_writer():  # epochs that ended after the checkpoint are measured again
            self.run.write_metrics(self.state.rows)
