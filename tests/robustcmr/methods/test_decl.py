"""DECL: its division, every step's loss by hand, and its count of steps."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustcmr.losses.evidential import evidential_loss, evidential_uncertainty
from robustcmr.matchers.base import Matcher
from robustcmr.methods.decl import DECL, DECLOptions
from robustcmr.selection import rival_evidence
from robustcmr.testing import check_method
from robustcmr.types import Fragments, ImageBatch, PairBatch, TextBatch

N, B = 24, 6
CHANCE = torch.Generator().manual_seed(1)
FEATURES = torch.randn(N, 1, 5, generator=CHANCE)
TOKENS = torch.randint(0, 9, (N, 3), generator=CHANCE)


class Towers(Matcher):
    """Cosines of a linear map of the region and the mean word."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.region, self.word = nn.Linear(5, 4), nn.Embedding(9, 4)

    def encode_images(self, images):
        return Fragments(self.region(images.features), images.mask)

    def encode_texts(self, texts):
        return Fragments(self.word(texts.tokens).mean(1, keepdim=True), texts.mask[:, :1])

    def score(self, images, texts):
        images, texts = (F.normalize(side.features[:, 0], dim=1) for side in (images, texts))
        return images @ texts.T


def batch_of(ids, images=None):
    ids = torch.as_tensor(ids)
    images = ids if images is None else torch.as_tensor(images)
    return PairBatch(
        ImageBatch(FEATURES[images], torch.ones(len(ids), 1, dtype=torch.bool)),
        TextBatch(TOKENS[ids], torch.ones(len(ids), 3, dtype=torch.bool)),
        ids,
        images[:, None] == images[None, :],
    )


BATCH = batch_of(range(B), [0, 0, 2, 3, 4, 5])


def build(suspected=(), batch_size=B, **options):
    method = DECL(DECLOptions(**options), [Towers()], N, batch_size)
    clean = torch.ones(N)
    clean[list(suspected)] = 0
    method.state["clean"] = clean
    return method


def scorer_of(asked):
    """Rival evidence above 0 for every third pair, and an uncertainty of a half."""

    def scorer(evidence, matcher):
        asked.append((evidence, matcher))
        rivals = np.where(np.arange(N) % 3 == 0, 1.0, -1.0)
        return np.stack([rivals, np.full(N, 0.5)], axis=1).astype(np.float32)

    return scorer


def test_the_defaults_are_the_paper_s():
    found = DECLOptions()
    assert (found.temperature, found.kl_weight, found.ranking_weight) == (0.1, 0.1, 0.8)
    assert (found.margin, found.least_negatives, found.released) == (0.2, 5, False)


@pytest.mark.parametrize("released", [False, True])
def test_a_step_by_hand(released):
    """A mean of the evidential loss over all pairs, and a sum of top-H hinges over the clean ones."""
    method = build([1, 4], released=released, negatives_fall=1.0, least_negatives=2)
    method.steps = 3  # 6 - 3 = 3 negatives
    result = method.training_step({"all": BATCH})
    scores = method.matchers[0](BATCH.images, BATCH.texts).detach()
    same = None if released else BATCH.same_image
    label = torch.tensor([1.0, 0, 1, 1, 0, 1])
    evidential = evidential_loss(scores, label, 0.1, 0.1, same, raw=released).mean()
    s, ranking = torch.tanh(scores).tolist(), 0.0
    for i in range(B):
        if not label[i]:
            continue
        others = [j for j in range(B) if j != i and (released or not BATCH.same_image[i, j])]
        for violations in (
            [max(0.0, 0.2 - s[i][i] + s[i][j]) for j in others],
            [max(0.0, 0.2 - s[i][i] + s[j][i]) for j in others],
        ):
            ranking += sum(sorted(violations)[-3:]) / 3
    assert float(result.metrics["evidential_loss"]) == pytest.approx(float(evidential), rel=1e-5)
    assert float(result.metrics["ranking_loss"]) == pytest.approx(0.8 * ranking, rel=1e-5)
    assert float(result.loss.detach()) == pytest.approx(float(evidential) + 0.8 * ranking, rel=1e-5)


def test_the_row_of_a_suspected_pair_stays_in_the_batch():
    """Its evidence is penalised: without target, the loss differs from that of a batch without the pair."""
    method = build(range(B), ranking_weight=0.0)
    result = method.training_step({"all": BATCH})
    assert float(result.metrics["ranking_loss"]) == 0
    assert float(result.metrics["evidential_loss"]) > 0.5
    result.loss.backward()
    assert method.matchers[0].word.weight.grad.any()


def test_the_number_of_negatives_falls_with_every_step_and_survives_a_restart():
    method = build(batch_size=10, negatives_fall=0.5)
    seen = []
    for _ in range(13):
        seen.append(method.n_negatives)
        method.training_step({"all": BATCH})
    assert seen == [10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 5, 5]
    other = build(batch_size=10, negatives_fall=0.5)
    other.load_state_dict(method.state_dict())
    assert other.steps == 13


def test_warm_up_takes_every_pair_as_clean_and_its_length_is_an_option_alone():
    method = build(warmup_epochs=2)
    for epoch in (0, 1):
        plan = method.plan_epoch(epoch, None)  # no evidence is asked for
        assert {name: ids.tolist() for name, ids in plan.groups.items()} == {"all": list(range(N))}
        assert plan.estimate is None
    assert method.state["clean"].all()


def test_pairs_are_divided_by_the_arg_max_every_epoch():
    method, asked = build(warmup_epochs=2), []
    plan = method.plan_epoch(2, scorer_of(asked))
    assert plan.groups["all"].tolist() == list(range(N))
    assert method.state["clean"].tolist() == [float(i % 3 != 0) for i in range(N)]
    assert plan.metrics == {"suspected": pytest.approx(1 / 3), "uncertainty": 0.5}
    assert plan.estimate.noise_rate is None
    (evidence, matcher), scores = asked[0], torch.randn(B, B, generator=torch.Generator().manual_seed(0))
    assert matcher is method.matchers[0]
    found, same = evidence(scores, BATCH), BATCH.same_image
    torch.testing.assert_close(found[:, 0], rival_evidence(scores, 0.1, same))
    torch.testing.assert_close(found[:, 1], evidential_uncertainty(scores, 0.1, same))
    other = build()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.state["clean"], method.state["clean"])
    assert other.epoch == 2


@pytest.mark.parametrize("options", [{"warmup_epochs": 1}, {"warmup_epochs": 1, "released": True}])
def test_the_conformance_kit_past_the_warm_up(options):
    report = check_method("decl", {**options, "negatives_fall": 1.0}, epochs=3)
    assert {"learning", "estimates", "resuming", "modes"} <= set(report.passed)
