"""After UOT-RCL: what it corrects, when, and by which of its parts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustcmr.config.resolve import resolve
from robustcmr.correction.label_transport import relation_plan
from robustcmr.errors import ConfigError
from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.label_baselines import MRL
from robustcmr.methods.uot_rcl import UotRcl
from robustcmr.types import DataSpec, ImageBatch, LabelledVectors, PairBatch, TextBatch

K, D, N = 3, 6, 60
SPEC = DataSpec(feature_width=D, n_regions=1, vocabulary_size=1, longest_caption=1, text_width=D)


class Scorer:
    """The training set as a matcher would see it, were it trained: vectors around one anchor a class."""

    def __init__(self, given, truth, spread=0.3):
        generator = torch.Generator().manual_seed(0)
        around = torch.eye(K, D)[truth]
        self.found = LabelledVectors(
            F.normalize(around + spread * torch.randn(len(truth), D, generator=generator), dim=1),
            F.normalize(around + spread * torch.randn(len(truth), D, generator=generator), dim=1),
            given,
        )

    def vectors(self, matcher):
        return self.found


def truth():
    return torch.arange(N) % K


def given(wrong=0.4, columns=1):
    labels = truth()[:, None].repeat(1, columns)
    for column in range(columns):
        rows = np.random.default_rng(column).choice(N, int(wrong * N), replace=False)
        labels[rows, column] = (labels[rows, column] + 1) % K
    return labels


def method(**options):
    torch.manual_seed(0)
    matcher = TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)
    made = UotRcl(UotRcl.Config(**{"warmup_epochs": 2, "mass_epochs": 4, **options}), [matcher], N, 10, K, D)
    with torch.no_grad():
        made.anchors.weight.copy_(torch.eye(K, D))
    return made


def batch(labels, ids=tuple(range(10))):
    generator = torch.Generator().manual_seed(3)
    b, mask = len(ids), torch.ones(len(ids), 1, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(b, 1, D, generator=generator), mask),
        TextBatch(torch.zeros(b, 1, dtype=torch.int64), mask, torch.randn(b, D, generator=generator)),
        torch.tensor(ids),
        torch.eye(b, dtype=torch.bool),
        labels[list(ids)],
    )


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("transitions", ["classes", "common", "none"])
def test_wrong_labels_are_corrected(columns, transitions):
    labels = given(columns=columns)
    trained = method(transitions=transitions, neighbours=5)
    plan = trained.plan_epoch(2, Scorer(labels, truth()))
    right = plan.estimate.corrected == truth().numpy()
    assert right.mean() > 0.9
    assert plan.metrics["noise_rate"] == pytest.approx(0.4, abs=0.12)
    wrong = (labels != truth()[:, None]).any(1).numpy()
    assert np.median(plan.estimate.evidence[wrong]) > np.quantile(plan.estimate.evidence[~wrong], 0.9)
    assert (trained.estimate(Scorer(labels, truth())).corrected == truth().numpy()).mean() > 0.9


def test_right_labels_stay():
    labels = given(wrong=0.0)
    belief = method().estimate(Scorer(labels, truth(), spread=0.5))
    assert (belief.corrected == labels[:, 0].numpy()).all()


def test_rates_of_each_class_find_what_one_rate_does_not():
    """Classes that turn into the next one half of the time: the given label alone would win."""
    labels, seen = given(wrong=0.45), {}
    for transitions in ("classes", "common"):
        trained = method(transitions=transitions, pseudo_counts=1.0, posterior_temperature=0.3)
        belief = trained.estimate(Scorer(labels, truth(), spread=0.45))
        seen[transitions] = (belief.corrected == truth().numpy()).mean()
    assert seen["classes"] >= seen["common"]


def test_the_warm_up_believes_the_given_labels():
    trained = method()
    plan = trained.plan_epoch(1, Scorer(given(), truth()))
    assert plan.estimate is None
    assert trained.targets is None
    assert plan.groups["all"].tolist() == list(range(N))
    options = {"temperature": 1.0, "beta": 0.7, "contrast_temperature": 0.8}
    torch.manual_seed(0)
    mrl = MRL(MRL.Config(**options), trained.matchers, N, 10, K, D)
    mrl.anchors = trained.anchors
    drawn = batch(given())
    ours, theirs = trained.training_step({"all": drawn}), mrl.training_step({"all": drawn})
    torch.testing.assert_close(ours.loss, theirs.loss)
    assert "relation_loss" not in ours.metrics


def test_the_moved_mass_grows_and_stays():
    trained = method(mass_start=0.3, mass_end=0.9)
    assert [trained.mass(epoch) for epoch in (0, 2, 4, 6, 20)] == pytest.approx([0.3, 0.3, 0.6, 0.9, 0.9])
    for epoch in (2, 6):
        trained.plan_epoch(epoch, Scorer(given(), truth()))
        assert float(trained.weights.mean()) == pytest.approx(trained.mass(epoch), abs=1e-3)


def test_targets_are_a_running_mean():
    trained = method(momentum=0.75)
    trained.plan_epoch(2, Scorer(given(), truth()))
    first = trained.targets.clone()
    trained.plan_epoch(3, Scorer(given(), truth(), spread=0.6))
    fresh = method()
    fresh.plan_epoch(3, Scorer(given(), truth(), spread=0.6))
    moved = trained.weights > 1e-3
    torch.testing.assert_close(trained.targets[moved], (0.75 * first + 0.25 * fresh.targets)[moved])
    torch.testing.assert_close(trained.targets.sum(1), torch.ones(N))


def test_the_step_learns_targets_by_the_mass_that_was_moved():
    trained = method(relation=False, beta=1.0)
    trained.epoch = 2
    trained.targets = torch.softmax(torch.arange(N * K).reshape(N, K).float().sin(), dim=1)
    trained.weights = torch.linspace(0, 1, N)
    drawn = batch(given(), ids=(3, 50, 17, 8))
    images, texts = trained.encode(drawn)
    slow = 0.0
    for i, pair in enumerate((3, 50, 17, 8)):
        for side in (images, texts):
            p = torch.softmax(side[i] @ trained.anchors().T, dim=0)
            slow += trained.weights[pair] * (trained.targets[pair] * (1 - p).log()).sum() / 2 / 4
    torch.testing.assert_close(trained.training_step({"all": drawn}).loss, slow, rtol=1e-4, atol=1e-5)


def test_relation_alignment_is_the_cross_entropy_to_the_plan_of_the_batch():
    trained = method(relation_weight=0.4, relation_temperature=0.5)
    trained.plan_epoch(2, Scorer(given(), truth()))
    drawn = batch(given())
    images, texts = trained.encode(drawn)
    plan = relation_plan(trained.targets[:10], 0.1)
    scores = images @ texts.T / 0.5
    slow = -(plan * scores.log_softmax(1)).sum(1).mean() - (plan.T * scores.T.log_softmax(1)).sum(1).mean()
    result = trained.training_step({"all": drawn})
    torch.testing.assert_close(result.metrics["relation_loss"], 0.4 * slow.detach() / 2)
    assert set(method(relation=False).training_step({"all": drawn}).metrics) == {
        "class_loss",
        "contrast_loss",
    }


def test_without_semantic_alignment_nothing_is_corrected():
    trained = method(semantic=False)
    plan = trained.plan_epoch(5, Scorer(given(), truth()))
    assert plan.estimate is None
    assert trained.targets is None
    assert "relation_loss" in trained.training_step({"all": batch(given())}).metrics
    belief = trained.estimate(Scorer(given(), truth()))  # the nearest anchor, as of any method
    nearest = sum(
        (side @ trained.anchors().T).softmax(1)
        for side in (Scorer(given(), truth()).found.images, Scorer(given(), truth()).found.texts)
    ).argmax(1)
    assert (belief.corrected == nearest.numpy()).all()


@pytest.mark.parametrize("prior", ["given", "estimated", "uniform"])
def test_no_class_receives_more_than_its_prior(prior):
    labels = given()
    labels[:30] = 0  # class 0 is given far too often
    trained = method(prior=prior, mass_end=1.0)
    moved, _ = trained._correct(Scorer(labels, truth()).found, 1.0)
    received = (moved.targets * moved.weights[:, None]).mean(0)
    shares = {"given": torch.bincount(labels[:, 0]) / N, "uniform": torch.full((K,), 1 / K)}
    if prior in shares:
        torch.testing.assert_close(received.float(), shares[prior].float(), atol=2e-3, rtol=0)
    else:
        assert float((received - 1 / K).abs().max()) < float((shares["given"] - 1 / K).abs().max())


def test_a_share_that_shrinks_is_refused():
    with pytest.raises(ConfigError, match=r"mass_start is 0\.9 and mass_end 0\.5"):
        resolve({"data": "scenes-labels", "method": {"name": "uot_rcl", "mass_start": 0.9, "mass_end": 0.5}})
