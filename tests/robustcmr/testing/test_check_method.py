"""The conformance kit for methods: built-ins pass, and every check catches the fault it is there for."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from robustcmr.errors import ConfigError
from robustcmr.methods.base import Method
from robustcmr.methods.baseline import InfoNCE, InfoNCEOptions
from robustcmr.testing import METHOD_CHECKS, ConformanceError, check_method
from robustcmr.testing.samples import SamplePairs
from robustcmr.testing.trial import MethodCase, same_weights
from robustcmr.types import Division, EpochPlan, Rematch, StepResult

IDS = np.arange(100, dtype=np.int64)


class NoMatchers(InfoNCE):
    n_matchers = 0


class NotBuilt(InfoNCE):
    def __init__(self, config, matchers, n_pairs, batch_size):
        raise RuntimeError("out of clay")


class ForgetsSizes(InfoNCE):
    def __init__(self, config, matchers, n_pairs, batch_size):
        super().__init__(config, matchers, batch_size, batch_size)

    def plan_epoch(self, epoch, scorer):
        self.epoch = epoch
        return EpochPlan({"all": IDS})


class WithNetwork(InfoNCE):
    name = "helper"

    def __init__(self, config, matchers, n_pairs, batch_size):
        super().__init__(config, matchers, n_pairs, batch_size)
        self.network = nn.Linear(1, 1)

    @property
    def auxiliary(self):
        return {self.name: self.network}


class SlashInName(WithNetwork):
    name = "a/b"


class TakesMatcherName(WithNetwork):
    name = "matcher_7"


class NewEachTime(WithNetwork):
    def parameter_groups(self):
        return self.matchers[0].parameter_groups()

    @property
    def auxiliary(self):
        return {"helper": nn.Linear(1, 1).requires_grad_(False)}


class NoModule(InfoNCE):
    @property
    def auxiliary(self):
        return []


class LeavesOut(WithNetwork):
    def parameter_groups(self):
        return self.matchers[0].parameter_groups()


class Foreign(InfoNCE):
    def parameter_groups(self):
        return [*super().parameter_groups(), {"params": [nn.Parameter(torch.ones(1))]}]


class OwnPace(InfoNCE):
    def parameter_groups(self):
        return [{"params": list(self.matchers[0].parameters())}]


class Planned(InfoNCE):
    ids = IDS

    def plan_epoch(self, epoch, scorer):
        super().plan_epoch(epoch, scorer)
        return EpochPlan({"all": self.ids})


class ShortIds(Planned):
    ids = IDS.astype(np.int32)


class FarIds(Planned):
    ids = IDS + 1


class NoIds(Planned):
    ids = IDS[:0]


class NoPlan(InfoNCE):
    def plan_epoch(self, epoch, scorer):
        return {"all": IDS}


class Changed(InfoNCE):
    def training_step(self, batches):
        return self.changed(super().training_step(batches), batches["all"])


class NoLoss(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss * float("nan"))


class NoGraph(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss.detach())


class ManyLosses(Changed):
    def changed(self, result, batch):
        return replace(result, loss=result.loss.expand(2))


class NoResult(Changed):
    def changed(self, result, batch):
        return result.loss


class OneOfTwo(InfoNCE):
    n_matchers = 2


class NoNumber(Changed):
    def changed(self, result, batch):
        return replace(result, metrics={"share": 0.0 if len(batch) < 16 else float("nan")})


class TakesMetricName(Changed):
    def changed(self, result, batch):
        return replace(result, metrics={"steps": 2.0})


class KeepsGraph(Changed):
    def changed(self, result, batch):
        return replace(result, metrics={"mine": result.loss})


class WideMetric(Changed):
    def changed(self, result, batch):
        return replace(result, metrics={"mine": torch.ones(2)})


class WrongWay(Changed):
    def changed(self, result, batch):
        return replace(result, loss=-result.loss)


class Grows(Changed):
    steps = 0

    def changed(self, result, batch):
        self.steps += 1
        return replace(result, loss=result.loss + self.steps)


class NeedsThree(Changed):
    def changed(self, result, batch):
        if len(batch) < 3:
            raise IndexError("where is the third?")
        return result


class StartsOver(InfoNCE):
    def plan_epoch(self, epoch, scorer):
        return replace(super().plan_epoch(epoch, scorer), restart=epoch == 1)


class StartsOverAsSaid(StartsOver):
    restarts = True


class NeedsBoth(InfoNCE):
    def plan_epoch(self, epoch, scorer):
        super().plan_epoch(epoch, scorer)
        return EpochPlan({"clean": IDS[:50], "noisy": IDS[50:]})

    def training_step(self, batches):
        parts = [InfoNCE.training_step(self, {"all": batches[name]}) for name in ("clean", "noisy")]
        return StepResult(parts[0].loss + parts[1].loss)


class NeedsNegatives(Changed):
    def changed(self, result, batch):
        alone = len(batch) > 2 and bool(batch.same_image.all())
        return replace(result, loss=result.loss / (0.0 if alone else 1.0))


class BreaksWeights(Changed):
    def changed(self, result, batch):
        if len(batch) > 2 and bool(batch.same_image.all()):
            with torch.no_grad():
                self.matchers[0].word.weight.fill_(float("inf"))
        return result


class FallsAsleep(InfoNCE):
    def training_step(self, batches):
        self.matchers[0].eval()
        return super().training_step(batches)


class SleepsWhilePlanning(InfoNCE):
    def plan_epoch(self, epoch, scorer):
        self.matchers[0].eval()
        return super().plan_epoch(epoch, scorer)


def division(n=100, **changed):
    probability = np.linspace(0, 1, n)
    return Division(
        **{
            "clean_probability": probability,
            "threshold": 0.5,
            "is_clean": probability > 0.5,
            "evidence": 1 - probability,
            "bimodal": True,
            "reason": "made up",
            "noise_rate": 0.5,
            "noise_interval": (0.4, 0.6),
            **changed,
        }
    )


class Estimates(InfoNCE):
    given = division()

    def estimate(self, scorer):
        return self.given


class TooFew(Estimates):
    given = division(99)


class Unsure(Estimates):
    given = division(clean_probability=np.full(100, np.nan), is_clean=np.zeros(100, dtype=bool))


class Contradicts(Estimates):
    given = division(is_clean=np.ones(100, dtype=bool))


class NoEvidence(Estimates):
    given = division(evidence=np.full(100, np.inf))


class NoDivision(Estimates):
    given = np.ones(100)


class PlansWithEstimate(InfoNCE):
    def plan_epoch(self, epoch, scorer):
        return replace(super().plan_epoch(epoch, scorer), estimate=TooFew.given)


class ForgetsItself(InfoNCE):
    def estimate(self, scorer):
        with torch.no_grad():
            self.matchers[0].word.weight.mul_(0.5)


class Rematches(Changed):
    def changed(self, result, batch):
        n = len(batch)
        found = {"plan": torch.full((n, n), 0.1), "scores": torch.zeros(n, n)}
        found["allowed"] = torch.ones(n, n, dtype=torch.bool)
        return replace(result, rematch=self.told(batch.pair_ids, found))

    def told(self, ids, found):
        return Rematch(ids, ids, **found)


class NegativeMass(Rematches):
    def told(self, ids, found):
        return Rematch(ids, ids, **{**found, "plan": -found["plan"]})


class OtherShape(Rematches):
    def told(self, ids, found):
        return Rematch(ids[:2], ids, **found)


class Forbidden(Rematches):
    def told(self, ids, found):
        return Rematch(ids, ids, **{**found, "allowed": ~found["allowed"]})


class PlanWithGraph(Rematches):
    def told(self, ids, found):
        return Rematch(
            ids, ids, **{**found, "plan": found["plan"] * self.matchers[0].word.weight[5, 5].exp()}
        )


class UnknownPairs(Rematches):
    def told(self, ids, found):
        return Rematch(ids + 100, ids, **found)


class NoRematch(Rematches):
    def told(self, ids, found):
        return found


class DrawsApart(InfoNCE):
    """Draws once, from nowhere, and remembers it."""

    def __init__(self, config, matchers, n_pairs, batch_size):
        super().__init__(config, matchers, n_pairs, batch_size)
        self.weight = 1 + float(np.random.default_rng().random())

    def training_step(self, batches):
        result = super().training_step(batches)
        return replace(result, loss=result.loss * self.weight + (result.loss**2) * (self.weight - 1))

    def state_dict(self):
        return {**super().state_dict(), "weight": self.weight}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.weight = state["weight"]


class Forgets(InfoNCE):
    def __init__(self, config, matchers, n_pairs, batch_size):
        super().__init__(config, matchers, n_pairs, batch_size)
        self.steps = 0

    def training_step(self, batches):
        self.steps += 1
        result = super().training_step(batches)
        return replace(result, loss=result.loss * (1 + 0.5 * (self.steps % 5)))


class KeepsCode(InfoNCE):
    def state_dict(self):
        return {**super().state_dict(), "estimate": Estimates.given}


BROKEN = [
    (NoMatchers, {"builds"}, "n_matchers is 0"),
    (NotBuilt, {"builds"}, "out of clay"),
    (ForgetsSizes, {"builds"}, "it was built with n_pairs=100 but has n_pairs=16"),
    (SlashInName, {"auxiliary"}, "auxiliary has the name 'a/b'"),
    (TakesMatcherName, {"auxiliary"}, "which is that of a matcher"),
    (LeavesOut, {"parameter_groups"}, "the groups leave out helper.weight"),
    (Foreign, {"parameter_groups"}, "the groups hold 1 tensors"),
    (OwnPace, {"parameter_groups"}, "another lr_factor"),
    (ShortIds, {"plans"}, "gave group 'all' as int32 of shape (100,)"),
    (FarIds, {"plans"}, "with ids 1..100 for 100 pairs"),
    (NoIds, {"plans"}, "gave no pair in any group"),
    (NoPlan, {"plans"}, "plan_epoch(0) returned a dict"),
    (StartsOver, {"plans"}, "plan_epoch(1) restarts the training, but the method's restarts is false"),
    (NoLoss, {"steps"}, "gave the loss nan"),
    (NoGraph, {"steps"}, "gave a loss without a graph"),
    (ManyLosses, {"steps"}, "gave a loss of shape (2,)"),
    (NoResult, {"steps"}, "returned a Tensor, not a StepResult"),
    (OneOfTwo, {"steps"}, "no gradient reached matcher_1"),
    (NoNumber, {"metrics"}, "the metric 'share' as nan"),
    (TakesMetricName, {"metrics"}, "a metric called 'steps'"),
    (KeepsGraph, {"metrics"}, "the metric 'mine' with its graph"),
    (WideMetric, {"metrics"}, "the metric 'mine' as Tensor, not one number"),
    (WrongWay, {"learning"}, "given pairs scored above others by"),
    (Grows, {"learning"}, "the loss went from"),
    (
        NeedsThree,
        {"small_batches"},
        "with one pair a group in epoch 0, training_step raised IndexError: where",
    ),
    (NeedsBoth, {"small_batches"}, "with group 'clean' missing in epoch 0"),
    (NeedsNegatives, {"same_image"}, "pairs of one image in epoch 0"),
    (BreaksWeights, {"same_image"}, "made a weight of a matcher NaN or infinite"),
    (FallsAsleep, {"modes"}, "training_step in epoch 0 switched"),
    (SleepsWhilePlanning, {"modes"}, "plan_epoch(1) or estimate switched"),
    (TooFew, {"estimates"}, "clean_probability has shape (99,) of float64 for 100 pairs"),
    (Unsure, {"estimates"}, "leaves 0..1 or is NaN"),
    (Contradicts, {"estimates"}, "is_clean is not clean_probability > threshold"),
    (NoEvidence, {"estimates"}, "whose evidence is not finite"),
    (NoDivision, {"estimates"}, "that is a ndarray"),
    (PlansWithEstimate, {"estimates"}, "plan_epoch(0) gave an estimate whose"),
    (ForgetsItself, {"estimates"}, "estimate after epoch 0 changed weights"),
    (NegativeMass, {"rematches"}, "has a negative or non-finite mass"),
    (OtherShape, {"rematches"}, "has shape (16, 16) for 2 images and 16 captions"),
    (Forbidden, {"rematches"}, "has mass on cells that allowed"),
    (PlanWithGraph, {"rematches"}, "whose plan keeps its graph"),
    (UnknownPairs, {"rematches"}, "whose image_pairs come with ids"),
    (NoRematch, {"rematches"}, "that is a dict"),
    (DrawsApart, {"repeatability"}, "two trainings of 2 epochs from the same seed"),
    (Forgets, {"resuming"}, "stopped after step 1 of epoch 1 and resumed"),
    (KeepsCode, {"resuming"}, "which may execute code"),
]


@pytest.mark.parametrize(("cls", "names", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_named(cls, names, said):
    with pytest.raises(ConformanceError) as caught:
        check_method(cls, epochs=2)
    assert set(caught.value.broken) == names
    assert said in str(caught.value)
    assert "the contract says: " in str(caught.value)


def test_a_restart_begins_with_the_first_weights_and_is_resumed():
    report = check_method(StartsOverAsSaid, epochs=3)
    assert "resuming" in report.passed
    trial = MethodCase(StartsOverAsSaid, InfoNCEOptions(), 2, 16, SamplePairs()).start()
    first = trial.weights()
    trial.finish_epoch()
    assert not same_weights(first, trial.weights())
    trial.begin_epoch()
    assert same_weights(first, trial.weights())
    assert not trial.optimiser.state


def test_every_check_is_shown_to_catch_something():
    assert set(METHOD_CHECKS) == {name for _, names, _ in BROKEN for name in names}


@pytest.mark.parametrize("cls", [NewEachTime, NoModule])
def test_auxiliary_networks_that_cannot_be_kept(cls):
    with pytest.raises(ConformanceError) as caught:
        check_method(cls, epochs=1)
    assert "auxiliary" in caught.value.broken


def test_doubled_parameters_are_named_before_torch_refuses_them():
    class Twice(InfoNCE):
        def parameter_groups(self):
            return super().parameter_groups() * 2

    twice = "hold matcher_0.image.weight, matcher_0.image.bias, matcher_0.word.weight more than once"
    with pytest.raises(ConformanceError, match=re.escape(twice)):
        check_method(Twice, epochs=1)


def test_a_sound_estimate_and_rematch_pass():
    class Sound(Rematches, Estimates):
        pass

    report = check_method(Sound, epochs=1)
    assert report.passed == tuple(name for name in METHOD_CHECKS if name != "auxiliary")
    assert report.not_applicable == {"auxiliary": "the method has no auxiliary networks"}


def test_what_does_not_apply_is_said():
    report = check_method("hinge", epochs=1, skip=("learning",))
    assert report.not_applicable == {
        "auxiliary": "the method has no auxiliary networks",
        "estimates": "the method gives no estimate",
        "rematches": "the method rematched nothing in these epochs",
    }
    assert report.skipped == ("learning",)


def test_what_is_no_method_or_no_size_is_refused():
    with pytest.raises(ConformanceError, match="leaves out training_step"):
        check_method(Method)

    class Elsewhere(InfoNCE):
        track = "elsewhere"

    with pytest.raises(ConformanceError, match="its track is 'elsewhere', expected one of pairs, labels"):
        check_method(Elsewhere)
    for sizes in ({"epochs": 0}, {"batch_size": 1}, {"batch_size": 51}):
        with pytest.raises(ConfigError, match="expected at least 1 epoch and 2 to 50 pairs"):
            check_method("hinge", **sizes)
