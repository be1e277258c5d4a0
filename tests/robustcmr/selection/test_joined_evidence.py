"""Two kinds of evidence together, against the same by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from robustcmr.selection import cross_fitted_evidence, divide_by_both, divide_by_reference, rare_words
from robustcmr.types import PairContents


@pytest.fixture(scope="module")
def problem():
    """600 pairs, 40% wrong; a linear model tells most, and a matcher has come to believe a fifth of them."""
    rng, n = np.random.default_rng(0), 600
    topic, wrong = rng.integers(8, size=n), np.arange(n) < 240
    features = np.eye(8)[np.where(wrong, rng.integers(8, size=n), topic)] + rng.normal(0, 0.4, (n, 8))
    every = np.arange(n)
    contents = PairContents(
        rare_words(every, topic, n), torch.from_numpy(features).half(), every, rng.permutation(n)
    )
    believed = wrong & (rng.random(n) < 0.2)
    own = np.expm1(rng.normal(np.where(wrong & ~believed, 2.0, 0.8), 0.4).clip(0))
    evidence = np.stack([own, np.expm1(rng.normal(2.0, 0.4, n).clip(0))], axis=1)
    evidence[::7, 1] = np.nan
    return evidence.astype(np.float32), contents, wrong


def test_the_sum_is_that_of_evidence_standardised_over_mismatches(problem):
    evidence, contents, wrong = problem
    belief = np.where(wrong, 0.2, 0.9)
    told, own, reference = ~np.isnan(evidence[:, 1]), 0.0, 0.0
    matchers, linear = np.log1p(evidence.astype(float).T), cross_fitted_evidence(contents, belief, "pairs")
    for (given, mismatched), share in ((matchers, 0.25), (linear, 0.75)):
        kept = mismatched[told]
        own = own + share * (given - kept.mean()) / kept.std()
        reference = reference + share * (kept - kept.mean()) / kept.std()
    expected = divide_by_reference(own, reference, log=False)
    found = divide_by_both(evidence, contents, belief)
    np.testing.assert_allclose(found.clean_probability, expected.clean_probability, rtol=1e-6, atol=1e-9)
    assert found.noise_interval == pytest.approx(expected.noise_interval)


def test_together_they_tell_more(problem):
    evidence, contents, wrong = problem
    linear = cross_fitted_evidence(contents, np.ones(600))[0]
    found = divide_by_both(evidence, contents, np.ones(600))
    both = roc_auc_score(wrong, -found.clean_probability)
    assert both > max(roc_auc_score(wrong, linear), roc_auc_score(wrong, evidence[:, 0])) + 0.02
    assert found.noise_rate == pytest.approx(0.4, abs=0.07)


def test_the_threshold_is_used(problem):
    few, many = (
        (~divide_by_both(*problem[:2], np.ones(600), threshold).is_clean).sum() for threshold in (0.1, 0.9)
    )
    assert 0 < few < many


def test_refuses_beliefs_of_other_pairs(problem):
    with pytest.raises(ValueError, match="expected one belief a pair"):
        divide_by_both(*problem[:2], np.ones(599))
