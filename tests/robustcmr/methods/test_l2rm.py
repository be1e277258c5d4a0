"""L2RM as released: its plans, and every step's loss by hand."""

import math

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.correction import dummy_point_plan, rematch
from robustcmr.errors import ConfigError
from robustcmr.jobs.train import train
from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.methods.l2rm import L2RM
from robustcmr.methods.l2rm_options import L2RMOptions
from robustcmr.selection import batch_hinge, divide_by_mixture
from robustcmr.training.batches import step_ids
from robustcmr.training.optimiser import build_optimiser
from robustcmr.types import Division
from tests.robustcmr.methods.one_matcher import B, N, Towers, batch_of


def build(epoch=9, **options):
    """A method in the midst of training."""
    method = L2RM(L2RMOptions(**options), [Towers()], N, B)
    method.load_state_dict({"epoch": epoch})
    return method


def approximately(value):
    return pytest.approx(value, rel=2e-4, abs=2e-5)


def test_shares_of_synthetic_matches_must_be_a_range():
    with pytest.raises(ConfigError) as caught:
        resolve({"method": {"name": "l2rm", "synthetic_least": 0.2, "synthetic_most": 0.1}})
    assert str(caught.value) == (
        "method: synthetic_least is 0.2 but synthetic_most is 0.1; expected synthetic_least to be no larger"
    )
    assert L2RMOptions(synthetic_least=0.1, synthetic_most=0.1).synthetic_least == 0.1


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"mass": 0}, "a number in (0, 1]"),
        ({"mass": 1.1}, "a number in (0, 1]"),
        ({"epsilon": 0}, "a number above 0"),
        ({"cost_lr": 0}, "a number above 0"),
        ({"synthetic_least": 0}, "a number in (0, 1]"),
        ({"solver": "sinkhorn"}, "entropic or exact"),
    ],
    ids=str,
)
def test_options_out_of_range(bad, expected):
    ((key, value),) = bad.items()
    with pytest.raises(ConfigError) as caught:
        resolve({"method": {"name": "l2rm", **bad}})
    assert str(caught.value).startswith(f"method.{key}: got {value!r}, expected {expected}")


def slow_hinge(S, same, i, margin):
    others = [j for j in range(len(S)) if j != i and not same[i][j]]
    hardest_caption = max((margin - S[i][i] + S[i][j] for j in others), default=0.0)
    hardest_image = max((margin - S[i][i] + S[j][i] for j in others), default=0.0)
    return max(hardest_caption, 0.0) + max(hardest_image, 0.0)


def test_the_defaults_are_the_released_recipe():
    found = L2RMOptions()
    assert (found.warmup_epochs, found.mass, found.epsilon, found.cost_lr) == (5, 0.1, 0.01, 2e-6)
    assert (found.margin, found.temperature, found.evidence_margin) == (0.2, 0.05, 0.2)
    assert (found.mixture, found.threshold, found.solver) == ("beta", 0.5, "entropic")
    assert (found.synthetic_least, found.synthetic_most) == (0.01, 0.1)
    with pytest.raises(ValueError, match=r"synthetic_least is 0\.2 but synthetic_most is 0\.1"):
        L2RMOptions(synthetic_least=0.2)


def test_warm_up():
    batch = batch_of(range(B), [0, 0, 2, 3, 4, 5])
    method = build(epoch=4, temperature=0.1)
    result = method.training_step({"all": batch})
    scores = method.matcher(batch.images, batch.texts)
    torch.testing.assert_close(result.loss, robust_cross_entropy_loss(scores, 0.1).mean())
    assert result.metrics.keys() == {"warmup_loss"}
    assert result.rematch is None


