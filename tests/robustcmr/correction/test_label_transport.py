from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from robustcmr.correction.label_transport import label_targets, relation_plan


def beliefs(n, k=3, seed=0, sharpness=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(n, k, generator=generator, dtype=torch.float64), dim=1)


def cost_of(probabilities):
    cost = -probabilities.log()
    return (cost / cost.max()).numpy()


@pytest.mark.parametrize("mass", [0.3, 0.8, 0.99])
def test_the_plan_is_that_of_an_independent_solver(mass):
    p, prior = beliefs(12), torch.tensor([0.5, 0.3, 0.2])
    found = label_targets(p, prior, mass, 0.1)
    plan = ot.partial.entropic_partial_wasserstein(
        np.full(12, 1 / 12), prior.double().numpy(), cost_of(p), reg=0.1, m=mass, numItermax=20000
    )
    np.testing.assert_allclose(found.weights.numpy(), plan.sum(1) * 12, atol=2e-3)
    np.testing.assert_allclose(found.targets.numpy(), plan / plan.sum(1, keepdims=True), atol=2e-3)


def test_no_class_receives_more_than_its_share():
    p = torch.tensor([[0.9, 0.1]] * 9 + [[0.2, 0.8]], dtype=torch.float64)
    found = label_targets(p, torch.tensor([0.5, 0.5]), 0.95, 0.05)
    received = (found.targets * found.weights[:, None]).sum(0) / 10
    assert (received <= 0.5 + 1e-3).all()
    assert float(found.weights.sum() / 10) == pytest.approx(0.95, abs=1e-3)


def test_the_sure_are_moved_first():
    sure, unsure = torch.tensor([[0.99, 0.01]]), torch.tensor([[0.55, 0.45]])
    found = label_targets(torch.cat([sure] * 5 + [unsure] * 5), torch.tensor([0.8, 0.2]), 0.4, 0.02)
    assert found.weights[:5].min() > 0.7
    assert found.weights[5:].max() < 0.1


def test_all_is_moved_where_all_is_asked_for():
    p = beliefs(8, k=4)
    found = label_targets(p, torch.full((4,), 0.25), 1.0, 0.1)
    torch.testing.assert_close(found.weights, torch.ones(8, dtype=torch.float64), atol=1e-3, rtol=0)
    received = (found.targets * found.weights[:, None]).mean(0)
    torch.testing.assert_close(received, torch.full((4,), 0.25, dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_class_without_a_share_receives_nothing():
    found = label_targets(beliefs(6), torch.tensor([0.6, 0.4, 0.0]), 0.9, 0.1)
    assert (found.targets[found.weights > 1e-3][:, 2] == 0).all()


def test_certain_and_even_beliefs_are_borne():
    certain = label_targets(torch.eye(3).repeat(2, 1), torch.full((3,), 1 / 3), 0.9, 0.1)
    assert (certain.targets.argmax(1) == torch.arange(3).repeat(2)).all()
    even = label_targets(torch.full((4, 2), 0.5), torch.tensor([0.5, 0.5]), 0.5, 0.1)
    torch.testing.assert_close(even.targets, torch.full((4, 2), 0.5))
    torch.testing.assert_close(even.weights, torch.full((4,), 0.5), atol=1e-3, rtol=0)


def test_type_and_graph():
    p = beliefs(5).float().requires_grad_()
    found = label_targets(p, torch.full((3,), 1 / 3), 0.5, 0.1)
    assert found.targets.dtype == found.weights.dtype == torch.float32
    assert not found.targets.requires_grad


def test_the_relation_plan_is_that_of_an_independent_solver():
    classes = beliefs(9).float()
    agreement = (classes @ classes.T).double().numpy()
    reference = ot.sinkhorn(np.full(9, 1 / 9), np.full(9, 1 / 9), -agreement, reg=0.1, stopThr=1e-12) * 9
    # the plan, times 9, of a solver that stops with 1e-3 of the mass out of place
    np.testing.assert_allclose(relation_plan(classes, 0.1).numpy(), reference, atol=9e-3)


def test_the_relation_plan_goes_to_pairs_of_the_same_class():
    classes = torch.eye(2)[[0, 0, 0, 1, 1]]
    plan = relation_plan(classes, 0.05)
    torch.testing.assert_close(plan.sum(0), torch.ones(5), atol=1e-2, rtol=0)
    torch.testing.assert_close(plan.sum(1), torch.ones(5), atol=1e-2, rtol=0)
    assert plan[:3, 3:].max() < 1e-3
    torch.testing.assert_close(plan[:3, :3], torch.full((3, 3), 1 / 3), atol=1e-2, rtol=0)


def test_cosines_tell_pairs_of_one_class_apart():
    classes, cosines = torch.eye(2)[[0, 0, 1]], torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 1]])
    plan = relation_plan(classes, 0.1, cosines.requires_grad_())
    assert plan[0, 0] > 0.9
    assert not plan.requires_grad


def test_a_batch_of_one():
    torch.testing.assert_close(relation_plan(torch.tensor([[0.4, 0.6]]), 0.1), torch.ones(1, 1))


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.5, float("inf")])
def test_what_is_no_probability_is_refused(bad):
    p = beliefs(4)
    p[2, 1] = bad
    with pytest.raises(
        ValueError, match=r"probabilities must lie in 0\.\.1, got others or NaN; divide each row"
    ):
        label_targets(p, torch.full((3,), 1 / 3), 0.5, 0.05)


@pytest.mark.parametrize("least", [0.0, 1e-12, 1e-300, 1e-320])
def test_probabilities_of_next_to_nothing_cost_no_more_than_the_least_that_counts(least):
    """The scale of the costs does not follow the smallest number: below 1e-6 all are alike."""
    p = beliefs(6)
    p[0, 0], given = least, (torch.full((3,), 1 / 3), 0.5, 0.05)
    found = label_targets(p, *given)
    p[0, 0] = 1e-6
    torch.testing.assert_close(found.targets, label_targets(p, *given).targets)
