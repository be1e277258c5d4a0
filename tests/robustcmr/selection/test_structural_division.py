import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from robustcmr.selection import divide_by_reference, divide_by_structure, rare_words
from robustcmr.types import PairTable


def planted(share, captions=5, topics=60, n=1500, apart=1.0, seed=0):
    """Images of a topic, captions that name it, some of them exchanged, and a matcher's weak evidence."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) // captions
    given = true.copy()
    chosen = rng.permutation(n)[: round(share * n)]
    given[chosen] = rng.permutation(given[chosen])
    wrong = given != true
    topic = rng.integers(topics, size=n // captions)
    centres = rng.normal(size=(topics, 16))
    images = centres[topic] + 0.5 * rng.normal(size=(n // captions, 16))
    texts = centres[topic[true]] + rng.normal(size=(n, 16))
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images[given], texts)]
    spoken = np.column_stack([topic[true], topics + true, rng.integers(1000, 1200, size=n)])
    spoken[rng.random(n) < 0.5, 1] = 999  # half of the captions do not name what is special
    words = rare_words(np.repeat(np.arange(n), 3), spoken.ravel(), n)
    halves = [torch.from_numpy(side).half() for side in sides]
    table = PairTable(*halves, given, words, np.roll(rng.permutation(n), 1))
    evidence, reference = np.exp(rng.normal(2 - apart * ~wrong, 0.5)), np.exp(rng.normal(2, 0.5, n))
    reference[::7] = np.nan
    return evidence, reference, table, wrong


@pytest.mark.parametrize("captions", [5, 1])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_other_pairs_help_to_find_the_wrong_ones(share, captions):
    evidence, reference, table, wrong = planted(share, captions)
    found = divide_by_structure(evidence, reference, table)
    alone = divide_by_reference(evidence, reference[~np.isnan(reference)])
    gain = roc_auc_score(wrong, -found.clean_probability) - roc_auc_score(wrong, -alone.clean_probability)
    assert gain > 0.02
    assert found.noise_rate == alone.noise_rate
    assert found.noise_interval == alone.noise_interval
    np.testing.assert_array_equal(found.is_clean, found.clean_probability > 0.5)
    assert abs((~found.is_clean).mean() - share) < 0.12


def test_one_group_stays_one():
    evidence, reference, table, _ = planted(0.0, apart=3.0)
    found = divide_by_structure(evidence, reference, table)
    assert found.is_clean.all()
    assert found.noise_rate is None


def test_all_wrong_stays_undivided():
    """Other pairs would confirm any belief."""
    evidence, reference, table, _ = planted(1.0)
    found = divide_by_structure(evidence, reference, table)
    assert found.noise_rate is None
    assert found.is_clean.all()


def test_a_pair_whose_reference_is_unknown_is_divided_too():
    evidence, reference, table, wrong = planted(0.5)
    found = divide_by_structure(evidence, reference, table)
    unknown = np.isnan(reference)
    assert roc_auc_score(wrong[unknown], -found.clean_probability[unknown]) > 0.85


def test_the_threshold_is_used():
    evidence, reference, table, _ = planted(0.5)
    few, many = ((~divide_by_structure(evidence, reference, table, at).is_clean).sum() for at in (0.1, 0.9))
    assert 0 < few < many
