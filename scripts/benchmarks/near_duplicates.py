"""Near duplicates of an audit: seconds, recall and memory among made vectors and difference hashes.

    python scripts/benchmarks/near_duplicates.py --threads 1        # a million of each, 1% planted
    python scripts/benchmarks/near_duplicates.py --count 200000 --width 512

The vectors lie in a cone, any two at a cosine near 0.5, as those of most models. Planted ones have a cosine
between the threshold and 1 with another, evenly; planted hashes differ in 0 to 3 bits. The reference is all
pairs: some rows against all, scaled to all rows. The floor is the product that makes the signatures, and one
reading of vectors and signatures.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import common
import numpy as np

from robustcmr.audit.duplicate_groups import Duplicates, grouped
from robustcmr.audit.near_duplicates import TABLES, near_duplicates
from robustcmr.audit.picture_hashes import Hashes, PictureHashes
from robustcmr.audit.signatures import BITS
from robustcmr.types import FloatArray, IntArray

COSINE = 0.985


def unit(vectors: FloatArray) -> FloatArray:
    """Return vectors (n, D) of unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def planted(rng: np.random.Generator, count: int, share: float) -> tuple[IntArray, IntArray]:
    """Return rows to be copied, and later rows that become their near duplicates."""
    k = max(int(count * share), 1)
    rows = np.sort(rng.permutation(count)[: 2 * k])
    return rows[:k], rows[k:]


def made_vectors(count: int, width: int, share: float) -> tuple[FloatArray, IntArray, IntArray, FloatArray]:
    """Return vectors, and of the planted ones the rows, the copies and their cosines."""
    rng = np.random.default_rng(0)
    vectors = unit(unit(rng.standard_normal((count, width), np.float32)) + np.float32(width**-0.5))
    source, copies = planted(rng, count, share)
    cosines = rng.uniform(COSINE, 1, len(source)).astype(np.float32)[:, None]
    away = rng.standard_normal((len(source), width), np.float32)
    away = unit(away - (away * vectors[source]).sum(1, keepdims=True) * vectors[source])
    vectors[copies] = cosines * vectors[source] + np.sqrt(1 - cosines**2) * away
    return vectors, source, copies, cosines[:, 0]


def made_hashes(count: int, share: float) -> tuple[Hashes, IntArray, IntArray]:
    """Return hashes, and of the planted ones the rows and the copies."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, count, np.uint64)
    source, copies = planted(rng, count, share)
    hashes[copies] = hashes[source]
    for bit in range(3):  # a bit drawn twice is turned back
        turned = rng.random(len(copies)) < 0.25 * (bit + 1)
        hashes[copies] ^= np.where(turned, np.uint64(1) << rng.integers(0, 64, len(copies), np.uint64), 0)
    return hashes, source, copies


def near_equal(hashes: Hashes) -> Duplicates:
    """Return which hashes (n,) are near-equal to an earlier one."""
    given = PictureHashes(np.zeros_like(hashes), hashes, np.ones(len(hashes), np.bool_))
    connected, _ = given.connected()
    rows, first, _ = grouped(connected, given.alike)
    return Duplicates(rows, first)


def hits(found: Duplicates, source: IntArray, copies: IntArray) -> np.ndarray:
    """Return which of the planted ones were found with the right first row."""
    first = dict(zip(found.rows.tolist(), found.first.tolist(), strict=True))
    return np.array(
        [first.get(copy) == row for row, copy in zip(source.tolist(), copies.tolist(), strict=True)]
    )


def measured(call: Callable[[], Duplicates]) -> tuple[Duplicates, float, float]:
    """Return the result of a call, its seconds, and its peak MiB on top of what the process has."""
    began = time.perf_counter()
    found = call()
    seconds = time.perf_counter() - began
    return found, seconds, common.extra_memory(call, "cpu")


def all_pairs_seconds(vectors: FloatArray, rows: int = 1024) -> float:
    """Return the seconds of all cosines, from some rows against all of them."""
    some = vectors[:rows]
    seconds = common.timed(lambda: (some @ vectors.T >= COSINE).any(1), repeats=1)
    return seconds * len(vectors) / len(some) / 2


def main() -> None:
    """Measure both and write their rows."""
    parser = common.benchmark_parser(__doc__, "near_duplicates.csv")
    common.add_numbers(parser, count=1_000_000, width=128, share=0.01, tables=TABLES)
    options = common.parsed(parser)
    count, width, tables = options.count, options.width, options.tables
    vectors, source, copies, cosines = made_vectors(count, width, options.share)
    found, seconds, memory = measured(
        lambda: near_duplicates(count, vectors.__getitem__, COSINE, tables=tables)
    )
    right = hits(found, source, copies)
    edge = cosines <= np.quantile(cosines, 0.2)
    floor = common.sum_of_floors(
        common.arithmetic_floor(2.0 * count * width * tables * BITS),
        common.memory_floor(4.0 * count * (width + 2 * tables)),
    )
    what = f"near duplicates of {count:,} vectors of {width} numbers"
    reference = all_pairs_seconds(vectors)
    rows = [
        {
            **common.headline(
                "near_duplicates", what, seconds, reference, "all cosines, scaled", floor=floor
            ),
            **{"count": count, "width": width, "tables": tables, "planted": len(source)},
            "recall": f"{right.mean():.4f}",
            "recall_near_threshold": f"{right[edge].mean():.4f}",
            "false_positives": len(found) - int(right.sum()),
            "peak_mebibytes": f"{memory:.0f}",
        }
    ]
    hashes, source, copies = made_hashes(count, options.share)
    found, seconds, memory = measured(lambda: near_equal(hashes))
    right = hits(found, source, copies)
    what = f"near-equal of {count:,} difference hashes"
    rows.append(
        {
            **common.headline("near_duplicates", what, seconds, None, ""),
            **{"count": count, "planted": len(source), "recall": f"{right.mean():.4f}"},
            "false_positives": len(found) - int(right.sum()),
            "peak_mebibytes": f"{memory:.0f}",
        }
    )
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
