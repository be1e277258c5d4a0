"""The baselines: which loss of the scores they minimise, when, and over what."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from robustcmr.losses.cross_entropy import infonce_loss, robust_cross_entropy_loss
from robustcmr.losses.hinge import hinge_loss
from robustcmr.methods.baseline import (
    Baseline,
    BaselineOptions,
    Hinge,
    HingeOptions,
    InfoNCE,
    InfoNCEOptions,
    RobustCrossEntropy,
    RobustCrossEntropyOptions,
)
from robustcmr.types import ImageBatch, PairBatch, TextBatch

N = 6


class Scores(nn.Module):
    """A matcher that answers with its one parameter, whatever it is shown."""

    def __init__(self, seed=0):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(N, N, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images, texts):
        return self.scores


@pytest.fixture
def batch():
    image = torch.tensor([0, 1, 0, 2, 3, 1])
    real = torch.ones(N, 2, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.zeros(N, 2, 3), real),
        TextBatch(torch.ones(N, 2, dtype=torch.int64), real),
        torch.arange(N),
        image[:, None] == image[None, :],
    )


def step(cls, options, batch, epoch=0):
    method = cls(options, [Scores()], N, N)
    method.plan_epoch(epoch, None)
    return method.matchers[0].scores, method.training_step({"all": batch})


def test_hinge_switches_from_all_negatives_to_the_hardest(batch):
    options = HingeOptions(switch_epoch=2, margin=0.2)
    for epoch, hardest in [(0, False), (1, False), (2, True), (3, True)]:
        scores, result = step(Hinge, options, batch, epoch)
        torch.testing.assert_close(
            result.loss, hinge_loss(scores, 0.2, hardest, batch.same_image).sum(), msg=f"epoch {epoch}"
        )
    assert not torch.equal(
        hinge_loss(scores, 0.2, True, batch.same_image), hinge_loss(scores, 0.2, False, batch.same_image)
    )


def test_hinge_resumed_after_the_switch_goes_on_with_the_hardest(batch):
    stopped = Hinge(HingeOptions(switch_epoch=2), [Scores()], N, N)
    stopped.plan_epoch(4, None)
    resumed = Hinge(HingeOptions(switch_epoch=2), [Scores()], N, N)
    resumed.load_state_dict(stopped.state_dict())
    torch.testing.assert_close(
        resumed.training_step({"all": batch}).loss, stopped.training_step({"all": batch}).loss
    )
    fresh = Hinge(HingeOptions(switch_epoch=2), [Scores()], N, N)
    assert fresh.training_step({"all": batch}).loss != resumed.training_step({"all": batch}).loss


def test_hinge_may_keep_all_negatives(batch):
    scores, result = step(Hinge, HingeOptions(negatives="all"), batch, epoch=9)
    torch.testing.assert_close(result.loss, hinge_loss(scores, 0.05, False, batch.same_image).sum())


@pytest.mark.parametrize(
    ("cls", "options", "loss"),
    [
        (Hinge, HingeOptions, lambda s, m: hinge_loss(s, 0.05, False, m)),
        (InfoNCE, InfoNCEOptions, lambda s, m: infonce_loss(s, 0.05, m)),
        (RobustCrossEntropy, RobustCrossEntropyOptions, lambda s, m: robust_cross_entropy_loss(s, 0.05, m)),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_mask_and_reduction(cls, options, loss, masked, reduction, batch):
    scores, result = step(cls, options(mask_same_image=masked, reduction=reduction), batch)
    each = loss(scores, batch.same_image if masked else None)
    torch.testing.assert_close(result.loss, getattr(each, reduction)())
    torch.testing.assert_close(result.metrics["pair_loss"], each.mean())
    assert not result.metrics["pair_loss"].requires_grad
    result.loss.backward()
    off_diagonal = batch.same_image & ~torch.eye(N, dtype=torch.bool)
    assert (scores.grad[off_diagonal] == 0).all() == masked
    assert scores.grad[~batch.same_image].any()


def test_temperature_and_floor_are_used(batch):
    scores, result = step(InfoNCE, InfoNCEOptions(temperature=0.7), batch)
    torch.testing.assert_close(result.loss, infonce_loss(scores, 0.7, batch.same_image).mean())
    scores, result = step(RobustCrossEntropy, RobustCrossEntropyOptions(temperature=0.7, floor=0.1), batch)
    torch.testing.assert_close(
        result.loss, robust_cross_entropy_loss(scores, 0.7, batch.same_image, 0.1).mean()
    )


def test_how_each_adds_up_by_default():
    assert HingeOptions().reduction == "sum"
    assert InfoNCEOptions().reduction == RobustCrossEntropyOptions().reduction == "mean"


def test_a_baseline_needs_a_loss():
    with pytest.raises(TypeError, match="pair_losses"):
        Baseline(BaselineOptions(), [], 3)


@pytest.mark.parametrize(
    ("options", "bad"),
    [
        (HingeOptions, {"margin": 0}),
        (HingeOptions, {"negatives": "easiest"}),
        (HingeOptions, {"switch_epoch": -1}),
        (InfoNCEOptions, {"temperature": 0}),
        (InfoNCEOptions, {"margin": 0.2}),
        (RobustCrossEntropyOptions, {"floor": 0}),
        (BaselineOptions, {"reduction": "median"}),
    ],
)
def test_options_out_of_range(options, bad):
    with pytest.raises(ValidationError):
        options(**bad)
