"""``robust``: its plans, and every step's loss against plain loops over the score matrix."""

import io
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train
from robustcmr.methods import robust
from robustcmr.methods.robust import Robust
from robustcmr.methods.robust_options import RobustOptions
from robustcmr.selection import (
    batch_cross_entropy,
    divide_before_training,
    divide_by_both,
    divide_by_reference,
    rare_words,
)
from robustcmr.training.batches import step_ids
from robustcmr.training.optimiser import build_optimiser
from robustcmr.types import Division, PairContents, PairVectors
from tests.robustcmr.methods.one_matcher import B, N, Towers, batch_of

# what the tests below count on, whatever the defaults
SURE = {
    "warmup_epochs": 4,
    "teacher_decay": 0.99,
    "divide_first": False,
    "divide_every": 1,
    "groups": "mixed",
    "rematch_weight": 1.0,
    "least_findable": 0.0,
}


def configure(**options):
    return RobustOptions(**{**SURE, **options})


def build(probability=None, epoch=9, batch_size=B, **options):
    """A method in the midst of training: its matcher has moved away from its teacher."""
    method = Robust(configure(**options), [Towers()], N, batch_size)
    with torch.no_grad():
        for weights in method.matcher.parameters():
            weights += 0.5 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(7))
    probability = torch.ones(N) if probability is None else torch.as_tensor(probability)
    warming_up = epoch < method.config.warmup_epochs
    state = {"epoch": epoch, "warming_up": warming_up, "clean_probability": probability}
    state["image_from"] = torch.arange(N) if method.config.rematch_weight > 0 else None
    method.load_state_dict({**method.state_dict(), **state, "is_clean": probability > 0.5})
    return method


def probabilities(suspected):
    """(N,) high for all pairs but some."""
    found = torch.linspace(0.6, 0.99, N)
    found[list(suspected)] = torch.linspace(0.05, 0.45, max(len(suspected), 1))[: len(suspected)]
    return found


# The same in plain loops. S is a list of rows, same[i][j] says whether two pairs share an image.


def log_softmax(values):
    """Of a mapping from place to logit; each place's log probability."""
    top = max(values.values(), default=0.0)
    total = math.log(sum(math.exp(v - top) for v in values.values())) + top if values else 0.0
    return {place: v - total for place, v in values.items()}


def log_probabilities(S, same, tau):
    """Log probabilities of image i picking caption j, and of caption i picking image j."""
    n = range(len(S))
    rows = [log_softmax({j: S[i][j] / tau for j in n if i == j or not same[i][j]}) for i in n]
    columns = [log_softmax({j: S[j][i] / tau for j in n if i == j or not same[j][i]}) for i in n]
    return rows, columns


def slow_losses(S, same, options):
    """Cross entropy plus its reverse of each pair, mean of both directions."""
    floor, found = options.reverse_floor, []
    for i, directions in enumerate(zip(*log_probabilities(S, same, options.temperature), strict=True)):
        forward = -sum(picked[i] for picked in directions)
        reverse = -sum(
            math.exp(log_p) * math.log((i == j) + floor) for each in directions for j, log_p in each.items()
        )
        found.append(0.5 * (forward + reverse))
    return found


def slow_step(method, batch, as_given=True):
    """Clean and rematching loss of one batch after its step."""
    options = method.config
    ids, same = batch.pair_ids.tolist(), batch.same_image.tolist()
    S = method.matcher(batch.images, batch.texts).double().tolist()
    weights = [method.clean_probability[i].item() for i in ids]
    losses = slow_losses(S, same, options)
    rematches = options.rematch_weight > 0
    given = total = rematched = 0.0
    for w, loss in zip(weights, losses, strict=True):
        if rematches and w <= options.threshold:
            rematched += (1 - w) * loss
        elif as_given:
            given, total = given + w * loss, total + w
    found = {"clean_loss": given / max(total, 1e-3)}
    if rematches:
        found["rematch_loss"] = options.rematch_weight * rematched / len(ids)
    return found


def approximately(found):
    return pytest.approx(found, rel=2e-4, abs=2e-5)


MIXED = [
    {},
    {"temperature": 0.2, "rematch_weight": 0.3, "reverse_floor": 1e-7},
    {"teacher_decay": None},
    {"threshold": 0.8, "rematch_weight": 0},
]


@pytest.mark.parametrize("options", MIXED, ids=lambda options: " ".join(options) or "defaults")
@pytest.mark.parametrize("images", [None, [3, 1, 1, 5, 8, 5]], ids=["own images", "shared images"])
def test_a_mixed_step_is_what_plain_loops_say(options, images):
    method = build(probabilities({1, 3, 8}), **options)
    batch = batch_of([3, 1, 7, 5, 8, 9], images)
    result = method.training_step({"all": batch})
    expected = slow_step(method, batch)
    assert {name: float(value) for name, value in result.metrics.items()} == approximately(expected)
    assert result.loss.item() == approximately(sum(expected.values()))
    assert not any(torch.as_tensor(value).requires_grad for value in result.metrics.values())


