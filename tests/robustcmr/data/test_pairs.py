"""Batches of given pairs: the images are those given, right or wrong, and nothing else."""

import dataclasses

import numpy as np
import pytest
import torch

from robustcmr.data.augmentation import Augmentation
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingLabels, TrainingPairs, image_batches, text_batches
from robustcmr.errors import DataError
from robustcmr.types import Correspondence

N_IMAGES, N_CAPTIONS, REGIONS, WIDTH = 6, 18, 4, 5


class Memory:
    def __init__(self, array):
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    def take(self, images):
        return self.array[images]


@pytest.fixture
def features():
    """Every number tells its image: image i holds numbers from 100 i + 1."""
    numbers = np.arange(1, REGIONS * WIDTH + 1, dtype=np.float32).reshape(1, REGIONS, WIDTH)
    return numbers + 100 * np.arange(N_IMAGES, dtype=np.float32)[:, None, None]


@pytest.fixture
def table():
    """Caption c has 1 + c % 4 words between its marks; its words tell the caption."""
    rows = [[1, *([10 + c] * (1 + c % 4)), 2] for c in range(N_CAPTIONS)]
    flat = np.array([token for row in rows for token in row], dtype=np.int64)
    return TokenTable(flat, np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64))


@pytest.fixture
def pairs(features, table):
    given = np.random.default_rng(0).integers(0, N_IMAGES, N_CAPTIONS)
    return TrainingPairs(Memory(features), table, Correspondence(given.astype(np.int64), N_IMAGES), None)


def augmented(pairs, regions=0.5, words=0.5):
    return dataclasses.replace(pairs, augmentation=Augmentation(regions, words, 0, 3, np.arange(100) >= 3))


def test_images_are_the_given_ones(pairs, features):
    ids = np.array([17, 3, 3, 0, 9])
    batch = pairs.batch(ids)
    assert len(pairs) == N_CAPTIONS
    assert len(batch) == 5
    assert batch.pair_ids.tolist() == ids.tolist()
    for row, pair in enumerate(ids):
        image = pairs.correspondence.image_of_caption[pair]
        assert np.array_equal(batch.images.features[row].numpy(), features[image])
    assert batch.images.mask.all()
    assert batch.images.mask.shape == (5, REGIONS)


def test_captions_are_those_of_the_rows(pairs):
    ids = np.array([2, 0, 7])
    texts = pairs.batch(ids).texts
    assert texts.tokens.shape == texts.mask.shape == (3, 6)
    for row, pair in enumerate(ids):
        words = texts.tokens[row][texts.mask[row]].tolist()
        assert words == [1, *([10 + pair] * (1 + pair % 4)), 2]
        assert not texts.tokens[row][~texts.mask[row]].any()


def test_another_correspondence_gives_other_images_and_the_same_captions(pairs, features):
    given = (pairs.correspondence.image_of_caption + 1) % N_IMAGES
    other = dataclasses.replace(pairs, correspondence=Correspondence(given, N_IMAGES))
    ids = np.arange(N_CAPTIONS)
    assert torch.equal(other.batch(ids).texts.tokens, pairs.batch(ids).texts.tokens)
    assert np.array_equal(other.batch(ids).images.features.numpy(), features[given])


def test_same_image_tells_which_pairs_share_their_given_image(pairs):
    ids = np.array([5, 1, 16, 11, 5])
    same = pairs.batch(ids).same_image
    given = pairs.correspondence.image_of_caption[ids]
    assert same.dtype == torch.bool
    for i in range(5):
        for j in range(5):
            assert bool(same[i, j]) == (given[i] == given[j])


def test_captions_with_the_images_given_to_other_pairs(pairs, features):
    given = pairs.correspondence.image_of_caption
    ids = np.array([17, 3, 0, 9, 12])
    twin = next(pair for pair in range(N_CAPTIONS) if pair != 3 and given[pair] == given[3])
    source = np.array([17, 3, twin, 5, 5])
    batch, own = pairs.batch(ids, image_from=source), pairs.batch(ids)
    assert np.array_equal(batch.images.features.numpy(), features[given[source]])
    assert torch.equal(batch.texts.tokens, own.texts.tokens)
    assert batch.pair_ids.tolist() == ids.tolist()
    for i in range(5):
        for j in range(5):
            assert bool(batch.same_image[i, j]) == (given[source[i]] == given[source[j]])
    assert batch.same_image[1, 2]
    assert not torch.equal(batch.same_image, own.same_image)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_naming_an_image(pairs, features, bad):
    image = int(pairs.correspondence.image_of_caption[4])
    features[image, 2, 1] = bad
    with pytest.raises(DataError) as caught:
        pairs.batch(np.arange(N_CAPTIONS))
    assert f"features of 1 images in this batch hold NaN or infinite numbers (first: image {image}); " in str(
        caught.value
    )
    assert "robustcmr data check" in str(caught.value)


