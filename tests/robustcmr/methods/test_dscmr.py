"""DSCMR: the loss of a step as a slow loop, and what it does not do."""

import math

import pytest
import torch

from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.dscmr import Dscmr
from robustcmr.testing import LABEL_METHOD_CHECKS, check_method
from robustcmr.types import DataSpec, ImageBatch, PairBatch, TextBatch

SPEC = DataSpec(feature_width=5, n_regions=1, vocabulary_size=1, longest_caption=1, text_width=6)
B, K, D = 7, 4, 8


def batch(columns=1, n=B):
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(n, 1, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(n, 1, 5, generator=generator), mask),
        TextBatch(torch.zeros(n, 1, dtype=torch.int64), mask, torch.randn(n, 6, generator=generator)),
        torch.arange(n),
        torch.eye(n, dtype=torch.bool),
        torch.randint(K, (n, columns), generator=generator),
    )


def method(**options):
    torch.manual_seed(1)
    return Dscmr(Dscmr.Config(**options), [TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)], B, B, K, D)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_loss_as_a_slow_loop(columns):
    trained, given = method(likelihood_weight=0.5, invariance_weight=0.2), batch(columns)
    with torch.no_grad():
        images, texts = trained.encode(given)
        anchors = trained.anchors()
    sides = {"image": (images, given.labels[:, 0]), "text": (texts, given.labels[:, -1])}
    regression = sum(
        math.sqrt(sum((float(z[i] @ anchors[k]) - float(y[i] == k)) ** 2 for k in range(K))) / B
        for z, y in sides.values()
        for i in range(B)
    )
    likelihood = 0.0
    for one, other in (("image", "image"), ("image", "text"), ("text", "text")):
        (z, y), (u, v) = sides[one], sides[other]
        for i in range(B):
            for j in range(B):
                logit = float(z[i] @ u[j]) / 2
                likelihood += (math.log(1 + math.exp(logit)) - float(y[i] == v[j]) * logit) / B**2
    invariance = sum(math.dist(images[i].tolist(), texts[i].tolist()) for i in range(B)) / B
    result = trained.training_step({"all": given})
    found = {name: float(value) for name, value in result.metrics.items()}
    assert found["class_loss"] == pytest.approx(regression, rel=1e-5)
    assert found["likelihood_loss"] == pytest.approx(0.5 * likelihood, rel=1e-5)
    assert found["invariance_loss"] == pytest.approx(0.2 * invariance, rel=1e-5)
    assert float(result.loss.detach()) == pytest.approx(sum(found.values()), rel=1e-5)


def test_vectors_on_their_anchors_have_no_class_loss():
    """Cosines with orthogonal anchors can be exactly one-hot."""
    trained, given = method(), batch()
    vectors = trained.anchors()[given.labels[:, 0]]
    targets, _, weights = trained.class_targets(given, vectors)
    losses = trained.losses(vectors, vectors, targets, targets, weights)
    assert float(losses["class_loss"].detach()) < 1e-5
    assert float(losses["invariance_loss"].detach()) == 0
    sum(losses.values()).backward()
    assert trained.anchors.weight.grad.isfinite().all()


def test_the_mean_of_pairs_does_not_grow_with_the_batch():
    """The paper divides the norm of the batch by its size; here a batch twice over has the same loss."""
    trained, given = method(), batch()
    with torch.no_grad():
        images, texts = trained.encode(given)
        of_images, of_texts, weights = trained.class_targets(given, images)
        once = trained.losses(images, texts, of_images, of_texts, weights)
        sides = (torch.cat([side, side]) for side in (images, texts, of_images, of_texts, weights))
        twice = trained.losses(*sides)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value)


def test_it_passes_every_check():
    assert check_method("dscmr", epochs=2).passed == tuple(LABEL_METHOD_CHECKS)