def test_the_released_step_by_hand():
    """Hardest hinges of the clean batch, summed, and symmetric KL to even targets of the noisy one."""
    method = build()
    clean = batch_of(range(B), [0, 0, 2, 3, 4, 5])  # captions of one image are negatives of each other
    noisy = batch_of(range(B, 2 * B))
    result = method.training_step({"clean": clean, "noisy": noisy})
    S = method.matcher(clean.images, clean.texts).double().tolist()
    none = [[False] * B] * B
    hinges = sum(slow_hinge(S, none, i, 0.2) for i in range(B))
    assert hinges != pytest.approx(sum(slow_hinge(S, clean.same_image.tolist(), i, 0.2) for i in range(B)))
    scores = method.matcher(noisy.images, noisy.texts).detach()
    off = ~torch.eye(B, dtype=torch.bool)
    plan = dummy_point_plan((1 - scores).clamp(min=1e-10), off, 0.1, 0.01).plan
    torch.testing.assert_close(result.rematch.plan, plan)
    assert 0.08 < float(plan.sum()) < 0.11
    S, plan = scores.double().numpy(), result.rematch.plan.double().numpy()
    total = 0.0
    for matrix, moved in ((S, plan), (S.T, plan.T)):  # images, then captions
        for i in range(B):
            others = [j for j in range(B) if j != i]
            target = moved[i, others] * B + 1e-6 / len(others)
            target = target / target.sum() + 1e-7
            target /= target.sum()
            p = np.exp(matrix[i, others] / 0.05 - np.logaddexp.reduce(matrix[i, others] / 0.05))
            total += ((target - p) * (np.log(target) - np.log(p))).sum() / B
    assert float(result.metrics["clean_loss"]) == approximately(hinges)
    assert float(result.metrics["rematch_loss"]) == approximately(total / 2)
    planted = float(result.metrics["cost_loss"])  # costs 1 - score of some given pairs of the clean batch
    pairs = 1 - method.matcher(clean.images, clean.texts).detach().diagonal()
    assert min(abs(float(pairs[i]) - planted) for i in range(B)) < 1e-6  # 10% of 6: one
    assert result.loss.item() == approximately(hinges + total / 2 + planted)
    result.loss.backward()
    assert method.cost.layer.weight.grad.any()


def test_the_released_step_leaves_short_batches_without_targets():
    method = build()
    result = method.training_step({"clean": batch_of(range(4)), "noisy": batch_of(range(B, 2 * B - 1))})
    assert result.rematch is None
    assert "rematch_loss" not in result.metrics
    assert result.metrics["cost_loss"] == 0


@pytest.mark.parametrize("mass", [0.1, 0.5])
def test_the_exact_solver(mass):
    method, noisy = build(solver="exact", mass=mass), batch_of(range(B, 2 * B))
    found = method.training_step({"noisy": noisy}).rematch
    cost = (1 - found.scores).clamp(min=1e-10)
    expected = rematch(cost, ~torch.eye(B, dtype=torch.bool), mass, solver="exact").plan
    torch.testing.assert_close(found.plan, expected)
    assert float(found.plan.sum()) == pytest.approx(mass, abs=1e-6)


def test_no_gradient_goes_through_the_scores_that_evaluate_pairs():
    method = build()
    seen, own = [], method._cost_loss

    def cost_loss(network, steady, batch, clean):
        seen.append(steady)
        return own(network, steady, batch, clean)

    method._cost_loss = cost_loss
    result = method.training_step({"clean": batch_of(range(B)), "noisy": batch_of(range(B, 2 * B))})
    assert not result.rematch.scores.requires_grad
    assert [steady.requires_grad for steady in seen] == [False, False]


def test_without_rematching_there_is_no_cost_network():
    method = build(rematch_weight=0)
    result = method.training_step({"clean": batch_of(range(B)), "noisy": batch_of(range(B, 2 * B))})
    assert result.metrics.keys() == {"clean_loss"}
    assert method.auxiliary == {}
    assert len(method.parameter_groups()) == 1
    result.loss.backward()


class FakeScorer:
    """Answers with given evidence, and notes what was asked of whom."""

    def __init__(self, values):
        self.values = values
        self.asked = []

    def __call__(self, evidence, matcher):
        self.asked.append((evidence, matcher))
        return np.asarray(self.values, dtype=np.float32)


def unasked(evidence, matcher):
    raise AssertionError("warming up needs no evidence")


def hinges(n, suspected):
    rng = np.random.default_rng(0)
    return rng.normal(np.where(np.isin(np.arange(n), suspected), 0.7, 0.1), 0.02).clip(0)


def planner(n=200, **options):
    return L2RM(L2RMOptions(**options), [Towers()], n, 16)


