"""The released cost network: exact start, by hand, and what is wrong with it."""

import math

import pytest
import torch

from robustcmr.correction import PositionalCost, positional_loss, positional_problem


def random_scores(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) * 1.9 - 0.95


def numbered(n):
    return 1000.0 * torch.arange(n)[:, None] + torch.arange(n)[None, :]


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (8, 8)])
def test_starts_as_one_minus_the_score(shape):
    scores = random_scores(*shape)
    assert torch.equal(PositionalCost(shape[1])(scores), 1 - scores)


def test_is_linear_over_caption_positions_and_cut_off_below():
    network = PositionalCost(2)
    with torch.no_grad():
        network.layer.weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.5]]))
        network.layer.bias.copy_(torch.tensor([0.1, -0.2]))
    cost = network(torch.tensor([[0.4, 0.5], [-1.0, 1.0]]))
    expected = torch.tensor([[1.5, 1e-10], [1.1, 3.3]])  # 0.4 + 1.0 + 0.1, -1.2 + 0.25 - 0.2, ...
    torch.testing.assert_close(cost, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_computes_in_the_type_of_its_weights(dtype):
    scores = random_scores(3, 4).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = PositionalCost(4)(scores)
    assert torch.equal(cost, 1 - scores.float())


def test_refuses_another_number_of_captions():
    with pytest.raises(ValueError, match=r"scores of exactly 128 captions, got \(100, 100\); skip smaller"):
        PositionalCost(128)(torch.zeros(100, 100))
    with pytest.raises(ValueError, match="batch size must be at least 1, got 0"):
        PositionalCost(0)


@pytest.mark.parametrize("B", [1, 2, 15, 128])
@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_some_true_cells_of_a_shuffled_batch_are_matches(B, share):
    scores, is_match = positional_problem(numbered(B), share, torch.Generator().manual_seed(0))
    images, captions = scores[:, 0].long() // 1000, scores[0].long() % 1000
    assert images.sort().values.tolist() == captions.sort().values.tolist() == list(range(B))
    is_pair = images[:, None] == captions[None, :]
    assert int(is_match.sum()) == max(1, round(share * B))
    assert (is_pair | ~is_match).all()


def test_columns_and_rows_of_matches_are_random():
    generator, cells = torch.Generator().manual_seed(0), torch.zeros(8, 8)
    for _ in range(500):
        cells += positional_problem(numbered(8), 0.1, generator)[1]
    assert cells.sum() == 500
    assert cells.min() > 0
    assert cells.max() < 22  # 7.8 expected a cell


def test_scores_are_cut_from_their_graph():
    assert not positional_problem(numbered(9).requires_grad_(), 0.1)[0].requires_grad


def test_refuses_what_does_not_fit():
    for share in (0.0, -0.1, 1.01, math.nan):
        with pytest.raises(ValueError, match="share of synthetic matches must be above 0 and at most 1"):
            positional_problem(numbered(4), share)
    with pytest.raises(ValueError, match="need at least one pair, got none"):
        positional_problem(torch.zeros(0, 0), 0.1)
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        positional_problem(torch.zeros(2, 3), 0.1)


def test_loss_is_the_mean_cost_of_the_matches():
    cost = torch.tensor([[0.2, 0.9], [0.7, 0.4]], requires_grad=True)
    is_match = torch.tensor([[True, False], [True, False]])
    value = positional_loss(cost, is_match)
    value.backward()
    assert value.item() == pytest.approx(0.45)
    assert torch.equal(cost.grad, is_match / 2)
    assert positional_loss(cost, torch.zeros_like(is_match)) == 0


def test_nothing_keeps_the_cost_of_non_matches_up():
    """Training lowers them about as much as the matches."""
    network, generator = PositionalCost(16), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    scores = 0.3 + 0.05 * torch.randn(16, 16, generator=generator) + 0.2 * torch.eye(16)
    before = network(scores)[~torch.eye(16, dtype=torch.bool)].mean()
    for _ in range(100):
        shuffled, is_match = positional_problem(scores, 0.1, generator)
        loss = positional_loss(network(shuffled), is_match)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network(scores)[~torch.eye(16, dtype=torch.bool)].mean() < 0.2 < 0.6 < before
