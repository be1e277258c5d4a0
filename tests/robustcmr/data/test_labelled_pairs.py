"""Batches of labelled pairs: vectors and the classes as given."""

import numpy as np
import pytest
import torch

from robustcmr.data.captions import TokenTable
from robustcmr.data.labelled_pairs import TrainingLabels, text_vector_batches
from robustcmr.data.pairs import image_batches
from robustcmr.errors import DataError


class Memory:
    def __init__(self, array):
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    def take(self, rows):
        return self.array[rows]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, 1, 4)).astype(np.float32), rng.normal(size=(9, 1, 3)).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_batch_is_what_was_given(arrays, columns):
    labels = np.random.default_rng(1).integers(0, 5, (9, columns))
    pairs = TrainingLabels(Memory(arrays[0]), Memory(arrays[1]), labels)
    ids = np.array([4, 0, 8, 4])
    batch = pairs.batch(ids, np.random.default_rng(2)).to(torch.device("cpu"))
    assert (len(pairs), len(batch)) == (9, 4)
    assert np.array_equal(batch.images.features.numpy(), arrays[0][ids])
    assert np.array_equal(batch.texts.vectors.numpy(), arrays[1][ids, 0])
    assert np.array_equal(batch.labels.numpy(), labels[ids])
    assert batch.pair_ids.tolist() == ids.tolist()
    assert batch.images.mask.shape == batch.texts.mask.shape == (4, 1)
    assert torch.equal(batch.same_image, torch.eye(4, dtype=torch.bool))


def test_noise_is_added_in_training_alone_and_repeats_with_its_seed(arrays):
    labels = np.zeros((9, 1), dtype=np.int64)
    pairs = TrainingLabels(Memory(arrays[0]), Memory(arrays[1]), labels, noise=0.5)
    ids = np.arange(9)
    plain = pairs.batch(ids)
    assert np.array_equal(plain.images.features.numpy(), arrays[0])
    first, again = (pairs.batch(ids, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.images.features, again.images.features)
    assert torch.equal(first.texts.vectors, again.texts.vectors)
    moved = torch.cat([(first.images.features - plain.images.features).flatten(),
                       (first.texts.vectors - plain.texts.vectors).flatten()])  # fmt: skip
    assert 0.3 < float(moved.std()) < 0.7
    assert np.array_equal(pairs.images.array, arrays[0])  # what the data hold stays as it is


def test_all_in_order(arrays):
    images = list(image_batches(Memory(arrays[0]), 4))
    texts = list(text_vector_batches(Memory(arrays[1]), 4))
    assert [len(batch) for batch in images] == [len(batch) for batch in texts] == [4, 4, 1]
    assert np.array_equal(np.concatenate([batch.features.numpy() for batch in images]), arrays[0])
    assert np.array_equal(np.concatenate([batch.vectors.numpy() for batch in texts]), arrays[1][:, 0])


def test_numbers_that_are_none_are_named(arrays):
    arrays[1][7, 0, 1] = np.inf
    pairs = TrainingLabels(Memory(arrays[0]), Memory(arrays[1]), np.zeros((9, 1), dtype=np.int64))
    assert len(pairs.batch(np.arange(5))) == 5
    with pytest.raises(DataError, match=r"features of 1 texts .* text 7"):
        pairs.batch(np.arange(9))


def test_words_are_read_beside_vectors(arrays):
    lengths = np.array([1, 3, 2, 2, 5, 1, 1, 4, 2])
    words = TokenTable(np.arange(lengths.sum(), dtype=np.int32) + 1, np.r_[0, lengths.cumsum()])
    pairs = TrainingLabels(Memory(arrays[0]), Memory(arrays[1]), np.zeros((9, 1), np.int64), captions=words)
    ids = np.array([7, 1, 0])
    batch = pairs.batch(ids, np.random.default_rng(0))
    assert batch.texts.tokens.tolist() == [[16, 17, 18, 19], [2, 3, 4, 0], [1, 0, 0, 0]]
    assert batch.texts.mask.sum(1).tolist() == [4, 3, 1]
    assert np.array_equal(batch.texts.vectors.numpy(), arrays[1][ids, 0])
    parts = list(text_vector_batches(Memory(arrays[1]), 4, words))
    assert [part.tokens.shape for part in parts] == [(4, 3), (4, 5), (1, 2)]
    found = np.concatenate([part.tokens[part.mask].numpy() for part in parts])
    assert found.tolist() == list(range(1, lengths.sum() + 1))
