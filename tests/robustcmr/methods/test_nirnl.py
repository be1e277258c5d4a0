"""NIRNL: its centres and sets, the loss of every group as a slow loop, and what survives a restart."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustcmr.correction.class_centres import class_means
from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.nirnl import Nirnl
from robustcmr.selection.neighbours import neighbour_labels
from robustcmr.testing import LABEL_METHOD_CHECKS, check_method
from robustcmr.types import DataSpec, ImageBatch, LabelledVectors, PairBatch, TextBatch

N, K, D = 60, 3, 6
SPEC = DataSpec(feature_width=D, n_regions=1, vocabulary_size=1, longest_caption=1, text_width=D)
TRUTH = torch.arange(N) % K


class Scorer:
    """The training set as a matcher would see it, were it trained: vectors around one direction a class."""

    def __init__(self, given, spread=0.3):
        generator = torch.Generator().manual_seed(0)
        sides = (torch.eye(K, D)[TRUTH] + spread * torch.randn(N, D, generator=generator) for _ in range(2))
        self.found = LabelledVectors(*sides, given)

    def vectors(self, matcher):
        return self.found


def labels(wrong=0.3, columns=1):
    given = TRUTH[:, None].repeat(1, columns)
    for column in range(columns):
        rows = np.random.default_rng(column).choice(N, int(wrong * N), replace=False)
        given[rows, column] = (given[rows, column] + 1) % K
    return given


def method(**options):
    torch.manual_seed(0)
    matcher = TwoTower(TwoTower.Config(dim=D, hidden=()), SPEC)
    return Nirnl(Nirnl.Config(**options), [matcher], N, 10, K, D)


def batch(given, ids):
    generator = torch.Generator().manual_seed(3)
    b, mask = len(ids), torch.ones(len(ids), 1, dtype=torch.bool)
    return PairBatch(
        ImageBatch(torch.randn(b, 1, D, generator=generator), mask),
        TextBatch(torch.zeros(b, 1, dtype=torch.int64), mask, torch.randn(b, D, generator=generator)),
        torch.as_tensor(ids),
        torch.eye(b, dtype=torch.bool),
        given[list(ids)],
    )


@pytest.mark.parametrize("columns", [1, 2])
def test_the_plan_divides_by_neighbours_and_sets_the_centres(columns):
    trained, given = method(neighbours=7), labels(wrong=0.2, columns=columns)
    scorer = Scorer(given, spread=0.15)
    plan = trained.plan_epoch(0, scorer)
    images, texts = (F.normalize(side, dim=1) for side in (scorer.found.images, scorer.found.texts))
    near = neighbour_labels(images, texts, given, K, 7)
    for name, count in {"pure": 2, "hard": 1, "noisy": 0}.items():
        assert plan.groups[name].tolist() == np.flatnonzero(near.agreeing.numpy() == count).tolist()
        assert plan.metrics[f"{name}_share"] == len(plan.groups[name]) / N
    assert trained.state["pseudo"].tolist() == near.pseudo_labels.tolist()
    torch.testing.assert_close(trained.anchors(), class_means(images, texts, given, K))
    wrong = (given != TRUTH[:, None]).any(1).numpy()
    assert wrong[plan.groups["noisy"]].mean() > 0.9 > 0.1 > wrong[plan.groups["pure"]].mean()
    corrected = trained.state["pseudo"][plan.groups["noisy"]]
    assert (corrected == TRUTH[plan.groups["noisy"]]).float().mean() > 0.9
    assert (plan.estimate.corrected == TRUTH.numpy()).mean() > 0.9


def test_the_centres_are_plain_means_and_are_not_learned():
    """Normalised, or one learned by gradient, they would be something else."""
    trained = method()
    trained.plan_epoch(0, Scorer(labels()))
    assert (trained.anchors().norm(dim=1) < 0.95).all()
    grouped = {id(p) for group in trained.parameter_groups() for p in group["params"]}
    assert id(trained.anchors.weight) not in grouped
    plan = trained.plan_epoch(0, Scorer(labels()))
    trained.training_step({"pure": batch(labels(), plan.groups["pure"][:5])}).loss.backward()
    assert trained.anchors.weight.grad is None


def slow_losses(trained, group, given, ids, images, texts):
    """The loss of each pair, and the margin between pairs of the batch."""
    config, centres = trained.config, trained.anchors()
    by_class, either = 0.0, {}
    for i, pair in enumerate(ids):
        p = []
        for side in (images, texts):
            similar = [math.exp(float(side[i] @ centre) / config.temperature) for centre in centres]
            p.append([each / sum(similar) for each in similar])
        y = (int(given[pair, 0]), int(given[pair, -1]))
        either = [1 - (1 - a) * (1 - b) for a, b in zip(*p, strict=True)]
        if group == "noisy":
            pseudo = int(trained.state["pseudo"][pair])
            if config.released:
                pseudo = max(range(K), key=lambda k: either[k])
            by_class += sum(abs(each[k] - (k == pseudo)) for each in p for k in range(K))
        else:
            weight = 1.0 if group == "pure" else 1 - (1 - p[0][y[0]]) * (1 - p[1][y[1]])
            by_class -= weight * (math.log(p[0][y[0]]) + math.log(p[1][y[1]]))
    margin, b = 0.0, len(ids)
    for i in range(b):
        for j in range(b):
            if i != j:
                own = float(images[i] @ texts[i])
                margin += max(0.0, float(images[i] @ texts[j]) - own + config.margin)
                margin += max(0.0, float(images[j] @ texts[i]) - own + config.margin)
    return by_class / b, config.alpha * margin / b**2


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("columns", [1, 2])
def test_the_step_as_a_slow_loop(columns, released):
    given = labels(columns=columns)
    trained = method(temperature=0.3, alpha=0.7, margin=0.4, released=released)
    plan = trained.plan_epoch(0, Scorer(given, spread=0.5))
    assert all(len(chosen) for chosen in plan.groups.values())
    slow, drawn = {"margin_loss": 0.0}, {}
    for group, chosen in plan.groups.items():
        ids = chosen[:4].tolist()
        drawn[group] = batch(given, ids)
        with torch.no_grad():
            images, texts = trained.encode(drawn[group])
        by_class, margin = slow_losses(trained, group, given, ids, images, texts)
        share = len(chosen) / N
        slow[f"{group}_loss"] = share * by_class
        slow["margin_loss"] += share * margin
    result = trained.training_step(drawn)
    assert {name: float(value) for name, value in result.metrics.items()} == pytest.approx(slow, rel=1e-4)
    assert float(result.loss.detach()) == pytest.approx(sum(slow.values()), rel=1e-4)


def test_the_released_pseudo_label_is_not_that_of_the_neighbours():
    given = labels()
    losses = {}
    for released in (False, True):
        trained = method(released=released, temperature=0.1)
        plan = trained.plan_epoch(0, Scorer(given))
        trained.state["pseudo"] = (trained.state["pseudo"] + 1) % K
        losses[released] = float(
            trained.training_step({"noisy": batch(given, plan.groups["noisy"])}).metrics["noisy_loss"]
        )
    assert losses[False] != pytest.approx(losses[True])


def test_the_weight_of_a_hard_pair_has_no_gradient():
    trained, given = method(temperature=0.3, alpha=0.0), labels()
    trained.plan_epoch(0, Scorer(given))
    trained.state["agreeing"] = torch.ones(N)  # all hard
    vectors = F.normalize(torch.randn(1, D, generator=torch.Generator().manual_seed(5)), dim=1)
    vectors.requires_grad_()
    trained.encode = lambda _: (vectors, vectors)
    trained.training_step({"hard": batch(given, [0])}).loss.backward()
    p = torch.softmax(vectors.detach()[0] @ trained.anchors().T / 0.3, dim=0)
    y = int(given[0, 0])
    weight = 1 - (1 - p[y]) ** 2
    slow = weight * 2 * (p - F.one_hot(torch.tensor(y), K)) @ trained.anchors() / 0.3
    torch.testing.assert_close(vectors.grad[0], slow, rtol=1e-4, atol=1e-6)


def test_sets_and_pseudo_labels_survive_a_restart():
    trained, given = method(), labels()
    plan = trained.plan_epoch(3, Scorer(given))
    fresh = method()
    fresh.load_state_dict(trained.state_dict())
    fresh.anchors.load_state_dict(trained.anchors.state_dict())
    drawn = {name: batch(given, ids[:3]) for name, ids in plan.groups.items()}
    assert fresh.epoch == 3
    torch.testing.assert_close(fresh.training_step(drawn).loss, trained.training_step(drawn).loss)


@pytest.mark.parametrize("options", [{}, {"released": True, "neighbours": 3}])
def test_it_passes_every_check(options):
    assert check_method("nirnl", options, epochs=2).passed == tuple(LABEL_METHOD_CHECKS)
