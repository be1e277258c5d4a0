"""Which matchers may learn with class labels is found by trying them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustcmr import plugins
from robustcmr.config.resolve import resolve_component
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingLabels
from robustcmr.errors import DataError
from robustcmr.matchers.two_tower import TwoTower, TwoTowerConfig
from robustcmr.tracks.vector_matchers import check_vector_matcher, unit_vectors
from robustcmr.types import DataSpec, Fragments

N, F_IN, V = 7, 10, 6
OPTIONS = {
    "omit": {"dim": 8, "word_dim": 8, "region_hidden": 8},
    "sgr": {"dim": 8, "word_dim": 8, "sim_dim": 4},
    "scan": {"dim": 8, "word_dim": 8},
    "vse_infty": {"dim": 8, "word_dim": 8},
    "embeddings": {"dim": 8},
    "two_tower": {"dim": 8, "hidden": [12]},
}


def pairs(words_known, same_texts=False):
    rng = np.random.default_rng(0)
    images, texts = (ArrayFeatures(rng.normal(size=(N, w)).astype(np.float32)) for w in (F_IN, V))
    if same_texts:
        texts = ArrayFeatures(np.ones((N, V), np.float32))
    captions = None
    if words_known:
        captions = TokenTable(rng.integers(4, 20, 4 * N).astype(np.int32), np.arange(0, 4 * N + 1, 4))
    return TrainingLabels(images, texts, np.zeros((N, 1), np.int64), captions=captions).batch(np.arange(N))


def spec(words_known):
    return DataSpec(F_IN, 1, 20 if words_known else 1, 4, 0, 3 if words_known else 0, text_width=V)


def build(name, words_known, **more):
    torch.manual_seed(0)
    known = set(plugins.matchers.load(name).Config.model_fields)
    options = {key: value for key, value in OPTIONS[name].items() if key in known}
    chosen = resolve_component("matcher", {"name": name, **options, **more})
    return chosen.cls(chosen.options, spec(words_known))


@pytest.mark.parametrize("words_known", [False, True])
@pytest.mark.parametrize("name", ["two_tower", "embeddings"])
def test_matchers_of_vectors_will_do(name, words_known):
    assert check_vector_matcher(build(name, words_known), pairs(words_known), words_known) == 8


def test_matchers_of_words_will_do_where_there_are_some():
    assert check_vector_matcher(build("vse_infty", True), pairs(True), True) == 8
    assert check_vector_matcher(build("embeddings", True, texts="words"), pairs(True), True) == 8
    for name, more in (("vse_infty", {}), ("embeddings", {"texts": "words"})):
        with pytest.raises(DataError, match=r"reads the words of texts.*two_tower or --matcher embeddings"):
            check_vector_matcher(build(name, False, **more), pairs(False), False)


@pytest.mark.parametrize("words_known", [False, True])
@pytest.mark.parametrize("name", ["omit", "sgr", "scan"])
def test_matchers_of_fragments_are_refused(name, words_known):
    with pytest.raises(DataError, match="--matcher two_tower or --matcher embeddings") as refused:
        check_vector_matcher(build(name, words_known), pairs(words_known), words_known)
    assert str(refused.value).startswith(("Omit", "Sgr", "Scan"))


class Changed(TwoTower):
    """Two towers, but for one thing."""

    def __init__(self, change, words_known=False):
        super().__init__(TwoTowerConfig(dim=8, hidden=(12,)), spec(words_known))
        self.change = change

    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        if self.change == "no text":
            return Fragments(found.features, found.mask)
        if self.change == "narrow":
            return Fragments(found.features, found.mask, found.pooled[:, :5])
        if self.change == "longer":  # the length of a vector does not matter
            return Fragments(found.features, found.mask, 3 * found.pooled)
        return found

    def encode_images(self, images):
        found = super().encode_images(images)
        return Fragments(found.features, found.mask) if self.change == "no image" else found

    def score(self, images, texts):
        factor = {"half": 0.5, "rounded": 1 + 4e-4}.get(self.change, 1.0)
        return factor * super().score(images, texts)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("no text", "gives no single vector of each text"),
        ("no image", "gives no single vector of each image"),
        ("narrow", "vectors of 8 numbers for images and 5 for texts"),
        ("half", "scores in another way than by the cosine"),
    ],
)
def test_each_mistake_is_told(change, sentence):
    with pytest.raises(DataError, match=f"Changed .*{sentence}"):
        check_vector_matcher(Changed(change), pairs(False), False)


@pytest.mark.parametrize("change", ["longer", "rounded"])
def test_lengths_and_rounding_are_no_mistakes(change):
    assert check_vector_matcher(Changed(change), pairs(False), False) == 8


def test_texts_that_are_all_the_same_tell_nothing():
    assert check_vector_matcher(build("two_tower", False), pairs(False, same_texts=True), False) == 8


def test_trying_leaves_a_matcher_as_it_was():
    matcher = Changed("").train()
    matcher.text_tower.eval()
    before = torch.get_rng_state()
    check_vector_matcher(matcher, pairs(False), False)
    assert matcher.training
    assert not matcher.text_tower.training
    assert all(p.grad is None for p in matcher.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_unit_vectors_are_those_of_all_batches():
    matcher, batch, asked = Changed("longer"), pairs(False), []
    parts = [batch.texts.to(torch.device("cpu"))] * 2
    found = unit_vectors(matcher, matcher.encode_texts, parts, torch.device("cpu"), lambda: asked.append(1))
    with torch.no_grad():
        expected = F.normalize(matcher.text_tower(batch.texts.vectors), dim=1)
    torch.testing.assert_close(found, torch.cat([expected, expected]))
    assert len(asked) == 2
