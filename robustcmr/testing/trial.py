"""The trainer's part in checking a method: plan, step, stop and go on as ``training/loop.py`` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustcmr.config.schema import OptimOptions
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.testing.samples import Sample
from robustcmr.training.batches import EpochBatches, step_ids
from robustcmr.training.checkpoint import load_modules, load_state, save_checkpoint
from robustcmr.training.optimiser import build_optimiser
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.training.seeds import capture_generators, restore_generators, seed_everything
from robustcmr.types import EpochPlan, PairBatch, StepResult

_CLIP = 2.0


OPTIM = OptimOptions(name="adam", lr=5e-3, weight_decay=0.0, milestones=())
"""The ``optim`` section of a trial."""


@dataclass(frozen=True)
class MethodCase:
    """A method to be tried as often as wanted.

    Attributes:
        cls: the method's class.
        config: its options.
        epochs: epochs a trial goes through.
        batch_size: pairs a batch.
        pairs: what it is trained on.
    """

    cls: type[Method]
    config: Options
    epochs: int
    batch_size: int
    pairs: Sample

    def start(self, seed: int = 0) -> Trial:
        """A fresh trial; another seed, other weights."""
        return Trial(self, seed)


class Trial:
    """One training on the CPU, with matchers of its own.

    Args:
        case: what to train on what.
        seed: of the weights, and of the global generators from here on.
    """

    def __init__(self, case: MethodCase, seed: int) -> None:
        self.case = case
        seed_everything(seed)
        self.matchers: list[Matcher] = [case.pairs.matcher() for _ in range(case.cls.n_matchers)]
        make: Any = case.cls
        self.method: Method = make(
            case.config, self.matchers, len(case.pairs), case.batch_size, *case.pairs.sizes.values()
        )
        self.epoch, self.step = 0, 0
        self.plan: EpochPlan | None = None

    @cached_property
    def optimiser(self) -> torch.optim.Optimizer:
        """Moves what the method's parameter groups hold."""
        return build_optimiser(self.method.parameter_groups(), OPTIM)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name."""
        matchers = {f"matcher_{i}": matcher for i, matcher in enumerate(self.matchers)}
        return {**matchers, **self.method.auxiliary}

    def scorer(self) -> TrainingSetScorer:
        """What gives the method evidence at this epoch."""
        return TrainingSetScorer(
            self.case.pairs, self.case.batch_size, torch.device("cpu"), seed=0, epoch=self.epoch
        )

    def begin_epoch(self) -> EpochPlan:
        """Ask for the plan of the epoch, and switch to training mode."""
        self.plan = self.method.plan_epoch(self.epoch, self.scorer())
        return self.plan

    def batches(self) -> Iterator[dict[str, PairBatch]]:
        """Batches of the epoch from the step it has come to; then the epoch is over. Plans it if need be."""
        plan = self.begin_epoch() if self.plan is None else self.plan
        steps = step_ids(plan, self.case.batch_size, 0, self.epoch)
        data = EpochBatches(self.case.pairs, steps, 0, self.epoch)
        for module in self.modules.values():
            module.train()
        for step in range(self.step, len(steps)):
            yield data[step]
        self.epoch, self.step, self.plan = self.epoch + 1, 0, None

    def take_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """One step: loss, gradients, clipped, and the optimiser's move."""
        result = self.method.training_step(batches)
        self.learn(result)
        return result

    def learn(self, result: StepResult) -> None:
        """Move the weights by what a step found; gradients stay to be looked at."""
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(result.loss)
        for module in self.modules.values():
            nn.utils.clip_grad_norm_(module.parameters(), _CLIP)
        self.optimiser.step()
        self.step += 1

    def run(self, epochs: int) -> Iterator[StepResult]:
        """Train to the end of an epoch, step by step."""
        while self.epoch < epochs:
            for batches in self.batches():
                yield self.take_step(batches)

    def save(self, folder: Path) -> None:
        """Write all that a stop must not lose."""
        plan = self.plan
        state = {
            "position": [self.epoch, self.step],
            "plan": None if plan is None else {k: torch.from_numpy(ids) for k, ids in plan.groups.items()},
            "optimiser": self.optimiser.state_dict(),
            "method": self.method.state_dict(),
            "generators": capture_generators(),
        }
        save_checkpoint(folder, self.modules, state)

    def restore(self, folder: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        state = load_state(folder)
        load_modules(folder, self.modules)
        self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state_dict(state["method"])
        self.epoch, self.step = state["position"]
        plan = state["plan"]
        self.plan = None if plan is None else EpochPlan({k: ids.numpy() for k, ids in plan.items()})
        restore_generators(state["generators"])
