"""Hinge losses against slow loops written from the definition."""

import pytest
import torch

from robustcmr.losses.hinge import hinge_loss, soft_margin


def by_loops(scores, margin, hardest, same_image=None):
    """Each pair by itself, each negative by itself, in plain Python numbers."""
    n = len(scores)
    result = []
    for i in range(n):
        captions, images = [], []
        for j in range(n):
            if i == j or (same_image is not None and same_image[i][j]):
                continue
            captions.append(max(0.0, margin - float(scores[i][i]) + float(scores[i][j])))
            images.append(max(0.0, margin - float(scores[i][i]) + float(scores[j][i])))
        combine = (lambda values: max(values, default=0.0)) if hardest else sum
        result.append(combine(captions) + combine(images))
    return torch.tensor(result, dtype=torch.float64)


def random_scores(n, seed=0):
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_images_twice():
    image = torch.tensor([0, 1, 0, 2, 3, 1, 0])
    return image[:, None] == image[None, :]


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("margin", [0.05, 0.2, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_loops(hardest, margin, masked):
    scores = random_scores(7)
    same = some_images_twice() if masked else None
    torch.testing.assert_close(
        hinge_loss(scores, margin, hardest, same), by_loops(scores, margin, hardest, same)
    )


def test_the_two_directions_are_not_mixed_up():
    """Image 0 is drawn to the caption of pair 1, but its own caption is drawn to no other image."""
    scores = torch.tensor([[0.5, 0.9, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    for hardest in (False, True):
        torch.testing.assert_close(hinge_loss(scores, 0.1, hardest), torch.tensor([0.5, 0.0, 0.0]))


def test_hardest_takes_one_negative_a_direction_and_all_takes_every_one():
    scores = torch.zeros(4, 4, dtype=torch.float64)
    torch.testing.assert_close(hinge_loss(scores, 0.25, True), torch.full((4,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(hinge_loss(scores, 0.25, False), torch.full((4,), 1.5, dtype=torch.float64))


def test_captions_of_the_same_image_push_nothing():
    scores = random_scores(7).requires_grad_()
    same = some_images_twice()
    hinge_loss(scores, 5.0, False, same).sum().backward()
    off_diagonal = same & ~torch.eye(7, dtype=torch.bool)
    assert off_diagonal.any()
    assert (scores.grad[off_diagonal] == 0).all()
    assert (scores.grad[~same] != 0).all()


@pytest.mark.parametrize("hardest", [False, True])
def test_gradient(hardest):
    scores = random_scores(6, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hinge_loss(s, 0.3, hardest), scores)


def test_a_single_pair_has_no_negative():
    assert hinge_loss(torch.tensor([[0.3]]), 0.2, True).item() == 0.0


def test_order_of_the_pairs_does_not_matter():
    scores = random_scores(8, seed=5)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        hinge_loss(scores[order][:, order], 0.2, True), hinge_loss(scores, 0.2, True)[order]
    )


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 3)])
def test_refuses_scores_that_are_not_square(shape):
    with pytest.raises(ValueError, match=r"scores must be \(B, B\).*got \("):
        hinge_loss(torch.zeros(shape), 0.2, True)


def test_refuses_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"same_image must be \(3, 3\) like the scores, got \(2, 2\)"):
        hinge_loss(torch.zeros(3, 3), 0.2, False, torch.eye(2, dtype=torch.bool))


def by_loops_a_pair(scores, margins, same_image=None):
    """The sorted hinges of every pair in both directions; each has the margin of the pair it protects."""
    n = len(scores)
    found = []
    for i in range(n):
        others = [j for j in range(n) if j != i and (same_image is None or not same_image[i][j])]
        own = float(margins[i]) - float(scores[i][i])
        captions = sorted((max(0.0, own + float(scores[i][j])) for j in others), reverse=True)
        images = sorted((max(0.0, own + float(scores[j][i])) for j in others), reverse=True)
        found.append((captions, images))
    return found


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_margin_a_pair_protects_that_pair_in_both_directions(n, masked, as_array):
    scores, margins = random_scores(n), torch.linspace(0.0, 0.9, n, dtype=torch.float64)
    same = some_images_twice()[:n, :n] if masked else None
    given = margins.numpy() if as_array else margins
    loops = by_loops_a_pair(scores, margins, same)
    total = torch.tensor([sum(a) + sum(b) for a, b in loops], dtype=torch.float64)
    torch.testing.assert_close(hinge_loss(scores, given, False, same), total)
    largest = [max(a, default=0.0) + max(b, default=0.0) for a, b in loops]
    torch.testing.assert_close(
        hinge_loss(scores, given, True, same), torch.tensor(largest, dtype=torch.float64)
    )


@pytest.mark.parametrize("released_fault", ["row vector", "column vector", "matrix"])
def test_the_margins_of_released_code_are_others(released_fault):
    """A vector laid over both directions alike protects the negative's pair in one of them."""
    scores, margins = random_scores(5), torch.tensor([0.1, 0.9, 0.3, 0.7, 0.5], dtype=torch.float64)
    laid = {
        "row vector": margins[None, :].expand(5, 5),
        "column vector": margins[:, None].expand(5, 5),
        "matrix": margins[:, None] + (1 - margins[:, None]) * margins[None, :],
    }[released_fault]
    off = ~torch.eye(5, dtype=torch.bool)
    rows = (laid - scores.diagonal()[:, None] + scores).clamp(min=0) * off
    columns = (laid - scores.diagonal()[None, :] + scores).clamp(min=0) * off
    assert not torch.allclose(rows.sum(1) + columns.sum(0), hinge_loss(scores, margins, False))
    with pytest.raises(ValueError, match=r"margin must be a number or \(5,\), one a pair, got \(5, [15]\)"):
        hinge_loss(scores, laid[:, :1] if released_fault == "column vector" else laid)


def test_equal_margins_a_pair_are_one_margin_to_the_bit():
    scores = random_scores(7).float()
    for hardest in (False, True):
        one, each = (hinge_loss(scores, m, hardest) for m in (0.25, torch.full((7,), 0.25)))
        assert torch.equal(one, each)


def test_numbers_give_the_values_of_the_plain_formula_to_the_bit():
    scores, eye = random_scores(7).float(), torch.eye(7, dtype=torch.bool)
    pair = scores.diagonal()
    rows = (0.3 - pair[:, None] + scores).clamp(min=0).masked_fill(eye, 0.0)
    columns = (0.3 - pair[None, :] + scores).clamp(min=0).masked_fill(eye, 0.0)
    assert torch.equal(hinge_loss(scores, 0.3, True), rows.amax(1) + columns.amax(0))
    assert torch.equal(hinge_loss(scores, 0.3, False), rows.sum(1) + columns.sum(0))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("most", [1, 3, 7, 20])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_the_mean_of_the_largest_equals_the_loops(n, most, masked):
    scores, margins = random_scores(n), torch.linspace(0.1, 0.9, n, dtype=torch.float64)
    same = some_images_twice()[:n, :n] if masked else None
    for margin in (0.4, margins):
        each = margins if margin is margins else [margin] * n
        loops = by_loops_a_pair(scores, each, same)
        expected = [(sum(a[:most]) + sum(b[:most])) / most for a, b in loops]
        torch.testing.assert_close(
            hinge_loss(scores, margin, same_image=same, most=most),
            torch.tensor(expected, dtype=torch.float64),
        )


def test_the_largest_one_is_the_hardest():
    scores = random_scores(7)
    torch.testing.assert_close(hinge_loss(scores, 0.3, most=1), hinge_loss(scores, 0.3, hardest=True))


def test_gradient_with_a_margin_a_pair_and_several_negatives():
    scores = random_scores(6, seed=3).requires_grad_()
    margins = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: hinge_loss(s, margins, most=2), scores)


def test_refuses_no_negatives_at_all():
    with pytest.raises(ValueError, match="most is 0; expected at least 1 negative"):
        hinge_loss(torch.zeros(3, 3), most=0)


def test_the_soft_margin_is_the_ramp():
    beliefs = [0.0, 0.2, 0.5, 0.9, 1.0]
    expected = torch.tensor([0.3 * (10**y - 1) / 9 for y in beliefs], dtype=torch.float64)
    torch.testing.assert_close(soft_margin(0.3, torch.tensor(beliefs, dtype=torch.float64)), expected)
    assert soft_margin(0.2, torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
