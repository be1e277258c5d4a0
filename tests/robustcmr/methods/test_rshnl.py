"""RSHNL's losses: a step as a slow loop, who is left out, and when."""

import math

import pytest
import torch

from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.rshnl import Rshnl
from robustcmr.testing import LABEL_METHOD_CHECKS, check_method
from robustcmr.types import DataSpec, ImageBatch, PairBatch, TextBatch

SPEC = DataSpec(feature_width=5, n_regions=1, vocabulary_size=1, longest_caption=1, text_width=6)
B, K, D = 7, 4, 8
OPTIONS = {"temperature": 0.3, "q": 0.2, "contrast_weight": 0.4, "contrast_temperature": 0.8}


def batch(columns=1):
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(B, 1, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(B, 1, 5, generator=generator), mask),
        TextBatch(torch.zeros(B, 1, dtype=torch.int64), mask, torch.randn(B, 6, generator=generator)),
        torch.arange(B),
        torch.eye(B, dtype=torch.bool),
        torch.randint(K, (B, columns), generator=generator),
    )


def method(epoch=9, **options):
    torch.manual_seed(1)
    matcher = TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)
    made = Rshnl(Rshnl.Config(**{**OPTIONS, "warmup_epochs": 2, **options}), [matcher], B, B, K, D)
    made.epoch = epoch
    return made


def bounded(p, q):
    return (1 - q) * (1 - p**q) / q + q * (1 - p)


def class_losses(trained, given):
    """(B,) class losses of both modalities, slowly."""
    with torch.no_grad():
        sides, anchors = trained.encode(given), trained.anchors()
    found = [0.0] * B
    for side, labels in zip(sides, (given.labels[:, 0], given.labels[:, -1]), strict=True):
        for i in range(B):
            similar = [math.exp(float(side[i] @ anchor) / 0.3) for anchor in anchors]
            found[i] += bounded(similar[labels[i]] / sum(similar), 0.2)
    return found


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("epoch", [1, 2])
def test_the_loss_as_a_slow_loop(columns, epoch):
    trained, given = method(epoch, gamma=2.0), batch(columns)
    by_class, slow = class_losses(trained, given), 0.0
    for loss in by_class:
        weight = max(0.0, 1 - loss / 2.0)
        slow += (weight * loss + 2.0 * (weight**2 / 2 - weight) if epoch == 2 else loss) / B
    assert min(by_class) < 2.0 < max(by_class)  # some are left out and some not
    with torch.no_grad():
        both, contrast = torch.cat(trained.encode(given)), 0.0
    for i in range(2 * B):
        similar = [math.exp(float(both[i] @ other) / 0.8) for other in both]
        contrast += bounded((similar[i] + similar[(i + B) % (2 * B)]) / sum(similar), 0.2) / B
    result = trained.training_step({"all": given})
    assert float(result.metrics["class_loss"]) == pytest.approx(slow, rel=1e-4)
    assert float(result.metrics["contrast_loss"]) == pytest.approx(0.4 * contrast, rel=1e-4)
    assert float(result.loss.detach()) == pytest.approx(slow + 0.4 * contrast, rel=1e-4)


def test_a_pair_whose_loss_reaches_gamma_pulls_only_during_the_warm_up():
    given, pulls = batch(), {}
    for epoch in (0, 5):
        trained = method(epoch, gamma=1e-3, contrast_weight=0.0)
        trained.training_step({"all": given}).loss.backward()
        pulls[epoch] = float(trained.anchors.weight.grad.norm())
    assert pulls[0] > 0
    assert pulls[5] == 0


def test_a_batch_that_is_left_out_altogether_still_learns_from_the_contrast():
    trained = method(gamma=1e-3)
    result = trained.training_step({"all": batch()})
    result.loss.backward()
    assert result.loss.isfinite()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in trained.matchers[0].parameters())


@pytest.mark.parametrize("options", [{}, {"warmup_epochs": 1, "gamma": 2.0}])
def test_it_passes_every_check(options):
    assert check_method("rshnl", options, epochs=2).passed == tuple(LABEL_METHOD_CHECKS)
