"""How well an audit finds wrong pairs whose truth is known, by kind of mistake: AUROC, AP and calibration.

    python scripts/benchmarks/audit_accuracy.py SETS/five-mixed SETS/one-mixed
    python scripts/benchmarks/audit_accuracy.py                     # a made set

A set is a folder with ``train_ims.npy`` (images, 1, D), ``train_txts.npy`` (pairs, D), ``train_caps.txt`` and
``truth.npz`` with ``image`` (pairs,) and ``code`` (pairs,): 0 right, 1 exchanged at random, 2 near miss,
3 boilerplate, 4 pasted caption. Near misses of these sets are copies of captions that stay where they were,
so counting captions would find them by an accident of how they were made; ``--count-copies`` leaves that in,
without it each of their captions gets a word of its own. The reference is the plain cosine of the pair.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

import robustcmr
from robustcmr.audit.deep import LEAST_PAIRS

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


def measured(folder: Path, deep: bool, count_copies: bool) -> list[dict[str, object]]:
    """Audit a set; return a row a kind of mistake."""
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
        # pairs that are dropped by rule without a score
        chance = np.where(np.isnan(pairs.p_mismatch), 0.5, pairs.p_mismatch)
        score = np.where(np.isnan(pairs.score), 0.0, pairs.score)
        decision = pairs.decision
    random_like = (code > 0) & (code != 2)
    told = {
        "share_said": rate.value,
        "share_low": rate.low,
        "share_high": rate.high,
        "random_like": random_like.mean(),
        "wrong": (code > 0).mean(),
        "calibration_error": calibration_error(chance, random_like) / 100,
        "dropped": (decision == "drop").mean(),
        **{f"wrong_among_{name}": (code > 0)[decision == name].mean() for name in set(decision.tolist())},
    }
    ours, cosine = figures(code, -score), figures(code, -np.einsum("nd,nd->n", images, texts))
    depth = "deep" if deep else "quick"
    return [
        {
            **common.headline(
                "audit_accuracy",
                f"{folder.name}, {depth}, {kind} {measure}",
                ours[f"{kind} {measure}"],
                cosine[f"{kind} {measure}"],
                "cosine",
                unit="%",
                larger_is_better=True,
            ),
            "pairs": len(code),
            "seconds": f"{seconds:.1f}",
            **{name: f"{100 * float(value):.1f}" for name, value in told.items()},
        }
        for kind in KINDS
        for measure in ("AUROC", "AP")
        if f"{kind} {measure}" in ours
    ]


def made_set(folder: Path, images: int) -> Path:
    """Write a set of random topics, a fifth of whose captions are exchanged and some pasted."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(images, 32))
    image = np.repeat(np.arange(images), 2)
    seen = topics + 0.8 * rng.normal(size=topics.shape)
    texts = topics[image] + 0.8 * rng.normal(size=(len(image), 32))
    code = np.zeros(len(image), np.int8)
    captions = np.array([f"caption {own_word(row)}" for row in range(len(image))], dtype=object)
    moved, pasted = np.split(rng.permutation(len(image))[: len(image) // 4], [len(image) // 5])
    for rows, source, kind in ((moved, np.roll(moved, 1), 1), (pasted, np.full(len(pasted), pasted[0]), 4)):
        texts[rows], captions[rows], code[rows] = texts[source], captions[source], kind
    code[pasted[0]] = 0
    np.save(folder / "train_ims.npy", (seen / np.linalg.norm(seen, axis=1)[:, None]).astype(np.float32))
    np.save(folder / "train_txts.npy", (texts / np.linalg.norm(texts, axis=1)[:, None]).astype(np.float32))
    (folder / "train_caps.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    np.savez(folder / "truth.npz", code=code, image=image)
    return folder


def main() -> None:
    """Measure the sets, print and write the rows."""
    parser = common.benchmark_parser(__doc__, "audit_accuracy.csv")
    parser.add_argument("sets", nargs="*", type=Path, help="folders; by default a made set")
    common.add_numbers(parser, made_images=2000)
    parser.add_argument("--deep", action="store_true", help="train heads too, where there are pairs enough")
    parser.add_argument("--count-copies", action="store_true")
    options = common.parsed(parser)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        sets = options.sets or [made_set(made, options.made_images)]
        rows = [
            row
            for folder in sets
            for deep in (False, True)
            if not deep or (options.deep and len(np.load(folder / "train_txts.npy", "r")) >= LEAST_PAIRS)
            for row in measured(folder, deep, options.count_copies)
        ]
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
