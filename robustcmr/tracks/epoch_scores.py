"""Agreement of a method's estimates and rematching with the hidden truth, over one epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from robustcmr.evaluation.rematch_quality import RematchQuality
from robustcmr.types import Division, EpochPlan, IntArray, LabelEstimate, Rematch, StepResult


class EpochScores:
    """Collects one epoch's measures for reports; training never sees them.

    ``diagnose`` scores an estimate against the truth, ``evaluate`` the rematching of a step and ``compare``
    that of a whole epoch, if they can.
    """

    def __init__(
        self,
        diagnose: Callable[[Division | LabelEstimate], Mapping[str, Any]],
        evaluate: Callable[[Rematch], RematchQuality] | None = None,
        compare: Callable[[IntArray], RematchQuality] | None = None,
    ) -> None:
        self._diagnose = diagnose
        self._evaluate = evaluate
        self._compare = compare
        self._found: dict[str, Any] = {}
        self._rematch: RematchQuality | None = None

    def begin(self, plan: EpochPlan) -> None:
        """Start an epoch with the estimate of its plan, and the images that it gives to captions."""
        self._found = {} if plan.estimate is None else dict(self._diagnose(plan.estimate))
        drawn = plan.image_from
        self._rematch = None if drawn is None or self._compare is None else self._compare(drawn)

    def add(self, result: StepResult) -> None:
        """Add the rematching of a step."""
        if result.rematch is not None and self._evaluate is not None:
            found = self._evaluate(result.rematch)
            self._rematch = found if self._rematch is None else self._rematch + found

    def metrics(self) -> dict[str, Any]:
        """Return the epoch's measures by heading, such as ``division`` and ``rematch``."""
        rematch = {} if self._rematch is None else {"rematch": self._rematch.to_dict()}
        return {**self._found, **rematch}

    def state_dict(self) -> dict[str, Any]:
        """Return plain values, to resume within an epoch."""
        return {"found": self._found, "rematch": None if self._rematch is None else asdict(self._rematch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a :meth:`state_dict`."""
        self._found = dict(state["found"])
        self._rematch = None if state["rematch"] is None else RematchQuality(**state["rematch"])
