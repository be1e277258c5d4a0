"""RDE: two views of one matcher, their consensus, and the loss of every step."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.losses.triplet_alignment import triplet_alignment_loss
from robustcmr.matchers.base import item_vectors
from robustcmr.methods.rde import RDE, RDEOptions
from robustcmr.testing import check_method
from robustcmr.testing.samples import SamplePairs
from robustcmr.testing.trial import MethodCase

PAIRS = SamplePairs()
N = len(PAIRS)
BATCH = PAIRS.batch(np.arange(8, dtype=np.int64))


def build(labels=None, warmup_epochs=0, **options):
    torch.manual_seed(0)
    matcher = PAIRS.matcher().eval()  # no dropout, so that scores can be repeated
    method = RDE(RDEOptions(view_dim=8, warmup_epochs=warmup_epochs, **options), [matcher], N, 8, width=16)
    if labels is not None:
        method.state["label"] = torch.as_tensor(labels, dtype=torch.float32)
    return method


def by_hand(side, network):
    """The second view of one side, from the names of its layers alone."""
    vectors = item_vectors(side)
    straight = vectors @ network.straight.weight.T + network.straight.bias
    hidden = torch.relu(vectors @ network.hidden.weight.T + network.hidden.bias)
    return F.normalize(straight + hidden @ network.out.weight.T + network.out.bias, dim=1)


def both_views(method):
    matcher, view = method.matchers[0], method.second_view
    images, texts = matcher.encode_images(BATCH.images), matcher.encode_texts(BATCH.texts)
    second = by_hand(images, view.images) @ by_hand(texts, view.texts).T
    return matcher.score(images, texts), second


def test_the_defaults_are_the_paper_s():
    found = RDEOptions()
    assert (found.margin, found.temperature, found.threshold) == (0.1, 0.015, 0.5)
    assert found.disagreement == "coin"


@pytest.mark.parametrize("released", [False, True])
def test_a_step_by_hand(released):
    labels = (np.arange(N) % 3 > 0).astype(np.float32)
    method = build(labels, released=released)
    result = method.training_step({"all": BATCH})
    total = 0.0
    for view in both_views(method):
        losses = triplet_alignment_loss(view, 0.1, 0.015, BATCH.same_image, joined=released)
        total += float((losses.detach() * torch.from_numpy(labels[:8])).sum())
    assert float(result.loss.detach()) == pytest.approx(total, rel=1e-4)
    result.loss.backward()
    for network in (method.matchers[0], method.second_view):
        assert any(p.grad is not None and p.grad.any() for p in network.parameters())


def test_warm_up_is_infonce_of_both_views():
    method = build(np.zeros(N), warmup_epochs=1)
    assert method.plan_epoch(0, None).estimate is None
    result = method.training_step({"all": BATCH})
    expected = sum(infonce_loss(view, 0.05, BATCH.same_image).mean() for view in both_views(method))
    torch.testing.assert_close(result.loss, expected)


def test_a_batch_without_clean_pairs_has_a_gradient_of_zero():
    result = build(np.zeros(N)).training_step({"all": BATCH})
    result.loss.backward()
    assert float(result.loss.detach()) == 0


class Scorer:
    """Losses of two views; each suspects a quarter of the pairs, an eighth is suspected by both."""

    def __init__(self):
        rng, place = np.random.default_rng(0), np.arange(N) % 8
        self.suspected = np.stack([np.isin(place, [0, 1]), np.isin(place, [1, 2])], axis=1)
        self.values = rng.normal(np.where(self.suspected, 2.0, 0.2), 0.05).astype(np.float32)
        self.asked = []

    def __call__(self, evidence, matcher):
        self.asked.append((evidence, matcher))
        return self.values


@pytest.mark.parametrize("released", [False, True])
def test_the_labels_are_a_consensus_tossed_anew_each_epoch(released):
    method, scorer = build(released=released), Scorer()
    torch.manual_seed(0)
    found = []
    for epoch in (0, 1):  # from the first epoch on
        plan = method.plan_epoch(epoch, scorer)
        assert plan.groups["all"].tolist() == list(range(N))
        found.append(method.state["label"].numpy().astype(bool).copy())
    first, second = scorer.suspected.T
    for labels in found:
        assert labels[~first & ~second].all()
        assert not labels[first & second].any()
    assert (found[0] != found[1]).any()
    assert plan.metrics["disputed"] == pytest.approx((first != second).mean())
    torch.testing.assert_close(plan.estimate.clean_probability[first & second].max(), 0.0, rtol=0, atol=0.01)


def test_the_evidence_is_the_loss_of_each_view_and_no_coin_is_tossed_for_an_estimate():
    method, scorer = build(), Scorer()
    before = torch.get_rng_state()
    method.estimate(scorer)
    assert torch.equal(torch.get_rng_state(), before)
    ((evidence, scoring),) = scorer.asked
    views = scoring(BATCH.images, BATCH.texts)
    found = evidence(views.float(), BATCH)
    for k, view in enumerate(both_views(method)):
        expected = triplet_alignment_loss(view, 0.1, 0.015, BATCH.same_image)
        torch.testing.assert_close(found[:, k], expected.detach(), check_dtype=False, rtol=1e-4, atol=1e-5)


def test_the_mixture_does_not_depend_on_the_share_of_noise():
    """Nothing but the evidence and the threshold reaches the division; the release also reads the rate."""
    options = set(RDEOptions.model_fields)
    assert not {name for name in options if "noise" in name or "rate" in name}


def test_steps_after_a_division_are_taken_in_training_mode():
    trial = MethodCase(RDE, RDEOptions(warmup_epochs=0), 2, 16, PAIRS).start()
    seen = []
    for batches in trial.remaining():
        trial.matchers[0].dropout.register_forward_hook(lambda m, given, out: seen.append(m.training))
        trial.take_step(batches)
        break
    assert seen
    assert all(seen)
    before = trial.modes()
    trial.method.plan_epoch(1, trial.scorer())
    assert trial.modes() == before
    assert trial.method.views.training


def test_labels_survive_a_restart():
    method = build(np.arange(N) % 2)
    other = build()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.state["label"], method.state["label"])


@pytest.mark.parametrize(
    "options", [{"warmup_epochs": 0, "released": True}, {"warmup_epochs": 1, "disagreement": "drop"}], ids=str
)
def test_the_conformance_kit(options):
    report = check_method("rde", options, epochs=3)
    assert {"learning", "estimates", "resuming", "modes", "auxiliary"} <= set(report.passed)
