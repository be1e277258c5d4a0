"""IN2R: every loss by hand, whose memory is read, who enters it, and that no vector depends on its batch."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustcmr.config.resolve import resolve
from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.matchers.base import Matcher, item_vectors
from robustcmr.methods.in2r import In2r, In2rOptions
from robustcmr.testing import METHOD_CHECKS, check_method
from robustcmr.training.optimiser import build_optimiser
from robustcmr.types import Fragments, ImageBatch, PairBatch, TextBatch
from tests.robustcmr.methods.one_matcher import B, N, batch_of

D = 4
IMAGES = [0, 0, 2, 3, 4, 5]  # the first two captions have one image


class Towers(Matcher):
    """Cosines of a linear map of the region and the mean word, which may be dropped."""

    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.region, self.word = nn.Linear(5, D), nn.Embedding(9, D)
        self.dropout = nn.Dropout(dropout)
        self.passes = {"images": 0, "texts": 0}

    def encode_images(self, images):
        self.passes["images"] += 1
        return Fragments(F.normalize(self.region(images.features), dim=-1), images.mask)

    def encode_texts(self, texts):
        self.passes["texts"] += 1
        words = self.dropout(self.word(texts.tokens))
        return Fragments(F.normalize(words.mean(1, keepdim=True), dim=-1), texts.mask[:, :1])

    def score(self, images, texts):
        return images.features[:, 0] @ texts.features[:, 0].T


def build(dropout=0.0, **options):
    """A method after its warm-up, whose two matchers differ; refiners in evaluation mode."""
    torch.manual_seed(0)
    options = {"switch_epoch": 0, **options}
    method = In2r(In2rOptions(**options), [Towers(0, dropout), Towers(1, dropout)], N, B, width=D)
    for refiner in method.refiners:
        refiner.eval()
    method.epoch = 9
    return method


def filled(**options):
    """The same with twelve pairs in both memories."""
    method = build(**options)
    for k, memory in enumerate(method.memories):
        generator = torch.Generator().manual_seed(k)
        memory.push(torch.randn(12, D, generator=generator), torch.randn(12, D, generator=generator))
    return method


def vectors(matcher, batch):
    """Images and texts of a batch, encoded one by one, (B, D) float64."""
    found = []
    for i in range(len(batch)):
        image = ImageBatch(batch.images.features[i : i + 1], batch.images.mask[i : i + 1])
        text = TextBatch(batch.texts.tokens[i : i + 1], batch.texts.mask[i : i + 1])
        found.append((item_vectors(matcher.encode_images(image)), item_vectors(matcher.encode_texts(text))))
    return tuple(torch.cat(side).detach().double() for side in zip(*found, strict=True))


def slow_hinge(S, same, margin, hardest=True):
    """Sum over pairs of the hardest hinge of each direction, or of all of them, divided by the pairs."""
    total = 0.0
    for i in range(len(S)):
        others = [j for j in range(len(S)) if j != i and not same[i][j]]
        for found in ([S[i][j] for j in others], [S[j][i] for j in others]):
            hinges = [max(float(margin - S[i][i] + score), 0.0) for score in found]
            total += max(hinges, default=0.0) if hardest else sum(hinges) / len(S)
    return total


def softmax(row):
    exps = [math.exp(float(x)) for x in row]
    return [e / sum(exps) for e in exps]


def approximately(value):
    return pytest.approx(value, rel=1e-4, abs=1e-5)


def test_the_defaults_are_the_papers():
    found = In2rOptions()
    assert (found.margin, found.temperature, found.intra_weight, found.refine_weight) == (0.2, 0.05, 0.1, 1.0)
    assert (found.neighbours, found.capacity, found.pooling) == (5, 65_536, "attention")


@pytest.mark.parametrize("released", [False, True])
def test_warm_up(released):
    method, batch = build(released=released), batch_of(range(B), IMAGES)
    method.epoch = 1
    result = method.training_step({"all": batch})
    mask = None if released else batch.same_image
    scores = [matcher(batch.images, batch.texts) for matcher in method.matchers]
    torch.testing.assert_close(
        result.loss, sum(robust_cross_entropy_loss(s, 0.05, mask).mean() for s in scores)
    )


@pytest.mark.parametrize(
    ("options", "weight", "intra_margin"),
    [
        ({}, 0.1, 0.2),
        ({"switch_epoch": 10}, 0.1, 0.2),  # method.epoch is 9
        ({"intra_weight": 0.7, "margin": 0.4}, 0.7, 0.4),
        ({"released": True}, 1.0, 0.3),
    ],
)
def test_the_clean_loss_by_hand(options, weight, intra_margin):
    method, batch = build(**options), batch_of(range(B), IMAGES)
    losses = method.learn(1, "clean", batch)
    V, U = vectors(method.matchers[1], batch)
    same = torch.zeros(B, B).tolist() if options.get("released") else batch.same_image.tolist()
    hardest = method.config.switch_epoch == 0
    across = slow_hinge(V @ U.T, same, method.config.margin, hardest)
    within = sum(slow_hinge(side @ side.T, same, intra_margin, hardest) for side in (V, U))
    assert within > 0  # equal views still push items apart
    assert losses["clean_loss"].item() == approximately(across)
    assert losses["intra_loss"].item() == approximately(weight * within)


@pytest.mark.parametrize(("dropout", "intra", "texts"), [(0.0, 0.1, 1), (0.5, 0.1, 2), (0.5, 0.0, 1)])
def test_a_second_view_is_encoded_only_where_dropout_makes_another(dropout, intra, texts):
    method = build(dropout, intra_weight=intra)
    method.learn(0, "clean", batch_of(range(B)))
    assert method.matchers[0].passes == {"images": 1, "texts": texts}


def test_the_views_are_of_two_passes():
    method, batch = build(0.5, intra_weight=1.0), batch_of(range(B))
    torch.manual_seed(3)
    found = method.learn(0, "clean", batch)["intra_loss"]
    torch.manual_seed(3)
    matcher = method.matchers[0]
    V, U, U2 = (
        item_vectors(side).detach()
        for side in (
            matcher.encode_images(batch.images),
            matcher.encode_texts(batch.texts),
            matcher.encode_texts(batch.texts),
        )
    )
    same = batch.same_image.tolist()
    assert found.item() == approximately(slow_hinge(V @ V.T, same, 0.2) + slow_hinge(U @ U2.T, same, 0.2))


def test_those_above_the_mean_of_the_given_clean_pairs_enter_the_own_memory():
    method, batch = build(), batch_of(range(B))
    method.state["clean_0"] = torch.tensor([0.55, 0.6, 0.9, 0.95, 0.1, 0.99] + [0.8] * 4 + [0.2] * (N - 10))
    method.state["clean_1"] = torch.zeros(N)  # the matcher's own belief does not count
    threshold = (0.55 + 0.6 + 0.9 + 0.95 + 0.99 + 4 * 0.8) / 9
    assert 0.6 < threshold < 0.9
    method.learn(1, "clean", batch)
    assert (len(method.memories[0]), len(method.memories[1])) == (0, 3)
    V, U = vectors(method.matchers[1], batch)  # encoded alone: no vector depends on its batch
    torch.testing.assert_close(method.memories[1].images[:3].double(), V[[2, 3, 5]])
    torch.testing.assert_close(method.memories[1].texts[:3].double(), U[[2, 3, 5]])


def test_where_no_pair_is_clean_none_enters():
    method = build()
    method.state["clean_1"] = torch.full((N,), 0.1)
    method.learn(0, "clean", batch_of(range(B)))
    assert len(method.memories[0]) == 0


@pytest.mark.parametrize("pooling", ["top1", "mean", "attention"])
def test_the_loss_of_suspected_pairs_by_hand(pooling):
    method, batch = filled(pooling=pooling, neighbours=3, temperature=0.2), batch_of(range(B), IMAGES)
    found = method.learn(0, "noisy", batch)
    V, U = vectors(method.matchers[1], batch)  # of the peer
    memory = method.memories[1]
    own = vectors(method.matchers[0], batch)
    S = own[0] @ own[1].T
    total = 0.0
    for queries, keys, values, candidates, scores in (
        (V, memory.images[:12], memory.texts[:12], U, S),
        (U, memory.texts[:12], memory.images[:12], V, S.T),
    ):
        for i in range(B):
            cosines = [float(queries[i] @ key.double()) for key in keys]
            best = sorted(range(12), key=cosines.__getitem__, reverse=True)[:3]
            near = values[best]
            if pooling == "attention":
                prototype = method.refiners[0](near[None])[0].detach().double()
            else:
                prototype = F.normalize(near[0] if pooling == "top1" else near.mean(0), dim=0).double()
            target = softmax([prototype @ c / 0.2 for c in candidates])
            p = softmax(scores[i] / 0.2)
            total += (
                sum(-t * math.log(q) - q * math.log(t + 1e-7) for t, q in zip(target, p, strict=True)) / B
            )
    assert found["refine_loss"].item() == approximately(total / 2)


def test_the_peers_memory_is_read_and_only_the_own_networks_learn():
    method, batch = filled(), batch_of(range(B))
    before = method.learn(0, "noisy", batch)["refine_loss"]
    before.backward()
    assert method.matchers[0].region.weight.grad.any()
    assert method.matchers[0].word.weight.grad.any()
    assert method.refiners[0].project.weight.grad.any()
    assert method.matchers[1].region.weight.grad is None
    assert method.refiners[1].project.weight.grad is None
    method.memories[0].push(torch.randn(12, D), torch.randn(12, D))
    torch.testing.assert_close(method.learn(0, "noisy", batch)["refine_loss"], before, rtol=0, atol=0)
    method.memories[1].push(torch.randn(12, D), torch.randn(12, D))
    assert abs((method.learn(0, "noisy", batch)["refine_loss"] - before).item()) > 1e-3


def test_an_empty_memory_teaches_nothing():
    method = build()
    loss = method.learn(0, "noisy", batch_of(range(B)))["refine_loss"]
    loss.backward()
    assert float(loss) == 0.0
    assert not method.matchers[0].word.weight.grad.any()


def test_the_released_loss_of_suspected_pairs_by_hand():
    method, batch = filled(released=True), batch_of(range(B), IMAGES)
    for one, other in zip(method.matchers[0].parameters(), method.matchers[1].parameters(), strict=True):
        assert torch.equal(one, other)  # its peer starts as a copy
    with torch.no_grad():
        method.matchers[0].region.weight.add_(0.5)  # the learner encodes the queries
    V, U = vectors(method.matchers[0], batch)
    memory, expected = method.memories[1], 0.0
    for queries, keys, values in ((V, memory.images, memory.texts), (U, memory.texts, memory.images)):
        nearest = [max(range(12), key=lambda j, q=q: float(q @ keys[j].double())) for q in queries]
        prototypes = method.refiners[0](values[nearest][:, None]).detach().double()
        expected += float(robust_cross_entropy_loss(queries @ prototypes.T, 0.05).mean()) / 2
    found = method.learn(0, "noisy", batch)["refine_loss"]
    assert found.item() == approximately(expected)


def test_the_evidence_is_the_mean_hinge():
    method, batch = build(), batch_of(range(B), IMAGES)
    S = torch.randn(B, B, generator=torch.Generator().manual_seed(0)) * 0.3
    evidence = method.evidence(S, batch)
    for i in range(B):
        others = [j for j in range(B) if not batch.same_image[i, j]]
        both = sum(max(0.2 - S[i, i] + S[i, j], 0) + max(0.2 - S[i, i] + S[j, i], 0) for j in others)
        assert float(evidence[i]) == approximately(float(both) / len(others))


@pytest.mark.parametrize("capacity", [7, 1000])
def test_a_memory_never_holds_more_than_its_capacity_or_all_pairs(capacity):
    method = build(capacity=capacity)
    for own in (0, 1):
        assert method.memories[own].images.shape == (min(capacity, N), D)


def test_the_refiners_learn_at_the_rate_of_the_run():
    method = build()
    assert set(method.auxiliary) == {"memory_0", "memory_1", "refiner_0", "refiner_1"}
    groups = build_optimiser(method.parameter_groups(), resolve({}).settings.optim).param_groups
    learnt = {id(p) for group in groups for p in group["params"]}
    assert {id(p) for refiner in method.refiners for p in refiner.parameters()} <= learnt
    assert set(build(pooling="mean").auxiliary) == {"memory_0", "memory_1"}


def test_a_restart_has_the_same_losses():
    one, other = filled(), build()
    one.state["clean_0"] = torch.linspace(1, 0, N)
    for name, network in other.auxiliary.items():
        network.load_state_dict(copy.deepcopy(one.auxiliary[name].state_dict()))
    other.load_state_dict(one.state_dict())
    for group in ("clean", "noisy", "noisy"):
        batch = batch_of(range(B))
        results = [
            method.training_step({f"{group}_1": batch, f"{group}_0": batch}) for method in (one, other)
        ]
        assert torch.equal(results[0].loss, results[1].loss)
    assert len(one.memories[1]) == len(other.memories[1]) > 12


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("ids", [[0], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize("group", ["clean", "noisy"])
def test_small_batches_of_one_image_are_finite(group, ids, released):
    method = filled(released=released)
    losses = method.learn(0, group, batch_of(ids, [0] * len(ids)))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.matchers[0].parameters())


def test_losses_of_half_precision_are_float32():
    method = filled()
    batch = batch_of(range(B))
    for matcher in method.matchers:
        matcher.to(torch.bfloat16)
    half = PairBatch(
        ImageBatch(batch.images.features.bfloat16(), batch.images.mask),
        batch.texts,
        batch.pair_ids,
        batch.same_image,
    )
    for group in ("clean", "noisy"):
        for loss in method.learn(0, group, half).values():
            assert loss.dtype == torch.float32
            assert loss.isfinite()


@pytest.mark.parametrize("options", [{}, {"released": True}, {"pooling": "mean"}])
def test_it_keeps_the_contract_beyond_the_warm_up(options):
    report = check_method(In2r, {"warmup_epochs": 1, **options}, epochs=3)
    assert set(METHOD_CHECKS) - set(report.passed) == {"rematches"}
