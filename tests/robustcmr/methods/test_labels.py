"""What methods for noisy labels share: anchors, unit vectors, given classes and what is believed of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.base import Method
from robustcmr.methods.label_baselines import LabelCrossEntropy
from robustcmr.methods.labels import ClassAnchors, LabelMethod, given_classes, label_estimate
from robustcmr.types import DataSpec, Fragments, ImageBatch, LabelledVectors, PairBatch, TextBatch

SPEC = DataSpec(feature_width=5, n_regions=1, vocabulary_size=4, longest_caption=1, text_width=6)
N, K, D = 9, 4, 7


def batch(columns=1, n=N, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    tokens = torch.zeros(n, 1, dtype=torch.int64)
    mask = torch.ones(n, 1, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(n, 1, 5, generator=generator, dtype=dtype), mask),
        TextBatch(tokens, mask, torch.randn(n, 6, generator=generator, dtype=dtype)),
        torch.arange(n),
        torch.eye(n, dtype=torch.bool),
        torch.randint(K, (n, columns), generator=generator),
    )


def method(cls=LabelCrossEntropy, **options):
    torch.manual_seed(1)
    matcher = TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)
    return cls(cls.Config(**options), [matcher], N, 3, K, D)


class Found:
    """Stands in for the scorer: the vectors of one batch, longer than 1."""

    def __init__(self, given):
        self.given = given

    def __call__(self, evidence, matcher):
        raise AssertionError("nothing is scored")

    def vectors(self, matcher):
        with torch.no_grad():
            images = matcher.encode_images(self.given.images).pooled
            texts = matcher.encode_texts(self.given.texts).pooled
        return LabelledVectors(3 * images, 0.5 * texts, self.given.labels)


@pytest.mark.parametrize(("n_classes", "width"), [(1, 1), (3, 8), (8, 8), (9, 4)])
def test_anchors_are_unit_vectors_orthogonal_where_there_is_room(n_classes, width):
    torch.manual_seed(0)
    anchors = ClassAnchors(n_classes, width)()
    assert anchors.shape == (n_classes, width)
    products = (anchors @ anchors.T).detach()
    torch.testing.assert_close(products.diagonal(), torch.ones(n_classes))
    if n_classes <= width:
        torch.testing.assert_close(products, torch.eye(n_classes), atol=1e-5, rtol=0)
    else:
        assert float((products - torch.eye(n_classes)).abs().max()) > 0.1


def test_anchors_stay_of_length_one_and_learn_the_direction():
    anchors = ClassAnchors(3, 5)
    with torch.no_grad():
        anchors.weight.mul_(torch.tensor([[0.1], [1.0], [40.0]]))
    found = anchors()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    found[0, 2].backward()
    gradient = anchors.weight.grad
    assert float(gradient[0].norm()) > 0
    assert float(gradient[1:].abs().max()) == 0
    assert float(gradient[0] @ anchors.weight[0].detach()) == pytest.approx(
        0, abs=1e-5
    )  # length is not learnt


def test_the_labels_track_and_its_anchors():
    trained = method()
    assert (LabelMethod.track, Method.track) == ("labels", "pairs")
    assert trained.auxiliary == {"anchors": trained.anchors}
    assert (trained.n_classes, trained.n_pairs, trained.batch_size) == (K, N, 3)
    grouped = {id(p) for group in trained.parameter_groups() for p in group["params"]}
    assert id(trained.anchors.weight) in grouped
    assert method(temperature=0.25).temperature == 0.25


class Plain(Matcher):
    """Gives whatever pooled vectors it was made with."""

    def __init__(self, *sides):
        super().__init__()
        self.sides = sides

    def encode_images(self, images):
        return Fragments(self.sides[0], torch.ones(len(self.sides[0]), 1, dtype=torch.bool), self.sides[0])

    def encode_texts(self, texts):
        return Fragments(self.sides[1], torch.ones(len(self.sides[1]), 1, dtype=torch.bool), self.sides[1])

    def score(self, images, texts):
        raise NotImplementedError


def test_encoding_gives_unit_vectors_in_full_precision():
    images = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    texts = torch.tensor([[1.0, 0.0], [5.0, 12.0]])
    trained = LabelCrossEntropy(LabelCrossEntropy.Config(), [Plain(images, texts)], 2, 2, K, 2)
    found = trained.encode(batch(n=2))
    torch.testing.assert_close(found[0], torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    torch.testing.assert_close(found[1], torch.tensor([[1.0, 0.0], [5 / 13, 12 / 13]]))
    trained.matchers = (Plain(images.bfloat16(), texts.bfloat16()),)
    assert [side.dtype for side in trained.encode(batch(n=2))] == [torch.float32] * 2


def test_encoding_carries_gradients_to_both_towers():
    trained = method()
    images, texts = trained.encode(batch())
    assert images.shape == texts.shape == (N, D)
    (images[:, 0].sum() + texts[:, 0].sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in trained.matchers[0].parameters())


def test_a_matcher_without_pooled_vectors_is_refused():
    trained = method()
    trained.matchers[0].encode_texts = lambda texts: Fragments(torch.ones(N, 1, D), torch.ones(N, 1) > 0)
    with pytest.raises(DataError, match="no single vector of an image or text"):
        trained.encode(batch())


def test_given_classes_are_the_first_and_the_last_column():
    images, texts = given_classes(batch())
    assert torch.equal(images, texts)
    both = batch(columns=2)
    images, texts = given_classes(both)
    assert torch.equal(images, both.labels[:, 0])
    assert torch.equal(texts, both.labels[:, 1])
    assert not torch.equal(images, texts)
    with pytest.raises(ValueError, match="these pairs have no classes"):
        given_classes(replace(both, labels=None))


@pytest.mark.parametrize("columns", [1, 2])
def test_a_belief_equals_a_slow_loop(columns):
    generator = torch.Generator().manual_seed(5)
    probabilities = torch.softmax(2 * torch.randn(N, K, generator=generator), dim=1)
    labels = torch.randint(K, (N, columns), generator=generator)
    found = label_estimate(probabilities, LabelledVectors(torch.ones(N, D), torch.ones(N, D), labels))
    for i, row in enumerate(probabilities.tolist()):
        best = max(range(K), key=row.__getitem__)
        assert found.corrected[i] == best
        assert found.confidence[i] == pytest.approx(row[best])
        assert found.evidence[i] == pytest.approx(max(-math.log(row[label]) for label in labels[i].tolist()))
    assert (found.corrected.dtype, found.confidence.dtype, found.evidence.dtype) == (
        np.int64,
        np.float64,
        np.float64,
    )


def test_evidence_of_the_impossible_is_finite_and_confidence_at_most_one():
    probabilities = torch.tensor([[1.0 + 1e-6, 0.0], [0.0, 1.0]])
    found = label_estimate(
        probabilities, LabelledVectors(torch.ones(2, D), torch.ones(2, D), torch.tensor([[1], [1]]))
    )
    assert found.confidence.max() <= 1.0
    assert found.evidence[0] == pytest.approx(-math.log(1e-12))
    assert found.evidence[1] == pytest.approx(0.0)


@pytest.mark.parametrize("columns", [1, 2])
def test_what_is_believed_is_what_both_sides_are_nearest_to(columns):
    trained, given = method(temperature=0.2), batch(columns)
    found = trained.estimate(Found(given))
    with torch.no_grad():
        sides, anchors = trained.encode(given), trained.anchors.weight.detach()
    for i in range(N):
        chances = []
        for side in sides:
            likely = [
                math.exp(float(F.cosine_similarity(side[i], anchor, dim=0)) / 0.2) for anchor in anchors
            ]
            chances.append([value / sum(likely) for value in likely])
        mean = [(a + b) / 2 for a, b in zip(*chances, strict=True)]
        assert found.corrected[i] == max(range(K), key=mean.__getitem__)
        assert found.confidence[i] == pytest.approx(max(mean), rel=1e-5)
        least = min(mean[label] for label in given.labels[i].tolist())
        assert found.evidence[i] == pytest.approx(-math.log(least), rel=1e-4)


def test_asking_leaves_no_graph_and_no_gradient():
    trained = method()
    trained.estimate(Found(batch()))
    assert trained.anchors.weight.grad is None
    assert trained.anchors.weight.requires_grad
