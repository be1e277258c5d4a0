"""Co-training: who divides for whom, which groups take part, and what a restart needs."""

import numpy as np
import pytest
import torch

from robustcmr.methods.peers import (
    PeerMethod,
    PeerOptions,
    mean_division,
    steady_encoding,
    steady_scores,
)
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import gaussian_as_released
from robustcmr.testing import check_method
from robustcmr.testing.samples import SamplePairs
from robustcmr.types import Division

PAIRS = SamplePairs()
N = len(PAIRS)


class Simple(PeerMethod):
    """Learns scores of given pairs, and notes what it was asked for."""

    Config = PeerOptions
    late = 0

    def __init__(self, *args):
        super().__init__(*args)
        self.learnt = []

    def evidence(self, scores, batch):
        return -scores.diagonal()

    def warmup_loss(self, scores, batch):
        return -scores.diagonal().mean()

    def first_epoch(self, group):
        return self.late if group == "noisy" else super().first_epoch(group)

    def learn(self, own, group, batch):
        self.learnt.append((own, group, batch.pair_ids.tolist()))
        scores = self.matchers[own](batch.images, batch.texts)
        return {f"{group}_loss": -(self.peer_probability(own, batch) * scores.diagonal()).mean()}


class Late(Simple):
    late = 3


def build(cls=Simple, **options):
    return cls(PeerOptions(**options), [PAIRS.matcher().eval() for _ in range(2)], N, 16)  # no dropout


def batch(ids):
    return PAIRS.batch(np.asarray(ids, dtype=np.int64))


class Scorer:
    """Answers with other evidence for each matcher: it suspects the pairs named for it."""

    def __init__(self, method, *suspected):
        self.method, self.suspected = method, suspected

    def __call__(self, evidence, matcher):
        k = self.method.matchers.index(matcher)
        rng = np.random.default_rng(k)
        centre = np.where(np.isin(np.arange(N), self.suspected[k]), 0.8, 0.1)
        return rng.normal(centre, 0.03).astype(np.float32)


FIRST, SECOND = np.arange(0, 20), np.arange(50, 90)  # suspected by matcher 0, and by matcher 1


def test_warm_up_takes_all_pairs_without_a_division():
    method = build(warmup_epochs=2)
    for epoch in (0, 1):
        plan = method.plan_epoch(epoch, lambda *_: pytest.fail("warming up needs no evidence"))
        assert {name: ids.tolist() for name, ids in plan.groups.items()} == {"all": list(range(N))}
        result = method.training_step({"all": batch(range(8))})
        both = [matcher(batch(range(8)).images, batch(range(8)).texts) for matcher in method.matchers]
        torch.testing.assert_close(result.loss, -sum(scores.diagonal().mean() for scores in both))
        assert set(result.metrics) == {"warmup_loss"}


@pytest.mark.parametrize("released", [False, True])
def test_each_matcher_learns_from_the_pairs_that_its_peer_divided(released):
    method = build(warmup_epochs=0, released=released)
    plan = method.plan_epoch(0, Scorer(method, FIRST, SECOND))
    assert plan.groups["noisy_1"].tolist() == FIRST.tolist()
    assert plan.groups["noisy_0"].tolist() == SECOND.tolist()
    assert plan.groups["clean_1"].tolist() == np.setdiff1d(np.arange(N), FIRST).tolist()
    assert plan.groups["clean_0"].tolist() == np.setdiff1d(np.arange(N), SECOND).tolist()
    assert all(ids.dtype == np.int64 for ids in plan.groups.values())


def test_the_probability_of_the_peer_is_used():
    method = build(warmup_epochs=0)
    method.plan_epoch(0, Scorer(method, FIRST, SECOND))
    for own, doubted_by_the_peer, doubted_by_itself in ((0, SECOND, FIRST), (1, FIRST, SECOND)):
        assert method.peer_probability(own, batch(doubted_by_the_peer)).max() < 0.5
        assert method.peer_probability(own, batch(doubted_by_itself)).min() > 0.5


