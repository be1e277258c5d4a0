"""GSC: evidence and loss of a step by hand, weights of an epoch, and what the released state forgets."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from robustcmr.methods.gsc import GSC, GSCOptions
from robustcmr.selection import divide_by_mixture
from robustcmr.selection.released import gaussian_as_released
from tests.robustcmr.methods.one_matcher import B, N, Towers, batch_of, unasked


def build(**options):
    return GSC(GSCOptions(**options), [Towers()], N, B)


def log_softmax(row, i, allowed):
    return row[i] - math.log(sum(math.exp(row[j]) for j in range(len(row)) if j == i or allowed[j]))


def test_the_defaults_are_the_published_ones():
    found = GSCOptions()
    assert (found.temperature, found.structure_weight, found.keep) == (0.07, 0.01, 0.3)


@pytest.mark.parametrize("released", [False, True])
def test_a_step_by_hand(released):
    method = build(temperature=0.5, structure_weight=0.3, released=released)
    ids, images = [5, 9, 2, 17, 11, 3], [0, 0, 2, 3, 4, 5]
    batch = batch_of(ids, images)
    weights = torch.linspace(0.1, 1, B)
    method.state["weight"][ids] = weights
    method.plan_epoch(0, unasked)
    result = method.training_step({"all": batch})
    matcher, w = method.matchers[0], weights.tolist()
    left, right = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
    S = matcher.score(left, right).double().detach()
    same = torch.eye(B, dtype=torch.bool) if released else batch.same_image
    A, C = ((matcher.score(x, x).detach().double().clamp(min=0) * weights).tolist() for x in (left, right))
    pair = structure = 0.0
    for i in range(B):
        allowed = [not same[i, j] for j in range(B)]
        row = [log_softmax((m / 0.5).tolist(), i, allowed) for m in (S[i], S[:, i])]
        pair -= w[i] * sum(row) / 2 / B
        T = [sum(a * c for a, c in zip(A[i], C[j], strict=True)) for j in range(B)]
        structure -= w[i] * log_softmax(T, i, allowed) / B
        match = sum(math.exp(x) for x in row) / 2
        norms = [math.sqrt(sum(x * x for x in m[i])) for m in (A, C)]
        agreement = sum(a * c for a, c in zip(A[i], C[i], strict=True)) / norms[0] / norms[1]
        assert float(method.state["match"][ids[i]]) == pytest.approx(match, rel=1e-4)
        assert float(method.state["agreement"][ids[i]]) == pytest.approx(agreement, rel=1e-4)
    assert float(result.metrics["pair_loss"]) == pytest.approx(pair, rel=1e-4)
    assert float(result.metrics["structure_loss"]) == pytest.approx(0.3 * structure, rel=1e-4)
    assert float(result.loss.detach()) == pytest.approx(pair + 0.3 * structure, rel=1e-4)


def with_evidence(n=200, **options):
    """A method past its first epoch, of whose pairs a quarter agree little."""
    method = GSC(GSCOptions(**options), [Towers()], n, B)
    rng = np.random.default_rng(0)
    wrong = np.arange(n) % 4 == 1
    method.state["match"] = torch.from_numpy(np.where(wrong, 0.1, 0.8) + rng.normal(0, 0.02, n)).float()
    method.state["agreement"] = torch.from_numpy(rng.normal(np.where(wrong, 0.3, 0.9), 0.03)).float()
    return method, wrong


@pytest.mark.parametrize("released", [False, True])
def test_weights_at_the_end_of_an_epoch(released):
    method, wrong = with_evidence(released=released)
    against = -method.state["agreement"].numpy()
    if released:
        posterior = gaussian_as_released(against).clean_probability
    else:
        posterior = divide_by_mixture(against, "gaussian", always=True).clean_probability
    bars = (
        0.3 + 0.7 * method.state["match"].numpy(),
        0.3 + 0.7 * posterior,
    )
    foreseen = method.estimate(unasked)
    plan = method.plan_epoch(1, unasked)
    np.testing.assert_allclose(method.state["weight"].numpy(), np.minimum(*bars), rtol=1e-5)
    np.testing.assert_allclose(plan.estimate.clean_probability, method.state["weight"].numpy())
    np.testing.assert_array_equal(foreseen.clean_probability, plan.estimate.clean_probability)
    assert (plan.estimate.is_clean == ~wrong).all()  # the component of larger agreement is clean
    method.plan_epoch(2, unasked)  # smoothed from the means of the epoch before
    again = 0.3 * bars[0] + 0.7 * method.state["match"].numpy()
    np.testing.assert_allclose(method.state["running_match"].numpy(), again, rtol=1e-5)


def test_asking_for_an_estimate_changes_nothing():
    method, _ = with_evidence()
    before = method.state_dict()["pairs"]
    method.estimate(unasked)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict()["pairs"].items())


def test_before_the_first_epoch_has_ended_nothing_is_known():
    method = build()
    assert method.estimate(unasked) is None
    assert method.plan_epoch(0, unasked).estimate is None


def test_a_resumed_method_weighs_as_one_never_stopped():
    """The released state leaves out the match probability and its mean."""
    method, _ = with_evidence()
    method.plan_epoch(1, unasked)
    other = GSC(GSCOptions(), [Towers()], 200, B)
    other.load_state_dict(method.state_dict())
    for each in (method, other):
        each.plan_epoch(2, unasked)
    assert torch.equal(method.state["weight"], other.state["weight"])
    assert other.epoch == 2


class Normed(Towers):
    """Its score passes a batch norm, as the gates of SAF do."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def score(self, images, texts):
        found = super().score(images, texts)
        return self.norm(found.reshape(-1, 1)).view_as(found)


def test_batch_norms_see_scores_of_images_with_captions_alone():
    method = GSC(GSCOptions(), [Normed()], N, B)
    alone = Normed()
    alone.load_state_dict(method.matchers[0].state_dict())
    method.matchers[0].train()
    batch = batch_of(range(B))
    method.training_step({"all": batch})
    alone.train()(batch.images, batch.texts)
    assert torch.equal(alone.norm.running_mean, method.matchers[0].norm.running_mean)
    assert int(method.matchers[0].norm.num_batches_tracked) == 1
    assert method.matchers[0].norm.training


@pytest.mark.parametrize("images", [[3] * B, [0], [0, 1], [0, 0, 1]])
def test_small_batches_and_batches_of_one_image(images):
    for released in (False, True):
        method = build(released=released)
        result = method.training_step({"all": batch_of(range(len(images)), images)})
        result.loss.backward()
        assert result.loss.isfinite()
        assert all(p.grad.isfinite().all() for p in method.matchers[0].parameters())
