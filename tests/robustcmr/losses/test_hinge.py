"""Hinge losses against slow loops written from the definition."""

import pytest
import torch

from robustcmr.losses.hinge import hinge_loss


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
