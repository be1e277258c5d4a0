"""Probabilities of pairs against the formulas of one caption, and sums that no order changes."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit

from robustcmr.audit.columns import write_columns
from robustcmr.audit.curve import Share
from robustcmr.audit.groups import single_log_odds, write_log_bayes, write_terms
from robustcmr.audit.judging import FIXED, Repeats, fit_repeats, fixed_terms, fold_of, judge, shares
from robustcmr.audit.parts import Piece
from robustcmr.audit.repeats import group_terms, pasted_prior

SINGLE, SHARED = 0.2, 0.3


@pytest.fixture
def calibration():
    curves = [SimpleNamespace(share=Share(share, share, share)) for share in (SINGLE, SHARED)]
    model = SimpleNamespace(alone_curve=curves[0], both_curve=curves[1])
    return SimpleNamespace(model=model, rate=SimpleNamespace(value=0.25))


def columns(count=40, seed=0):
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=count).astype(np.float32)
    odds[3:4] = np.nan
    return {
        "log_odds": odds,
        "low": odds - np.float32(0.5),
        "high": odds + np.float32(0.5),
        "agreement": np.where(rng.random(count) < 0.5, np.nan, 0.1).astype(np.float32),
        "plain_images": rng.integers(1, 4, count).astype(np.int32),
        "duplicate": (rng.random(count) < 0.1).astype(np.uint8),
        "log_bayes": np.full(count, np.nan),
    }


def test_a_caption_of_one_picture_keeps_its_own_odds(calibration):
    found = columns()
    judged = judge(found, Repeats(0.5, 0.25), calibration)
    for name, own in (("p_mismatch", "log_odds"), ("p_low", "low"), ("p_high", "high")):
        np.testing.assert_allclose(judged[name], expit(found[own] + 0.25), rtol=1e-5)
    np.testing.assert_allclose(judged["score"], -(found["log_odds"] + 0.25), rtol=1e-4, atol=1e-5)
    assert not judged["pasted"].any()


def test_a_pasted_caption_is_wrong_for_all_but_one_of_its_pictures(calibration):
    found = columns(2)
    found |= {"plain_images": np.array([3, 3]), "log_bayes": np.array([50.0, -50.0])}
    found["agreement"][:] = np.nan
    judged = judge(found, Repeats(0.5, 0.0), calibration)
    np.testing.assert_allclose(judged["pasted"], [1, 0], atol=1e-6)
    inside = expit(found["log_odds"][0] - logit(SINGLE) + np.log(2))
    np.testing.assert_allclose(judged["p_mismatch"], [inside, expit(found["log_odds"][1])], rtol=1e-5)


def test_a_piece_without_scores_has_no_probabilities(calibration):
    found = columns()
    for name in ("log_odds", "low", "high", "agreement"):
        del found[name]
    assert all(np.isnan(values).all() for values in judge(found, Repeats(0.5, 0.0), calibration).values())


def test_terms_are_those_of_each_caption(calibration):
    found = columns()
    rows, terms = fixed_terms(found, calibration)
    assert set(rows) == {
        n for n in range(40) if found["plain_images"][n] > 1 and not found["duplicate"][n] and n != 3
    }
    share = np.where(np.isnan(found["agreement"]), SINGLE, SHARED)
    np.testing.assert_allclose(shares(found, calibration), share)
    expected = group_terms(
        expit(found["log_odds"][rows].astype(float)), share[rows], found["plain_images"][rows]
    )
    np.testing.assert_allclose(terms / FIXED, expected, atol=1e-9)


def test_what_repeated_captions_say(calibration):
    assert fit_repeats(np.empty(0), np.zeros(5), calibration) == Repeats(0.0, 0.0)
    log_bayes = np.array([-5.0, 6.0, 7.0])
    found = fit_repeats(log_bayes, np.full(50, logit(0.1)), calibration)
    assert found.prior == pasted_prior(log_bayes)
    assert found.shift < 0  # the others hold less than the share of all


def test_sums_over_captions(calibration, tmp_path):
    """Two pieces; log B of each pair's caption is the sum of the terms of both."""
    pieces, every, codes = [], [], []
    for name in ("rows", "scores", "joins", "terms"):
        (tmp_path / name).mkdir()
    for number in range(2):
        found = columns(seed=number)
        code = np.random.default_rng(number + 5).integers(0, 10, 40).astype(np.uint64)
        pieces.append(Piece(0, number, 40, 40 * number))
        table = {"key": np.arange(40) + pieces[-1].first_key, "plain_code": code}
        table |= {"problem": pa.array(["x"] + [None] * 39, pa.string())}
        pq.write_table(pa.table(table), tmp_path / "rows" / f"{pieces[-1].name}.parquet")
        scored = {name: found[name] for name in ("log_odds", "low", "high", "agreement")}
        pq.write_table(pa.table(scored), tmp_path / "scores" / f"{pieces[-1].name}.parquet")
        every.append(found)
        codes.append(code)
    joined = {
        name: np.concatenate([found[name] for found in every]) for name in ("plain_images", "duplicate")
    }
    kinds = {"plain_images": "<i4", "duplicate": "|u1"}
    write_columns(tmp_path / "joins", kinds, 80, [pa.RecordBatch.from_pydict(joined)])
    files = [tmp_path / "terms" / f"{piece.name}.parquet" for piece in pieces]
    for piece, path in zip(pieces, files, strict=True):
        write_terms(tmp_path, piece, lambda found: fixed_terms(found, calibration), path)
    rows = [tmp_path / "rows" / f"{piece.name}.parquet" for piece in pieces]
    bayes = write_log_bayes(rows, files, tmp_path / "joins", 80, 2**27)
    sums: dict[int, float] = {}
    for found, code in zip(every, codes, strict=True):
        for n, term in zip(*fixed_terms(found, calibration), strict=True):
            sums[int(code[n])] = sums.get(int(code[n]), 0.0) + term / FIXED
    np.testing.assert_allclose(bayes, [sums[code] for code in sorted(sums)])
    expected = [sums.get(int(code), np.nan) for code in np.concatenate(codes)]
    expected[0] = expected[40] = np.nan  # which have a problem
    np.testing.assert_allclose(np.load(tmp_path / "joins" / "log_bayes.npy"), expected)
    odds = single_log_odds(tmp_path, pieces, 0, lambda count: None)
    alone = [
        found["log_odds"][(found["plain_images"] == 1) & ~np.isnan(found["log_odds"])] for found in every
    ]
    np.testing.assert_allclose(odds, np.concatenate(alone))


def test_folds_are_those_of_pictures():
    codes = np.random.default_rng(0).integers(0, 2**63, 1000)
    found = fold_of(codes, 5)
    np.testing.assert_array_equal(found, fold_of(codes[::-1].copy(), 5)[::-1])
    assert set(np.unique(found)) == set(range(5))
    assert np.bincount(found).min() > 150
    assert not fold_of(codes, 1).any()
