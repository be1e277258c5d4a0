from __future__ import annotations

import numpy as np
import pytest

from robustcmr.data.scan import named, refuse_non_finite, scan_captions, scan_features
from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary
from robustcmr.errors import DataError


def features_of(n_images: int) -> np.ndarray:
    return np.random.default_rng(n_images).normal(size=(n_images, 3, 4)).astype(np.float32)


class Memory:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def take(self, images: np.ndarray) -> np.ndarray:
        return self.array[images]


def test_statistics_leave_out_what_is_not_finite():
    features = features_of(5)
    features[2, 1] = np.inf
    features[3, 0, 0] = np.nan
    kept = features[np.isfinite(features)].astype("float64")
    found = scan_features(Memory(features))
    assert (found.minimum, found.maximum) == (pytest.approx(kept.min()), pytest.approx(kept.max()))
    assert found.mean == pytest.approx(kept.mean())
    assert found.non_finite_first == ((2, 1), (3, 1))
    nothing = scan_features(Memory(np.full((2, 1, 3), np.nan, np.float32)))
    assert (nothing.minimum, nothing.maximum, nothing.mean) == (None, None, None)
    assert (nothing.non_finite_images, nothing.zero_images) == (2, 0)


def test_blocks_do_not_change_the_outcome(monkeypatch):
    features = features_of(23)
    features[[4, 20], 0, 0] = np.nan
    features[11] = 0
    whole = scan_features(Memory(features))
    monkeypatch.setattr("robustcmr.data.store.BLOCK_BYTES", 3 * features[0].nbytes)
    parts = scan_features(Memory(features))
    assert parts.mean == pytest.approx(whole.mean)
    assert parts.non_finite_first == whole.non_finite_first == ((4, 1), (20, 1))
    assert parts.zero_first == whole.zero_first == (11,)
    assert (parts.minimum, parts.maximum) == (whole.minimum, whole.maximum)


def test_captions_described():
    found = scan_captions(["A dog.", "a dog.", "A dog.", "", "two men"])
    assert (found.count, found.shortest, found.longest, found.empty, found.duplicates) == (5, 0, 3, 1, 1)
    assert found.mean_length == pytest.approx(11 / 5)
    assert found.known_share is None
    none = scan_captions([], Vocabulary(SPECIAL_WORDS))
    assert (none.count, none.mean_length, none.longest, none.known_share) == (0, 0.0, 0, 1.0)


def test_features_that_are_not_finite_are_refused_with_their_places():
    features, vectors = features_of(6), np.ones((8, 1, 4), np.float32)
    refuse_non_finite("train", {"images": Memory(features), "captions": None})
    features[1, :2, 0], features[4, 2, 1] = np.nan, np.inf
    with pytest.raises(DataError) as caught:
        refuse_non_finite("train", {"captions": Memory(vectors), "images": Memory(features)})
    assert str(caught.value).startswith(
        "the train features hold NaN or infinite numbers in 2 of 6 images, first image 1 (2 regions), "
        "image 4 (1 regions); repair the file"
    )
    vectors[[0, 2, 3, 7]] = np.nan
    with pytest.raises(DataError, match="in 4 of 8 captions, first caption 0, caption 2, caption 3; repair"):
        refuse_non_finite("dev", {"captions": Memory(vectors)})


def test_ten_are_named():
    assert named(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert named(range(11)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    assert named([3], 1) == "3"
    assert named(range(10), 11).endswith("9, ...")
