"""Problems of synthetic matches: their content, and the loss against loops."""

import math

import pytest
import torch

from robustcmr.correction import synthetic_loss, synthetic_problem
from robustcmr.correction.synthetic_matches import n_matches


def numbered(n):
    """Scores that tell their own place: 1000 * image + caption."""
    return 1000.0 * torch.arange(n)[:, None] + torch.arange(n)[None, :]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def source(problem):
    """Images and captions a problem was cut from, read off numbered scores."""
    images, captions = problem.scores[:, 0].long() // 1000, problem.scores[0].long() % 1000
    assert torch.equal(problem.scores, 1000.0 * images[:, None] + captions[None, :])
    return images, captions


@pytest.mark.parametrize("B", [1, 2, 3, 4, 7, 32, 129])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_holds_the_share_of_partners_and_no_others(B, share):
    problem = synthetic_problem(numbered(B), share, generator=seeded())
    images, captions = source(problem)
    n, k = len(images), int(problem.is_match.sum())
    assert problem.scores.shape == (n, n)
    assert len(set(images.tolist())) == n
    assert len(set(captions.tolist())) == n
    assert k == max(1, round(share * n))
    assert len(set(images.tolist()) & set(captions.tolist())) == k
    assert torch.equal(problem.is_match, images[:, None] == captions[None, :])
    assert problem.allowed.all()


@pytest.mark.parametrize("B", range(1, 60))
def test_uses_as_many_pairs_as_there_are(B):
    """One more row would need more pairs than there are."""
    n = len(synthetic_problem(numbered(B), 0.1, generator=seeded()).scores)
    assert 2 * n - n_matches(0.1, n) <= B
    assert 2 * (n + 1) - n_matches(0.1, n + 1) > B


def test_the_same_generator_gives_the_same_problem_and_goes_on():
    one, two = seeded(3), seeded(3)
    first, again = (synthetic_problem(numbered(40), 0.1, generator=g) for g in (one, two))
    assert torch.equal(first.scores, again.scores)
    assert not torch.equal(synthetic_problem(numbered(40), 0.1, generator=one).scores, first.scores)


def test_matches_lie_anywhere_and_every_pair_gets_its_turn():
    generator, cells, matched = seeded(), torch.zeros(11, 11), torch.zeros(20)
    for _ in range(600):
        problem = synthetic_problem(numbered(20), 0.2, generator=generator)
        cells += problem.is_match
        matched[source(problem)[0][problem.is_match.any(1)]] += 1
    assert cells.sum() == 1200
    assert (cells > 0).all()
    assert cells.max() < 30  # 10 expected a cell
    assert matched.min() > 30  # 60 expected a pair
    assert matched.max() < 95


def test_another_caption_of_an_image_is_no_non_match():
    image = torch.arange(30) // 3
    same = image[:, None] == image[None, :]
    left_out = 0
    for seed in range(10):
        problem = synthetic_problem(numbered(30), 0.1, same, seeded(seed))
        images, captions = source(problem)
        expected = (image[images][:, None] != image[captions][None, :]) | problem.is_match
        assert torch.equal(problem.allowed, expected)
        assert problem.allowed[problem.is_match].all()
        left_out += int((~problem.allowed).sum())
    assert left_out > 0


def test_scores_are_cut_from_their_graph():
    scores = numbered(9).requires_grad_()
    assert not synthetic_problem(scores, 0.1).scores.requires_grad


def test_refuses_what_does_not_fit():
    for share in (0.0, -0.1, 1.01, math.nan):
        with pytest.raises(ValueError, match="share of synthetic matches must be above 0 and at most 1"):
            synthetic_problem(numbered(4), share)
    with pytest.raises(ValueError, match="need at least one pair, got none"):
        synthetic_problem(torch.zeros(0, 0), 0.1)
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        synthetic_problem(torch.zeros(2, 3), 0.1)


def loss_by_loops(cost, is_match, allowed, temperature, contrast):
    n, m = cost.shape
    C = cost.tolist()
    cells = [(i, j) for i in range(n) for j in range(m) if allowed[i, j]]
    matched = [(i, j) for i, j in cells if is_match[i, j]]
    lowest = min(C[i][j] for i, j in cells)
    total = 0.0
    for i, j in matched:
        groups = [c for c in cells if c[0] == i], [c for c in cells if c[1] == j], cells
        total += C[i][j] - lowest
        for group in groups:
            rivals = sum(math.exp(-C[a][b] / temperature) for a, b in group)
            total -= contrast * math.log(math.exp(-C[i][j] / temperature) / rivals) / 3
    return total / len(matched)


def problem_at_random(masked=True):
    generator = seeded(5)
    cost = torch.rand(5, 6, generator=generator, dtype=torch.float64)
    is_match = torch.zeros(5, 6, dtype=torch.bool)
    is_match[1, 4] = is_match[3, 0] = True
    allowed = (torch.rand(5, 6, generator=generator) < 0.7) | is_match
    allowed[2] = False
    allowed[:, 5] = False
    return cost, is_match, allowed if masked else torch.ones_like(allowed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("temperature", "contrast"), [(0.1, 1.0), (0.5, 0.0), (0.3, 2.5)])
def test_loss_equals_the_loops(masked, temperature, contrast):
    found = problem_at_random(masked)
    value = synthetic_loss(*found, temperature, contrast)
    assert float(value) == pytest.approx(loss_by_loops(*found, temperature, contrast))


def test_loss_does_not_see_a_common_change_of_all_costs():
    cost, is_match, allowed = problem_at_random()
    one, two = (synthetic_loss(cost + x, is_match, allowed, 0.1) for x in (0.0, 3.0))
    torch.testing.assert_close(one, two)


def test_gradient():
    cost, is_match, allowed = problem_at_random()
    assert torch.autograd.gradcheck(
        lambda c: synthetic_loss(c, is_match, allowed, 0.3), cost.requires_grad_()
    )


@pytest.mark.parametrize("all_forbidden", [False, True])
def test_no_match_costs_nothing(all_forbidden):
    cost, is_match, allowed = problem_at_random()
    cost.requires_grad_()
    allowed = torch.zeros_like(allowed) if all_forbidden else allowed
    value = synthetic_loss(cost, torch.zeros_like(is_match), allowed, 0.1)
    value.backward()
    assert value == 0
    assert (cost.grad == 0).all()
