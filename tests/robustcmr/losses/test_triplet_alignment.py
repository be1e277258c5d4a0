"""Triplet alignment loss against a slow loop, and as a bound of the hinge with the hardest negative."""

import math

import pytest
import torch

from robustcmr.losses.hinge import hinge_loss
from robustcmr.losses.triplet_alignment import triplet_alignment_loss


def random_scores(n, seed=0):
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_images_twice():
    image = torch.tensor([0, 1, 0, 2, 3, 1, 0])
    return image[:, None] == image[None, :]


def by_loops(scores, margin, tau, same_image=None, joined=False):
    n, found = len(scores), []
    for i in range(n):
        own = [j for j in range(n) if j == i or (same_image is not None and same_image[i][j])]
        others = [j for j in range(n) if j not in own]
        total = 0.0
        for at in (lambda j, i=i: float(scores[i][j]), lambda j, i=i: float(scores[j][i])):
            if not others:
                continue
            pair = at(i)
            if joined:
                weights = [math.exp(at(j) / tau) for j in own]
                pair = sum(w * at(j) for w, j in zip(weights, own, strict=True)) / sum(weights)
            smooth = tau * math.log(sum(math.exp(at(j) / tau) for j in others))
            total += max(0.0, margin - pair + smooth)
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("margin", "tau"), [(0.1, 0.015), (0.4, 0.2)])
def test_equals_the_loops(joined, masked, margin, tau):
    scores, same = random_scores(7), some_images_twice() if masked else None
    torch.testing.assert_close(
        triplet_alignment_loss(scores, margin, tau, same, joined), by_loops(scores, margin, tau, same, joined)
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_bounds_the_hinge_with_the_hardest_negative(masked, seed):
    scores, same = random_scores(7, seed), some_images_twice() if masked else None
    hardest = hinge_loss(scores, 0.1, True, same)
    assert (triplet_alignment_loss(scores, 0.1, 0.05, same) >= hardest).all()
    assert (triplet_alignment_loss(scores, 0.1, 0.05, same) <= hardest + 2 * 0.05 * math.log(6) + 1e-9).all()
    torch.testing.assert_close(triplet_alignment_loss(scores, 0.1, 1e-5, same), hardest, rtol=0, atol=1e-4)


def test_negatives_are_pushed_by_their_softmax_weight():
    scores = random_scores(5, seed=1).requires_grad_()
    triplet_alignment_loss(scores, 5.0, 0.1)[0].backward()
    expected = torch.softmax(scores.detach()[0, 1:] / 0.1, 0)
    torch.testing.assert_close(scores.grad[0, 1:], expected)
    assert scores.grad[0, 0] == -2


def test_gradient():
    scores = random_scores(6, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: triplet_alignment_loss(s, 0.3, 0.1), scores)


def test_weights_of_joined_positives_are_detached():
    scores = random_scores(7, seed=2).requires_grad_()
    same = some_images_twice()
    triplet_alignment_loss(scores, 5.0, 0.1, same, joined=True)[1].backward()
    expected = -torch.softmax(scores.detach()[1, [1, 5]] / 0.1, 0)
    torch.testing.assert_close(scores.grad[1, 5], expected[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_scores(dtype):
    scores = random_scores(6).to(dtype).requires_grad_()
    found = triplet_alignment_loss(scores)
    found.sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, triplet_alignment_loss(scores.detach().float()))
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_without_negatives_there_is_neither_loss_nor_gradient(n, joined):
    scores = random_scores(n).requires_grad_()
    found = triplet_alignment_loss(scores, same_image=torch.ones(n, n, dtype=torch.bool), joined=joined)
    found.sum().backward()
    assert not found.any()
    assert not scores.grad.any()


def test_some_pairs_without_negatives_do_not_spoil_the_others():
    same = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    scores = random_scores(3).requires_grad_()
    found = triplet_alignment_loss(scores, 0.5, 0.1, same)
    found.sum().backward()
    torch.testing.assert_close(found, by_loops(scores.detach(), 0.5, 0.1, same))
    assert scores.grad.isfinite().all()


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        triplet_alignment_loss(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="temperature is 0"):
        triplet_alignment_loss(torch.zeros(3, 3), temperature=0)
