from __future__ import annotations

import numpy as np
import pytest
import torch

from robustcmr.selection.label_transitions import estimate_transitions


def labels_and_beliefs(matrix, n=6000, sharpness=3.0, seed=0):
    """True classes given by a matrix, and calibrated beliefs that know nothing of what was given."""
    rng = np.random.default_rng(seed)
    k = len(matrix)
    # beliefs first, then truths drawn from them: calibrated by construction
    logits = sharpness * rng.normal(size=(n, k))
    beliefs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (beliefs.cumsum(1) > rng.random((n, 1))).argmax(1)
    given = (matrix.cumsum(1)[truth] > rng.random((n, 1))).argmax(1)
    return torch.from_numpy(beliefs), torch.from_numpy(given), truth


def symmetric(k, kept):
    matrix = np.full((k, k), (1 - kept) / (k - 1))
    np.fill_diagonal(matrix, kept)
    return matrix


def next_class(k, kept):
    return kept * np.eye(k) + (1 - kept) * np.roll(np.eye(k), 1, axis=1)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.97])
def test_the_common_rate_is_found(kept):
    beliefs, given, _ = labels_and_beliefs(symmetric(5, kept))
    found = estimate_transitions(beliefs, given, None)
    assert found.kept == pytest.approx(kept, abs=0.03)
    torch.testing.assert_close(found.matrix, torch.from_numpy(symmetric(5, found.kept)))


def test_rates_of_each_class_are_found():
    truth = next_class(4, 0.6)
    beliefs, given, _ = labels_and_beliefs(truth)
    found = estimate_transitions(beliefs, given, 1.0).matrix.numpy()
    np.testing.assert_allclose(found, truth, atol=0.05)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-9)


def test_pseudo_counts_draw_towards_the_common_rate():
    beliefs, given, _ = labels_and_beliefs(next_class(4, 0.6), n=300)
    common = estimate_transitions(beliefs, given, None).matrix
    distances = [
        float((estimate_transitions(beliefs, given, counts).matrix - common).abs().max())
        for counts in (1.0, 100.0, 1e7)
    ]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3


def test_it_is_the_likeliest_rate():
    """No other common rate gives the given labels a higher likelihood."""
    beliefs, given, _ = labels_and_beliefs(symmetric(3, 0.7), n=500)
    of_given = beliefs.gather(1, given[:, None]).squeeze(1)

    def log_likelihood(kept):
        return float((kept * of_given + (1 - kept) * (1 - of_given) / 2).log().sum())

    found = estimate_transitions(beliefs, given, None).kept
    grid = np.linspace(0.01, 0.99, 99)
    assert log_likelihood(found) >= max(log_likelihood(kept) for kept in grid) - 1e-6


def test_likelihood_is_the_column_of_the_given_class():
    beliefs, given, _ = labels_and_beliefs(next_class(4, 0.6), n=50)
    found = estimate_transitions(beliefs, given)
    likelihood = found.likelihood(given)
    for row, label in enumerate(given.tolist()):
        torch.testing.assert_close(likelihood[row], found.matrix[:, label])


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_no_label_becomes_impossible(kept):
    beliefs, given, _ = labels_and_beliefs(symmetric(3, kept), n=200, sharpness=50.0)
    matrix = estimate_transitions(beliefs, given).matrix
    assert matrix.isfinite().all()
    assert (matrix > 0).all()


def test_beliefs_of_exact_zeros_and_ones_are_borne():
    given = torch.tensor([0, 1, 1, 0])
    found = estimate_transitions(torch.eye(2).double()[[0, 1, 0, 0]], given)
    assert found.matrix.isfinite().all()
    assert found.kept == pytest.approx(0.75, abs=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"two classes.*\(3, 1\)"):
        estimate_transitions(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="given labels"):
        estimate_transitions(torch.full((3, 2), 0.5), torch.zeros(2, dtype=torch.int64))