def test_the_mixture_follows_released():
    values = np.random.default_rng(0).normal([0.3, 0.6], 0.12, (N // 2, 2)).ravel()
    for released, expected in (
        (False, divide_by_mixture(values, "gaussian", 0.4, always=True)),
        (True, gaussian_as_released(values, 0.4)),
    ):
        found = build(released=released, threshold=0.4).divided(values)
        np.testing.assert_array_equal(found.clean_probability, expected.clean_probability)
        np.testing.assert_array_equal(found.is_clean, expected.is_clean)


def test_a_step_adds_up_the_batches_of_both_matchers():
    method = build(warmup_epochs=0)
    plan = method.plan_epoch(0, Scorer(method, FIRST, SECOND))
    batches = {name: batch(ids[:5]) for name, ids in plan.groups.items()}
    result = method.training_step(batches)
    assert method.learnt == [
        (int(name[-1]), name[:-2], ids[:5].tolist()) for name, ids in plan.groups.items()
    ]
    parts = [
        -(method.peer_probability(own, b) * method.matchers[own](b.images, b.texts).diagonal()).mean()
        for own, b in ((int(name[-1]), b) for name, b in batches.items())
    ]
    torch.testing.assert_close(result.loss, sum(parts))
    torch.testing.assert_close(
        result.metrics["clean_loss"] + result.metrics["noisy_loss"], result.loss.detach()
    )


def test_no_weight_of_one_matcher_learns_from_the_batches_of_the_other():
    method = build(warmup_epochs=0)
    plan = method.plan_epoch(0, Scorer(method, FIRST, SECOND))
    method.training_step({"clean_0": batch(plan.groups["clean_0"][:6])}).loss.backward()
    assert all(p.grad is not None for p in method.matchers[0].parameters())
    assert all(p.grad is None for p in method.matchers[1].parameters())


def test_a_group_joins_at_its_first_epoch():
    method = build(Late, warmup_epochs=1)
    for epoch, expected in (
        (1, {"clean_0", "clean_1"}),
        (2, {"clean_0", "clean_1"}),
        (3, {"clean_0", "clean_1", "noisy_0", "noisy_1"}),
    ):
        plan = method.plan_epoch(epoch, Scorer(method, FIRST, SECOND))
        assert set(plan.groups) == expected
        assert plan.metrics["suspected"] > 0  # by both, whether or not they take part


def test_where_only_a_later_group_has_pairs_it_takes_part(monkeypatch):
    none = np.zeros(N)
    all_bad = Division(none + 1e-4, 0.5, none > 1, none, True, "", 0.99, None)
    method = build(Late, warmup_epochs=0)
    monkeypatch.setattr(method, "divided", lambda evidence: all_bad)
    plan = method.plan_epoch(0, Scorer(method, FIRST, SECOND))
    assert [len(plan.groups[name]) for name in ("clean_0", "noisy_0", "clean_1", "noisy_1")] == [0, N, 0, N]


def test_the_estimate_is_the_mean_of_both():
    method = build(warmup_epochs=0)
    scorer = Scorer(method, FIRST, SECOND)
    parts = [method.divided(scorer(method.evidence, matcher)) for matcher in method.matchers]
    found, planned = method.estimate(scorer), method.plan_epoch(0, scorer).estimate
    for each in (found, planned):
        np.testing.assert_allclose(
            each.clean_probability, (parts[0].clean_probability + parts[1].clean_probability) / 2
        )
        assert each.noise_rate == pytest.approx((parts[0].noise_rate + parts[1].noise_rate) / 2)
        np.testing.assert_array_equal(each.is_clean, each.clean_probability > 0.5)
    assert planned.noise_interval is None


def test_the_mean_has_no_noise_rate_unless_all_have_one():
    values, clean = np.zeros(3), np.array([0.2, 0.9, 1.0])
    one = Division(clean, 0.5, clean > 0.5, values, True, "one", 0.3, (0.2, 0.4))
    other = Division(np.ones(3), 0.5, values == 0, values, False, "other", None, None)
    found = mean_division([one, other], 0.5)
    assert (found.noise_rate, found.bimodal, found.reason) == (None, False, "one | other")
    assert mean_division([one, one], 0.5).reason == "one"


def test_state_survives_saving():
    method = build(warmup_epochs=0)
    method.plan_epoch(4, Scorer(method, FIRST, SECOND))
    other = build(warmup_epochs=0)
    other.load_state_dict(method.state_dict())
    assert other.epoch == 4
    for own in (0, 1):
        everything = batch(range(N))
        assert torch.equal(other.peer_probability(own, everything), method.peer_probability(own, everything))
    assert other.peer_probability(0, batch(SECOND)).max() < 0.5


def test_steady_scores_are_those_of_evaluation_without_gradient():
    matcher, some = PAIRS.matcher(), batch(range(6))
    inner = next(matcher.children())
    matcher.train()
    inner.eval()
    scores = steady_scores(matcher, some)
    assert not scores.requires_grad
    assert matcher.training
    assert not inner.training
    again, images, texts = steady_encoding(matcher, some)
    assert torch.equal(scores, again)
    for vectors in (images, texts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
        assert not vectors.requires_grad
    assert matcher.training
    assert not inner.training


@pytest.mark.parametrize("cls", [Simple, Late])
def test_it_keeps_the_contract(cls):
    report = check_method(cls, {"warmup_epochs": 1}, epochs=4)
    assert {"resuming", "repeatability", "estimates", "same_image", "small_batches"} <= set(report.passed)
