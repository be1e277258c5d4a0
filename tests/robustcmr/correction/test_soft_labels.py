"""Beliefs of given pairs against slow loops from their formulas."""

import math

import pytest
import torch
from torch.nn import functional as F

from robustcmr.correction.soft_labels import (
    anchor_ratio,
    batch_relative_prediction,
    best_tenth,
    hinge_agreement,
)


def randoms(*shape, seed=0, kind=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


@pytest.mark.parametrize("n", [1, 3, 9, 10, 35])
def test_predictions_are_relative_to_the_best_tenth(n):
    hinges, margin = randoms(n).abs() * 0.3, 0.5
    r = [min(max(margin - float(h) / 2, 0.0), margin) for h in hinges]
    k = n // 10 + 1
    best = sum(sorted(r, reverse=True)[:k]) / k
    expected = [min(max(each / best, 0.0), 1.0) for each in r]
    found = batch_relative_prediction(hinges, margin)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(hinge_agreement(hinges, margin), torch.tensor(r, dtype=torch.float64))


def test_the_same_pair_has_another_prediction_among_others():
    worse = batch_relative_prediction(torch.tensor([0.2, 0.3]), 0.2)
    better = batch_relative_prediction(torch.tensor([0.2, 0.0]), 0.2)
    assert worse[0] == 1.0
    assert better[0] == pytest.approx(0.5)


def test_where_no_pair_keeps_its_margin_all_predictions_are_0():
    assert batch_relative_prediction(torch.full((5,), 3.0), 0.2).tolist() == [0.0] * 5
    assert batch_relative_prediction(torch.zeros(0), 0.2).shape == (0,)


def test_the_best_are_never_more_than_all():
    assert [best_tenth(n) for n in (0, 1, 9, 10, 128)] == [0, 1, 1, 2, 13]


def slow_ratio(images, texts, anchor_images, anchor_texts, floor):
    """Each pair and each anchor by itself."""

    def cosine(a, b):
        return max(0.0, float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))

    found = []
    for v, t in zip(images, texts, strict=True):
        by_image = [cosine(v, a) for a in anchor_images]
        by_text = [cosine(t, a) for a in anchor_texts]
        ratios = []
        for sims in (by_image, by_text):
            k = max(range(len(sims)), key=sims.__getitem__)  # the same anchor for both modalities
            ratios.append(min(by_image[k], by_text[k]) / max(by_image[k], by_text[k], floor))
        found.append(sum(ratios) / 2)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 1), (6, 4), (2, 9)])
@pytest.mark.parametrize("floor", [0.05, 0.4])
def test_the_anchor_ratio_equals_the_loops(n, k, floor):
    given = randoms(n, 5), randoms(n, 3, seed=1), randoms(k, 5, seed=2), randoms(k, 3, seed=3)
    torch.testing.assert_close(anchor_ratio(*given, floor), slow_ratio(*given, floor))


def test_where_all_cosines_are_large_it_is_the_published_ratio():
    """Both similarities to one anchor; a ratio above 1 is inverted."""
    given = [randoms(n, 4, seed=n) * 0.1 + 1 for n in (6, 7)]
    images, texts, anchor_images, anchor_texts = given[0][:5], given[0][1:], given[1][:4], given[1][3:]
    by_image = F.normalize(images, dim=1) @ F.normalize(anchor_images, dim=1).T
    by_text = F.normalize(texts, dim=1) @ F.normalize(anchor_texts, dim=1).T
    expected = []
    for i in range(5):
        k, j = by_image[i].argmax(), by_text[i].argmax()
        ratios = [float(by_image[i, k] / by_text[i, k]), float(by_text[i, j] / by_image[i, j])]
        expected.append(sum(1 / g if g > 1 else g for g in ratios) / 2)
    found = anchor_ratio(images, texts, anchor_images, anchor_texts)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_nearest_of_each_modality_are_not_mixed():
    """Image and caption are each at an anchor, but not at the same one."""
    anchors = torch.eye(2)
    assert anchor_ratio(anchors[:1], anchors[1:], anchors, anchors).item() == 0.0
    assert anchor_ratio(anchors[:1], anchors[:1], anchors, anchors).item() == 1.0


def test_similarities_near_0_or_below_give_small_ratios_that_change_steadily():
    anchor = torch.tensor([[1.0, 0.0]])
    cosines = [-0.9, -1e-6, 0.0, 1e-6, 1e-3, 0.05, 0.5]
    vectors = torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines])
    both = anchor_ratio(vectors, vectors, anchor, anchor)  # alike, but far from the anchor
    torch.testing.assert_close(both, torch.tensor([0.0, 0.0, 0.0, 2e-5, 0.02, 1.0, 1.0]))
    one = anchor_ratio(vectors, anchor.expand(7, 2), anchor, anchor)
    torch.testing.assert_close(one, torch.tensor(cosines).clamp(min=0))
    assert bool(((both >= 0) & (both <= 1)).all())


def test_without_anchors_or_pairs():
    assert (
        anchor_ratio(torch.eye(3), torch.eye(3), torch.zeros(0, 3), torch.zeros(0, 3)).tolist() == [0.0] * 3
    )
    assert anchor_ratio(torch.zeros(0, 3), torch.zeros(0, 3), torch.eye(3), torch.eye(3)).shape == (0,)


def test_half_precision_and_gradients():
    images = randoms(4, 8, kind=torch.bfloat16).requires_grad_()
    found = anchor_ratio(images, images, images, images)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert not batch_relative_prediction(torch.ones(3, requires_grad=True), 0.2).requires_grad


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"mean_hinge must be \(B,\)"):
        batch_relative_prediction(torch.zeros(3, 3), 0.2)
    with pytest.raises(ValueError, match="got 3 and 3 in question, 2 and 1 anchors"):
        anchor_ratio(torch.eye(3), torch.eye(3), torch.eye(3)[:2], torch.eye(3)[:1])