def test_augmentation_needs_a_generator(pairs):
    ids = np.arange(N_CAPTIONS)
    plain, still = pairs.batch(ids), augmented(pairs).batch(ids)
    assert torch.equal(plain.images.features, still.images.features)
    assert torch.equal(plain.texts.tokens, still.texts.tokens)
    unaugmented = pairs.batch(ids, np.random.default_rng(0))
    assert torch.equal(plain.images.features, unaugmented.images.features)


def test_dropped_regions_are_zero_and_masked_and_the_store_is_untouched(pairs, features):
    before = features.copy()
    batch = augmented(pairs).batch(np.arange(N_CAPTIONS), np.random.default_rng(1))
    mask, given = batch.images.mask, pairs.correspondence.image_of_caption
    assert 0 < mask.sum() < mask.numel()
    assert mask.any(dim=1).all()
    assert not batch.images.features[~mask].any()
    assert np.array_equal(batch.images.features[mask].numpy(), before[given][mask.numpy()])
    assert np.array_equal(features, before)
    assert batch.texts.mask.sum() < pairs.batch(np.arange(N_CAPTIONS)).texts.mask.sum()


def test_the_same_seed_hides_the_same(pairs):
    ids = np.arange(N_CAPTIONS)
    first, second, other = (augmented(pairs).batch(ids, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.images.mask, second.images.mask)
    assert torch.equal(first.texts.tokens, second.texts.tokens)
    assert not torch.equal(first.images.mask, other.images.mask)


@pytest.mark.parametrize("size", [1, 4, 6, 50])
def test_all_images_in_order(features, size):
    batches = list(image_batches(Memory(features), size))
    assert all(len(batch) <= size for batch in batches)
    assert np.array_equal(torch.cat([batch.features for batch in batches]).numpy(), features)
    assert all(batch.mask.all() and batch.mask.shape == batch.features.shape[:2] for batch in batches)


@pytest.mark.parametrize("size", [1, 5, 18, 50])
def test_all_captions_in_order(table, size):
    found = []
    for batch in text_batches(table, size):
        assert len(batch) <= size
        found += [row[mask].tolist() for row, mask in zip(batch.tokens, batch.mask, strict=True)]
    assert found == [[1, *([10 + c] * (1 + c % 4)), 2] for c in range(N_CAPTIONS)]


def test_pixels_have_no_regions_to_drop(table):
    pixels = np.random.default_rng(0).normal(size=(N_IMAGES, 3, 8, 9)).astype(np.float32)
    given = np.arange(N_CAPTIONS, dtype=np.int64) % N_IMAGES
    pairs = augmented(
        TrainingPairs(Memory(pixels), table, Correspondence(given, N_IMAGES), None), regions=0.9
    )
    batch = pairs.batch(np.arange(6), np.random.default_rng(1))
    assert np.array_equal(batch.images.features.numpy(), pixels)
    assert batch.images.mask.shape == (6, 1)
    assert batch.images.mask.all()
    whole = next(image_batches(Memory(pixels), 4))
    assert whole.features.shape == (4, 3, 8, 9)
    assert whole.mask.shape == (4, 1)


def test_caption_vectors_come_along(pairs, table):
    numbers = np.random.default_rng(0).normal(size=(N_CAPTIONS, 1, 7)).astype(np.float32)
    pairs = dataclasses.replace(pairs, text_vectors=Memory(numbers))
    ids = np.array([4, 1, 4])
    assert np.array_equal(pairs.batch(ids).texts.vectors.numpy(), numbers[ids, 0])
    assert pairs.batch(ids).texts.to("cpu").vectors is not None
    later = list(text_batches(table, 5, Memory(numbers)))
    assert np.array_equal(np.concatenate([part.vectors.numpy() for part in later]), numbers[:, 0])
    numbers[1] = np.nan
    with pytest.raises(DataError, match=r"1 captions in this batch hold NaN.*caption 1"):
        pairs.batch(ids)


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, 1, 4)).astype(np.float32), rng.normal(size=(9, 1, 3)).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_batch_is_what_was_given(sides, columns):
    labels = np.random.default_rng(1).integers(0, 5, (9, columns))
    pairs = TrainingLabels(Memory(sides[0]), Memory(sides[1]), labels)
    ids = np.array([4, 0, 8, 4])
    batch = pairs.batch(ids, np.random.default_rng(2)).to(torch.device("cpu"))
    assert (len(pairs), len(batch)) == (9, 4)
    assert np.array_equal(batch.images.features.numpy(), sides[0][ids])
    assert np.array_equal(batch.texts.vectors.numpy(), sides[1][ids, 0])
    assert np.array_equal(batch.labels.numpy(), labels[ids])
    assert batch.pair_ids.tolist() == ids.tolist()
    assert batch.images.mask.shape == batch.texts.mask.shape == (4, 1)
    assert torch.equal(batch.same_image, torch.from_numpy(ids[:, None] == ids))


