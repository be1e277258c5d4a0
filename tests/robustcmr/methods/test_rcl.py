"""RCL: its step is the mean complementary loss, with the shape and mask asked for."""

import pytest
import torch

from robustcmr.losses import complementary_loss
from robustcmr.methods.rcl import RCL, RCLOptions
from tests.robustcmr.methods.one_matcher import B, N, Towers, batch_of, unasked


def test_the_defaults_are_the_published_ones():
    found = RCLOptions()
    assert (found.temperature, found.shape, found.reduction, found.mask_same_image) == (
        0.05,
        "log",
        "mean",
        True,
    )


@pytest.mark.parametrize("options", [{}, {"shape": "tan"}, {"shape": "gce", "power": 0.5}])
@pytest.mark.parametrize("masked", [True, False])
def test_a_step(options, masked):
    method = RCL(RCLOptions(temperature=0.2, mask_same_image=masked, **options), [Towers()], N, B)
    plan = method.plan_epoch(0, unasked)
    assert (list(plan.groups), plan.estimate, plan.restart) == (["all"], None, False)
    batch = batch_of(range(B), [0, 0, 2, 3, 4, 5])
    result = method.training_step({"all": batch})
    scores = method.matchers[0](batch.images, batch.texts)
    same = batch.same_image if masked else None
    shape, power = options.get("shape", "log"), options.get("power", 0.2)
    expected = complementary_loss(scores, 0.2, shape, same, power=power).mean()
    torch.testing.assert_close(result.loss, expected)
    assert method.estimate(unasked) is None


def test_a_wrong_pair_pulls_less_than_in_infonce():
    """The pull of a hopeless pair grows with -log p in InfoNCE and vanishes here."""
    scores = torch.eye(4)
    scores[0, 0] = -1.0
    scores.requires_grad_()
    (pull,) = torch.autograd.grad(complementary_loss(scores, 0.05)[0], scores)
    assert abs(float(pull[0, 0])) < 1e-3
