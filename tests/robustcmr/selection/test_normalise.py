"""The common scale of evidence."""

import numpy as np
import pytest

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection.normalise import check_evidence, robust_min_max, robust_range


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
    with pytest.raises(TrainingDivergedError, match="the evidence of 2 of 4 pairs is NaN or infinite"):
        robust_min_max([0.0, bad, 1.0, bad])


RANGES = {
    "plain": np.random.default_rng(2).normal(3, 2, 5000),
    "outliers": np.append(np.linspace(0, 1, 1000), [1e6, -1e6]),
    "one side": np.append(np.linspace(0, 1, 1000), [50.0]),
    "few others": np.append(np.zeros(1000), [1.0, 2.0, 4.0]),
    "below one": np.append(np.linspace(-0.9, -0.89, 1000), [0.9]),
    "huge": np.append(np.linspace(0.5, 1, 1000) * 1e308, [1.7e308, 0.0]),
    "tiny": np.linspace(1, 3, 1000) * 1e-300,
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("reach", [0.0, 1.0, 0.3])
def test_the_range_is_what_becomes_0_and_1(name, reach):
    values = RANGES[name]
    low, high = robust_range(values, reach)
    scaled = robust_min_max(values, reach)
    np.testing.assert_allclose(scaled, np.clip((values - low) / (high - low), 0, 1), atol=1e-9)
    assert values.min() <= low < high <= values.max()
    inner_low, inner_high = np.quantile(values, (0.01, 0.99))
    if inner_high > inner_low:
        width = inner_high - inner_low
        assert low == pytest.approx(max(values.min(), inner_low - reach * width), rel=1e-9)
        assert high == pytest.approx(min(values.max(), inner_high + reach * width), rel=1e-9)
    else:
        assert (low, high) == (values.min(), values.max())


def test_the_range_of_equal_and_of_the_greatest_numbers():
    assert robust_range(np.full(5, -3.0)) == (-3.0, -3.0)
    assert robust_range(np.array([-1.7e308, 0.0, 1.7e308])) == (-1.7e308, 1.7e308)
