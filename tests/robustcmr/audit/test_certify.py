from __future__ import annotations

import numpy as np
import pytest

from robustcmr.audit.certify import Certified, Cuts, certify_precision, certify_recall, make_cuts
from tests.robustcmr.audit.test_estimates import labelled, world


def certified(
    rate: float, labels: int, seed: int, target: float, recall: bool = False
) -> tuple[Certified, float]:
    """What is promised, and what holds."""
    score, wrong, design = world(rate)
    cuts = make_cuts(score, [score[:7000], score[7000:]], design)
    one, rows = labelled(score, wrong, design, labels, seed)
    certify = certify_recall if recall else certify_precision
    found = certify(one, score[rows].astype(float), cuts, target)
    if found.cut is None:
        return found, 1.0
    dropped = score <= found.cut
    assert dropped.sum() == found.pairs
    return found, float(wrong[dropped].sum() / wrong.sum() if recall else wrong[dropped].mean())


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.6])
def test_promised_precision_holds(rate: float) -> None:
    held = sum(certified(rate, 400, seed, 0.95)[1] >= 0.95 for seed in range(60))
    assert held >= 0.94 * 60


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_promised_recall_holds(rate: float) -> None:
    held = sum(certified(rate, 400, seed, 0.5, recall=True)[1] >= 0.5 for seed in range(60))
    assert held >= 0.94 * 60


def test_a_useful_list_is_found_at_thirty_percent() -> None:
    score, wrong, _ = world(0.3)
    order = np.argsort(score)
    precision = wrong[order].cumsum() / np.arange(1, len(wrong) + 1)
    best = wrong[order][: np.flatnonzero(precision >= 0.95).max() + 1].sum()
    held = []
    for seed in range(20):
        cut = certified(0.3, 400, seed, 0.95)[0].cut
        held.append(0 if cut is None else wrong[score <= cut].sum() / best)
    assert np.median(held) > 0.5


def test_nothing_is_promised_without_wrong_pairs_or_labels() -> None:
    found, _ = certified(0.0, 400, 0, 0.95)
    assert found.cut is None
    few, _ = certified(0.3, 40, 0, 0.95)
    assert few.cut is None


def test_labels_that_would_do_are_said() -> None:
    found = [certified(0.3, 120, seed, 0.95)[0] for seed in range(30)]
    needed = [one.needed for one in found if one.cut is None and one.needed is not None]
    assert needed
    assert min(needed) > 120


def test_cuts_count_every_pair_of_a_list() -> None:
    score, _, design = world(0.3, 2000)
    cuts: Cuts = make_cuts(score, [score[:500], score[500:]], design)
    assert cuts.all.sum() == 2000
    for number in (0, 50, len(cuts.scores) - 1):
        inside = score[score <= cuts.scores[number]]
        strata = np.bincount(design.stratum(inside), minlength=len(design.counts))
        np.testing.assert_array_equal(cuts.counts[number], strata)
