"""The common scale of evidence."""

import numpy as np
import pytest

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection.normalise import check_evidence, robust_min_max


def test_without_outliers_it_is_min_max():
    values = np.random.default_rng(0).normal(3, 2, 5000)
    expected = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(robust_min_max(values), expected, atol=1e-12)


def test_an_outlier_does_not_set_the_scale():
    values = np.append(np.linspace(0, 1, 1000), [1e6, -1e6])
    scaled = robust_min_max(values)
    assert (scaled[-2], scaled[-1]) == (1.0, 0.0)
    assert scaled[999] - scaled[0] == pytest.approx(1 / 3, rel=0.05)


def test_mostly_equal_values_keep_their_few_others():
    values = np.zeros(1000)
    values[:3] = [1.0, 2.0, 4.0]
    np.testing.assert_allclose(robust_min_max(values)[:4], [0.25, 0.5, 1.0, 0.0])


@pytest.mark.parametrize("shift", [0.0, -1e6])
def test_constant_is_zero(shift):
    assert not robust_min_max(np.full(5, shift)).any()
    assert not robust_min_max([7]).any()


def test_shift_and_unit_do_not_matter():
    values = np.random.default_rng(1).random(100)
    np.testing.assert_allclose(robust_min_max(1e5 * values - 3e5), robust_min_max(values), atol=1e-9)


def test_the_greatest_numbers_do_not_overflow():
    np.testing.assert_allclose(robust_min_max([-1.7e308, 0.0, 1.7e308]), [0.0, 0.5, 1.0], atol=1e-12)


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], 3.0, ["a"], [True, False], [1j]])
def test_no_vector_of_numbers(bad):
    with pytest.raises(ValueError, match="must be a vector of at least one real number, got"):
        check_evidence(bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    with pytest.raises(TrainingDivergedError, match="the evidence of 2 of 4 pairs is not a finite number"):
        robust_min_max([0.0, bad, 1.0, bad])
