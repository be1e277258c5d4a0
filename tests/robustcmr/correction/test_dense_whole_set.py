"""Suggestions by a plan over all images: its potentials are scaled here, slowly and in float64.

That the kernels find the same potentials is tested with the transport.
"""

import math

import pytest
import torch
from torch.nn.functional import normalize

from robustcmr.correction import dense_whole_set
from robustcmr.correction.candidates import nearest_candidates
from robustcmr.correction.dense_whole_set import rematch_whole_set_densely
from robustcmr.errors import DeviceError
from robustcmr.transport import unbalanced_plan


def slow_potentials(x, y, r, c, *, epsilon, penalty, tolerance, max_iterations):
    """Plain logarithmic scaling."""
    cost, share = 1 - x.double() @ y.double().T, penalty / (penalty + epsilon)
    f, g = (torch.zeros(len(side), dtype=torch.float64) for side in (x, y))
    for _ in range(max_iterations):
        f = -share * epsilon * torch.logsumexp((g - cost) / epsilon + c.double().log(), 1)
        columns = (f.unsqueeze(1) - cost) / epsilon + r.double().log().unsqueeze(1)
        g = -share * epsilon * torch.logsumexp(columns, 0)
    return f.float(), g.float()


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(dense_whole_set, "streamed_potentials", slow_potentials)


def synthetic(n=30, m=50, d=24, noise=0.05, seed=0):
    """Unit vectors of m images, and of n captions of the first n images in a random order."""
    generator = torch.Generator().manual_seed(seed)
    images = normalize(torch.randn(m, d, generator=generator), dim=-1)
    own = torch.randperm(n, generator=generator)
    texts = images[own] + noise * torch.randn(n, d, generator=generator)
    return normalize(texts, dim=-1), images, own


def chosen(found, plan):
    return found.images.gather(1, plan.place.unsqueeze(1)).squeeze(1)


def test_synthetic_matches_are_suggested():
    texts, images, own = synthetic()
    found = nearest_candidates(texts, images, 8)
    plan = rematch_whole_set_densely(texts, images, found)
    assert torch.equal(chosen(found, plan), own)
    assert plan.converged
    assert plan.error <= 1e-4
    assert (plan.asked, plan.iterations, plan.edges) == (None, None, 1500)
    assert plan.seconds > 0
    assert (plan.share > 0.7).all()  # images that no caption is of are paid to take some, too
    assert (plan.margin > 0.5).all()
    assert plan.moved.mean().item() == pytest.approx(plan.mass, rel=1e-5)
    assert plan.mass > 0.9  # what fits is cheap to move


@pytest.mark.parametrize(("capacity", "column"), [(None, 1 / 20), (2.0, 2 / 20)])
def test_the_plan_is_that_of_the_dense_solver(capacity, column):
    texts, images, _ = synthetic(n=20, m=26, noise=0.4)
    excluded = torch.arange(20)
    found = nearest_candidates(texts, images, 6, excluded)
    plan = rematch_whole_set_densely(texts, images, found, reach=0.6, epsilon=0.05, capacity=capacity)
    dense = unbalanced_plan(
        1 - texts.double() @ images.double().T,
        torch.full((20,), 1 / 20, dtype=torch.float64),
        torch.full((26,), column, dtype=torch.float64),
        epsilon=0.05,
        penalty=0.36,
        tolerance=1e-9,
    ).plan
    expected = dense.gather(1, found.images)
    torch.testing.assert_close(plan.plan.double(), expected, rtol=1e-4, atol=1e-9)
    assert plan.mass == pytest.approx(float(dense.sum()), rel=1e-4)
    torch.testing.assert_close(plan.moved.double(), 20 * dense.sum(1), rtol=1e-4, atol=1e-9)
    shares = expected / dense.sum(1, keepdim=True)  # of all that is moved, the excluded image's part included
    best = shares.topk(2, dim=1).values
    torch.testing.assert_close(plan.share.double(), best[:, 0], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(plan.margin.double(), best[:, 0] - best[:, 1], rtol=1e-4, atol=1e-6)
    assert torch.equal(plan.place, shares.argmax(1))
    assert not (chosen(found, plan) == excluded).any()


def test_a_higher_price_moves_more():
    texts, images, _ = synthetic(noise=0.4)
    found = nearest_candidates(texts, images, 8)
    masses = [rematch_whole_set_densely(texts, images, found, reach).mass for reach in (0.2, 0.5, 1.5)]
    assert masses == sorted(masses)
    assert masses[0] < 0.5 * masses[2]


def test_an_image_wanted_by_all_is_shared_out():
    """Three captions lie nearest to one image; the price of crowding sends two of them to the next."""
    images = normalize(torch.eye(4) + 0.02, dim=-1)
    texts = normalize(
        torch.tensor([[1.0, 0.2, 0.0, 0.0], [1.0, 0.0, 0.8, 0.0], [1.0, 0.0, 0.0, 0.9]]), dim=-1
    )
    found = nearest_candidates(texts, images, 4)
    assert found.images[:, 0].tolist() == [0, 0, 0]
    plan = rematch_whole_set_densely(texts, images, found, reach=1.5, epsilon=0.005)
    assert chosen(found, plan).tolist() == [0, 2, 3]
    crowded = rematch_whole_set_densely(texts, images, found, reach=1.5, epsilon=0.005, capacity=30.0)
    assert crowded.mass > plan.mass


def test_captions_that_move_next_to_nothing_still_get_a_suggestion():
    images = torch.eye(8)[5:7]
    texts = normalize(torch.eye(8)[:3] + 0.1 * images[[0, 1, 0]], dim=-1)
    found = nearest_candidates(texts, images, 2)
    plan = rematch_whole_set_densely(texts, images, found, reach=0.08, epsilon=0.005)
    assert (plan.moved < 1e-20).all()
    assert plan.share.isfinite().all()
    assert chosen(found, plan).tolist() == [0, 1, 0]


def test_captions_without_candidates():
    texts, images, _ = synthetic(n=3, m=3)
    images = images[:1]
    found = nearest_candidates(texts, images, 4, torch.tensor([0, -1, 0]))
    plan = rematch_whole_set_densely(texts, images, found)
    assert plan.place.tolist() == [-1, 0, -1]
    assert [math.isnan(x) for x in plan.share.tolist()] == [True, False, True]
    assert (plan.plan[[0, 2]] == 0).all()


def test_too_few_scalings_are_told():
    texts, images, _ = synthetic(noise=0.4)
    found = nearest_candidates(texts, images, 8)
    plan = rematch_whole_set_densely(texts, images, found, reach=2.0, max_iterations=2)
    assert not plan.converged
    assert plan.error > 1e-4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reach": 0.0}, "reach and capacity must be above 0"),
        ({"capacity": -1.0}, "reach and capacity must be above 0"),
    ],
)
def test_misuse(options, says):
    texts, images, _ = synthetic(n=4, m=5)
    with pytest.raises(ValueError, match=says):
        rematch_whole_set_densely(texts, images, nearest_candidates(texts, images, 2), **options)


def test_candidates_of_other_captions():
    texts, images, _ = synthetic(n=4, m=5)
    with pytest.raises(ValueError, match="candidates of 4 captions, got of 3"):
        rematch_whole_set_densely(texts, images, nearest_candidates(texts[:3], images, 2))


def test_it_takes_a_gpu(monkeypatch):
    monkeypatch.undo()
    texts, images, _ = synthetic(n=4, m=5)
    with pytest.raises(DeviceError, match="take the sparse plan"):
        rematch_whole_set_densely(texts, images, nearest_candidates(texts, images, 2))