COMBINATIONS = [
    dict(zip(("groups", "rematch_weight", "teacher_decay"), values, strict=True))
    for values in itertools.product(("mixed", "split"), (1.0, 0.0), (0.99, None))
]


def cases(groups):
    """Batches by group and who is suspected: none, one, two, few, all; with shared images; tiny ones."""
    if groups == "mixed":
        for ids, suspected in [
            (range(B), ()),
            (range(B), (2,)),
            (range(B), (2, 4)),
            (range(B), range(1, 5)),
            (range(B), range(B)),
            (range(2), (0,)),
            (range(2), (0, 1)),
        ]:
            yield {"all": batch_of(list(ids))}, suspected
            yield {"all": batch_of(list(ids), [i // 2 for i in ids])}, suspected
    else:
        clean, noisy = list(range(B)), list(range(B, 2 * B))
        shared = [i // 3 for i in range(B)]
        for name, ids in (("clean", clean), ("noisy", noisy)):  # the other group is empty
            yield {name: batch_of(ids)}, noisy
        for size in (1, 2, B):  # the smaller group may hold less than a batch
            yield {"clean": batch_of(clean), "noisy": batch_of(noisy[:size])}, noisy
            yield {"clean": batch_of(clean[:size]), "noisy": batch_of(noisy, shared)}, noisy


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_every_step_is_finite_and_teaches(options):
    taught = 0
    for batches, suspected in cases(options["groups"]):
        method = build(probabilities(suspected), **options)
        result = method.training_step(batches)
        assert result.loss.shape == ()
        assert math.isfinite(result.loss.item())
        result.loss.backward()
        gradients = [p.grad for p in method.matcher.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        suspects_teach = options["rematch_weight"] > 0
        telling = [b for name, b in batches.items() if name != "noisy" or suspects_teach]
        if any(not batch.same_image.all() for batch in telling):
            assert all(g.any() for g in gradients)
            taught += 1
    assert taught >= 5


def test_a_split_step_adds_up_both_batches():
    method = build(probabilities(range(B, N)), groups="split")
    batches = {"clean": batch_of(range(B)), "noisy": batch_of([7, 9, 8, 20])}
    result = method.training_step(batches)
    parts = [slow_step(method, batch, name == "clean") for name, batch in batches.items()]
    assert parts[1]["clean_loss"] == 0  # suspected pairs teach by other images alone
    expected = {name: parts[0].get(name, 0.0) + part for name, part in parts[1].items()}
    losses = {name: float(value) for name, value in result.metrics.items()}
    assert losses == approximately(expected)
    assert result.loss.item() == approximately(sum(expected.values()))


def test_warm_up():
    batch = batch_of(range(B), [0, 1, 1, 3, 4, 5])
    for epoch in (0, 1, 2):
        # earlier estimates have no influence
        method = build(probabilities(range(3)), epoch, temperature=0.1, reverse_floor=0.01)
        result = method.training_step({"all": batch})
        scores = method.matcher(batch.images, batch.texts).double().tolist()
        losses = slow_losses(scores, batch.same_image.tolist(), method.config)
        expected = {"warmup_loss": sum(losses) / len(losses)}
        assert {name: float(value) for name, value in result.metrics.items()} == approximately(expected)
        assert result.loss.item() == approximately(sum(expected.values()))
        assert "rematch_loss" not in result.metrics


def test_an_earlier_estimate_weighs_the_warm_up():
    method = build(epoch=0)
    given = np.linspace(0, 1, N).astype(np.float32)
    assert method.start_from(given)
    ids = [3, 20, 7, 11, 0, 23]
    batch = batch_of(ids)
    found = float(method.training_step({"all": batch}).loss.detach())
    scores = method.matcher(batch.images, batch.texts).detach().double().tolist()
    losses = slow_losses(scores, batch.same_image.tolist(), method.config)
    expected = sum(given[i] * loss for i, loss in zip(ids, losses, strict=True)) / sum(given[ids])
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_an_earlier_estimate_needs_a_warm_up():
    assert not build(warmup_epochs=0, warmup_extension=0).start_from(np.ones(N, np.float32))


def test_the_teacher_follows_at_every_step():
    method = build(epoch=0)
    batch = batch_of(range(B))
    for count in (1, 2, 3):
        if count == 3:
            method.load_state_dict({**method.state_dict(), "epoch": 9})
        before = method.teacher.matcher.region.weight.clone()
        method.training_step({"all": batch})
        kept = count / (9 + count)
        expected = kept * before + (1 - kept) * method.matcher.region.weight
        torch.testing.assert_close(method.teacher.matcher.region.weight, expected)


class FakeScorer:
    """Answers with given evidence, and notes what was asked of whom."""

    def __init__(self, values):
        self.values = values
        self.asked = []

    def __call__(self, evidence, matcher):
        self.asked.append((evidence, matcher))
        n = len(self.values)
        evidence(torch.zeros(n, n), SimpleNamespace(pair_ids=torch.arange(n), same_image=torch.eye(n) > 0))
        return np.asarray(self.values, dtype=np.float32)

    def with_vectors(self, evidence, matcher, on_disk=False):
        self.on_disk = on_disk
        n = len(self.values)
        unit = torch.nn.functional.normalize(torch.randn(n, 4, generator=torch.Generator().manual_seed(2)))
        return self(evidence, matcher), PairVectors(unit.half(), unit.half())

    def contents(self):
        return contents_of(np.zeros(len(self.values), dtype=bool))


def contents_of(wrong, telling=1.0):
    """The caption of a right pair names the topic that its image shows."""
    rng, n = np.random.default_rng(0), len(wrong)
    topic = rng.integers(5, size=n)
    shown = np.where(wrong | (rng.random(n) > telling), rng.integers(5, size=n), topic)
    features = np.eye(5)[shown] + rng.normal(0, 0.1, (n, 5))
    every = np.arange(n)
    words = rare_words(every, topic, n)
    return PairContents(words, torch.from_numpy(features).half(), every, np.roll(every, 1))


class FakeContents(FakeScorer):
    """Answers with contents of pairs some of which are wrong, and counts how often they are read."""

    def __init__(self, values, wrong, telling=1.0):
        super().__init__(values)
        self.read, self.found = 0, contents_of(wrong, telling)

    def contents(self):
        self.read += 1
        return self.found


def unasked(evidence, matcher):
    raise AssertionError("warming up needs no evidence")


def evidence(n, suspected):
    """Cross entropies in two clear groups, beside those of mismatched pairs."""
    generator = np.random.default_rng(0)
    bad = np.isin(np.arange(n), suspected)
    own = np.expm1(generator.normal(np.where(bad, 2.0, 0.3), 0.15).clip(0))
    reference = np.expm1(generator.normal(2.0, 0.15, n))
    reference[::3] = np.nan  # next to another caption of the same image
    return np.stack([own, reference], axis=1)


def by_reference(values):
    """Own evidence, and that of those mismatched pairs that are some."""
    own, reference = np.float32(values).T
    return own, reference[np.isfinite(reference)]


def planner(n=200, **options):
    return Robust(configure(**options), [Towers()], n, 16)


def test_warming_up_visits_all_pairs():
    method = planner(30, warmup_epochs=2)
    for epoch in (0, 1):
        plan = method.plan_epoch(epoch, unasked)
        assert {name: ids.tolist() for name, ids in plan.groups.items()} == {"all": list(range(30))}
        assert plan.estimate is None
        assert method.epoch == epoch


@pytest.mark.parametrize("groups", ["mixed", "split"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_then_the_pairs_are_divided(groups, warmup):
    bad = np.arange(200) % 4 == 1
    method = planner(warmup_epochs=warmup, groups=groups)
    scorer = FakeScorer(evidence(200, np.flatnonzero(bad)))
    plan = method.plan_epoch(warmup, scorer)
    assert method.epoch == warmup
    assert (plan.estimate.is_clean == ~bad).all()
    assert plan.estimate.bimodal
    assert plan.metrics["suspected"] == 0.25
    expected = {"all": np.arange(200)}
    if groups == "split":
        expected = {"clean": np.flatnonzero(~bad), "noisy": np.flatnonzero(bad)}
    assert plan.groups.keys() == expected.keys()
    for name, ids in expected.items():
        np.testing.assert_array_equal(plan.groups[name], ids)
        assert plan.groups[name].dtype == np.int64
    stored = method.state_dict()["clean_probability"]
    torch.testing.assert_close(stored.double(), torch.from_numpy(plan.estimate.clean_probability))
    assert len(scorer.asked) == 1
    alone = divide_by_reference(*by_reference(scorer.values))
    np.testing.assert_array_equal(plan.estimate.clean_probability, alone.clean_probability)


def mostly_told(n=400, share=0.5, telling=1.0):
    """A scorer whose matcher sees one group, and whether each pair is wrong."""
    wrong = np.arange(n) < share * n
    values = np.random.default_rng(1).gamma(30, 0.2, (n, 2))
    return FakeContents(values, wrong, telling), wrong


def test_a_division_before_training_is_believed_after_the_warm_up():
    scorer, wrong = mostly_told()
    options = {"warmup_epochs": 1, "warmup_extension": 5, "unclear": 0.1, "least_findable": 1.0}
    method = planner(400, divide_first=True, **options)
    assert method.plan_epoch(0, unasked).estimate is None
    expected = divide_before_training(scorer.found)
    assert roc_auc_score(wrong, -expected.clean_probability) > 0.85
    plan = method.plan_epoch(1, scorer)  # the matcher tells nothing yet
    np.testing.assert_array_equal(plan.estimate.clean_probability, expected.clean_probability)
    np.testing.assert_allclose(method.clean_probability, expected.clean_probability, rtol=1e-6, atol=1e-30)
    assert plan.metrics["noise_rate"] == expected.noise_rate
    assert (scorer.read, len(scorer.asked)) == (1, 1)
    assert not method.warming_up  # though many pairs look wrong


def test_the_evidence_that_understands_more_pairs_divides():
    """Where images are not found by their captions."""
    scorer, wrong = mostly_told(share=0.5, telling=0.8)
    method = planner(400, divide_first=True, warmup_epochs=0, least_findable=1.0)
    first = method.plan_epoch(0, scorer).estimate
    scorer.values = evidence(400, np.flatnonzero(wrong))
    plan = method.plan_epoch(1, scorer)
    assert plan.metrics["noise_rate"] < method.first.noise_rate
    assert (plan.estimate.is_clean == ~wrong).all()
    scorer.values = evidence(400, np.arange(360))
    plan = method.plan_epoch(2, scorer)
    np.testing.assert_array_equal(plan.estimate.clean_probability, first.clean_probability)
    assert plan.estimate.noise_rate is None  # the matcher is too far from it to tell
    assert "the matcher alone finds 90% wrong" in plan.estimate.reason
    scorer.values = evidence(400, [])
    assert method.plan_epoch(3, scorer).estimate.is_clean.all()  # it finds no wrong pair


def test_where_images_are_found_both_kinds_of_evidence_divide():
    scorer, wrong = mostly_told(share=0.5, telling=0.9)
    method = planner(400, divide_first=True, warmup_epochs=0)
    first = divide_before_training(scorer.found)
    values = np.expm1(np.random.default_rng(3).normal(np.where(wrong, 2.0, 1.3), 0.4).clip(0))
    mismatched = np.expm1(np.random.default_rng(4).normal(2.0, 0.4, 400).clip(0))
    scorer.values = np.stack([values, mismatched], 1).astype(np.float32)
    alone = divide_by_reference(*scorer.values.T)
    belief = min(first, alone, key=lambda division: division.noise_rate).clean_probability
    # the scorer mismatches each caption with the image of the next pair
    contents = replace(scorer.found, partner=np.roll(np.arange(400), -1))
    expected = divide_by_both(scorer.values, contents, belief)
    plan = method.plan_epoch(9, scorer)
    np.testing.assert_array_equal(plan.estimate.clean_probability, expected.clean_probability)
    assert plan.metrics["noise_rate"] == expected.noise_rate
    found = [roc_auc_score(wrong, -each.clean_probability) for each in (expected, first, alone)]
    assert found[0] > max(found[1:]) + 0.01
    # where the matcher alone tells none, too
    scorer.values = np.random.default_rng(1).gamma(30, 0.2, (400, 2)).astype(np.float32)
    expected = divide_by_both(scorer.values, contents, first.clean_probability)
    found = method.plan_epoch(10, scorer).estimate
    np.testing.assert_array_equal(found.clean_probability, expected.clean_probability)
    opened = planner(400, divide_first=True)  # as a report opens it
    np.testing.assert_array_equal(opened.estimate(scorer).clean_probability, expected.clean_probability)


def test_a_division_that_tells_few_clean_pairs_is_forgotten(monkeypatch):
    monkeypatch.setattr(robust, "_LEAST_TOLD", 1.01)
    scorer, _ = mostly_told()
    method = planner(400, divide_first=True, warmup_epochs=0, least_findable=0.1)
    plan = method.plan_epoch(0, scorer)
    assert method.first is None
    assert plan.metrics["findable"] == 0
    assert plan.image_from is None


def test_where_no_pair_looks_wrong_the_warm_up_is_as_ever():
    scorer, _ = mostly_told(share=0.0)
    method = planner(400, divide_first=True, warmup_epochs=2)
    assert method.plan_epoch(0, unasked).estimate is None
    method.plan_epoch(2, scorer)
    assert method.first is None


def test_what_an_audit_knows_is_not_divided_again():
    scorer, wrong = mostly_told()
    scorer.values = evidence(400, np.flatnonzero(wrong[::-1]))
    method = planner(400, divide_first=True, warmup_epochs=2)
    assert method.start_from(np.full(400, 0.3, dtype=np.float32))
    plan = method.plan_epoch(2, scorer)
    alone = divide_by_reference(*by_reference(scorer.values))
    np.testing.assert_array_equal(plan.estimate.clean_probability, alone.clean_probability)


def test_a_resumed_run_asks_the_contents_again():
    scorer, _ = mostly_told()
    options = {"divide_first": True, "warmup_epochs": 0, "least_findable": 1.0}
    method, other = (planner(400, **options) for _ in range(2))
    first = method.plan_epoch(0, scorer).estimate
    assert first.noise_rate is None  # nothing is told so early, but
    other.load_state_dict(method.state_dict())
    plan = other.plan_epoch(1, scorer)
    for name in ("clean_probability", "is_clean", "evidence"):
        np.testing.assert_array_equal(getattr(plan.estimate, name), getattr(first, name))
    assert plan.metrics["noise_rate"] == method.first.noise_rate
    assert other.first.noise_interval == method.first.noise_interval


@pytest.mark.parametrize(("trained", "told"), [(7, False), (8, True)])
def test_the_noise_rate_is_not_told_until_twice_a_warm_up(trained, told):
    method = planner(200, warmup_epochs=4)
    scorer = FakeScorer(evidence(200, np.arange(80)))
    plan = method.plan_epoch(trained, scorer)
    assert plan.metrics["noise_rate"] == pytest.approx(0.4, abs=0.02)  # training goes by it
    method.epoch = trained - 1
    for estimate in (plan.estimate, method.estimate(scorer)):
        assert (~estimate.is_clean).sum() == 80
        assert (estimate.noise_rate is not None, estimate.noise_interval is not None) == (told, told)


def test_the_warm_up_lasts_longer_while_too_many_pairs_look_wrong():
    many, few = (FakeScorer(evidence(200, np.arange(n))) for n in (160, 50))
    method = planner(warmup_epochs=1, warmup_extension=3, unclear=0.7, rematch_weight=0.0)
    assert method.plan_epoch(0, unasked).estimate is None
    for epoch in (1, 2):
        plan = method.plan_epoch(epoch, many)
        assert method.warming_up
        assert plan.groups["all"].tolist() == list(range(200))
        assert plan.metrics["noise_rate"] == pytest.approx(0.8, abs=0.03)
        assert (method.state_dict()["clean_probability"] == 1).all()
    assert method.plan_epoch(3, few).metrics["suspected"] == 0.25
    assert not method.warming_up
    method.plan_epoch(4, many)  # once it has begun to divide it goes on
    assert not method.warming_up
    assert method.state_dict()["is_clean"].sum() == 40


@pytest.mark.parametrize(("epoch", "options"), [(3, {}), (2, {"warmup_extension": 1}), (2, {"unclear": 0.9})])
def test_the_longer_warm_up_ends(epoch, options):
    method = planner(**{"warmup_epochs": 1, "warmup_extension": 2, **options})
    method.plan_epoch(0, unasked)
    method.plan_epoch(epoch, FakeScorer(evidence(200, np.arange(160))))
    assert not method.warming_up


@pytest.mark.parametrize("groups", ["mixed", "split"])
@pytest.mark.parametrize("most", [0.3, 0.5, 1.0])
def test_training_assumes_a_noise_rate_of_at_most_most_wrong(most, groups):
    """Bayes by hand, at the densities that the division found."""
    rng = np.random.default_rng(0)
    values = np.where(np.arange(400) < 320, rng.normal(1.9, 0.4, 400), rng.normal(0.9, 0.4, 400))
    own = np.expm1(np.abs(values))
    scorer = FakeScorer(np.stack([own, np.expm1(np.abs(rng.normal(2.0, 0.4, 400)))], axis=1))
    method = planner(400, most_wrong=most, unclear=1.0, groups=groups)
    plan = method.plan_epoch(9, scorer)
    rate, honest = plan.estimate.noise_rate, plan.estimate.clean_probability
    assert 0.6 < rate < 0.95
    ratio = honest / (1 - honest) * rate / (1 - rate)  # of the densities, clean over wrong
    share = min(rate, most)
    expected = ratio * (1 - share) / (ratio * (1 - share) + share)
    torch.testing.assert_close(
        method.clean_probability, torch.from_numpy(expected).float(), atol=1e-5, rtol=1e-4
    )
    np.testing.assert_array_equal(method.is_clean.numpy(), expected > 0.5)
    assert plan.metrics["suspected"] == pytest.approx((honest <= 0.5).mean())  # what is reported stays honest
    if most < 1:
        assert method.is_clean.sum() > plan.estimate.is_clean.sum()
    if groups == "split":
        assert plan.groups["clean"].tolist() == np.flatnonzero(expected > 0.5).tolist()


@pytest.mark.parametrize(
    ("share", "options", "splits"),
    [
        (0.8, {}, True),
        (0.6, {}, False),
        (0.6, {"split_above": 0.5}, True),
        (0.8, {"split_above": 0.9}, False),
        (0.8, {"groups": "mixed"}, False),
        (0.3, {"groups": "split"}, True),
    ],
    ids=str,
)
def test_batches_are_split_where_few_pairs_look_clean(share, options, splits):
    bad = np.arange(200) % 10 < 10 * share
    scorer = FakeScorer(evidence(200, np.flatnonzero(bad)))
    method = planner(**{"groups": "auto", "warmup_epochs": 1, "warmup_extension": 0, **options})
    assert list(method.plan_epoch(0, unasked).groups) == ["all"]
    plan = method.plan_epoch(1, scorer)
    assert plan.metrics["noise_rate"] == pytest.approx(share, abs=0.03)
    if not splits:
        assert plan.groups.keys() == {"all"}
        return
    assert plan.groups["noisy"].tolist() == np.flatnonzero(bad).tolist()
    # so a step means the same after a resumption
    copy = planner(**{"groups": "auto", "warmup_epochs": 1, **options})
    copy.load_state_dict(method.state_dict())
    batches = {"clean": batch_of(np.flatnonzero(~bad[:N])), "noisy": batch_of(np.flatnonzero(bad[:N]))}
    for current in (method, copy):
        alone = current.training_step({"noisy": batches["noisy"]}).metrics
        assert alone["clean_loss"] == 0
        assert current.training_step(batches).metrics["clean_loss"] > 0


def test_where_no_noise_rate_is_known_nothing_is_split():
    values = np.random.default_rng(0).normal(1.0, 0.1, (200, 2)).clip(0)  # all look mismatched
    method = planner(groups="auto", split_above=1e-9)
    plan = method.plan_epoch(9, FakeScorer(values))
    assert plan.estimate.noise_rate is None
    assert list(plan.groups) == ["all"]


@pytest.mark.parametrize("decay", [0.99, None])
def test_the_teacher_scores_the_pairs(decay):
    method = planner(teacher_decay=decay, temperature=0.3)
    scorer = FakeScorer(evidence(200, [1, 5]))
    method.estimate(scorer)
    ((asked, scoring),) = scorer.asked
    assert scoring is (method.matcher if decay is None else method.teacher.matcher)
    batch = batch_of(range(B), [0, 1, 1, 3, 4, 5])
    scores = torch.randn(B, B, generator=torch.Generator().manual_seed(0))
    expected = batch_cross_entropy(scores, 0.3, batch.same_image)
    torch.testing.assert_close(asked(scores, batch), expected, equal_nan=True)


def test_suspected_captions_are_given_images_that_they_may_be_true_of():
    """Half of the pairs are wrong; only contents tell what the captions speak of, as vectors are chance."""
    scorer, wrong = mostly_told()
    method = planner(400, warmup_epochs=0)
    scorer.values = evidence(400, np.flatnonzero(wrong))
    torch.manual_seed(0)
    plan = method.plan_epoch(0, scorer)
    np.testing.assert_array_equal(plan.image_from != np.arange(400), wrong)
    topic, shown = scorer.found.words.argmax(axis=1), scorer.found.features.argmax(dim=1).numpy()
    assert (topic[wrong] == shown[plan.image_from[wrong]]).mean() > 0.9
    assert (topic[wrong] == shown[wrong]).mean() < 0.4
    other = method.plan_epoch(1, scorer).image_from
    assert (other[wrong] != plan.image_from[wrong]).mean() > 0.5  # drawn anew
    assert scorer.read == 1
    assert not scorer.on_disk
    torch.manual_seed(0)
    again = planner(400, warmup_epochs=0, vectors_on_disk=True).plan_epoch(0, scorer)
    np.testing.assert_array_equal(again.image_from, plan.image_from)
    assert scorer.on_disk
    images, chances = method.partners(np.flatnonzero(wrong)[:7], scorer)
    assert (topic[wrong][:7] == shown[images[:, 0]]).all()
    np.testing.assert_allclose(chances.sum(1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("groups", ["mixed", "split"])
def test_a_division_and_its_draws_last_two_epochs(groups):
    scorer, wrong = mostly_told()
    method = planner(400, warmup_epochs=1, divide_every=2, groups=groups)
    method.plan_epoch(0, unasked)
    scorer.values = evidence(400, np.flatnonzero(wrong))
    plans = {1: method.plan_epoch(1, scorer)}  # the first division lasts one, as it knows least
    for epoch in (2, 4):
        plans[epoch] = method.plan_epoch(epoch, scorer)
        other = planner(400, warmup_epochs=1, divide_every=2, groups=groups)
        other.load_state_dict(method.state_dict())
        for one in (method, other):
            kept = one.plan_epoch(epoch + 1, unasked)
            assert kept.groups.keys() == plans[epoch].groups.keys()
            for name, ids in plans[epoch].groups.items():
                np.testing.assert_array_equal(kept.groups[name], ids)
            np.testing.assert_array_equal(kept.image_from, plans[epoch].image_from)
            assert (kept.metrics, kept.estimate) == ({}, None)
    for before, after in itertools.pairwise(plans.values()):
        assert (before.image_from != after.image_from)[wrong].mean() > 0.5
    assert len(scorer.asked) == 3


def test_captions_keep_their_images_where_right_ones_cannot_be_found():
    """A fifth of all images shows the topic of a caption, so hardly one is among the best hundredth."""
    scorer, wrong = mostly_told()
    scorer.values = evidence(400, np.flatnonzero(wrong))
    given = scorer.found.image_of
    method = planner(400, warmup_epochs=0, least_findable=0.3)
    plan = method.plan_epoch(0, scorer)
    assert plan.image_from is None
    assert plan.metrics["findable"] < 0.15
    assert method.partners(np.arange(3), scorer) is None
    assert "rematch_loss" not in method.training_step({"all": batch_of(range(B))}).metrics
    # two images a topic, and a topic a caption
    scorer.found = PairContents(
        rare_words(np.arange(400), np.arange(400) // 2, 400),
        torch.from_numpy(np.eye(200)[np.where(wrong, (given // 2 + 7) % 200, given // 2)]).half(),
        *(given, np.roll(given, 1)),
    )
    method = planner(400, warmup_epochs=0, least_findable=0.3)
    plan = method.plan_epoch(0, scorer)
    assert plan.metrics["findable"] > 0.5
    assert (plan.image_from != np.arange(400)).sum() == wrong.sum()
    other = planner(400, warmup_epochs=0, least_findable=0.3)
    other.load_state_dict(method.state_dict())
    assert other.image_from is not None


def test_without_rematching_no_vectors_are_kept():
    scorer, wrong = mostly_told()
    method = planner(400, warmup_epochs=0, rematch_weight=0.0)
    scorer.values, scorer.with_vectors = evidence(400, np.flatnonzero(wrong)), None
    assert method.plan_epoch(0, scorer).image_from is None
    assert method.partners(np.arange(3), scorer) is None
    assert scorer.read == 0


def test_without_any_mismatched_pair_nothing_is_suspected():
    """Every neighbour in a batch has the same image."""
    values = np.stack([np.linspace(0.1, 2.0, 60), np.full(60, np.nan)], axis=1)
    found = planner(60).estimate(FakeScorer(values))
    assert found.is_clean.all()
    assert found.reason.startswith("0 mismatched pairs are too few")


def test_the_threshold_is_used():
    rng = np.random.default_rng(0)
    values = np.expm1(np.concatenate([rng.normal(0.8, 0.4, 300), rng.normal(2.0, 0.4, 100)]).clip(0))
    scorer = FakeScorer(np.stack([values, np.expm1(rng.normal(2.0, 0.4, 400).clip(0))], axis=1))
    few, many = ((~planner(400, threshold=t).estimate(scorer).is_clean).sum() for t in (0.1, 0.9))
    assert 0 < few < many


@pytest.mark.parametrize("groups", ["mixed", "split"])
def test_nothing_suspected(groups):
    method = planner(N, groups=groups)
    plan = method.plan_epoch(9, FakeScorer(np.stack([np.ones(N), np.full(N, 3.0)], axis=1)))
    assert plan.metrics["suspected"] == 0
    assert plan.image_from is None
    assert not plan.estimate.bimodal
    for step in step_ids(plan, B, 0, 9):
        assert list(step) == ["all" if groups == "mixed" else "clean"]
        result = method.training_step({name: batch_of(ids) for name, ids in step.items()})
        assert "rematch_loss" not in result.metrics
        assert math.isfinite(result.loss.item())


@pytest.mark.parametrize("options", [{"groups": "mixed"}, {"groups": "split"}], ids=str)
def test_everything_suspected(options, monkeypatch):
    none = np.zeros(N)
    all_bad = Division(none + 1e-4, 0.5, none > 1, none, True, "", 0.99, (0.9, 1.0))
    method = planner(N, **options)
    scorer = FakeScorer(np.ones((N, 2)))
    _, vectors = scorer.with_vectors(lambda *_: None, None)
    monkeypatch.setattr(method, "_divide", lambda *_, **__: (all_bad, all_bad, vectors))
    plan = method.plan_epoch(9, scorer)
    assert plan.metrics["suspected"] == 1
    assert (plan.image_from != np.arange(N)).all()
    for step in step_ids(plan, 16, 0, 9):
        assert list(step) == ["all" if options == {"groups": "mixed"} else "noisy"]
        result = method.training_step({name: batch_of(ids) for name, ids in step.items()})
        result.loss.backward()
        assert method.matcher.word.weight.grad.any()
        assert method.matcher.word.weight.grad.isfinite().all()


def test_parameter_groups():
    method = build()
    settings = resolve({"optim": {"lr": 0.002, "weight_decay": 0.3}}).settings.optim
    (matcher,) = build_optimiser(method.parameter_groups(), settings).param_groups
    assert [id(p) for p in matcher["params"]] == [id(p) for p in method.matcher.parameters()]
    assert (matcher["base_lr"], matcher["weight_decay"]) == (0.002, 0.3)
    assert not any(p.requires_grad for p in method.teacher.parameters())
    assert set(method.auxiliary) == {"teacher"}
    assert build(teacher_decay=None).auxiliary == {}


def test_frozen_weights_stay_out_of_the_groups():
    method = build()
    method.matcher.word.requires_grad_(False)
    assert len(method.parameter_groups()[0]["params"]) == 2


def test_state_survives_a_stop():
    stopped = build(probabilities({1, 2}), epoch=6)
    stopped.training_step({"all": batch_of(range(B))})
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed = Robust(stopped.config, [Towers(seed=5)], N, B)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.matcher.load_state_dict(stopped.matcher.state_dict())
    for name, network in resumed.auxiliary.items():
        network.load_state_dict(stopped.auxiliary[name].state_dict())
    assert resumed.epoch == 6
    results = []
    for method in (stopped, resumed):
        torch.manual_seed(0)
        results.append(method.training_step({"all": batch_of(range(B))}))
    assert results[0].loss == results[1].loss
    assert results[0].metrics["rematch_loss"] > 0
    fresh = Robust(stopped.config, [stopped.matcher], N, B)
    assert "rematch_loss" not in fresh.training_step({"all": batch_of(range(B))}).metrics


def tiny(tree, noise, **method):
    optim = {"lr": 0.01}
    training = {**tree["training"], "epochs": 5}
    method = {"name": "robust", **SURE, "warmup_epochs": 2, **method}
    return resolve(
        {**tree, "noise": {"ratio": noise}, "training": training, "optim": optim, "method": method}
    )


@pytest.mark.parametrize("partial", ["none", "bins"])
def test_clean_pairs_are_left_alone(partial, tiny_tree, tmp_path):
    tree = {**tiny_tree, "matcher": {**tiny_tree["matcher"], "partial": partial}}
    run = train(tiny(tree, 0.0), tmp_path / "run")
    rows, results = run.read_metrics(), run.read_results()
    settled = rows[2:] if partial == "none" else rows[-1:]  # with bins, more epochs until none is suspected
    assert {row["suspected"] for row in settled} == {0}
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert results["splits"]["dev"]["rsum"] > 420  # chance is about 240
    assert results["findings"]["division"]["suspected"] == 0


def test_next_to_nothing_but_noise(tiny_tree, make_folder, tmp_path):
    root = make_folder(tmp_path / "more", {"train": 60, "dev": 12, "test": 10})
    tree = {**tiny_tree, "data": {"name": "precomp", "root": str(root)}}
    tree = {**tree, "training": {**tiny_tree["training"], "batch_size": 32}}
    run = train(tiny(tree, 0.9), tmp_path / "run")
    rows = run.read_metrics()
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert run.read_results()["noise_ratio_realised"] > 0.85
    assert rows[-1]["dev"]["rsum"] > rows[0]["dev"]["rsum"] + 50


def test_training_that_divides_first(tiny_tree, make_folder, tmp_path):
    root = make_folder(tmp_path / "more", {"train": 60, "dev": 12, "test": 10})
    tree = {**tiny_tree, "data": {"name": "precomp", "root": str(root)}}
    tree = {**tree, "training": {**tiny_tree["training"], "batch_size": 32}}
    run = train(tiny(tree, 0.5, divide_first=True), tmp_path / "run")
    rows = run.read_metrics()
    divided = next(row for row in rows if "division" in row)
    assert divided["division"]["auroc"] > 0.8
    assert abs(divided["noise_rate"] - 0.5) < 0.15
    assert rows[-1]["dev"]["rsum"] > rows[0]["dev"]["rsum"]
