"""Train a method as ``training/loop.py`` does: plan, step, stop and resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.config.schema import OptimOptions
from robustcmr.matchers.base import Matcher, vector_width
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.testing.samples import Sample
from robustcmr.training.batches import EpochBatches, step_ids
from robustcmr.training.checkpoint import load_modules, load_state, save_checkpoint
from robustcmr.training.optimiser import build_optimiser
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.training.seeds import capture_generators, restore_generators, seed_everything
from robustcmr.types import EpochPlan, IntArray, PairBatch, StepResult

_CLIP = 2.0

OPTIM = OptimOptions(name="adam", lr=5e-3, weight_decay=0.0, milestones=())
"""The ``optim`` section of a trial."""


@dataclass(frozen=True)
class MethodCase:
    """A method to try repeatedly: its options, and the data and length of a trial."""

    cls: type[Method]
    config: Options
    epochs: int
    batch_size: int
    pairs: Sample

    def start(self, seed: int = 0) -> Trial:
        """Return a fresh trial; the seed decides the weights."""
        return Trial(self, seed)


class Trial:
    """One training on the CPU, with matchers of its own; the global generators are seeded."""

    def __init__(self, case: MethodCase, seed: int) -> None:
        self.case = case
        seed_everything(seed)
        self.matchers: list[Matcher] = [case.pairs.matcher() for _ in range(case.cls.n_matchers)]
        make: Any = case.cls
        named = {}
        if case.cls.takes_width:
            few = case.pairs.batch(np.arange(2, dtype=np.int64))
            named["width"] = vector_width(self.matchers[0], few)
        sizes = (len(case.pairs), case.batch_size, *case.pairs.sizes.values())
        self.method: Method = make(case.config, self.matchers, *sizes, **named)
        self.epoch, self.step = 0, 0
        self.plan: EpochPlan | None = None
        self.first = self._states() if self.method.restarts else {}

    def _states(self) -> dict[str, dict[str, Tensor]]:
        """Copies of the states of all networks, by name."""
        return {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in self.modules.items()
        }

    @cached_property
    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser of the method's parameter groups."""
        return build_optimiser(self.method.parameter_groups(), OPTIM)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All networks by name."""
        matchers = {f"matcher_{i}": matcher for i, matcher in enumerate(self.matchers)}
        return {**matchers, **self.method.auxiliary}

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the state of all networks."""
        return {
            f"{name}.{key}": value for name, state in self._states().items() for key, value in state.items()
        }

    def modes(self) -> list[bool]:
        """Return whether each submodule is in training mode."""
        return [module.training for network in self.modules.values() for module in network.modules()]

    def train(self) -> None:
        """Switch all networks to training mode."""
        for module in self.modules.values():
            module.train()

    def scorer(self) -> TrainingSetScorer:
        """Return the scorer of the current epoch."""
        return TrainingSetScorer(
            self.case.pairs, self.case.batch_size, torch.device("cpu"), seed=0, epoch=self.epoch
        )

    def begin_epoch(self) -> EpochPlan:
        """Ask the method for the plan of the epoch, and follow it."""
        return self.follow(self.method.plan_epoch(self.epoch, self.scorer()))

    def follow(self, plan: EpochPlan) -> EpochPlan:
        """Take this plan for the epoch, and restart if it says so."""
        self.plan = plan
        if plan.restart:
            for name, network in self.modules.items():
                network.load_state_dict(self.first[name])
            self.optimiser.state.clear()
        return plan

    def batches(self) -> Iterator[dict[str, PairBatch]]:
        """Yield the remaining batches of the epoch, planned if necessary; then start the next epoch."""
        plan = self.begin_epoch() if self.plan is None else self.plan
        steps = step_ids(plan, self.case.batch_size, 0, self.epoch)
        data = EpochBatches(self.case.pairs, steps, 0, self.epoch, plan.image_from)
        self.train()
        for step in range(self.step, len(steps)):
            yield data[step]
        self.epoch, self.step, self.plan = self.epoch + 1, 0, None

    def take_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Take one step: loss, clipped gradients, and update."""
        result = self.method.training_step(batches)
        self.learn(result)
        return result

    def learn(self, result: StepResult) -> None:
        """Update the weights by the loss of a step; the gradients are kept for inspection."""
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(result.loss)
        for module in self.modules.values():
            if learnt := list(module.parameters()):
                nn.utils.clip_grad_norm_(learnt, _CLIP)
        self.optimiser.step()
        self.step += 1

    def finish_epoch(self) -> None:
        """Train to the end of the epoch."""
        for batches in self.batches():
            self.take_step(batches)

    def remaining(self) -> Iterator[dict[str, PairBatch]]:
        """Yield the remaining batches of all epochs."""
        while self.epoch < self.case.epochs:
            yield from self.batches()

    def run(self) -> Iterator[StepResult]:
        """Train to the end, step by step."""
        for batches in self.remaining():
            yield self.take_step(batches)

    def finish(self) -> dict[str, Tensor]:
        """Train to the end and return the weights."""
        for _ in self.run():
            pass
        return self.weights()

    def planned_epochs(self) -> Iterator[EpochPlan]:
        """Yield each epoch's plan at its beginning, in training mode; train between the epochs."""
        while self.epoch < self.case.epochs:
            plan = self.begin_epoch()
            self.train()
            yield plan
            self.step = 0
            self.finish_epoch()

    def batches_of(self, chosen: Mapping[str, IntArray]) -> dict[str, PairBatch]:
        """Return the batches of some pairs, by group."""
        return {name: self.case.pairs.batch(ids) for name, ids in chosen.items()}

    def save(self, folder: Path) -> None:
        """Write everything that a resumed training needs."""
        plan = self.plan
        state = {
            "position": [self.epoch, self.step],
            "plan": None if plan is None else {k: torch.from_numpy(ids) for k, ids in plan.groups.items()},
            "image_from": None
            if plan is None or plan.image_from is None
            else torch.from_numpy(plan.image_from),
            "first": self.first,
            "optimiser": self.optimiser.state_dict(),
            "method": self.method.state_dict(),
            "generators": capture_generators(),
        }
        save_checkpoint(folder, self.modules, state)

    def restore(self, folder: Path) -> None:
        """Resume from the files of :meth:`save`."""
        state = load_state(folder)
        load_modules(folder, self.modules)
        self.first = state["first"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state_dict(state["method"])
        self.epoch, self.step = state["position"]
        plan = state["plan"]
        if plan is None:
            self.plan = None
            return
        image_from = None if state["image_from"] is None else state["image_from"].numpy()
        self.plan = EpochPlan({k: ids.numpy() for k, ids in plan.items()}, image_from=image_from)
        restore_generators(state["generators"])


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether two copies of :meth:`Trial.weights` are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
