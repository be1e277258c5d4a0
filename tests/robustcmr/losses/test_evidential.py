"""Evidential loss against a slow loop over ``torch.distributions``, and at the edges of its range."""

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from robustcmr.losses.evidential import dirichlet_divergence, evidential_loss, evidential_uncertainty


def random_scores(n, seed=0, dtype=torch.float64):
    return 2 * torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


def some_images_twice():
    image = torch.tensor([0, 1, 0, 2, 3, 1])
    return image[:, None] == image[None, :]


def parts(scores, i, temperature, same_image, transposed):
    """Candidates of image or caption i, in order, and their Dirichlet parameters."""
    matrix = scores.T if transposed else scores
    kept = [j for j in range(len(matrix)) if j == i or same_image is None or not same_image[i][j]]
    return kept, torch.stack([torch.exp(torch.tanh(matrix[i, j]) / temperature) + 1 for j in kept])


def by_loops(scores, matched, temperature, weight, same_image=None, raw=False):
    found = []
    for i in range(len(scores)):
        total = 0.0
        for transposed in (False, True):
            kept, alpha = parts(scores, i, temperature, same_image, transposed)
            S = alpha.sum()
            judged = []
            for j, a in zip(kept, alpha, strict=True):
                t = float(matched[i]) if j == i else 0.0
                total = total + (t - a / S) ** 2 + a * (S - a) / (S**2 * (S + 1))
                judged.append(a if raw else t + (1 - t) * a)
            if len(kept) > 1:  # one category leaves no distribution to compare
                prior = Dirichlet(torch.ones(len(kept), dtype=torch.float64))
                total = total + weight * kl_divergence(Dirichlet(torch.stack(judged)), prior)
        found.append(torch.as_tensor(total, dtype=torch.float64))
    return torch.stack(found)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_equals_the_loops(raw, masked, temperature):
    scores, same = random_scores(6), some_images_twice() if masked else None
    matched = torch.tensor([1.0, 0.0, 1.0, 0.4, 0.0, 1.0])
    torch.testing.assert_close(
        evidential_loss(scores, matched, temperature, 0.3, same, raw),
        by_loops(scores, matched, temperature, 0.3, same, raw),
    )
    torch.testing.assert_close(
        evidential_loss(scores, None, temperature, 0.1, same, raw),
        by_loops(scores, torch.ones(6), temperature, 0.1, same, raw),
    )


@pytest.mark.parametrize("masked", [False, True])
def test_uncertainty_equals_the_loops(masked):
    scores, same = random_scores(6, seed=2), some_images_twice() if masked else None
    expected = []
    for i in range(6):
        both = [parts(scores, i, 0.1, same, transposed)[1] for transposed in (False, True)]
        expected.append(sum(len(alpha) / alpha.sum() for alpha in both))
    torch.testing.assert_close(evidential_uncertainty(scores, 0.1, same), torch.stack(expected))


def test_divergence_in_closed_form():
    """KL of Dir(3, 1) from the uniform one: log 3 - 2/3."""
    alpha = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    cells = torch.ones(1, 2, dtype=torch.bool)
    expected = torch.log(torch.tensor([3.0], dtype=torch.float64)) - 2 / 3
    torch.testing.assert_close(dirichlet_divergence(alpha, cells), expected)


def test_the_evidence_of_a_matched_pair_is_not_penalised_unless_raw():
    """With alpha adjusted, a sure and right pair loses next to nothing; the raw divergence grows with it."""
    scores = torch.full((4, 4), -3.0).fill_diagonal_(3.0)
    assert evidential_loss(scores).max() < 1e-3
    assert evidential_loss(scores, raw=True).min() > 1.0


def test_a_pair_without_target_learns_to_have_no_evidence():
    start = torch.full((3, 3), -0.5, dtype=torch.float64).fill_diagonal_(0.5)
    for target, sign in ((1.0, -1.0), (0.0, 1.0)):
        scores = start.clone().requires_grad_()
        evidential_loss(scores, torch.tensor([1.0, 1.0, target])).sum().backward()
        assert scores.grad[0, 0] < 0
        assert scores.grad[2, 2] * sign > 0


@pytest.mark.parametrize("raw", [False, True])
def test_gradient(raw):
    scores = random_scores(4, seed=3).requires_grad_()
    matched = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: evidential_loss(s, matched, 0.3, 0.1, None, raw), scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_scores_lose_only_their_own_rounding(dtype):
    scores = (6 * random_scores(64, seed=4)).to(dtype).requires_grad_()
    found = evidential_loss(scores, raw=True)
    found.sum().backward()
    wide = scores.detach().double().requires_grad_()
    exact = evidential_loss(wide, raw=True)
    exact.sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    assert scores.grad.isfinite().all()
    torch.testing.assert_close(scores.grad, wide.grad.to(dtype))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_batches_and_one_image_are_finite(n):
    for same in (None, torch.ones(n, n, dtype=torch.bool)):
        scores = random_scores(n).requires_grad_()
        found = evidential_loss(scores, torch.zeros(n), same_image=same)
        found.sum().backward()
        assert found.isfinite().all()
        assert scores.grad.isfinite().all()
        assert evidential_uncertainty(scores, same_image=same).isfinite().all()


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"matched must be \(3,\), one a pair, got \(2,\)"):
        evidential_loss(torch.zeros(3, 3), torch.ones(2))
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        evidential_loss(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="temperature is 0"):
        evidential_loss(torch.zeros(3, 3), temperature=0)
