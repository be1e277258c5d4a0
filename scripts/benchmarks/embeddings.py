"""Training on precomputed vectors: pairs a second through the embeddings matcher, files and loop included.

    python scripts/benchmarks/embeddings.py                         # a million pairs of 512 numbers
    python scripts/benchmarks/embeddings.py --pairs 100000 --dtype float16

One epoch of ``robustcmr train --data precomp --matcher embeddings`` on synthetic files, from the first step
to the measured dev split. The reference is a bare PyTorch loop over tensors in memory with the same steps:
two linear maps, the loss both ways and AdamW. The floor is the matrix products and one reading of the
vectors.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from pathlib import Path

import common
import numpy as np
import torch
from rich.console import Console
from torch.nn import functional as F

from robustcmr.config.resolve import compose
from robustcmr.jobs.train import train

DIM, DEV_PAIRS, WORDS = 256, 500, 10


def write_folder(root: Path, pairs: int, width: int, dtype: str) -> None:
    """Write pairs of vectors that are maps of one hidden vector, and captions of ten random words."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((64, width), dtype=np.float32) for _ in range(2)]
    for split, n in (("train", pairs), ("dev", DEV_PAIRS)):
        sides = [
            np.lib.format.open_memmap(root / f"{split}_{name}.npy", "w+", np.dtype(dtype), (n, width))
            for name in ("ims", "txts")
        ]
        with (root / f"{split}_caps.txt").open("w", encoding="utf-8") as captions:
            for first in range(0, n, 10000):
                hidden = rng.standard_normal((min(10000, n - first), 64), dtype=np.float32)
                for side, linear in zip(sides, maps, strict=True):
                    side[first : first + len(hidden)] = hidden @ linear
                for row in rng.integers(0, 5000, (len(hidden), WORDS)).tolist():
                    captions.write(" ".join(f"w{word}" for word in row) + "\n")


def package_rate(root: Path, options: Namespace) -> tuple[float, float, float]:
    """Return pairs a second of an epoch, seconds before and after it, and peak resident MiB."""
    settings = {
        "data.name": "precomp",
        "data.root": str(root),
        "data.captions_per_image": 1,
        "matcher.name": "embeddings",
        "method.name": options.method,
        "noise.ratio": 0.2,
        "training.batch_size": options.batch_size,
        "training.epochs": 1,
        "training.device": "cpu",
        "training.store": options.store,
        "training.half_features": options.half,
        "evaluation.test": None,
    }
    began = time.perf_counter()
    run = train(compose(None, settings, []), root / "run", console=Console(quiet=True))
    whole = time.perf_counter() - began
    results = run.read_results()
    if results is None:
        raise RuntimeError("the run has no results")
    (row,) = run.read_metrics()
    peak = results["peak_memory_bytes"]["cpu"] / 2**20
    return row["pairs_seen"] / row["seconds"], whole - results["seconds"], peak


def bare_rate(root: Path, batch_size: int) -> float:
    """Return pairs a second of at most 200 such steps in a bare loop over tensors in memory."""
    images, texts = (torch.from_numpy(np.load(root / f"train_{name}.npy")) for name in ("ims", "txts"))
    heads = [torch.nn.Linear(images.shape[1], DIM) for _ in range(2)]
    optimiser = torch.optim.AdamW([p for head in heads for p in head.parameters()], lr=2e-3)
    steps = torch.randperm(len(images)).split(batch_size)[:200]
    target = torch.arange(batch_size)
    began = time.perf_counter()
    for rows in steps:
        sides = [F.normalize(x[rows].float(), dim=-1) for x in (images, texts)]
        a, b = (F.normalize(head(side), dim=-1) for head, side in zip(heads, sides, strict=True))
        scores = a @ b.T / 0.05
        own = target[: len(rows)]
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()
    return sum(len(rows) for rows in steps) / (time.perf_counter() - began)


def floor_rate(width: int, batch_size: int, itemsize: int) -> common.Floor:
    """Return the pairs a second that matrix products and reading alone allow."""
    heads = 2 * 2 * 2 * batch_size * width * DIM  # two sides, forward and to the weights
    scores = 3 * 2 * batch_size**2 * DIM  # forward, and back to both sides
    reading = common.memory_floor(2 * batch_size * width * itemsize)
    found = common.sum_of_floors(common.arithmetic_floor(heads + scores), reading)
    return common.Floor(batch_size / found.value, f"a step of {found.words}")


def main() -> None:
    """Write the files, train on them, and write the row."""
    parser = common.benchmark_parser(__doc__, "embeddings.csv")
    common.add_numbers(parser, pairs=1_000_000, width=512, batch_size=1024)
    parser.add_argument("--method", default="infonce")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float32")
    parser.add_argument("--store", choices=("auto", "disk", "memory", "device"), default="auto")
    parser.add_argument("--half", action="store_true", help="store features in half precision")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the temporary folder")
    options = common.parsed(parser)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_folder(Path(folder), options.pairs, options.width, options.dtype)
        ours, around, peak = package_rate(Path(folder), options)
        bare = bare_rate(Path(folder), options.batch_size)
    what = f"an epoch of {options.method}, {options.pairs:,} pairs"
    floor = floor_rate(options.width, options.batch_size, np.dtype(options.dtype).itemsize)
    found = {"unit": "pairs/s", "floor": floor, "larger_is_better": True}
    row = {
        **common.headline("embeddings", what, ours, bare, "bare PyTorch loop over memory", **found),
        **{name: getattr(options, name) for name in ("pairs", "width", "dtype", "batch_size", "store")},
        "seconds_before_and_after": f"{around:.1f}",
        "peak_mib": f"{peak:.0f}",
    }
    common.publish([row], options.output)


if __name__ == "__main__":
    main()
