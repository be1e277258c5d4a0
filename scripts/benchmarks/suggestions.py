"""How often suggestions for suspected pairs are right, where the truth is known, beside the best cosine.

    python scripts/benchmarks/suggestions.py SETS/five-mixed SETS/one-mixed --truth SETS/five-clean
    python scripts/benchmarks/suggestions.py                     # a made set

Sets are those of ``audit_accuracy.py``. An image is right for a caption if the caption was written for it: by
``origin`` (pairs,) of ``truth.npz``, -1 for captions of no image, or else by equal texts in the captions of
the set ``--truth``, five an image. The reference gives each suspected caption its most similar image by the
cosine, and counts as many of these as there are suggestions, the most similar ones first.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import audit_accuracy
import common
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

import robustcmr

LEVELS = (0.5, 0.3, 0.1)
"""Probabilities from which suggestions are counted."""

BOILERPLATE, SHUFFLED = 3, 1
Values = npt.NDArray[np.floating[Any]]


def images_of(folder: Path, clean: Path | None) -> list[set[int]]:
    """Return the images that the caption of each pair was written for."""
    truth = np.load(folder / "truth.npz")
    if "origin" in truth:
        return [{int(image)} - {-1} for image in truth["origin"]]
    if clean is None:
        raise SystemExit(f"{folder} does not say which image a caption was written for; give --truth")
    images: dict[str, set[int]] = defaultdict(set)
    for row, caption in enumerate((clean / "train_caps.txt").read_text(encoding="utf-8").splitlines()):
        images[caption].add(row // 5)
    return [images[line] for line in (folder / "train_caps.txt").read_text(encoding="utf-8").splitlines()]


def measured(folder: Path, clean: Path | None) -> list[dict[str, object]]:
    """Audit a set and seek partners; return a row for each level and kind of suggestion."""
    truth, right = np.load(folder / "truth.npz"), images_of(folder, clean)
    code, image = truth["code"], truth["image"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images, texts, _ = audit_accuracy.write_pairs(folder, work, count_copies=False)
        given = (work / "images.npy", work / "texts.npy")
        audit = robustcmr.audit_pairs(work / "pairs.parquet", given, output=work / "audit", progress=False)
        began = time.process_time()
        found = audit.suggest(least=min(LEVELS)).to_pandas()
        seconds = time.process_time() - began
        table = pq.read_table(work / "audit" / "pairs.parquet", columns=["decision", "reason"]).to_pandas()
    suspected = table.reason.isin(["looks mismatched", "may be mismatched"]).to_numpy()
    asked = np.flatnonzero(suspected & (code == SHUFFLED))
    distinct, firsts = np.unique(image, return_index=True)
    cosine = texts[asked] @ images[firsts].T
    cosine[np.arange(len(asked)), np.searchsorted(distinct, image[asked])] = -2
    best = distinct[cosine.argmax(1)]
    good = np.array([each in right[row] for row, each in zip(asked, best, strict=True)])
    good = good[np.argsort(-cosine.max(1), kind="stable")]
    row, partner = (
        found[name].str.removeprefix("pair-").astype(int).to_numpy() for name in ("id", "partner")
    )
    is_image = (found.kind == "image").to_numpy()
    holder, caption = np.where(is_image, partner, row), np.where(is_image, row, partner)
    is_right = np.array([image[h] in right[c] for h, c in zip(holder, caption, strict=True)], bool)
    boilerplate = np.flatnonzero(code == BOILERPLATE)
    rows = []
    for level in LEVELS:
        some = found.probability.to_numpy() >= level
        shuffled = some & is_image & (code[row] == SHUFFLED)
        count = int(shuffled.sum())
        told = {
            **_shares("images", some & is_image, is_right, found.probability.to_numpy()),
            **_shares("captions", some & ~is_image, is_right, found.probability.to_numpy()),
            "boilerplate_captions": len(boilerplate),
            "of_which_given_an_image": int(np.isin(row[some & is_image], boilerplate).sum()),
            "of_whose_images_given_a_caption": int(np.isin(row[some & ~is_image], boilerplate).sum()),
        }
        if count:
            top = 100 * float(good[:count].mean())
            rows.append(
                {
                    **common.headline(
                        "suggestions",
                        f"{folder.name}, from {100 * level:.0f}%: {count} of {len(asked)} shuffled captions",
                        100 * float(is_right[shuffled].mean()),
                        top or None,
                        "best cosine, as many",
                        unit="%",
                        larger_is_better=True,
                    ),
                    "seconds": f"{seconds:.1f}",
                    **told,
                }
            )
        else:
            rows.append({"suite": "suggestions", "level": level, "set": folder.name, **told})
    return rows


def _shares(
    name: str, some: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], chance: Values
) -> dict[str, object]:
    """Return how many suggestions there are, how many percent are right, and how many were said to be."""
    if not some.any():
        return {name: 0}
    shares = (100 * float(values[some].mean()) for values in (chance, right))
    return {
        name: int(some.sum()),
        **dict(zip((f"{name}_said", f"{name}_right"), (f"{x:.1f}" for x in shares), strict=True)),
    }


def made_set(folder: Path, images: int) -> Path:
    """Write a set of random topics, a fifth of whose captions are exchanged and some of no image."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(images, 32))
    image = np.repeat(np.arange(images), 4)
    seen = topics + 0.5 * rng.normal(size=topics.shape)
    texts = topics[image] + 0.7 * rng.normal(size=(len(image), 32))
    code, origin = np.zeros(len(image), np.int8), image.copy()
    moved, none = np.split(rng.permutation(len(image))[: len(image) // 4], [len(image) // 5])
    texts[moved], origin[moved], code[moved] = np.roll(texts[moved], 1, 0), np.roll(image[moved], 1), SHUFFLED
    texts[none], origin[none], code[none] = rng.normal(size=(len(none), 32)), -1, BOILERPLATE
    np.save(folder / "train_ims.npy", (seen / np.linalg.norm(seen, axis=1)[:, None]).astype(np.float32))
    np.save(folder / "train_txts.npy", (texts / np.linalg.norm(texts, axis=1)[:, None]).astype(np.float32))
    words = [f"caption {audit_accuracy.own_word(row)}" for row in range(len(image))]
    (folder / "train_caps.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    np.savez(folder / "truth.npz", code=code, image=image, origin=origin)
    return folder


def main() -> None:
    """Measure the sets, print and write the rows."""
    parser = common.benchmark_parser(__doc__, "suggestions.csv")
    parser.add_argument("sets", nargs="*", type=Path, help="folders; by default a made set")
    parser.add_argument("--truth", type=Path, help="set without mistakes, with five captions an image")
    common.add_numbers(parser, made_images=1500)
    options = common.parsed(parser)
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        sets = options.sets or [made_set(made, options.made_images)]
        rows = [row for folder in sets for row in measured(folder, options.truth)]
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
