"""What one reading of the training set gathers, against the pairs read one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.selection import rare_words
from robustcmr.selection.region_summary import RegionSummary
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training.contents import read_contents
from robustcmr.types import ImageBatch, PairBatch, TextBatch

CPU = torch.device("cpu")


@pytest.fixture
def data(tiny_tree: dict[str, Any]) -> Any:
    augmentation = {"drop_regions": 0.5, "corrupt_words": 0.5}
    noise = {"ratio": 0.4, "protocol": "caption"}
    return PairsTrack.build(resolve({**tiny_tree, "augmentation": augmentation, "noise": noise})).training


def test_words_features_and_partners(data: Any) -> None:
    parts = np.array_split(np.random.default_rng(0).permutation(len(data)), 5)
    found = read_contents(data, parts, CPU)
    order = np.concatenate(parts)
    summary = RegionSummary(data.batch(order[:512]).images)
    tokens = []
    for i in range(len(data)):
        batch = data.batch(np.array([i]))  # nothing hidden
        tokens.append(batch.texts.tokens[0][batch.texts.mask[0]].tolist())
        expected = summary(batch.images)[0]
        stored = found.features[data.image_of_pair[i]].float()
        torch.testing.assert_close(stored, expected, rtol=1e-2, atol=1e-2)
    rows = [i for i, words in enumerate(tokens) for _ in words]
    expected_words = rare_words(rows, [word for words in tokens for word in words], len(data))
    np.testing.assert_allclose(found.words.toarray(), expected_words.toarray(), atol=1e-6)
    np.testing.assert_array_equal(found.image_of, data.image_of_pair)
    following = dict(zip(order.tolist(), [*order[1:].tolist(), int(order[0])], strict=True))
    assert found.partner.tolist() == [following[i] for i in range(len(data))]
    assert found.text_vectors is None


class Vectors:
    """Pairs of stored vectors, two captions an image; their captions have no words."""

    in_memory = True
    image_of_pair = np.arange(12) // 2

    def __len__(self) -> int:
        return 12

    def batch(self, pair_ids: Any, generator: Any = None, image_from: Any = None) -> PairBatch:
        assert generator is image_from is None
        of_image = torch.from_numpy(self.image_of_pair[pair_ids]).float()[:, None, None].expand(-1, 1, 3)
        tokens = torch.full((len(pair_ids), 1), -1)
        images = ImageBatch(of_image.clone(), torch.ones(len(pair_ids), 1, dtype=torch.bool))
        vectors = torch.from_numpy(pair_ids).float()[:, None].expand(-1, 4).clone()
        texts = TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), vectors)
        ids = torch.from_numpy(pair_ids)
        return PairBatch(images, texts, ids, ids[:, None] // 2 == ids[None, :] // 2)


def test_stored_vectors_stand_for_captions() -> None:
    found = read_contents(Vectors(), [np.arange(6), np.arange(6, 12)], CPU)  # type: ignore[arg-type]
    assert found.text_vectors is not None
    torch.testing.assert_close(found.text_vectors[:, 0].float(), torch.arange(12.0))
    assert len(found.features) == 6
    assert found.words.nnz == 0
