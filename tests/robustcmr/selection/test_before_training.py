"""Division before training: wrong pairs and their share are found, whoever is wrong together."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from robustcmr.selection import before_training, divide_before_training, rare_words
from robustcmr.types import PairContents

TOPICS = 40


def planted(share, protocol="caption", captions=5, images=600, named=False, seed=0):
    """Images show two of 40 topics, captions name one or both in two words; some pairs are exchanged.

    A third word says nothing, or where images are ``named`` which image the caption was written for.
    """
    rng = np.random.default_rng(seed)
    n = images * captions
    true = np.arange(n) // captions
    given = true.copy()
    if protocol == "caption":
        chosen = rng.permutation(n)[: round(share * n)]
        given[chosen] = rng.permutation(given[chosen])
    else:
        moved, to = rng.permutation(images)[: round(share * images)], np.arange(images)
        to[moved] = rng.permutation(moved)
        given = to[true]
    topics = rng.integers(TOPICS, size=(images, 2))
    codes = rng.normal(size=(TOPICS, 24))
    features = codes[topics].sum(1) + rng.normal(size=(images, 24))
    features = np.column_stack([features, 0.1 * rng.normal(size=(images, 64))])
    about = topics[true, rng.integers(2, size=n)], topics[true, rng.integers(2, size=n)]
    words = np.column_stack([*about, TOPICS + (true if named else rng.integers(200, size=n))])
    spoken = rare_words(np.repeat(np.arange(n), 3), words.ravel(), n)
    partner = np.roll(np.arange(n), captions)
    return PairContents(spoken, torch.from_numpy(features).half(), given, partner), given != true


@pytest.mark.parametrize("protocol", ["caption", "image"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_wrong_pairs_and_their_share_are_found(share, protocol):
    contents, wrong = planted(share, protocol)
    found = divide_before_training(contents)
    assert roc_auc_score(wrong, -found.clean_probability) > (0.75 if share == 0.8 else 0.85)
    low, high = found.noise_interval
    assert low - 0.03 < wrong.mean() < high + 0.03
    assert low <= found.noise_rate <= high
    np.testing.assert_array_equal(found.is_clean, found.clean_probability > 0.5)


def test_other_captions_of_the_image_help():
    contents, wrong = planted(0.5)
    alone = before_training._divided(contents, np.ones(len(wrong)), "images", 0.5, 0)
    helped = divide_before_training(contents)
    assert roc_auc_score(wrong, -helped.clean_probability) > roc_auc_score(wrong, alone.evidence) + 0.01
    assert helped.noise_rate == alone.noise_rate
    assert helped.noise_interval == alone.noise_interval


def test_captions_that_are_wrong_together_do_not_confirm_each_other():
    contents, wrong = planted(0.5, "image", named=True)
    alone = before_training._divided(contents, np.ones(len(wrong)), "images", 0.5, 0)
    helped = before_training._divided(contents, alone.clean_probability, "pairs", 0.5, 0)
    assert helped.noise_rate < min(alone.noise_interval[0], 0.45)  # their help would mislead
    found = divide_before_training(contents)
    np.testing.assert_array_equal(found.clean_probability, alone.clean_probability)
    assert abs(found.noise_rate - 0.5) < 0.1


def test_without_wrong_pairs_none_is_suspected():
    found = divide_before_training(planted(0.0)[0])
    assert (~found.is_clean).mean() < 0.02


def test_where_all_pairs_are_wrong_nothing_is_divided():
    found = divide_before_training(planted(1.0)[0])
    assert found.noise_rate is None
    assert found.is_clean.all()


def test_pairs_of_their_own_image_each():
    contents, wrong = planted(0.5, captions=1, images=2000)
    found = divide_before_training(contents)
    assert roc_auc_score(wrong, -found.clean_probability) > 0.85


def test_the_threshold_is_used():
    contents, _ = planted(0.5)
    few, many = ((~divide_before_training(contents, at).is_clean).sum() for at in (0.1, 0.9))
    assert 0 < few < many
