"""The state of a training that a checkpoint must bring back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

import torch
from annotated_types import Ge
from typing_extensions import TypedDict

from robustcmr.files import fitting
from robustcmr.runs.schemas import EPOCH
from robustcmr.types import EpochPlan, IntArray


@dataclass
class TrainingState:
    """Position, sums and history of a training: all that changes from step to step besides networks.

    The fields are saved and restored as a whole, so each holds plain values, tensors or arrays.

    Attributes:
        epoch: the current epoch, from 0.
        step: the next step of the epoch, from 0.
        global_step: steps taken since training began.
        first_epoch: the epoch of the latest restart, from 0; 0 without one.
        first_step: steps taken before it.
        plan: of the current epoch; None until it is planned.
        sums: metrics summed over the steps of the epoch.
        scores: state of the track's ``epoch_scores``.
        epoch_seconds: time spent on the epoch.
        seconds: time spent in all.
        rows: metrics of the epochs that ended.
        best: ``epoch`` (from 1) and ``score`` of the best epoch; None before the first has ended.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    first_epoch: int = 0
    first_step: int = 0
    plan: EpochPlan | None = None
    sums: dict[str, float] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def next_epoch(self) -> None:
        """Move on to the first step of the next epoch."""
        self.epoch, self.step, self.plan, self.sums, self.epoch_seconds = self.epoch + 1, 0, None, {}, 0.0

    def restart(self) -> None:
        """Let learning rate and choice of the best epoch start over with the current epoch."""
        self.first_epoch, self.first_step, self.best = self.epoch, self.global_step, None

    def add(self, values: Mapping[str, Any]) -> None:
        """Add the metrics of a step."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors by field."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        if self.plan is not None:
            groups = {name: torch.from_numpy(ids) for name, ids in self.plan.groups.items()}
            source = self.plan.image_from
            image_from = None if source is None else torch.from_numpy(source)
            values["plan"] = {"groups": groups, "metrics": dict(self.plan.metrics), "image_from": image_from}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingState:
        """Return the state whose :meth:`to_dict` gave ``values``; raise ValueError if fields do not match.

        States written before there were restarts have none.
        """
        values = {"first_epoch": 0, "first_step": 0, **values}
        wrong = {entry.name for entry in dataclasses.fields(cls)} ^ values.keys()
        if wrong:
            raise ValueError(f"the training state has missing or unknown fields: {', '.join(sorted(wrong))}")
        state = cls(**fitting(dict(values), _Saved))
        if values["plan"] is not None:
            plan = values["plan"]
            groups = {name: _pair_ids(ids) for name, ids in plan["groups"].items()}
            source = plan.get("image_from")  # states written before it was there have none
            image_from = None if source is None else _pair_ids(source)
            state.plan = EpochPlan(groups, plan["metrics"], image_from=image_from)
        return state


def _pair_ids(value: Any) -> IntArray:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int64:
        raise ValueError("the plan of its epoch holds no pair ids")
    found: IntArray = value.numpy()
    return found


class _Plan(TypedDict):
    groups: dict[str, Any]
    metrics: dict[str, Any]
    image_from: NotRequired[Any]


class _Best(TypedDict):
    epoch: int
    score: float


class _Saved(TypedDict):
    epoch: Annotated[int, Ge(0)]
    step: Annotated[int, Ge(0)]
    global_step: Annotated[int, Ge(0)]
    first_epoch: Annotated[int, Ge(0)]
    first_step: Annotated[int, Ge(0)]
    plan: _Plan | None
    sums: dict[str, float]
    scores: dict[str, Any]
    epoch_seconds: float
    seconds: float
    rows: list[EPOCH]
    best: _Best | None


def from_version_0_1(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training state in a state file of version 0.1, as :meth:`TrainingState.to_dict` has it."""
    plan, sums = saved["plan"], saved["rematch_sums"]
    if plan is not None:
        plan = {"groups": plan["streams"], "metrics": plan["metrics"]}
    scores = {"found": saved["diagnosis"], "rematch": sums or None}
    kept = {name: saved[name] for name in ("sums", "epoch_seconds", "seconds", "rows", "best")}
    return {**saved["position"], **kept, "plan": plan, "scores": scores}
