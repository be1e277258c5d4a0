"""Candidates of captions by any matcher, against a slow loop over the whole score matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustcmr.evaluation import candidate_search as module
from robustcmr.evaluation.candidate_search import Collection, search_candidates
from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import Fragments, ImageBatch, TextBatch

CPU = torch.device("cpu")


class Vectors(Matcher):
    """One vector a side, and their product; or some other score of them."""

    class Config(Options):
        """No options."""

    def __init__(self, curved: bool = False, pooled: bool = True) -> None:
        super().__init__()
        self.curved, self.pooled = curved, pooled
        self.words = torch.nn.Embedding(20, 6)

    def encode_images(self, images: ImageBatch) -> Fragments:
        vectors = images.features.sum(1)
        return Fragments(vectors[:, None], images.mask[:, :1], vectors if self.pooled else None)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        vectors = (self.words(texts.tokens) * texts.mask[..., None]).sum(1)
        return Fragments(vectors[:, None], texts.mask[:, :1], vectors if self.pooled else None)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        product = images.features[:, 0] @ texts.features[:, 0].T
        return product.tanh() if self.curved else product


def collection(split: Any, excluded: Any = None, size: int = 4) -> Collection:
    n = len(split.texts)
    return Collection(
        lambda: split.image_batches(size),
        lambda: split.text_batches(3),
        len(split.images),
        torch.full((n,), -1) if excluded is None else torch.as_tensor(excluded),
    )


def expected(matcher: Any, split: Any, excluded: Tensor, k: int) -> tuple[Tensor, Tensor]:
    matcher.eval()
    with torch.no_grad():
        scores = matcher(split.images, split.texts).T.clone()  # (captions, images)
    rows = (excluded >= 0).nonzero().squeeze(1)
    scores[rows, excluded[rows]] = -torch.inf
    values, places = scores.topk(k, dim=1)
    return values, places


@pytest.fixture
def split(make_split: Any) -> Any:
    return make_split(9, 2)


@pytest.fixture
def excluded(split: Any) -> Tensor:
    return torch.arange(len(split.texts)) % (len(split.images) + 1) - 1


def test_one_vector_a_side_is_found_out_and_searched_by_products(split: Any, excluded: Tensor) -> None:
    torch.manual_seed(0)
    matcher = Vectors()
    found = search_candidates(matcher, collection(split, excluded), 3, CPU)
    values, places = expected(matcher, split, excluded, 3)
    assert found.search == "vectors"
    assert torch.equal(found.images, places)
    assert torch.allclose(found.scores, values, atol=1e-4)
    assert found.scored == len(split.texts) * len(split.images)


@pytest.mark.parametrize("matcher", [Vectors(curved=True), Vectors(pooled=False)])
def test_a_score_that_is_no_product_is_asked_for(matcher: Any, split: Any, excluded: Tensor) -> None:
    found = search_candidates(matcher, collection(split, excluded), 2, CPU)
    values, _ = expected(matcher, split, excluded, 2)
    assert found.search == "all"
    assert torch.allclose(found.scores, values, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kept_bytes", [1, 2**20])
def test_all_pairs_are_scored_where_they_are_few(
    toy: Any, split: Any, excluded: Tensor, pooled: bool, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept_bytes)
    matcher = toy(pooled=pooled)
    found = search_candidates(matcher, collection(split, excluded), 3, CPU)
    values, places = expected(matcher, split, excluded, 3)
    assert found.search == "all"
    assert torch.equal(found.images, places)
    assert torch.allclose(found.scores, values, atol=1e-4)
    assert found.scored == len(split.texts) * len(split.images)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kept_bytes", [1, 2**20])
def test_a_shortlist_as_long_as_the_set_finds_the_same(
    toy: Any, split: Any, excluded: Tensor, pooled: bool, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept_bytes)
    matcher = toy(pooled=pooled)
    found = search_candidates(
        matcher, collection(split, excluded), 3, CPU, scoring="shortlist", shortlist=len(split.images)
    )
    values, places = expected(matcher, split, excluded, 3)
    assert found.search == "shortlist"
    assert torch.equal(found.images, places)
    assert torch.allclose(found.scores, values, atol=1e-4)


def test_a_short_shortlist_scores_only_its_own(toy: Any, split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL_PAIRS", 1)
    matcher = toy()
    found = search_candidates(matcher, collection(split), 2, CPU, shortlist=4)
    assert found.search == "shortlist"
    assert found.scored == 4 * len(split.texts)
    matcher.eval()
    with torch.no_grad():
        images, texts = matcher.encode_images(split.images), matcher.encode_texts(split.texts)
        scores = matcher(split.images, split.texts).T
    listed = (texts.pooled @ images.pooled.T).topk(4, dim=1).indices
    best = scores.gather(1, listed).topk(2, dim=1)
    assert torch.equal(found.images, listed.gather(1, best.indices))
    assert torch.allclose(found.scores, best.values, atol=1e-4)
    longer = search_candidates(matcher, collection(split), 5, CPU, shortlist=1)
    assert longer.scored == 5 * len(split.texts)
    every = search_candidates(matcher, collection(split), 2, CPU, scoring="all")
    assert every.search == "all"


def test_an_empty_search_is_refused(toy: Any, split: Any) -> None:
    with pytest.raises(ValueError, match="of at least 1, got"):
        search_candidates(toy(), collection(split), 0, CPU)
