"""The cost network: exact start, symmetry, monotonicity, and learning what 1 - S cannot see."""

import math

import pytest
import torch

from robustcmr.correction import CostNetwork, rematch, synthetic_loss, synthetic_problem

SHAPES = [(1, 1), (1, 6), (5, 1), (2, 2), (7, 11)]


def random_scores(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) * 1.9 - 0.95


def random_mask(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) < 0.8


def clean_batch(generator, n=48):
    """Scores of n true pairs, where some images and some captions are near to everything."""
    images, captions = (0.1 * torch.randn(n, generator=generator) for _ in range(2))
    noise = 0.08 * torch.randn(n, n, generator=generator)
    return 0.3 + images[:, None] + captions[None, :] + noise + 0.3 * torch.eye(n)


def trained(steps, seed=0, rate=1e-2):
    torch.manual_seed(seed)
    network, generator = CostNetwork(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        problem = synthetic_problem(clean_batch(generator), 0.1, generator=generator)
        cost = network(problem.scores, problem.allowed)
        loss = synthetic_loss(cost, problem.is_match, problem.allowed, 0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def wild(seed):
    """A network with random weights far from zero."""
    torch.manual_seed(seed)
    network = CostNetwork()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    return network


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_starts_as_one_minus_the_score(shape, masked):
    scores = random_scores(*shape)
    cost = CostNetwork()(scores, random_mask(*shape) if masked else None)
    assert torch.equal(cost, 1 - scores)


def test_a_perfect_score_costs_the_floor():
    cost = CostNetwork()(torch.tensor([[1.0, 0.25]]))
    assert cost[0, 0] == torch.tensor(1e-10)
    assert cost[0, 1] == 0.75


def test_what_starts_at_zero_has_gradients():
    network = CostNetwork()
    problem = synthetic_problem(clean_batch(torch.Generator().manual_seed(1)), 0.1)
    synthetic_loss(network(problem.scores), problem.is_match, problem.allowed, 0.05).backward()
    for layer in (network.slope, network.offset, network.shortcut):
        for parameter in layer.parameters():
            assert parameter.grad.abs().max() > 1e-4
    assert sum(parameter.numel() for parameter in network.parameters()) == 79


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_never_below_the_floor(shape, seed):
    cost = wild(seed)(random_scores(*shape, seed), random_mask(*shape, seed))
    assert (cost >= 1e-10).all()
    assert cost.isfinite().all()


def test_rows_and_columns_may_come_in_any_order():
    scores, allowed = random_scores(7, 11), random_mask(7, 11)
    rows, columns = torch.randperm(7), torch.randperm(11)
    for network in (wild(0), wild(1), trained(5)):
        cost = network(scores, allowed)
        moved = network(scores[rows][:, columns], allowed[rows][:, columns])
        torch.testing.assert_close(moved, cost[rows][:, columns], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(cost, 1 - scores, atol=1e-3)


@pytest.mark.parametrize(
    "network", [wild(0), wild(1), wild(2), trained(60)], ids=["w0", "w1", "w2", "trained"]
)
@pytest.mark.parametrize("masked", [False, True])
def test_raising_a_score_never_raises_its_cost(network, masked):
    scores = random_scores(6, 5)
    allowed = random_mask(6, 5) if masked else None
    steps = torch.linspace(-1.5, 1.5, 41)
    with torch.no_grad():
        for i in range(6):
            for j in range(5):
                costs = []
                for value in steps:
                    changed = scores.clone()
                    changed[i, j] = value
                    costs.append(network(changed, allowed)[i, j])
                costs = torch.stack(costs)
                assert (costs.diff() <= 0).all()


def test_the_smallest_raise_never_raises_the_cost():
    """Neighbouring numbers of single precision, where rounding of shared sums would show."""
    network, scores = wild(3), random_scores(9, 9)
    with torch.no_grad():
        before = network(scores)
        for i in range(9):
            for j in range(9):
                raised = scores.clone()
                raised[i, j] = torch.nextafter(scores[i, j], torch.tensor(2.0))
                assert network(raised)[i, j] <= before[i, j]


def test_a_high_rival_in_row_or_column_can_change_the_cost():
    network = trained(30)
    scores = torch.full((4, 4), 0.3)
    for rival in ((0, 3), (3, 0)):
        changed = scores.clone()
        changed[rival] = 0.9
        assert (network(changed)[0, 0] - network(scores)[0, 0]).abs() > 1e-3


def test_forbidden_cells_are_no_context():
    network, scores, allowed = wild(4), random_scores(5, 6), random_mask(5, 6)
    scores[~allowed] = 0.0
    before = network(scores, allowed)[allowed]
    scores[~allowed] = 0.9
    assert torch.equal(network(scores, allowed)[allowed], before)


@pytest.mark.parametrize("seed", range(6))
def test_no_cosine_is_cut_off_at_the_floor(seed):
    """The lift is the most that slope and offset can take away, at the corners of -1..1 too."""
    network = wild(seed)
    for scores in (random_scores(20, 20, seed), random_scores(20, 20, seed).sign(), torch.ones(3, 3)):
        with torch.no_grad():
            assert (network(scores) > 1e-6).all()


def test_the_lift_is_no_higher_than_it_must_be():
    """A network that takes away all it can from scores of 1 comes to 0, and is spared the rest."""
    network = CostNetwork()
    torch.nn.init.constant_(network.shortcut.weight, 0.5)
    torch.nn.init.constant_(network.slope.bias, 0.4)
    torch.testing.assert_close(network(torch.ones(3, 3)), torch.full((3, 3), 1e-10), atol=1e-5, rtol=0)
    torch.nn.init.constant_(network.slope.bias, -9.0)
    assert network.lift().item() == pytest.approx(3.0 - 1 + math.exp(3 * math.tanh(-3)), rel=1e-4)


def test_scores_above_one_are_cut_off_before_training():
    cost = CostNetwork()(torch.tensor([[3.0, 0.5]]))
    assert cost.tolist() == [[pytest.approx(1e-10), 0.5]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_computes_in_the_type_of_its_weights(dtype):
    scores = random_scores(5, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = CostNetwork()(scores)
    assert cost.dtype == torch.float32
    assert torch.equal(cost, 1 - scores.float())


def test_gradient():
    network = wild(0).double()
    scores, allowed = random_scores(4, 5).double().requires_grad_(), random_mask(4, 5)
    names = [name for name, _ in network.named_parameters()]

    def cost(s, *parameters):
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(network, named, (s, allowed))

    assert torch.autograd.gradcheck(cost, (scores, *network.parameters()))


def test_learns_to_see_past_images_and_captions_that_are_near_to_everything():
    """The plan at the learned cost reaches true matches more often than at 1 - S, on batches not seen."""
    network, generator = trained(200), torch.Generator().manual_seed(77)
    plain, learned = [], []
    for _ in range(20):
        problem = synthetic_problem(clean_batch(generator), 0.1, generator=generator)
        with torch.no_grad():
            costs = (1 - problem.scores, network(problem.scores, problem.allowed))
        for cost, hits in zip(costs, (plain, learned), strict=True):
            result = rematch(cost, problem.allowed, 0.1, 0.01)
            hits.append(float(result.plan[problem.is_match].sum() / result.mass))
    assert sum(learned) / 20 > sum(plain) / 20 + 0.25


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="temperature of a cost network must be positive and finite, got 0"):
        CostNetwork(0.0)
    with pytest.raises(ValueError, match=r"scores must be \(n, m\) with at least one cell, got \(0, 3\)"):
        CostNetwork()(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        CostNetwork()(torch.zeros(3))
    with pytest.raises(ValueError, match=r"bool of shape \(2, 2\) like the scores, got torch.float32"):
        CostNetwork()(torch.zeros(2, 2), torch.ones(2, 2))
