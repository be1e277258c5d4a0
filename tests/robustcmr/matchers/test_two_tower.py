"""Two towers: what they compute, what they are made of, and the contract of a matcher."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from robustcmr.errors import DataError
from robustcmr.matchers.two_tower import TwoTower, TwoTowerConfig
from robustcmr.testing import check_matcher, sample_spec
from robustcmr.types import ImageBatch, TextBatch

SPEC = sample_spec(text_width=7)


def batches(n, m, regions=1):
    generator = torch.Generator().manual_seed(n)
    images = ImageBatch(
        torch.randn(n, regions, SPEC.feature_width, generator=generator),
        torch.ones(n, regions, dtype=torch.bool),
    )
    tokens = torch.ones(m, 1, dtype=torch.int64)
    return images, TextBatch(tokens, tokens > 0, torch.randn(m, 7, generator=generator))


@pytest.mark.parametrize("hidden", [(), (6,), (9, 6)])
def test_scores_are_cosines_of_plain_layers(hidden):
    torch.manual_seed(0)
    matcher = TwoTower(TwoTowerConfig(dim=5, hidden=hidden, dropout=0.5), SPEC).eval().double()
    images, texts = batches(4, 3, regions=2)
    images = replace(images, features=images.features.double())
    texts = replace(texts, vectors=texts.vectors.double())

    def slow(tower, vector):
        linears = [layer for layer in tower if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in linears] == [*hidden, 5]
        for layer in linears[:-1]:
            vector = (layer.weight @ vector + layer.bias).clamp(min=0)
        return linears[-1].weight @ vector + linears[-1].bias

    scores = matcher(images, texts)
    for i in range(4):
        for j in range(3):
            a = slow(matcher.image_tower, images.features[i].mean(0))
            b = slow(matcher.text_tower, texts.vectors[j])
            assert float(scores[i, j]) == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-13)


def test_the_contract_of_a_matcher():
    check_matcher(TwoTower, {"dim": 8, "hidden": [16]}, SPEC)


def test_texts_without_vectors_and_widths_that_are_none():
    with pytest.raises(DataError, match="this data has none"):
        TwoTower(TwoTowerConfig(), sample_spec())
    with pytest.raises(ValidationError, match="expected widths of at least 1"):
        TwoTowerConfig(hidden=[4, 0])
