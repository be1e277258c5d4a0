"""Cross entropy and MRL against slow loops, by modality as well."""

import math

import pytest
import torch

from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.label_baselines import MRL, LabelCrossEntropy
from robustcmr.types import DataSpec, ImageBatch, PairBatch, TextBatch

SPEC = DataSpec(feature_width=5, n_regions=1, vocabulary_size=1, longest_caption=1, text_width=6)
B, K, D = 7, 4, 8


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


def method(cls, **options):
    torch.manual_seed(1)
    return cls(cls.Config(**options), [TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)], B, B, K, D)


def probabilities(vectors, anchors, tau):
    return torch.softmax(vectors @ anchors.T / tau, dim=1)


@pytest.mark.parametrize("columns", [1, 2])
def test_cross_entropy_as_a_slow_loop(columns):
    trained, given = method(LabelCrossEntropy, temperature=0.3), batch(columns)
    with torch.no_grad():
        images, texts = trained.encode(given)
        anchors = trained.anchors()
    slow = 0.0
    for side, labels in ((images, given.labels[:, 0]), (texts, given.labels[:, -1])):
        p = probabilities(side, anchors, 0.3)
        slow -= sum(math.log(p[i, labels[i]]) for i in range(B)) / B / 2
    result = trained.training_step({"all": given})
    assert float(result.loss.detach()) == pytest.approx(slow, rel=1e-5)
    assert result.metrics["class_loss"] == result.loss.detach()


@pytest.mark.parametrize("columns", [1, 2])
def test_mrl_as_a_slow_loop(columns):
    trained = method(MRL, temperature=0.8, beta=0.6, contrast_temperature=0.9)
    given = batch(columns)
    with torch.no_grad():
        images, texts = trained.encode(given)
        anchors = trained.anchors()
    clustering = 0.0
    for side, labels in ((images, given.labels[:, 0]), (texts, given.labels[:, -1])):
        p = probabilities(side, anchors, 0.8)
        clustering += sum(math.log(1 - p[i, labels[i]]) for i in range(B)) / B / 2
    everything, contrast = torch.cat([images, texts]), 0.0
    for i in range(2 * B):
        similar = [math.exp(everything[i] @ everything[j] / 0.9) for j in range(2 * B)]
        contrast -= math.log((similar[i] + similar[(i + B) % (2 * B)]) / sum(similar)) / (2 * B)
    result = trained.training_step({"all": given})
    assert float(result.metrics["class_loss"]) == pytest.approx(0.6 * clustering, rel=1e-4)
    assert float(result.metrics["contrast_loss"]) == pytest.approx(0.4 * contrast, rel=1e-4)
    assert float(result.loss.detach()) == pytest.approx(0.6 * clustering + 0.4 * contrast, rel=1e-4)


def test_mrl_gives_an_unlikely_class_a_smaller_gradient_than_cross_entropy_does():
    """A label far from what the vectors say: MRL lets it be, cross entropy pulls."""
    pulls = {}
    for cls in (MRL, LabelCrossEntropy):
        trained = method(cls, temperature=0.1, **({"beta": 1.0} if cls is MRL else {}))
        given = batch()
        images, _ = trained.encode(given)
        p = probabilities(images, trained.anchors(), 0.1)
        given.labels[:, 0] = p.argmin(1)
        trained.training_step({"all": given}).loss.backward()
        pulls[cls] = float(trained.anchors.weight.grad.norm())
    assert pulls[MRL] < 0.5 * pulls[LabelCrossEntropy]
