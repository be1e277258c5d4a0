import numpy as np
import pytest

from robustcmr.data.scenes.oracle import oracle_recalls


def test_perfect_captions_give_the_full_sum():
    own = np.repeat(np.arange(20), 5)
    satisfied = own[:, None] == np.arange(20)
    assert oracle_recalls(satisfied, own)["rsum"] == pytest.approx(600.0)


def test_agrees_with_ranking_at_random_many_times():
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(12), 3)
    satisfied = (own[:, None] == np.arange(12)) | (rng.random((36, 12)) < 0.3)
    got = oracle_recalls(satisfied, own)
    hits = dict.fromkeys(got, 0.0)
    trials = 3000
    for _ in range(trials):
        scores = satisfied + 0.5 * rng.random(satisfied.shape)
        ranks = (scores > scores[np.arange(36), own][:, None]).sum(axis=1)  # 0 is best
        best = np.array([(scores[:, i] > scores[own == i, i].max()).sum() for i in range(12)])
        for k in (1, 5, 10):
            hits[f"t2i_r{k}"] += 100 * (ranks < k).mean() / trials
            hits[f"i2t_r{k}"] += 100 * (best < k).mean() / trials
    for k in (1, 5, 10):
        assert got[f"t2i_r{k}"] == pytest.approx(hits[f"t2i_r{k}"], abs=1.0)
        assert got[f"i2t_r{k}"] == pytest.approx(hits[f"i2t_r{k}"], abs=1.0)
