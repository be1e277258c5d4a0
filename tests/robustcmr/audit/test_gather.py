"""Vectors as rows of length 1, and what is wrong with others."""

import numpy as np

from robustcmr.audit.gather import BAD, gather, unit_rows


def test_rows_have_length_one():
    rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * np.logspace(-3, 3, 50)[:, None]
    found, code = unit_rows(rows.astype(np.float32))
    expected = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert found.dtype == np.float32
    assert not code.any()


def test_rows_whose_squares_leave_float32_are_scaled_too():
    found, code = unit_rows(np.array([[3e30, 4e30], [3e-30, 4e-30]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    assert not code.any()


def test_rows_that_cannot_be_scaled_are_named():
    rows = np.array([[1, 0], [np.nan, 1], [0, 0], [np.inf, 1], [0, 2]], np.float32)
    found, code = unit_rows(rows)
    assert code.tolist() == [0, 2, 3, 2, 0]
    assert not found[[1, 2, 3]].any()
    assert (BAD[2].format("text"), BAD[3].format("image")) == (
        "NaN or infinite numbers in the text vector",
        "only zeros in the image vector",
    )
    _, code = gather(lambda at: rows[at], np.array([0, -1, 2]))
    assert code.tolist() == [0, 1, 3]
