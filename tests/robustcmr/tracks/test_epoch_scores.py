"""Agreement with the truth: summed over an epoch's steps, fresh at every epoch, and resumed within one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustcmr.evaluation.rematch_quality import RematchQuality
from robustcmr.tracks.epoch_scores import EpochScores
from robustcmr.types import EpochPlan, Rematch, StepResult

LOSS = torch.zeros(())


def step(mass: float) -> StepResult:
    plan, ids = torch.full((1, 1), mass), torch.zeros(1, dtype=torch.int64)
    return StepResult(LOSS, rematch=Rematch(ids, ids, plan, plan, plan > 0))


def quality(rematch: Rematch) -> RematchQuality:
    return RematchQuality(batches=1.0, mass=float(rematch.plan.sum()), mass_on_fits=0.5)


def plan(estimate: Any = None, image_from: Any = None) -> EpochPlan:
    return EpochPlan({}, estimate=estimate, image_from=image_from)


def diagnose(estimate: Any) -> dict[str, Any]:
    return {"division": {"auroc": estimate}}


def test_steps_are_summed_and_epochs_start_anew() -> None:
    scores = EpochScores(diagnose, quality)
    scores.begin(plan(0.75))
    assert scores.metrics() == {"division": {"auroc": 0.75}}
    for result in (step(1.0), StepResult(LOSS), step(3.0)):
        scores.add(result)
    assert scores.metrics()["rematch"] == {"plan": 0.25, "mass": 2.0}
    scores.begin(plan())
    assert scores.metrics() == {}


@pytest.mark.parametrize("known", [True, False])
def test_it_resumes_within_an_epoch(known: bool) -> None:
    scores = EpochScores(diagnose, quality if known else None)
    scores.begin(plan(0.75))
    scores.add(step(1.0))
    again = EpochScores(diagnose, quality if known else None)
    again.load_state_dict(scores.state_dict())
    for each in (scores, again):
        each.add(step(3.0))
    assert again.metrics() == scores.metrics()
    assert ("rematch" in again.metrics()) == known


def test_the_images_of_an_epoch_are_compared_once() -> None:
    scores = EpochScores(diagnose, quality, lambda drawn: RematchQuality(mass=4.0, mass_on_fits=float(drawn)))
    scores.begin(plan(image_from=1))
    assert scores.metrics() == {"rematch": {"plan": 0.25}}
    again = EpochScores(diagnose, quality, lambda drawn: RematchQuality())
    again.load_state_dict(scores.state_dict())
    assert again.metrics() == scores.metrics()
