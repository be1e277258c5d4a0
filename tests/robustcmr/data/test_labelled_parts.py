"""The small parts under labelled data: feature arrays, standardising, and bags of words."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from robustcmr.data import store as store_module
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.bag_of_words import BagOfWords, words_of
from robustcmr.data.folder import in_order
from robustcmr.data.label_columns import column_of
from robustcmr.data.labelled_layout import rows_by_sizes
from robustcmr.data.store import non_finite_images

TABLE = np.arange(21.0).reshape(7, 3)


def all_vectors(store):
    return store.take(np.arange(store.shape[0]))[:, 0]


@pytest.mark.parametrize("rows", [None, np.array([6, 0, 2])])
def test_take(rows):
    store = ArrayFeatures(TABLE, rows)
    shown = TABLE if rows is None else TABLE[rows]
    assert store.shape == (len(shown), 1, 3)
    taken = store.take(np.array([2, 0, 2]))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, shown[[2, 0, 2]][:, None, :])
    taken[:] = -1  # a copy: the next one is not changed
    np.testing.assert_array_equal(store.take(np.array([0]))[0, 0], shown[0])
    np.testing.assert_array_equal(all_vectors(store), shown)
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(all_vectors(again), shown)
    assert store.take(np.array([], dtype=np.int64)).shape == (0, 1, 3)


@pytest.mark.parametrize("images", [[3], [-1, 0]])
def test_take_outside(images):
    with pytest.raises(IndexError, match=r"images must lie in 0\.\.2, got"):
        ArrayFeatures(TABLE, np.array([6, 0, 2])).take(np.array(images))


def test_take_no_vector():
    with pytest.raises(ValueError, match="images must be a vector"):
        ArrayFeatures(TABLE).take(np.zeros((2, 2), dtype=np.int64))


def test_a_float32_array_is_not_handed_out(monkeypatch):
    table = TABLE.astype(np.float32)
    taken = ArrayFeatures(table).take(np.arange(7))
    taken[:] = 0
    np.testing.assert_array_equal(table, TABLE)


def test_a_map_is_opened_again_at_its_place(tmp_path):
    path = tmp_path / "raw"
    path.write_bytes(b"12345678" + TABLE.astype(">f8").tobytes())
    store = ArrayFeatures(np.memmap(path, ">f8", "r", 8, (7, 3)), np.array([5, 1]))
    assert store.mapped
    frozen = pickle.dumps(store)
    assert len(frozen) < 1000
    again = pickle.loads(frozen)
    assert again.mapped
    np.testing.assert_array_equal(all_vectors(again), TABLE[[5, 1]])


def test_blocks(monkeypatch):
    monkeypatch.setattr(store_module, "BLOCK_BYTES", 2 * 3 * 4)
    table = TABLE.copy()
    table[[1, 4, 6], [0, 2, 1]] = np.nan, np.inf, 1e39
    assert non_finite_images(ArrayFeatures(table)) == [(1, 1), (4, 1), (6, 1)]
    np.testing.assert_array_equal(all_vectors(ArrayFeatures(TABLE)), TABLE)


def test_labels_of_every_form():
    labels = np.array([2, 0, 1, 0])
    one_hot = np.eye(3)[labels]
    for array, transposed in (
        (labels, None),
        (labels[:, None], None),
        (labels[None, :].astype(np.float32), None),
        (labels, True),
        (one_hot, None),
        (one_hot.T, None),
        (one_hot.astype(bool), None),
        (one_hot, False),
        (one_hot.T, True),
    ):
        column = column_of(array, "x", transposed)
        assert column.numbers.dtype == np.int64
        assert column.numbers.tolist() == labels.tolist()
        assert column.width == (3 if 3 in array.shape else None)


def test_order_of_splits():
    assert in_order({"zebra", "test", "a", "train", "dev"}) == ("train", "dev", "test", "a", "zebra")


def test_dealing_out_is_even():
    """Each row is as likely as any other to be in dev: 400 seeds, 20 rows, 5 of them."""
    times = np.zeros(20)
    for seed in range(400):
        times[rows_by_sizes(20, {"train": None, "dev": 5}, seed, "x")["dev"]] += 1
    assert times.sum() == 2000
    assert np.abs(times - 100).max() < 4.5 * np.sqrt(400 * 0.25 * 0.75)


TEXTS = ["a red Ball , and a ball", "the blue box .", "a box , a Box , a box and a jet-black star", "red red"]


def test_weights_are_those_of_scikit_learn():
    bag = BagOfWords(TEXTS, 16, 0)
    theirs = TfidfVectorizer(sublinear_tf=True, tokenizer=lambda t: list(words_of(t)), token_pattern=None)
    truth = theirs.fit_transform(TEXTS).toarray()
    assert list(bag.words) == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(bag.weights(TEXTS), truth, atol=1e-12)
    later = ["a red blue unheard thing", "nothing known"]
    np.testing.assert_allclose(bag.weights(later), theirs.transform(later).toarray(), atol=1e-12)
    assert not bag.weights(later)[1].any()


def test_projection_keeps_lengths():
    """The mean squared length over many seeds is that of the weights, 1."""
    squared = [(BagOfWords(TEXTS, 16, seed).vectors(TEXTS) ** 2).sum(1) for seed in range(300)]
    np.testing.assert_allclose(np.mean(squared, axis=0), 1, atol=0.1)
    first = BagOfWords(TEXTS, 16, 3).vectors(TEXTS)
    assert first.shape == (4, 16)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, BagOfWords(TEXTS, 16, 3).vectors(TEXTS))


def test_marks_are_no_words():
    assert list(words_of("A sky-blue box , and . ... 3")) == ["a", "sky-blue", "box", "and", "3"]
