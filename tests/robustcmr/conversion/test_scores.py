"""A converted matcher scores as the released forward pass does, and each key does what the map says."""

import numpy as np
import pytest
import torch

from robustcmr.conversion import sgraf, vse_infty
from robustcmr.conversion.keys import move
from robustcmr.conversion.layouts import find_network
from robustcmr.matchers.sgraf import Saf, Sgr
from robustcmr.matchers.vse_infty import VseInfty
from robustcmr.types import DataSpec, ImageBatch, TextBatch

MATCHERS = {"sgr": Sgr, "saf": Saf, "vse_infty": VseInfty}
KINDS = ("SGR", "SAF", "VSE", "VSE without mlp")


def parts(released, kind, **sizes):
    """The states of a kind, its plan function and its slow scores."""
    if kind in ("SGR", "SAF"):
        return released.sgraf(kind, **sizes), sgraf, released.slow_sgraf
    return released.vse(mlp=kind == "VSE", **sizes), vse_infty, released.slow_vse


def build(states, layout):
    """The converted matcher in double precision, and what was moved."""
    network = find_network({"model": states}, layout.PARTS)
    plan = layout.plan(network.weights)
    cls = MATCHERS[plan.matcher]
    spec = DataSpec(plan.feature_width, plan.n_regions or 4, plan.vocabulary_size, 7)
    matcher = cls(cls.Config(**plan.options), spec)
    moved = move(network.weights, plan.keys, matcher.state_dict())
    matcher.load_state_dict(moved.state)
    return matcher.eval().double(), moved


@torch.no_grad()
def scores(matcher, images, captions):
    longest = max(map(len, captions))
    tokens = torch.tensor([caption + [0] * (longest - len(caption)) for caption in captions])
    mask = torch.arange(longest) < torch.tensor([[len(caption)] for caption in captions])
    pictures = torch.from_numpy(images).double()
    return matcher(
        ImageBatch(pictures, torch.ones(pictures.shape[:2], dtype=torch.bool)), TextBatch(tokens, mask)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_same_scores(released, kind, seed):
    states, layout, slow = parts(released, kind, seed=seed)
    images, captions = released.inputs()
    matcher, moved = build(states, layout)
    expected = slow(states, images, captions)
    assert expected.std() > 0.01  # scores that are all alike would prove nothing
    np.testing.assert_allclose(scores(matcher, images, captions).numpy(), expected, rtol=0, atol=2e-6)
    assert moved.without_place == []


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_any_number_of_steps(released, steps):
    states = released.sgraf("SGR", steps=steps)
    images, captions = released.inputs()
    matcher, _ = build(states, sgraf)
    assert len(matcher.steps) == steps
    expected = released.slow_sgraf(states, images, captions)
    np.testing.assert_allclose(scores(matcher, images, captions).numpy(), expected, rtol=0, atol=2e-6)


def test_a_pooling_reader_of_either_name(released):
    states = released.vse(reader="rnn")
    images, captions = released.inputs()
    matcher, moved = build(states, vse_infty)
    expected = released.slow_vse(states, images, captions, reader="rnn")
    np.testing.assert_allclose(scores(matcher, images, captions).numpy(), expected, rtol=0, atol=2e-6)
    assert moved.without_place == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_has_the_effect_that_is_said(released, kind):
    """On the slow scores: none where the map says so, some wherever it takes or folds a tensor."""
    states, layout, slow = parts(released, kind)
    images, captions = released.inputs(n=3)
    plan = layout.plan(find_network(states, layout.PARTS).weights)
    before = slow(states, images, captions)
    for part, state in zip(layout.PARTS, states, strict=True):
        for name in state:
            if name.endswith("num_batches_tracked"):
                continue
            key = f"{part}.{name}"
            changed = dict(state)
            changed[name] = (
                state[name] + 0.5 * torch.randn(state[name].shape, generator=torch.manual_seed(1)).abs()
            )
            after = slow([changed if other is state else other for other in states], images, captions)
            if key in plan.keys.without_effect:
                assert np.abs(after - before).max() < 1e-12, key
            else:
                assert key in plan.keys.renamed or key in plan.keys.folded, key
                assert np.abs(after - before).max() > 5e-6, key


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_covers_the_matcher_and_the_file(released, kind):
    states, layout, _ = parts(released, kind)
    weights = find_network(states, layout.PARTS).weights
    plan = layout.plan(weights)
    matcher, _ = build(states, layout)
    assert sorted(plan.keys.renamed.values()) == sorted(matcher.state_dict())
    groups = (plan.keys.renamed, plan.keys.folded, plan.keys.without_effect)
    assert sorted(key for group in groups for key in group) == sorted(weights)
    assert set(plan.keys.folded.values()) <= set(matcher.state_dict())


def test_the_sizes_of_the_release(released):
    states = released.sgraf("SGR", dim=1024, width=2048, regions=36, words=50, word_dim=300, sim_dim=256)
    plan = sgraf.plan(find_network(states, sgraf.PARTS).weights)
    assert (plan.matcher, plan.feature_width, plan.vocabulary_size, plan.n_regions) == ("sgr", 2048, 50, 36)
    assert plan.options == {
        "dim": 1024,
        "image_encoder": "linear",
        "text_encoder": "bigru",
        "word_dim": 300,
        "sim_dim": 256,
        "smooth": 9.0,
        "region_norm": "position",
        "steps": 3,
    }
    plan = vse_infty.plan(
        find_network(released.vse(dim=1024, width=2048, hidden=512), vse_infty.PARTS).weights
    )
    assert plan.n_regions is None
    assert plan.options["region_hidden"] == 512
    assert plan.options["image_encoder"] == "regions"
