"""CREAM: its three groups, and every loss by a loop over Python numbers."""

import math

import numpy as np
import pytest
import torch

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.methods.cream import Cream, CreamOptions
from robustcmr.testing import METHOD_CHECKS, check_method
from tests.robustcmr.methods.small_peers import (
    B,
    HalfTowers,
    N,
    PeerScorer,
    Towers,
    batch_of,
    evidence_of,
    unasked,
)

GROUPS = ("clean", "hard", "noisy")
IMAGES = [0, 0, 2, 3, 4, 5]  # two captions of one image


def build(epoch=9, towers=Towers, **options):
    """A method in the midst of training, whose matchers hold different probabilities of each pair."""
    method = Cream(CreamOptions(**options), [towers(0), towers(1)], N, B)
    chance = torch.Generator().manual_seed(2)
    for own in (0, 1):
        method.state[f"clean_{own}"] = torch.rand(N, generator=chance)
    method.state["calls"] = torch.ones(N)
    method.epoch = epoch
    return method


def softmax(values):
    top = max(values)
    exps = [math.exp(v - top) for v in values]
    return [e / sum(exps) for e in exps]


def slow_match(S, same, tau):
    """Match probabilities of the pairs of a batch."""
    n, found = len(S), []
    for i in range(n):
        kept = [j for j in range(n) if j == i or not same[i][j]]
        p = softmax([S[i][j] / tau for j in kept])[kept.index(i)]
        q = softmax([S[j][i] / tau for j in kept])[kept.index(i)]
        found.append((p + q) / 2)
    return found


def slow_loss(S, y, same, tau, least=0.0):
    """Mean cross entropy of both directions to targets that spread 1 - y by score."""
    n, total = len(S), 0.0
    for matrix in (S, [list(column) for column in zip(*S, strict=True)]):
        for i in range(n):
            others = [j for j in range(n) if j != i and not same[i][j]]
            kept = [i, *others]
            p = softmax([matrix[i][j] / tau for j in kept])
            positive = [max(0.0, matrix[i][j]) for j in others]
            parts = [
                (1 - y[i]) * v / sum(positive) if sum(positive) else (1 - y[i]) / len(others)
                for v in positive
            ]
            target = [y[i], *(part if part >= least else 0.0 for part in parts)]
            total -= sum(t * math.log(x) for t, x in zip(target, p, strict=True))
    return total / n


def slow_confidence(method, own, group, batch, same):
    tau = method.config.temperature
    S, other = (
        m(batch.images, batch.texts).double().tolist()
        for m in (method.matchers[own], method.matchers[1 - own])
    )
    m, peer_m = slow_match(S, same, tau), slow_match(other, same, tau)
    y = []
    for i, pair in enumerate(batch.pair_ids.tolist()):
        p_own, p_peer = (float(method.state[f"clean_{k}"][pair]) for k in (own, 1 - own))
        if group == "noisy":
            y.append((m[i] + peer_m[i]) / 2)
        else:
            p = p_peer if group == "clean" else (p_own + p_peer) / 2
            y.append(p + (1 - p) * m[i])
    return S, y


def approximately(value):
    return pytest.approx(value, rel=2e-4)


def test_the_defaults():
    found = CreamOptions()
    assert (found.warmup_epochs, found.hard_epoch, found.noisy_epoch) == (2, 3, 5)
    assert (found.temperature, found.threshold, found.released, found.mining) == (0.07, 0.5, False, True)


def test_warm_up():
    method, batch = build(epoch=1), batch_of(range(B), IMAGES)
    result = method.training_step({"all": batch})
    losses = [
        2 * infonce_loss(m(batch.images, batch.texts), 0.07, batch.same_image).mean() for m in method.matchers
    ]
    torch.testing.assert_close(result.loss, losses[0] + losses[1])


@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("group", GROUPS)
def test_a_step_by_hand(own, group):
    method, batch = build(mining=False), batch_of(range(B), IMAGES)
    result = method.training_step({f"{group}_{own}": batch})
    same = batch.same_image.tolist()
    S, y = slow_confidence(method, own, group, batch, same)
    assert result.loss.item() == approximately(slow_loss(S, y, same, 0.07))
    assert result.metrics.keys() == {f"{group}_loss"}


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("group", GROUPS)
def test_mining_by_hand_leaves_weighted_cross_entropy(group, released):
    method, batch = build(released=released), batch_of(range(B), IMAGES)
    result = method.training_step({f"{group}_0": batch})
    mask = torch.eye(B).bool() if released else batch.same_image  # released: the same image is a negative
    same = mask.tolist()
    S, y = slow_confidence(method, 0, group, batch, same)
    for pair, expected in enumerate(y):
        assert float(method.state["confidence_0"][pair]) == approximately(expected)
    assert (method.state["confidence_1"] == 1).all()
    least = float(method.state["confidence_0"].mean())
    assert result.loss.item() == approximately(slow_loss(S, y, same, 0.07, least))
    weighted = (torch.tensor(y) * 2 * infonce_loss(torch.tensor(S), 0.07, mask)).mean()
    if group != "noisy":  # of these, one has a single other of positive score, which gets nearly everything
        assert result.loss.item() == approximately(float(weighted))


