"""What labels of a review are worth in simulated reviews: intervals and certified lists.

    python scripts/benchmarks/audit_labels.py SETS/five-mixed SETS/one-mixed
    python scripts/benchmarks/audit_labels.py                         # made scores at 0, 5, 30 and 60% wrong

Sets are those of ``audit_accuracy.py``; each is audited once, and then reviewed many times by somebody who
knows the truth. The reference is a simple random sample of as many labels. ``covers`` is the share of reviews
whose 95% interval of the noise rate holds the truth, ``holds`` that whose promise is true, none made
included; ``certified`` that in which a list is found, and ``of_best`` the mean share of wrong pairs on it, of
those on the largest list of that precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import audit_accuracy
import common
import numpy as np
import numpy.typing as npt
from scipy.special import expit

import robustcmr
from robustcmr.audit.certify import Cuts, certify_precision, certify_recall, make_cuts
from robustcmr.audit.design import Design, allocate, draw, make_design
from robustcmr.audit.estimates import Labelled, noise_rate

PRECISION, RECALL = 0.95, 0.6
Values = npt.NDArray[np.float64]


def audited(folder: Path, deep: bool) -> tuple[npt.NDArray[np.float32], Values]:
    """Audit a set; return the scores of its pairs and which are wrong."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _, _, code = audit_accuracy.write_pairs(folder, work, count_copies=False)
        vectors = (work / "images.npy", work / "texts.npy")
        found = robustcmr.audit_pairs(
            work / "pairs.parquet", vectors, output=work / "audit", deep=deep, progress=False
        )
        return found.pairs.score.astype(np.float32), (code > 0).astype(np.float64)


def made(rate: float, pairs: int = 20_000) -> tuple[npt.NDArray[np.float32], Values]:
    """Scores whose odds are right but for a tenth of the wrong pairs, which look right."""
    rng = np.random.default_rng(0)
    wrong = rng.random(pairs) < rate
    seen = wrong & (rng.random(pairs) < 0.9)
    score = np.where(seen, rng.normal(-4, 2.8, pairs), rng.normal(4, 2.8, pairs))  # log ratio 2 * 4 / 2.8^2
    prior = np.log(max(1 - rate, 1e-3) / max(rate, 1e-3))
    return (8 / 2.8**2 * score + prior).astype(np.float32), wrong.astype(np.float64)


def reviewed(score: npt.NDArray[np.float32], wrong: Values, labels: int, times: int) -> dict[str, float]:
    """Review an audit many times; return the means."""
    known = ~np.isnan(score)
    design = make_design([score], [score])
    cuts = make_cuts(score, [score], design)
    sizes = allocate(design, labels)
    truth = wrong[known].mean()
    best = _most_wrong(score[known], wrong[known])
    rows = [
        _review(*draw([score], design, sizes, seed)[:2], score, wrong, design, cuts, truth, best)
        for seed in range(times)
    ]
    found = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    found["random"] = 100 * 2 * 1.96 * max(truth * (1 - truth), 1 / labels) ** 0.5 / labels**0.5
    return found


def _most_wrong(score: npt.NDArray[np.float32], wrong: Values) -> float:
    """Wrong pairs on the largest list of the precision."""
    ordered = wrong[np.argsort(score, kind="stable")]
    good = np.flatnonzero(ordered.cumsum() / np.arange(1, len(ordered) + 1) >= PRECISION)
    return float(ordered[: good[-1] + 1].sum()) if len(good) else 0.0


def _review(
    numbers: npt.NDArray[np.int64],
    strata: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    wrong: Values,
    design: Design,
    cuts: Cuts,
    truth: float,
    best: float,
) -> dict[str, float]:
    own = score[numbers].astype(np.float64)
    labelled = Labelled(wrong[numbers], expit(-own), strata)
    rate = noise_rate(labelled, design.counts, design.means)
    row: dict[str, float] = {"covers": rate.low <= truth <= rate.high, "width": 100 * rate.width}
    for name, certify, target in (
        ("precision", certify_precision, PRECISION),
        ("recall", certify_recall, RECALL),
    ):
        cut = certify(labelled, own, cuts, target).cut
        listed = np.zeros(len(score), np.bool_) if cut is None else score <= cut
        caught = wrong[listed].sum()
        held = caught / max(listed.sum(), 1) if name == "precision" else caught / max(wrong.sum(), 1)
        row |= {f"{name}_holds": cut is None or held >= target, f"{name}_certified": cut is not None}
        if name == "precision":
            row["of_best"] = caught / max(best, 1.0)
    return row


def _sets(options: Any) -> Iterator[tuple[str, npt.NDArray[np.float32], Values]]:
    for folder in options.sets:
        for deep in (False, True) if options.deep else (False,):
            yield f"{folder.name}, {'deep' if deep else 'quick'}", *audited(folder, deep)
    if not options.sets:
        for rate in (0.0, 0.05, 0.3, 0.6):
            yield f"made scores, {rate:.0%} wrong", *made(rate)


def main() -> None:
    """Simulate reviews, print and write the rows."""
    parser = common.benchmark_parser(__doc__, "audit_labels.csv")
    parser.add_argument("sets", nargs="*", type=Path, help="folders; made scores by default")
    common.add_numbers(parser, labels=400, times=1000)
    parser.add_argument("--deep", action="store_true", help="audit with heads too")
    options = common.parsed(parser)
    rows = []
    for name, score, wrong in _sets(options):
        found = reviewed(score, wrong, options.labels, options.times)
        row = common.headline(
            "audit_labels",
            f"{name}: width of the interval after {options.labels} labels",
            found.pop("width"),
            found.pop("random"),
            "simple random sample",
            unit="points",
        )
        rows.append(
            {**row, "times": options.times, **{key: f"{100 * value:.1f}" for key, value in found.items()}}
        )
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