def test_texts_with_the_vectors_of_other_images(sides):
    labels = np.random.default_rng(1).integers(0, 5, (9, 1))
    pairs = TrainingLabels(Memory(sides[0]), Memory(sides[1]), labels)
    ids, source = np.array([4, 0, 8, 3]), np.array([2, 7, 2, 3])
    batch = pairs.batch(ids, image_from=source)
    assert np.array_equal(batch.images.features.numpy(), sides[0][source])
    assert np.array_equal(batch.texts.vectors.numpy(), sides[1][ids, 0])
    assert np.array_equal(batch.labels.numpy(), labels[ids])
    assert batch.pair_ids.tolist() == ids.tolist()
    assert torch.equal(batch.same_image, torch.from_numpy(source[:, None] == source))


def test_noise_is_added_in_training_alone_and_repeats_with_its_seed(sides):
    labels = np.zeros((9, 1), dtype=np.int64)
    pairs = TrainingLabels(Memory(sides[0]), Memory(sides[1]), labels, noise=0.5)
    ids = np.arange(9)
    plain = pairs.batch(ids)
    assert np.array_equal(plain.images.features.numpy(), sides[0])
    first, again = (pairs.batch(ids, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.images.features, again.images.features)
    assert torch.equal(first.texts.vectors, again.texts.vectors)
    moved = torch.cat([(first.images.features - plain.images.features).flatten(),
                       (first.texts.vectors - plain.texts.vectors).flatten()])  # fmt: skip
    assert 0.3 < float(moved.std()) < 0.7
    assert np.array_equal(pairs.images.array, sides[0])  # what the data hold stays as it is


def test_all_vectors_in_order(sides):
    images = list(image_batches(Memory(sides[0]), 4))
    texts = list(text_batches(None, 4, Memory(sides[1])))
    assert [len(batch) for batch in images] == [len(batch) for batch in texts] == [4, 4, 1]
    assert np.array_equal(np.concatenate([batch.features.numpy() for batch in images]), sides[0])
    assert np.array_equal(np.concatenate([batch.vectors.numpy() for batch in texts]), sides[1][:, 0])


def test_numbers_that_are_none_are_named(sides):
    sides[1][7, 0, 1] = np.inf
    pairs = TrainingLabels(Memory(sides[0]), Memory(sides[1]), np.zeros((9, 1), dtype=np.int64))
    assert len(pairs.batch(np.arange(5))) == 5
    with pytest.raises(DataError, match=r"features of 1 texts .* text 7"):
        pairs.batch(np.arange(9))


def test_words_are_read_beside_vectors(sides):
    lengths = np.array([1, 3, 2, 2, 5, 1, 1, 4, 2])
    words = TokenTable(np.arange(lengths.sum(), dtype=np.int32) + 1, np.r_[0, lengths.cumsum()])
    pairs = TrainingLabels(Memory(sides[0]), Memory(sides[1]), np.zeros((9, 1), np.int64), captions=words)
    ids = np.array([7, 1, 0])
    batch = pairs.batch(ids, np.random.default_rng(0))
    assert batch.texts.tokens.tolist() == [[16, 17, 18, 19], [2, 3, 4, 0], [1, 0, 0, 0]]
    assert batch.texts.mask.sum(1).tolist() == [4, 3, 1]
    assert np.array_equal(batch.texts.vectors.numpy(), sides[1][ids, 0])
    parts = list(text_batches(words, 4, Memory(sides[1])))
    assert [part.tokens.shape for part in parts] == [(4, 3), (4, 5), (1, 2)]
    found = np.concatenate([part.tokens[part.mask].numpy() for part in parts])
    assert found.tolist() == list(range(1, lengths.sum() + 1))
