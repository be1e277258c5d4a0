import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from robustcmr.selection import learned_evidence


def drawn(n=400, m=300):
    rng = np.random.default_rng(0)
    given, mismatched = rng.normal(size=(n, 3)), rng.normal([1.0, -0.5, 0.0], size=(m, 3))
    return given, mismatched, rng.random(n)


def test_weights_are_those_of_a_logistic_regression():
    given, mismatched, belief = drawn()
    both = np.vstack([given, mismatched])
    scaled = (both - both.mean(0)) / both.std(0)
    trusted = belief + 1e-3
    weights = np.append(trusted / trusted.sum(), np.full(len(mismatched), 1 / len(mismatched)))
    wrong = np.arange(len(both)) >= len(given)
    # the ridge of both is 1e-3 w'w / 2, beside a loss summed over weights
    judge = LogisticRegression(C=1e3, tol=1e-10, max_iter=10_000).fit(scaled, wrong, sample_weight=weights)
    np.testing.assert_allclose(
        np.concatenate(learned_evidence(given, mismatched, belief)),
        judge.decision_function(scaled),
        atol=1e-4,
    )


def test_units_do_not_matter_and_constants_say_nothing():
    given, mismatched, belief = drawn()
    first = learned_evidence(given, mismatched, belief)
    other = learned_evidence(
        *(np.column_stack([7 * x - 3, np.full(len(x), 5.0)]) for x in (given, mismatched)), belief
    )
    for a, b in zip(first, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_groups_that_lie_apart_give_finite_evidence():
    rng = np.random.default_rng(0)
    given, mismatched = learned_evidence(
        rng.normal(0, 0.1, (50, 1)), rng.normal(9, 0.1, (50, 1)), np.ones(50)
    )
    assert np.isfinite(given).all()
    assert given.max() < mismatched.min()


def test_pairs_that_are_not_believed_hardly_count():
    given = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]] * 20)
    mismatched = np.array([[2.0], [2.1], [1.9]] * 20)
    belief = (given[:, 0] < 1).astype(float)
    found, known = learned_evidence(given, mismatched, belief)
    assert found[given[:, 0] < 1].max() < known.min()
    turned, known = learned_evidence(given, mismatched, 1 - belief)
    assert turned[given[:, 0] < 1].min() > known.max()


def test_shapes():
    with pytest.raises(ValueError, match="expected features"):
        learned_evidence(np.zeros((3, 2)), np.zeros((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="one belief a pair"):
        learned_evidence(np.zeros((3, 2)), np.zeros((3, 2)), np.ones(2))
