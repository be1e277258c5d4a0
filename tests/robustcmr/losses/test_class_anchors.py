"""Losses against class anchors: slow loops, closed forms and what makes them robust."""

import math

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from robustcmr.losses.class_anchors import (
    anchor_cross_entropy,
    anchor_probabilities,
    multimodal_contrast,
    robust_clustering,
)


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)

    def draw(n, d=5):
        return normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=-1)

    targets = torch.rand(7, 4, generator=generator, dtype=torch.float64)
    return draw(7), draw(7), draw(4), targets / targets.sum(1, keepdim=True)


def slow_probability(vector, anchors, temperature):
    weights = [math.exp(float(vector @ anchor) / temperature) for anchor in anchors]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_against_the_formulas(sides, temperature):
    images, _, anchors, targets = sides
    entropy = anchor_cross_entropy(images, anchors, targets, temperature)
    robust = robust_clustering(images, anchors, targets, temperature)
    for i, vector in enumerate(images):
        p = slow_probability(vector, anchors, temperature)
        assert anchor_probabilities(images, anchors, temperature)[i].tolist() == pytest.approx(p)
        q = targets[i].tolist()
        assert float(entropy[i]) == pytest.approx(-sum(a * math.log(b) for a, b in zip(q, p, strict=True)))
        assert float(robust[i]) == pytest.approx(sum(a * math.log(1 - b) for a, b in zip(q, p, strict=True)))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_contrast_against_a_loop(sides, temperature):
    images, texts, _, _ = sides
    n, both = 7, torch.cat([sides[0], sides[1]])
    similar = torch.exp(both @ both.T / temperature)
    for i, loss in enumerate(multimodal_contrast(images, texts, temperature)):
        parts = [
            -math.log(float(similar[row, i] + similar[row, i + n]) / float(similar[row].sum()))
            for row in (i, i + n)
        ]
        assert float(loss) == pytest.approx(sum(parts) / 2)


def test_contrast_knows_its_partner(sides):
    images, texts, _, _ = sides
    aligned = multimodal_contrast(images, images, 0.1).sum()
    assert aligned < multimodal_contrast(images, texts, 0.1).sum()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    moved = multimodal_contrast(images[order], texts[order], 0.5)
    assert torch.allclose(moved, multimodal_contrast(images, texts, 0.5)[order])


def test_an_unlikely_label_pulls_less_than_a_likely_one_and_by_cross_entropy_more():
    """The vector lies at the first anchor; a gradient towards that class, and towards a wrong one."""
    anchors = torch.eye(4, dtype=torch.float64)
    pulls = {}
    for loss in (robust_clustering, anchor_cross_entropy):
        for label in (0, 1):
            vector = normalize(torch.tensor([[3.0, 0.2, 0.1, 0.1]], dtype=torch.float64)).requires_grad_()
            target = one_hot(torch.tensor([label]), 4).double()
            loss(vector, anchors, target, 0.3).sum().backward()
            pulls[loss, label] = float(vector.grad.norm())
    assert pulls[robust_clustering, 1] < 0.2 * pulls[robust_clustering, 0]
    assert pulls[anchor_cross_entropy, 1] > 5 * pulls[anchor_cross_entropy, 0]


def test_certain_vectors_stay_finite():
    anchors = torch.eye(3)
    vectors = torch.eye(3).requires_grad_()
    loss = robust_clustering(vectors, anchors, torch.eye(3), 0.01).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(vectors.grad).all()


def test_gradients(sides):
    images, texts, anchors, targets = (side.clone().requires_grad_() for side in sides)
    targets = targets.detach()
    assert torch.autograd.gradcheck(lambda a, b: robust_clustering(a, b, targets, 0.7), (images, anchors))
    assert torch.autograd.gradcheck(lambda a, b: multimodal_contrast(a, b, 0.7), (images, texts))
