from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_injection import NoiseError, describe, index_sha256, make_mismatch, regular_truth, to_caption_rows

TRUTH = regular_truth(8, 2)


def test_caption_rows_counted_by_hand() -> None:
    index = np.array([0, 1, 0, 2, 1, 2, 3, 3])
    found = describe(index, TRUTH, 4)
    assert (found.layout, found.protocol, found.is_permutation) == ("caption rows", "caption", True)
    assert (found.n_captions, found.n_images) == (8, 4)
    assert (found.n_mismatched, found.n_unchanged, found.ratio_realised) == (4, 4, 0.5)
    assert found.images_by_true_captions == (1, 2, 1)
    assert (found.images_without_true_caption, found.images_without_true_caption_share) == (1, 0.25)
    assert found.index_sha256 == index_sha256(index)


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        (np.array([0, 2, 3, 1]), "image permutation"),
        (np.array([0, 0, 2, 2, 3, 3, 1, 1]), "expanded image rows"),
    ],
)
def test_both_layouts_of_image_noise_are_the_same_noise(values: np.ndarray, layout: str) -> None:
    found = describe(values, TRUTH, 4)
    assert (found.layout, found.protocol) == (layout, "image")
    assert (found.n_mismatched, found.images_without_true_caption) == (6, 3)
    assert found.images_by_true_captions == (3, 0, 1)
    assert found.index_sha256 == index_sha256(np.array([0, 0, 2, 2, 3, 3, 1, 1]))


@pytest.mark.parametrize(("values", "layout"), [(TRUTH, "caption rows"), (np.arange(4), "image permutation")])
def test_nothing_differs(values: np.ndarray, layout: str) -> None:
    found = describe(values, TRUTH, 4)
    assert (found.layout, found.protocol, found.n_mismatched) == (layout, "none", 0)
    assert found.images_by_true_captions == (0, 0, 4)
    assert found.images_without_true_caption == 0


@pytest.mark.parametrize("index", [[0, 0, 0, 1, 2, 2, 3, 3], [0, 0, 0, 0, 2, 2, 3, 3]])
def test_images_used_more_often_than_before(index: list[int]) -> None:
    found = describe(np.array(index), TRUTH, 4)
    assert (found.protocol, found.is_permutation) == ("other", False)
    assert "used more often" in found.to_text()


def test_one_caption_an_image_counts_as_caption_protocol() -> None:
    truth = np.arange(6)
    assert describe(np.array([1, 0, 2, 3, 4, 5]), truth, 6).protocol == "caption"
    assert describe(np.array([1, 1, 2, 3, 4, 5]), truth, 6).protocol == "other"
    assert (
        describe(np.array([7, 0, 2, 3, 4, 5]), truth, 8).protocol == "image"
    )  # an image without captions came in


def test_images_without_captions_are_not_counted_as_robbed() -> None:
    truth = np.array([0, 0, 2])
    found = describe(np.array([0, 2, 0]), truth, 4)
    assert found.images_by_true_captions == (1, 1)
    assert found.images_without_true_caption_share == 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["caption", "image"]), st.floats(0.2, 0.9))
def test_made_noise_is_recognised(seed: int, protocol: str, ratio: float) -> None:
    truth = regular_truth(200, 5)
    index, record = make_mismatch(truth, 40, ratio, protocol, seed, derange=True)
    found = describe(index, truth, 40)
    assert (found.protocol, found.is_permutation) == (protocol, True)
    assert (found.ratio_realised, found.index_sha256) == (record.ratio_realised, record.index_sha256)
    left = sum(not (index[truth == image] == image).any() for image in range(40))
    assert found.images_without_true_caption == left
    assert sum(k * n for k, n in enumerate(found.images_by_true_captions)) == found.n_unchanged


def test_image_protocol_with_uneven_captions_is_recognised() -> None:
    truth = np.array([0, 0, 0, 1, 2, 2, 3])
    index, _ = make_mismatch(truth, 4, 0.75, "image", 0, derange=True)
    assert describe(index, truth, 4).protocol == "image"


def test_text_and_json_say_the_same() -> None:
    found = describe(np.array([0, 1, 0, 2, 1, 2, 3, 3]), TRUTH, 4)
    text = found.to_text()
    for part in (
        "caption rows",
        "8 of 4 images",
        "4 captions (50.0000%)",
        "1 images (25.00%)",
        found.index_sha256,
    ):
        assert part in text
    assert "1 keep 0, 2 keep 1, 1 keep 2" in text
    values = json.loads(json.dumps(found.to_dict()))
    assert values["images_by_true_captions"] == [1, 2, 1]
    assert values["ratio_realised"] == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(5), "5 entries; expected 8 .* or 4"),
        (np.zeros(8), "float64"),
        (np.zeros((8, 1), np.int64), "shape"),
        (np.array([0, 0, 1, 1, 2, 2, 3, 4]), "from 0 to 4"),
        (np.array([0, 0, 1, 1, 2, 2, 3, -1]), "from -1 to 3"),
        (np.array([0, 0, 1, 1]), "no permutation"),
    ],
)
def test_what_does_not_fit(values: np.ndarray, message: str) -> None:
    with pytest.raises(NoiseError, match=message):
        describe(values, TRUTH, 4)


def test_to_caption_rows_expands_a_permutation() -> None:
    rows = to_caption_rows(np.array([3, 1, 0, 2], np.int32), TRUTH, 4)
    assert rows.dtype == np.int64
    assert rows.tolist() == [3, 3, 1, 1, 0, 0, 2, 2]
