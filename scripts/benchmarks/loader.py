"""Features read from disk as batches: how many images a second, beside reading the same bytes in one go.

    python scripts/benchmarks/loader.py                       # 4,000 images of 36 x 2,048 numbers, 1.2 GB
    python scripts/benchmarks/loader.py --images 29000        # as many as Flickr30K has, 8.5 GB

Every way reads each image once, in batches of shuffled images, out of a file that the system's cache holds no
part of (cold) or, where memory allows, all of (warm). The floor is the file read in its own order into one
buffer. The reference is a memory map indexed in the batch's own order. Rows go to scripts/results/loader.csv.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from common import (
    Floor,
    benchmark_parser,
    headline,
    machine_description,
    parsed,
    print_headlines,
    stopwatch,
    write_rows,
)

from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingPairs
from robustcmr.data.store import NpyFeatures
from robustcmr.training.batches import EpochBatches
from robustcmr.types import Correspondence, IntArray

Reader = Callable[[Path, list[IntArray]], None]


def write_features(path: Path, images: int, regions: int, width: int) -> None:
    """A .npy file of float32 noise, written in blocks and flushed to disk."""
    block = np.random.default_rng(0).standard_normal((64, regions, width), dtype=np.float32)
    with path.open("wb") as file:
        shape = (images, regions, width)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for first in range(0, images, len(block)):
            file.write(block[: images - first].tobytes())
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Have the system's cache drop the file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def in_one_go(path: Path, batches: list[IntArray]) -> None:
    """The floor: the file in its own order, into one small buffer."""
    del batches
    buffer = bytearray(2**24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def by_map(path: Path, batches: list[IntArray]) -> None:
    """A memory map indexed in the order of the batch."""
    mapped = np.load(path, mmap_mode="r")
    for images in batches:
        np.array(mapped[images])


def by_sorted_map(path: Path, batches: list[IntArray]) -> None:
    """A memory map indexed in the order of the file, then put back."""
    mapped = np.load(path, mmap_mode="r")
    for images in batches:
        order = np.argsort(images)
        read = np.array(mapped[images[order]])
        read[np.argsort(order)]


def by_store(path: Path, batches: list[IntArray]) -> None:
    """The package's store."""
    store = NpyFeatures(path)
    for images in batches:
        store.take(images)


def pairs_of(path: Path) -> TrainingPairs:
    """One caption of one word an image."""
    store = NpyFeatures(path)
    n = store.shape[0]
    table = TokenTable(np.ones(n, dtype=np.int32), np.arange(n + 1, dtype=np.int64))
    return TrainingPairs(store, table, Correspondence(np.arange(n, dtype=np.int64), n), None)


def by_loader(path: Path, batches: list[IntArray], workers: int) -> None:
    """Whole batches as training gets them."""
    steps = [{"all": images} for images in batches]
    for _ in EpochBatches(pairs_of(path), steps, 0, 0).from_step(0, workers):
        pass


def by_thread(path: Path, batches: list[IntArray]) -> None:
    """Read ahead by a thread."""
    by_loader(path, batches, 0)


def by_workers(path: Path, batches: list[IntArray]) -> None:
    """Read ahead by two processes."""
    by_loader(path, batches, 2)


def by_windows(path: Path, batches: list[IntArray]) -> None:
    """The order of the division pass."""
    pairs = pairs_of(path)
    for parts in pairs.windows(len(batches), np.random.default_rng(0)):
        window = pairs.window(np.concatenate(parts))
        for ids in parts:
            window.batch(ids)


WAYS: dict[str, Reader] = {
    "memory map, sorted": by_sorted_map,
    "store": by_store,
    "training batches, thread": by_thread,
    "training batches, 2 workers": by_workers,
    "division pass, windows": by_windows,
}


def measure(path: Path, batch_size: int, warm: bool, repeats: int) -> list[dict[str, object]]:
    """A row for each way of reading, all read from a cold or a warm cache."""
    n, regions, width = NpyFeatures(path).shape
    order = np.random.default_rng(0).permutation(n)
    batches = [order[first : first + batch_size] for first in range(0, n, batch_size)]

    ways: dict[str, Reader] = {"whole": in_one_go, "map": by_map, **WAYS}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    in_one_go(path, batches)  # a virtual disk may be cached where this machine cannot see it
    for _ in range(repeats):  # turn by turn, so that a busy machine disturbs all alike
        for name, read in ways.items():
            if not warm:
                forget(path)
            seconds[name].append(stopwatch(partial(read, path, batches)))
    median = {name: statistics.median(found) for name, found in seconds.items()}
    size, state = n * regions * width * 4, "warm" if warm else "cold"
    whole, mapped = median["whole"], median["map"]
    floor = Floor(n / whole, f"the file in its own order at {size / whole / 1e9:.2f} GB/s")
    rows = []
    for name in WAYS:
        ours = median[name]
        rows.append(
            {
                **headline(
                    *("loader", f"{name}, {state}", n / ours, n / mapped, "memory map, shuffled order"),
                    unit="images/s",
                    floor=floor,
                    larger_is_better=True,
                ),
                "gb_per_s": f"{size / ours / 1e9:.3f}",
                "map_gb_per_s": f"{size / mapped / 1e9:.3f}",
                "floor_gb_per_s": f"{size / whole / 1e9:.3f}",
                "images": n,
                "shape": f"{regions}x{width} float32",
                "batch_size": batch_size,
                **machine_description(),
            }
        )
    return rows


def main() -> int:
    """Write a file, read it in every way and write the rows."""
    parser = benchmark_parser(__doc__, "loader.csv")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the file; by default the temporary folder")
    asked = parsed(parser)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "train_ims.npy"
        write_features(path, asked.images, asked.regions, asked.width)
        for warm in (False, True):
            if not warm and not hasattr(os, "posix_fadvise"):
                sys.stderr.write("this system cannot empty its cache of a file, so nothing is read cold\n")
                continue
            rows += measure(path, asked.batch_size, warm, asked.repeats)
    print_headlines(rows)
    write_rows(asked.output, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
