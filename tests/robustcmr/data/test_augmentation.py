"""Augmentation: what is hidden, how often, and what never is."""

import numpy as np
import pytest

from robustcmr.data.augmentation import Augmentation, corrupt_words, drop_regions

PAD, START, END, UNK = 0, 1, 2, 3


def rng(seed=0):
    return np.random.default_rng(seed)


def options(corrupt=0.2, size=1000):
    return Augmentation(
        drop_regions=0.2,
        corrupt_words=corrupt,
        padding_index=PAD,
        unknown_index=UNK,
        is_word=np.arange(size) >= UNK,
    )


def captions(n, words, seed=0, size=1000):
    """n captions of one to ``words`` words between the marks, padded."""
    generator = rng(seed)
    tokens = np.full((n, words + 2), PAD, dtype=np.int64)
    for row in tokens:
        length = int(generator.integers(1, words + 1))
        row[0], row[length + 1] = START, END
        row[1 : length + 1] = generator.integers(4, size, length)
    return tokens, tokens != PAD


def test_regions_are_dropped_at_the_rate():
    mask = np.ones((4000, 36), dtype=bool)
    share = 1 - drop_regions(mask, 0.2, rng()).mean()
    assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / mask.size))


def test_only_real_regions_are_kept_and_at_least_one():
    mask = rng(1).random((2000, 6)) < 0.5
    mask[:, 2] = True
    for rate in (0.0, 0.5, 0.99):
        kept = drop_regions(mask, rate, rng(2))
        assert not (kept & ~mask).any()
        assert kept.any(axis=1).all()
    assert np.array_equal(drop_regions(mask, 0.0, rng()), mask)


def test_the_region_kept_by_chance_may_be_any():
    """At a rate near 1 nearly all images keep one region alone, each place equally often."""
    kept = drop_regions(np.ones((3000, 3), dtype=bool), 0.999999, rng(3))
    assert (kept.sum(axis=1) == 1).all()
    assert kept.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.04)


def test_words_are_corrupted_at_the_rate_and_in_the_proportions():
    """Counted on captions of known, distinct words, so that each fate can be told from what comes out."""
    n, words = 2000, 40
    tokens = np.empty((n, words + 2), dtype=np.int64)
    tokens[:, 0], tokens[:, -1] = START, END
    tokens[:, 1:-1] = 4 + np.arange(words)  # the words 4..43; replacements are drawn from 4..100,003
    out, mask = corrupt_words(tokens, np.ones_like(tokens, dtype=bool), options(0.3, 100_004), rng(4))
    total = n * words
    unknown = ((out == UNK) & mask).sum() / total
    deleted = (~mask).sum() / total
    replaced = ((out >= 4 + words) & mask).sum() / total
    tolerance = 4 * np.sqrt(0.25 / total)
    assert unknown == pytest.approx(0.3 * 0.5, abs=tolerance)
    assert replaced == pytest.approx(0.3 * 0.1, abs=tolerance)
    assert deleted == pytest.approx(0.3 * 0.4, abs=tolerance)


def test_replacements_cover_the_words_and_no_mark():
    tokens, mask = captions(5000, 12, size=10)
    out, kept = corrupt_words(tokens, mask, options(0.9, size=10), rng(5))
    assert set(np.unique(out[kept])) == {START, END, UNK, *range(4, 10)}


def test_marks_stay_and_captions_remain_captions():
    tokens, mask = captions(3000, 9)
    out, kept = corrupt_words(tokens, mask, options(0.95), rng(6))
    lengths = kept.sum(axis=1)
    assert (out[:, 0] == START).all()
    assert (out[np.arange(len(out)), lengths - 1] == END).all()
    assert ((out == START).sum(axis=1) == 1).all()
    assert ((out == END).sum(axis=1) == 1).all()
    assert lengths.min() == 2  # every word deleted, only the marks are left
    assert out.dtype == np.int64


def test_kept_words_move_together_in_their_order_and_the_rest_is_padding():
    tokens, mask = captions(500, 15)
    out, kept = corrupt_words(tokens, mask, options(0.5, size=10**6), rng(7))
    # the mask is a run of True followed by False only
    assert np.array_equal(np.sort(~kept, axis=1), ~kept)
    assert (out[~kept] == PAD).all()
    assert (out[kept] != PAD).all()
    deleted_somewhere = False
    for before, real, after, left in zip(tokens, mask, out, kept, strict=True):
        remaining = iter(before[real].tolist())
        survivors = [word for word in after[left].tolist() if word in set(before[real].tolist())]
        assert all(word in remaining for word in survivors)  # a subsequence, in order
        deleted_somewhere |= left.sum() < real.sum()
    assert deleted_somewhere


def test_unknown_words_may_be_deleted_too():
    tokens = np.array([[START, *[UNK] * 200, END]])
    _, kept = corrupt_words(tokens, np.ones_like(tokens, dtype=bool), options(0.5), rng(8))
    assert kept.sum() < 202


def test_rate_zero_changes_nothing():
    tokens, mask = captions(50, 8)
    out, kept = corrupt_words(tokens, mask, options(0.0), rng())
    assert np.array_equal(out, tokens)
    assert np.array_equal(kept, mask)


def test_the_input_is_left_alone_and_the_same_seed_gives_the_same():
    tokens, mask = captions(50, 8)
    before = tokens.copy(), mask.copy()
    first = corrupt_words(tokens, mask, options(0.5), rng(9))
    second = corrupt_words(tokens, mask, options(0.5), rng(9))
    other = corrupt_words(tokens, mask, options(0.5), rng(10))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(tokens, before[0])
    assert np.array_equal(mask, before[1])
    regions = np.ones((20, 6), dtype=bool)
    assert np.array_equal(drop_regions(regions, 0.5, rng(1)), drop_regions(regions, 0.5, rng(1)))
    assert regions.all()


def test_a_vocabulary_without_words():
    tokens = np.array([[START, UNK, UNK, END]])
    out, _ = corrupt_words(tokens, np.ones_like(tokens, dtype=bool), options(0.9, size=4), rng())
    assert out.shape == tokens.shape


def test_marks_of_a_tokenizer_may_lie_anywhere():
    """As in vocabularies where the marks are the last indices, and one of them hides words."""
    is_word = np.ones(50, dtype=bool)
    is_word[[7, 48, 49]] = False
    setting = Augmentation(0.0, 0.9, padding_index=49, unknown_index=7, is_word=is_word)
    tokens = np.tile(np.r_[48, np.arange(20, 40), 49], (200, 1))
    changed, kept = corrupt_words(tokens, np.ones_like(tokens, dtype=bool), setting, rng())
    assert (changed[:, 0] == 48).all()
    assert (changed[np.arange(200), kept.sum(1) - 1] == 49).all()
    seen = set(changed[kept].tolist())
    assert 7 in seen
    assert seen - {7, 48, 49} == set(range(50)) - {7, 48, 49}  # replacements may be any word, and no mark


def test_a_vocabulary_without_words_hides_by_the_unknown_one():
    setting = Augmentation(0.0, 0.99, PAD, UNK, np.array([False, False, False, True]))
    assert setting.replacements.tolist() == [UNK]
