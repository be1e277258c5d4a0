import math

import numpy as np
import pytest

from robustcmr.selection import rare_words

CAPTIONS = [[0, 3, 3, 5], [0, 5], [0], [], [0, 7, 3]]


def slow(captions):
    """One vector of word weights a caption, as a mapping."""
    n, vectors = len(captions), []
    for words in captions:
        weights = {w: math.log(n / sum(w in other for other in captions)) for w in set(words)}
        length = math.sqrt(sum(v * v for v in weights.values()))
        vectors.append({w: v / length for w, v in weights.items()} if length else {})
    return vectors


def flat(captions):
    rows = [row for row, words in enumerate(captions) for _ in words]
    return rows, [word for words in captions for word in words]


def test_vectors_are_those_of_a_loop():
    got = rare_words(*flat(CAPTIONS), len(CAPTIONS)).toarray()
    for row, expected in zip(got, slow(CAPTIONS), strict=True):
        for word in range(got.shape[1]):
            assert row[word] == pytest.approx(expected.get(word, 0.0), abs=1e-6)
    assert got.dtype == np.float32


def test_the_order_of_words_does_not_matter():
    rows, words = (np.array(each) for each in flat(CAPTIONS))
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = rare_words(rows[order], words[order], len(CAPTIONS)).toarray()
    np.testing.assert_allclose(mixed, rare_words(rows, words, len(CAPTIONS)).toarray(), atol=1e-7)


def test_a_word_of_every_caption_and_captions_without_words_say_nothing():
    assert not rare_words([0, 1, 2], [4, 4, 4], 3).toarray().any()
    assert rare_words([], [], 3).toarray().tolist() == [[0.0]] * 3
