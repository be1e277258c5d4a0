from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from noise_injection import (
    NoiseError,
    describe,
    describe_labels,
    index_sha256,
    make_label_noise,
    make_mismatch,
    regular_truth,
    to_caption_rows,
)

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


def test_description_against_a_slow_loop() -> None:
    truth = np.array([0, 0, 0, 1, 1, 3, 3, 3, 3, 3])
    given = np.array([[0, 0], [1, 2], [0, 1], [1, 1], [1, 1], [3, 0], [0, 0], [3, 3], [3, 3], [1, 0]])
    found = describe_labels(given, truth, 4)
    for column in range(2):
        for own in range(4):
            for now in range(4):
                rows = [i for i in range(10) if truth[i] == own and given[i, column] == now]
                assert found.transitions[column][own][now] == len(rows)
    assert found.n_wrong == (3, 5)
    assert found.ratio_by_modality == (0.3, 0.5)
    assert found.ratio_realised == 0.4
    assert found.wrong_by_class[0] == pytest.approx((1 / 3, 0, None, 2 / 5))
    assert found.wrong_by_class[1] == pytest.approx((2 / 3, 0, None, 3 / 5))
    assert found.agreement == 0.6
    assert found.both_wrong == 0.3
    text = found.to_text()
    for part in (
        "10 of 4 classes",
        "8 labels (40.0000%)",
        "3 labels (30.0000%)",
        "60.00%",
        "0.00% to 66.67%",
    ):
        assert part in text
    assert [int(cell) for cell in text.splitlines()[-1].split()] == [3, 3, 0, 0, 2]
    json.dumps(found.to_dict())
    assert found.to_dict()["transitions"][1][0] == [1, 1, 1, 0]


def test_description_of_shared_labels() -> None:
    given, record = make_label_noise(np.arange(40) % 4, 4, 0.5, "asymmetric", 2)
    found = describe_labels(given, np.arange(40) % 4, 4)
    assert (found.protocol, found.agreement, found.both_wrong) == ("shared", None, None)
    assert (found.n_wrong, found.labels_sha256) == (record.n_wrong, record.labels_sha256)
    assert "agreement" not in found.to_text()
    many = describe_labels(given, (np.arange(40) % 4), 13).to_text()
    assert "13 classes, too many to show" in many
    assert describe_labels(given, (np.arange(40) % 4), 12).to_text().count("\n") > many.count("\n")
    with pytest.raises(NoiseError, match="40 rows and the data has 39 labels"):
        describe_labels(given, (np.arange(40) % 4)[:39], 4)
    with pytest.raises(NoiseError, match="number of classes is 1"):
        describe_labels(given, (np.arange(40) % 4), 1)