def test_mining_keeps_all_parts_where_nearly_all_pairs_are_clean():
    batch, losses = batch_of(range(B)), {}
    for clean in (20, 21):  # of 24: 83.3 and 87.5%
        method = build()
        method.state["calls"] = torch.tensor([2.0] * clean + [0.0] * (N - clean))
        for group in GROUPS:
            losses[clean, group] = method.training_step({f"{group}_0": batch}).loss.item()
    for group in GROUPS:
        kept = build(mining=False).training_step({f"{group}_0": batch}).loss.item()
        assert losses[20, group] != pytest.approx(kept)
        assert (losses[21, group] == approximately(kept)) == (group != "noisy")


def test_mining_drops_all_parts_of_clean_pairs_at_first():
    batch = batch_of(range(B))
    for epoch, dropped in ((2, True), (3, False)):
        method = build(epoch)
        for own in (0, 1):
            method.state[f"confidence_{own}"] = torch.zeros(N)  # a mean so low that all parts stay later
            method.state[f"clean_{own}"] = torch.full((N,), 0.01)
        found = method.training_step({"clean_0": batch}).loss.item()
        plain = build(epoch, mining=False)
        plain.state["clean_1"] = torch.full((N,), 0.01)
        assert (found == approximately(plain.training_step({"clean_0": batch}).loss.item())) != dropped


def test_targets_are_those_of_evaluation_mode_without_gradient():
    method, batch = build(towers=lambda seed: Towers(seed, dropout=0.5)), batch_of(range(B))
    steady = [m.eval()(batch.images, batch.texts) for m in method.matchers]
    for matcher in method.matchers:
        matcher.train()
    seen = []
    method._least = lambda own, group, batch, confidence: seen.append(confidence) or 0.0
    for group in GROUPS:
        method.training_step({f"{group}_0": batch})
    m, peer_m = (slow_match(s.tolist(), torch.eye(B).bool().tolist(), 0.07) for s in steady)
    assert seen[2].tolist() == pytest.approx([(a + b) / 2 for a, b in zip(m, peer_m, strict=True)], rel=1e-3)
    assert not any(confidence.requires_grad for confidence in seen)
    assert all(module.training for matcher in method.matchers for module in matcher.modules())


def test_groups_and_when_they_join():
    n = 200
    method = Cream(CreamOptions(), [Towers(0), Towers(1)], n, 16)
    first, second = np.arange(0, 80), np.arange(40, 120)
    scorer = PeerScorer(method, evidence_of(n, first), evidence_of(n, second))
    expected = {"clean": np.arange(120, n), "hard": np.r_[0:40, 80:120], "noisy": np.arange(40, 80)}
    assert list(method.plan_epoch(1, unasked).groups) == ["all"]
    for epoch, joined in ((2, ["clean"]), (3, ["clean", "hard"]), (4, ["clean", "hard"]), (5, list(GROUPS))):
        groups = method.plan_epoch(epoch, scorer).groups
        assert sorted(groups) == sorted(f"{name}_{own}" for name in joined for own in (0, 1))
        for name, members in groups.items():
            assert members.tolist() == expected[name[:-2]].tolist()
    assert torch.bincount(method.state["calls"].long()).tolist() == [40, 80, 80]
    batch, scores = batch_of(range(B), IMAGES), torch.randn(B, B, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        scorer.asked[0](scores, batch), 2 * infonce_loss(scores, 0.07, batch.same_image)
    )


@pytest.mark.parametrize("released", [False, True])
def test_the_state_survives(released):
    method = build(released=released)
    batches = {f"{group}_{own}": batch_of(range(B)) for group in GROUPS for own in (0, 1)}
    method.training_step(batches)
    again = Cream(method.config, method.matchers, N, B)
    again.load_state_dict(method.state_dict())
    assert again.epoch == 9
    assert torch.equal(again.training_step(batches).loss, method.training_step(batches).loss)
    for name, column in method.state.state_dict().items():
        assert torch.equal(again.state[name], column)


@pytest.mark.parametrize("towers", [Towers, HalfTowers])
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("n", "one_image"), [(1, False), (2, False), (3, False), (3, True)])
def test_finite_for_small_batches(n, one_image, released, towers):
    method, batch = (
        build(towers=towers, released=released),
        batch_of(range(n), [0] * n if one_image else None),
    )
    result = method.training_step({f"{group}_{own}": batch for group in GROUPS for own in (0, 1)})
    result.loss.backward()
    assert result.loss.isfinite()
    assert result.loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for matcher in method.matchers for p in matcher.parameters())


@pytest.mark.parametrize("released", [False, True])
def test_conforms_after_the_warm_up(released):
    options = {"warmup_epochs": 1, "hard_epoch": 1, "noisy_epoch": 2, "released": released}
    passed = check_method("cream", options, epochs=3).passed
    assert set(METHOD_CHECKS) - set(passed) <= {"auxiliary", "rematches"}
