"""Pools of large audits."""

import numpy as np

from robustcmr.audit.pooling import choose_pool


def test_a_small_audit_is_its_pool():
    sound = np.array([True, False, True])
    codes = np.array([7, 7, 9], np.uint64)
    assert choose_pool(codes, sound, np.zeros(3), sound, most=3).tolist() == [0, 2]


def test_a_large_one_gives_its_most_suspected_images_and_some_others():
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.permutation(1000), 3).astype(np.uint64)
    suspected = np.repeat(rng.random(1000) < 0.4, 3) & (np.arange(3000) % 3 == 0)
    mismatched = np.where(suspected, rng.uniform(0.3, 1, 3000), 0.01)
    rows = choose_pool(codes, np.ones(3000, bool), mismatched, suspected, most=600, seed=1)
    assert (np.diff(rows) > 0).all()
    assert 580 <= len(rows) <= 600
    assert np.isin(codes, codes[rows]).sum() == len(rows)  # pairs of an image come together
    taken = np.isin(np.arange(3000), rows)
    assert mismatched[suspected & taken].min() > mismatched[suspected & ~taken].max()
    assert 400 <= np.isin(codes, codes[suspected & taken]).sum() <= 450
    other = choose_pool(codes, np.ones(3000, bool), mismatched, suspected, most=600, seed=2)
    assert set(rows) != set(other)
