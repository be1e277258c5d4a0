"""How well an audit finds wrong pairs whose truth is known, by kind of mistake: AUROC, AP and calibration.

    python scripts/benchmarks/audit_accuracy.py SETS/five-mixed SETS/one-mixed
    python scripts/benchmarks/audit_accuracy.py SETS/five-mixed --deep --csv rows.csv

A set is a folder with ``train_ims.npy`` (images, 1, D), ``train_txts.npy`` (pairs, D), ``train_caps.txt`` and
``truth.npz`` with ``image`` (pairs,) and ``code`` (pairs,): 0 right, 1 exchanged at random, 2 near miss,
3 boilerplate, 4 pasted caption. Near misses of these sets are copies of captions that stay where they were,
so counting captions would find them by an accident of how they were made; ``--count-copies`` leaves that in,
without it each of their captions gets a word of its own. The reference is the plain cosine of the pair.
"""

from __future__ import annotations

import csv
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

import robustcmr

KINDS = {"all": None, "shuffled": 1, "near miss": 2, "boilerplate": 3, "pasted": 4}
Values = npt.NDArray[np.floating[Any]]


def own_word(number: int) -> str:
    """Return a word of letters that no other number has."""
    return "zq" + "".join(chr(97 + int(digit)) for digit in str(number))


def write_pairs(folder: Path, to: Path, count_copies: bool) -> tuple[Values, Values, npt.NDArray[np.int8]]:
    """Write a set as parquet with vectors beside it; return both sides' vectors and the codes."""
    truth = np.load(folder / "truth.npz")
    code, image = truth["code"], truth["image"]
    images = np.load(folder / "train_ims.npy").reshape(-1, np.load(folder / "train_txts.npy").shape[1])[image]
    texts = np.load(folder / "train_txts.npy")
    captions = (folder / "train_caps.txt").read_text(encoding="utf-8").splitlines()
    if not count_copies:
        captions = [
            f"{caption} {own_word(row)}" if kind == 2 else caption
            for row, (caption, kind) in enumerate(zip(captions, code, strict=True))
        ]
    names = [f"{number}.jpg" for number in image]
    ids = [f"pair-{row}" for row in range(len(code))]
    pq.write_table(pa.table({"id": ids, "image": names, "caption": captions}), to / "pairs.parquet")
    np.save(to / "images.npy", images)
    np.save(to / "texts.npy", texts)
    return images, texts, code


def figures(code: npt.NDArray[np.int8], wrong: Values) -> dict[str, float]:
    """Return AUROC and AP in percent of each kind against the right pairs."""
    found = {}
    for name, kind in KINDS.items():
        chosen = (code == 0) | ((code > 0) if kind is None else (code == kind))
        truth = code[chosen] > 0
        if truth.any() and not truth.all():
            found[f"{name} AUROC"] = 100 * float(roc_auc_score(truth, wrong[chosen]))
            found[f"{name} AP"] = 100 * float(average_precision_score(truth, wrong[chosen]))
    return found


def calibration_error(chance: Values, truth: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ten bins, in points."""
    bins = np.minimum((10 * chance).astype(int), 9)
    groups = [bins == number for number in range(10)]
    parts = [g.mean() * abs(chance[g].mean() - truth[g].mean()) for g in groups if g.any()]
    return 100 * float(sum(parts))


def measured(folder: Path, deep: bool, count_copies: bool) -> list[dict[str, Any]]:
    """Audit a set; return the rows of cosine and of the audit."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images, texts, code = write_pairs(folder, work, count_copies)
        began = time.process_time()
        audit = robustcmr.audit_pairs(
            work / "pairs.parquet",
            (work / "images.npy", work / "texts.npy"),
            output=work / "audit",
            deep=deep,
            progress=False,
        )
        seconds = time.process_time() - began
        pairs, rate = audit.pairs, audit.noise_rate
        # duplicates and captions without content are dropped by rule; their score is that of their vectors
        chance = np.where(np.isnan(pairs.p_mismatch), 0.5, pairs.p_mismatch)
        score = np.where(np.isnan(pairs.score), 0.0, pairs.score)
        decision = pairs.decision
    random_like = (code > 0) & (code != 2)
    cosine = np.einsum("nd,nd->n", images, texts)
    common = {"set": folder.name, "pairs": len(code)}
    told = {
        "share said": 100 * rate.value,
        "low": 100 * rate.low,
        "high": 100 * rate.high,
        "random-like": 100 * float(random_like.mean()),
        "wrong": 100 * float((code > 0).mean()),
        "ECE random-like": calibration_error(chance, random_like),
        "dropped": 100 * float((decision == "drop").mean()),
        "wrong among dropped": 100 * float((code > 0)[decision == "drop"].mean()),
        "wrong among kept": 100 * float((code > 0)[decision == "keep"].mean()),
        "seconds": seconds,
    }
    name = "deep" if deep else "quick"
    return [
        {**common, "score": "cosine", **figures(code, -cosine)},
        {**common, "score": name, **figures(code, -score), **told},
    ]


def main() -> None:
    """Measure the sets and print or write the rows."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--count-copies", action="store_true")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = [row for folder in options.sets for row in measured(folder, options.deep, options.count_copies)]
    for row in rows:
        print(
            ", ".join(
                f"{key} {value:.1f}" if isinstance(value, float) else f"{value}" for key, value in row.items()
            )
        )
    if options.csv is not None:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, max(rows, key=len), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
            )


if __name__ == "__main__":
    main()
