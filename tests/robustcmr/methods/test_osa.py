"""OSA: weights found once, at the end of the warm-up, and the loss of every step."""

import numpy as np
import pytest
import torch

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.methods.osa import OSA, OSAOptions
from robustcmr.selection import given_and_random_scores
from robustcmr.testing import check_method
from robustcmr.testing.samples import SamplePairs

PAIRS = SamplePairs()
N = len(PAIRS)
IDS = np.arange(8, dtype=np.int64)
BATCH = PAIRS.batch(IDS)


def build(**options):
    torch.manual_seed(0)
    matcher = PAIRS.matcher().eval()  # no dropout, so that scores can be repeated
    return OSA(OSAOptions(**options), [matcher], N, 8)


class Scorer:
    """Scores from -0.2 to 0.79 for given pairs and 0.1 on average for random ones; counts its calls."""

    def __init__(self):
        self.asked = []

    def __call__(self, evidence, matcher):
        self.asked.append((evidence, matcher))
        random = np.where(np.arange(N) % 2, 0.0, 0.2)
        random[0] = np.nan  # of a batch without mismatches
        random[2] = 0.1 * (N - 1) - random[[i for i in range(1, N) if i != 2]].sum()
        return np.stack([np.arange(N) / 100 - 0.2, random], axis=1).astype(np.float32)


def test_warm_up_is_plain_infonce():
    method = build(warmup_epochs=1, temperature=0.1)
    assert method.plan_epoch(0, None).estimate is None
    result = method.training_step({"all": BATCH})
    scores = method.matchers[0](BATCH.images, BATCH.texts)
    torch.testing.assert_close(result.loss, infonce_loss(scores, 0.1, BATCH.same_image).mean())


@pytest.mark.parametrize(("relative", "released"), [(False, False), (True, False), (False, True)])
def test_a_weighted_step_by_hand(relative, released):
    method = build(warmup_epochs=0, temperature=0.1, relative=relative, released=released)
    plan = method.plan_epoch(0, Scorer())
    above = np.arange(N) / 100 - 0.3
    np.testing.assert_allclose(method.state["above"].numpy(), above, atol=1e-6)
    assert plan.estimate.is_clean.tolist() == (method.state["above"].numpy() > 0).tolist()
    batch = PAIRS.batch(np.arange(0, N, 7, dtype=np.int64))
    result = method.training_step({"all": batch})
    x = np.clip(above[::7], 0, None)
    x = x / x.max() if relative or released else x
    weights = x**2 * (1 - x**2)
    scores = method.matchers[0](batch.images, batch.texts).detach()
    losses = infonce_loss(scores, 0.1, None if released else batch.same_image).numpy()
    assert float(result.loss.detach()) == pytest.approx(float((weights * losses).mean()), rel=1e-4)


def test_the_estimator_is_frozen():
    method, scorer = build(warmup_epochs=2), Scorer()
    for epoch in range(5):
        method.plan_epoch(epoch, scorer)
    assert len(scorer.asked) == 1
    evidence, matcher = scorer.asked[0]
    assert matcher is method.matchers[0]
    scores = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(evidence(scores, BATCH), given_and_random_scores(scores, BATCH.same_image))
    assert len(method.auxiliary) == 0


def test_the_weights_survive_a_restart():
    method = build(warmup_epochs=0)
    method.plan_epoch(0, Scorer())
    other = build(warmup_epochs=0)
    other.load_state_dict(method.state_dict())
    other.plan_epoch(1, None)  # nothing is scored again
    torch.testing.assert_close(
        other.training_step({"all": BATCH}).loss, method.training_step({"all": BATCH}).loss
    )


def test_before_it_is_frozen_the_matcher_itself_estimates():
    method, scorer = build(warmup_epochs=2), Scorer()
    found = method.estimate(scorer)
    assert not method.frozen
    assert len(scorer.asked) == 1
    assert found.noise_rate is None
    np.testing.assert_allclose(found.evidence, 0.3 - np.arange(N) / 100, atol=1e-6)


def test_nothing_but_one_image_has_no_level():
    method = build()
    given = np.stack([np.full(N, 0.4), np.full(N, np.nan)], axis=1).astype(np.float32)
    found = method.estimate(lambda evidence, matcher: given)
    assert found.is_clean.all()


@pytest.mark.parametrize("options", [{"warmup_epochs": 1}, {"warmup_epochs": 1, "relative": False}])
def test_the_conformance_kit_past_the_warm_up(options):
    report = check_method("osa", options, epochs=3)
    assert {"learning", "estimates", "resuming", "modes"} <= set(report.passed)
