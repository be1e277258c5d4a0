"""The conformance kit for methods of the labels track: each check catches the fault it is there for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from robustcmr.errors import ConfigError
from robustcmr.methods.label_baselines import LabelCrossEntropy
from robustcmr.testing import LABEL_METHOD_CHECKS, ConformanceError, check_matcher, check_method
from robustcmr.testing.samples import N_CLASSES, SampleLabels, SampleMatcher
from robustcmr.types import EpochPlan, LabelEstimate, StepResult

IDS = np.arange(100, dtype=np.int64)


class TakesFourThings(LabelCrossEntropy):
    def __init__(self, config, matchers, n_pairs, batch_size):
        super().__init__(config, matchers, n_pairs, batch_size, N_CLASSES, 16)


class ForgetsClasses(LabelCrossEntropy):
    def __init__(self, config, matchers, n_pairs, batch_size, n_classes, width):
        super().__init__(config, matchers, n_pairs, batch_size, n_classes + 1, width)


class TakesMatcherName(LabelCrossEntropy):
    def __init__(self, *given):
        super().__init__(*given)
        self.network = nn.Linear(1, 1)

    @property
    def auxiliary(self):
        return {**super().auxiliary, "matcher_7": self.network}


class HidesAnchors(LabelCrossEntropy):
    def parameter_groups(self):
        return self.matchers[0].parameter_groups()


class OwnPace(LabelCrossEntropy):
    def parameter_groups(self):
        return [{"params": list(module.parameters())} for module in (self.matchers[0], self.anchors)]


class FarIds(LabelCrossEntropy):
    def plan_epoch(self, epoch, scorer):
        super().plan_epoch(epoch, scorer)
        return EpochPlan({"all": IDS + 1})


class Changed(LabelCrossEntropy):
    def training_step(self, batches):
        return self.changed(super().training_step(batches), batches["all"])


class NoGraph(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss.detach())


class NotFinite(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss / 0)


class Named(Changed):
    name = "correction"

    def changed(self, result, batch):
        return replace(result, metrics={self.name: 0.5})


class NamedConfusion(Named):
    name = "confusion"


class NamedLabels(Named):
    name = "labels"


class NamedPairs(Named):
    name = "pairs"


class Grows(Changed):
    steps = 0

    def changed(self, result, batch):
        self.steps += 1
        return replace(result, loss=result.loss + self.steps)


class WrongWay(Changed):
    def changed(self, result, batch):
        return replace(result, loss=-result.loss)


class PushesApart(LabelCrossEntropy):
    """Learns the classes of images alone, and turns the texts away from them."""

    def losses(self, images, texts, of_images, of_texts, weights):
        found = super().losses(images, images, of_images, of_images, weights)
        return {**found, "texts": (texts @ images.detach().T * (of_texts @ of_images.T)).mean()}


class EstimatesTheOpposite(LabelCrossEntropy):
    def estimate(self, scorer):
        found = super().estimate(scorer)
        return replace(found, corrected=(found.corrected + 1) % N_CLASSES)


class NeedsThree(Changed):
    def changed(self, result, batch):
        if len(batch) < 3:
            raise IndexError("where is the third?")
        return result


class Spread(Changed):
    """Divides by the spread of the batch, which one pair does not have."""

    def changed(self, result, batch):
        spread = (batch.images.features - batch.images.features.mean(dim=0)).norm()
        return replace(result, loss=result.loss / spread)


class NeedsClasses(Changed):
    def changed(self, result, batch):
        others = batch.labels[:, 0] != batch.labels[0, 0]
        return replace(result, loss=result.loss / (others.sum() if len(batch) > 2 else 1.0))


class OneColumn(Changed):
    def changed(self, result, batch):
        batch.labels.squeeze(1).expand(len(batch))
        return result


class DividesByColumns(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss / (2 - batch.labels.shape[1]))


class EstimatesTwice(LabelCrossEntropy):
    """One entry a label, which is one a pair as long as pairs have one."""

    def estimate(self, scorer):
        found, columns = super().estimate(scorer), scorer.vectors(self.matchers[0]).labels.shape[1]
        return LabelEstimate(*(np.repeat(part, columns) for part in vars(found).values()))


class FallsAsleep(LabelCrossEntropy):
    def estimate(self, scorer):
        self.anchors.eval()
        return super().estimate(scorer)


class Estimates(LabelCrossEntropy):
    def estimate(self, scorer):
        return self.changed(super().estimate(scorer))


class Floats(Estimates):
    def changed(self, found):
        return replace(found, corrected=found.corrected.astype(np.float64))


class NoSuchClass(Estimates):
    def changed(self, found):
        return replace(found, corrected=np.where(IDS == 7, N_CLASSES, found.corrected))


class Removed(Estimates):
    """Marks with -1 what it would rather leave out."""

    def changed(self, found):
        return replace(found, corrected=np.where(IDS == 7, -1, found.corrected))


class TooSure(Estimates):
    def changed(self, found):
        return replace(found, confidence=found.confidence + 1)


class Unsure(Estimates):
    def changed(self, found):
        return replace(found, confidence=np.where(IDS == 7, np.nan, found.confidence))


class NoEvidence(Estimates):
    def changed(self, found):
        return replace(found, evidence=np.where(IDS == 7, np.inf, found.evidence))


class TooFew(Estimates):
    def changed(self, found):
        return replace(found, evidence=found.evidence[1:])


class OfAnotherTrack(Estimates):
    def changed(self, found):
        return found.confidence


class PlansWithEstimate(LabelCrossEntropy):
    def plan_epoch(self, epoch, scorer):
        estimate = replace(self.estimate(scorer), confidence=np.full(100, 2.0))
        return replace(super().plan_epoch(epoch, scorer), estimate=estimate)


class LearnsFromAsking(LabelCrossEntropy):
    def estimate(self, scorer):
        with torch.no_grad():
            self.anchors.weight.mul_(1.5)
        return super().estimate(scorer)


class DrawsApart(LabelCrossEntropy):
    """Draws once, from nowhere, and remembers it."""

    def __init__(self, *given):
        super().__init__(*given)
        self.weight = 1 + float(np.random.default_rng().random())

    def training_step(self, batches):
        loss = super().training_step(batches).loss
        return StepResult(loss**self.weight)

    def state_dict(self):
        return {**super().state_dict(), "weight": self.weight}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.weight = state["weight"]


class ForgetsEstimate(LabelCrossEntropy):
    """Trains on its estimate from the beginning of the epoch, and does not save that."""

    def __init__(self, *given):
        super().__init__(*given)
        self.corrected = np.zeros(self.n_pairs, dtype=np.int64)

    def plan_epoch(self, epoch, scorer):
        self.corrected = self.estimate(scorer).corrected
        return super().plan_epoch(epoch, scorer)

    def training_step(self, batches):
        result = super().training_step(batches)
        weight = torch.from_numpy(self.corrected)[batches["all"].pair_ids].float().mean()
        return replace(result, loss=result.loss * (1 + weight) ** 4 + (result.loss * weight) ** 2)


BROKEN = [
    (TakesFourThings, {"builds"}, "takes 5 positional arguments but 7 were given"),
    (ForgetsClasses, {"builds"}, "it was built with n_classes=5 but has n_classes=6"),
    (TakesMatcherName, {"auxiliary"}, "auxiliary has the name 'matcher_7', which is that of a matcher"),
    (HidesAnchors, {"parameter_groups"}, "the groups leave out anchors.weight"),
    (OwnPace, {"parameter_groups"}, "another lr_factor"),
    (FarIds, {"plans"}, "with ids 1..100 for 100 pairs"),
    (NoGraph, {"steps"}, "gave a loss without a graph"),
    (NotFinite, {"steps"}, "gave the loss inf"),
    (Named, {"metrics"}, "a metric called 'correction', a name of the trainer's own"),
    (NamedConfusion, {"metrics"}, "a metric called 'confusion'"),
    (NamedLabels, {"metrics"}, "a metric called 'labels'"),
    (NamedPairs, {"metrics"}, "a metric called 'pairs'"),
    (Grows, {"learning"}, "the loss went from"),
    (WrongWay, {"learning"}, "estimated to be of the given class was"),
    (PushesApart, {"learning"}, "images and texts of one given class were closer than others by"),
    (EstimatesTheOpposite, {"learning"}, "estimated to be of the given class was"),
    (NeedsThree, {"small_batches"}, "with one pair a group in epoch 0, training_step raised IndexError"),
    (Spread, {"small_batches"}, "with one pair a group in epoch 0, training_step gave the loss inf"),
    (NeedsClasses, {"one_class"}, "pairs of one class in epoch 0, training_step gave the loss inf"),
    (OneColumn, {"two_labels"}, "RuntimeError"),
    (
        EstimatesTwice,
        {"two_labels"},
        "estimate gave an estimate whose corrected has shape (200,) of int64 for 100",
    ),
    (FallsAsleep, {"modes"}, "estimate switched a network to another mode"),
    (Floats, {"estimates", "two_labels"}, "whose corrected has shape (100,) of float64 for 100 pairs"),
    (NoSuchClass, {"estimates", "two_labels"}, "whose corrected classes are 0..5 for 5 classes"),
    (Removed, {"estimates", "two_labels"}, "whose corrected classes are -1..4 for 5 classes"),
    (TooSure, {"estimates", "two_labels"}, "whose confidence leaves 0..1 or is NaN"),
    (Unsure, {"estimates", "two_labels"}, "whose confidence leaves 0..1 or is NaN"),
    (NoEvidence, {"estimates", "two_labels"}, "whose evidence is not finite"),
    (TooFew, {"estimates", "two_labels"}, "whose evidence has shape (99,)"),
    (OfAnotherTrack, {"estimates", "two_labels"}, "that is a ndarray"),
    (PlansWithEstimate, {"estimates"}, "plan_epoch(0) gave an estimate whose confidence"),
    (LearnsFromAsking, {"estimates"}, "estimate after epoch 0 changed weights"),
    (DrawsApart, {"repeatability"}, "two trainings of 2 epochs from the same seed"),
    (ForgetsEstimate, {"resuming"}, "stopped after step 1 of epoch 1 and resumed"),
]


@pytest.mark.parametrize(("cls", "names", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_named(cls, names, said):
    with pytest.raises(ConformanceError) as caught:
        check_method(cls, epochs=2)
    assert set(caught.value.broken) == names
    assert said in str(caught.value)
    assert "the contract says: " in str(caught.value)


def test_every_check_is_shown_to_catch_something():
    assert set(LABEL_METHOD_CHECKS) == {name for _, names, _ in BROKEN for name in names}


def test_a_method_without_an_estimate():
    class Silent(LabelCrossEntropy):
        def estimate(self, scorer):
            return None

    report = check_method(Silent, epochs=1)
    assert report.not_applicable == {"estimates": "the method gives no estimate"}
    assert {"learning", "two_labels"} <= set(report.passed)
    with pytest.raises(ConfigError, match="there is no check 'same_image'"):
        check_method(Silent, skip=("same_image",))


@pytest.mark.parametrize("columns", [1, 2])
def test_a_quarter_of_the_labels_is_wrong_and_nothing_says_which(columns):
    sample = SampleLabels(columns=columns)
    batch = sample.batch(IDS)
    given = batch.labels.numpy()
    assert given.shape == (100, columns)
    # what a class looks like is plain: the truth is what most neighbours of an image were given
    vectors = batch.images.features[:, 0]
    nearest = torch.cdist(vectors, vectors).argsort(1)[:, :11]
    votes = torch.zeros(100, N_CLASSES)
    for column in range(columns):
        votes += nn.functional.one_hot(batch.labels[nearest, column], N_CLASSES).sum(1)
    truth = votes.argmax(1).numpy()
    assert [int((column != truth).sum()) for column in given.T] == [25] * columns
    assert sorted(np.bincount(truth)) == [20] * N_CLASSES
    if columns == 2:
        assert 0 < ((given[:, 0] != truth) & (given[:, 1] != truth)).sum() < 25
    kept = [value for value in vars(sample._pairs).values() if isinstance(value, np.ndarray)]
    assert len(kept) == 1
    assert np.array_equal(kept[0], given)


def test_training_sees_other_numbers_of_the_same_pairs():
    sample = SampleLabels()
    plain, noisy = sample.batch(IDS[:5]), sample.batch(IDS[:5], np.random.default_rng(0))
    apart = (plain.images.features - noisy.images.features).abs()
    assert 0 < float(apart.mean()) < 0.2
    assert torch.equal(plain.labels, noisy.labels)
    assert torch.equal(plain.same_image, torch.eye(5, dtype=torch.bool))


def test_the_sample_matcher_on_vectors_keeps_the_contract_of_matchers():
    class Plain(SampleMatcher):
        def parameter_groups(self):
            return [{"params": list(self.parameters()), "lr_factor": 1.0}]

    check_matcher(Plain, spec=SampleLabels.spec)
