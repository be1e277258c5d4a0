from __future__ import annotations

import pickle

import numpy as np
import pytest

from robustcmr.data import prepared_features
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.prepared_features import PreparedFeatures, Scale, measured_scale

TABLE = np.random.default_rng(0).normal(3, 2, (11, 4)).astype(np.float32)


@pytest.mark.parametrize("block", [1024, 3])
def test_the_scale_is_that_of_numpy(monkeypatch, block):
    monkeypatch.setattr(prepared_features, "BLOCK_ROWS", block)
    scale = measured_scale(ArrayFeatures(TABLE))
    np.testing.assert_allclose(scale.mean, TABLE.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale.deviation, TABLE.astype(np.float64).std(0), rtol=1e-12)


def test_numbers_that_never_vary_keep_their_size():
    table = np.array([[0.1, 1], [0.1, 3], [0.1, 5]], dtype=np.float32)
    scale = measured_scale(ArrayFeatures(table))
    np.testing.assert_allclose(scale.mean, [0.1, 3], rtol=1e-6)
    np.testing.assert_allclose(scale.deviation, [1, np.sqrt(8 / 3)], rtol=1e-12)


def test_large_means_do_not_swallow_small_deviations():
    table = (1e6 + np.array([[0.0], [1.0], [2.0], [3.0]])).astype(np.float32)
    assert measured_scale(ArrayFeatures(table)).deviation[0] == pytest.approx(np.sqrt(1.25), rel=1e-9)


def test_what_is_not_finite_spoils_its_own_row_alone():
    table = TABLE.copy()
    table[2, 1], table[5, 3] = np.nan, np.inf
    store = ArrayFeatures(table)
    scale = measured_scale(store)
    np.testing.assert_allclose(scale.mean[1], np.delete(table[:, 1], 2).astype(np.float64).mean())
    np.testing.assert_allclose(scale.deviation[3], np.delete(table[:, 3], 5).astype(np.float64).std())
    taken = PreparedFeatures(store, scale).take(np.arange(11))[:, 0]
    assert np.argwhere(~np.isfinite(taken)).tolist() == [[2, 1], [5, 3]]


def test_a_column_without_a_finite_number():
    table = TABLE.copy()
    table[:, 0] = np.nan
    scale = measured_scale(ArrayFeatures(table))
    assert scale.mean[0] == 0
    assert scale.deviation[0] == 1


def test_standardised_then_of_unit_length():
    scale = Scale(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 0.5, 4]))
    store = PreparedFeatures(ArrayFeatures(TABLE), scale, True)
    assert store.shape == (11, 1, 4)
    rows = np.array([3, 0, 3])
    wanted = (TABLE[rows].astype(np.float64) - scale.mean) / scale.deviation
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    taken = store.take(rows)
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken[:, 0], wanted, rtol=1e-6)


def test_unit_length_of_large_numbers_and_of_zeros():
    store = PreparedFeatures(ArrayFeatures(np.array([[3e30, 4e30], [0, 0]], dtype=np.float32)), None, True)
    np.testing.assert_allclose(store.take(np.arange(2))[:, 0], [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_pickling_keeps_a_map_on_disk(tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    store = PreparedFeatures(ArrayFeatures(mapped), measured_scale(ArrayFeatures(mapped)), True)
    again = pickle.loads(pickle.dumps(store))
    assert again.store.mapped
    np.testing.assert_array_equal(again.take(np.arange(11)), store.take(np.arange(11)))