@pytest.mark.parametrize("mixture", ["beta", "gaussian"])
def test_after_the_warm_up_the_pairs_are_divided(mixture):
    method, suspected = planner(warmup_epochs=2, mixture=mixture), np.arange(1, 200, 4)
    for epoch in (0, 1):
        plan = method.plan_epoch(epoch, unasked)
        assert {name: ids.tolist() for name, ids in plan.groups.items()} == {"all": list(range(200))}
        assert plan.estimate is None
    scorer = FakeScorer(hinges(200, suspected))
    plan = method.plan_epoch(2, scorer)
    assert plan.groups["noisy"].tolist() == suspected.tolist()
    assert plan.groups["clean"].tolist() == [i for i in range(200) if i % 4 != 1]
    assert plan.metrics == {"suspected": 0.25, "noise_rate": pytest.approx(0.25, abs=0.02)}
    alone = divide_by_mixture(np.float32(scorer.values), mixture, always=True)
    np.testing.assert_array_equal(plan.estimate.clean_probability, alone.clean_probability)


def test_the_evidence_is_the_hinge_under_the_matcher():
    method, scorer = planner(evidence_margin=0.4), FakeScorer(hinges(200, [1, 5]))
    method.estimate(scorer)
    ((asked, scoring),) = scorer.asked
    assert scoring is method.matcher
    batch = batch_of(range(B), [0, 1, 1, 3, 4, 5])
    scores = torch.randn(B, B, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(asked(scores, batch), batch_hinge(scores, 0.4, batch.same_image))


def test_it_divides_even_where_one_group_is_more_likely_and_uses_the_threshold():
    values = np.random.default_rng(0).normal([0.4, 0.6], 0.1, (100, 2)).ravel().clip(0)  # hard to tell apart
    assert divide_by_mixture(values, "gaussian").is_clean.all()
    few, many = (
        (~planner(mixture="gaussian", threshold=t).estimate(FakeScorer(values)).is_clean).sum()
        for t in (0.1, 0.9)
    )
    assert 0 < few < many


def test_everything_suspected(monkeypatch):
    none = np.zeros(N)
    all_bad = Division(none + 1e-4, 0.5, none > 1, none, True, "", 0.99, (0.9, 1.0))
    method = planner(N)
    monkeypatch.setattr(method, "estimate", lambda scorer: all_bad)
    plan = method.plan_epoch(9, unasked)
    for step in step_ids(plan, 16, 0, 9):
        assert list(step) == ["noisy"]
        result = method.training_step({name: batch_of(ids) for name, ids in step.items()})
        assert result.rematch.plan.shape == (16, 16)
        result.loss.backward()
        assert method.matcher.word.weight.grad.any()
        assert method.matcher.word.weight.grad.isfinite().all()


def test_a_step_of_a_short_suspected_batch_alone_has_a_gradient_of_zero():
    method = build()
    method.training_step({"noisy": batch_of(range(B, 2 * B - 1))}).loss.backward()
    assert not method.matcher.word.weight.grad.any()


def test_parameter_groups():
    method = build(cost_lr=0.007)
    settings = resolve({"optim": {"lr": 0.002, "weight_decay": 0.3}}).settings.optim
    matcher, cost = build_optimiser(method.parameter_groups(), settings).param_groups
    assert [id(p) for p in matcher["params"]] == [id(p) for p in method.matcher.parameters()]
    assert [id(p) for p in cost["params"]] == [id(p) for p in method.cost.parameters()]
    assert (cost["base_lr"], cost["weight_decay"]) == (0.007, 0.0)


def test_next_to_nothing_but_noise(tiny_tree, make_folder, tmp_path):
    root = make_folder(tmp_path / "more", {"train": 60, "dev": 12, "test": 10})
    tree = {**tiny_tree, "data": {"name": "precomp", "root": str(root)}, "noise": {"ratio": 0.9}}
    tree["training"] = {**tiny_tree["training"], "epochs": 4, "batch_size": 32}
    tree["method"] = {"name": "l2rm", "warmup_epochs": 2, "mixture": "gaussian", "epsilon": 0.05}
    rows = train(resolve(tree), tmp_path / "run").read_metrics()
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert all("rematch" in row for row in rows[2:])
