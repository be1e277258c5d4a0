"""Embedding captions into a folder as they come: captions a second of processor time, and memory (Linux).

    python scripts/benchmarks/embed.py                              # a million made captions
    python scripts/benchmarks/embed.py --captions 100000 --matcher omit

The captions come from a generator and go through ``TrainedRun.embed_texts(captions, output=...)``. The
reference of the memory is that of the vectors alone, which embedding in memory holds at least. That of the
speed is the model alone on batches that are read beforehand: the rest is making, reading and writing.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np

import robustcmr
from robustcmr.jobs.trained import TrainedRun

WORDS, LENGTH, KNOWN_BATCHES = 5000, 12, 20


def write_folder(root: Path) -> None:
    """Write a few images with captions, to have a model with a vocabulary."""
    rng = np.random.default_rng(0)
    for split, n in (("train", WORDS // 10), ("dev", 20)):
        np.save(root / f"{split}_ims.npy", rng.standard_normal((n, 36, 64), dtype=np.float32))
        words = rng.permutation(10 * n)  # every word of train once
        lines = (" ".join(f"w{word}" for word in row) for row in words.reshape(n, 10).tolist())
        (root / f"{split}_caps.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def made_captions(count: int) -> Iterator[str]:
    """Yield captions of 4 to 20 random words."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        words = rng.integers(0, WORDS, int(rng.integers(4, 21))).tolist()
        yield " ".join(f"w{word}" for word in words)


def small_run(root: Path, options: Namespace) -> TrainedRun:
    """Train one epoch and open the run."""
    write_folder(root)
    run = robustcmr.train(
        data="precomp",
        data_root=root,
        matcher=options.matcher,
        method="infonce",
        epochs=1,
        device="cpu",
        settings={"data.captions_per_image": 1, "evaluation.test": None},
        output=root / "run",
        progress=False,
    )
    return robustcmr.load(run.path, device="cpu", batch_size=options.batch_size)


def model_rate(run: TrainedRun, options: Namespace) -> float:
    """Return captions a second of the model alone."""
    model = run._encoder.model
    size = options.batch_size
    captions = list(made_captions(KNOWN_BATCHES * size))
    batches = [model.captions.words(captions[at : at + size]) for at in range(0, len(captions), size)]
    model.encode(batches[0])
    started = time.process_time()
    for batch in batches:
        model.encode(batch)
    return len(captions) / (time.process_time() - started)


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "embed.csv")
    common.add_numbers(parser, captions=1_000_000, batch_size=256)
    parser.add_argument("--matcher", default="embeddings")
    options = common.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run = small_run(root, options)
        width = run.embed_texts(made_captions(options.batch_size), output=root / "warm").vectors.shape[1]
        alone = model_rate(run, options)
        started = time.process_time()
        memory = common.extra_memory(
            lambda: run.embed_texts(made_captions(options.captions), output=root / "vectors"), "cpu"
        )
        rate = options.captions / (time.process_time() - started)
    what = f"{options.captions:,} captions by {options.matcher}"
    vectors = options.captions * width * 4 / 2**20
    shared = {"captions": options.captions, "batch_size": options.batch_size, "width": width}
    rows = [
        common.headline(
            "embed",
            f"embedding {what}",
            rate,
            alone,
            "the model alone",
            unit="captions/s",
            larger_is_better=True,
        ),
        common.headline(
            "embed", f"memory of {what}", max(memory, 0.1), vectors, "the vectors alone", unit="MiB"
        ),
    ]
    common.publish([{**row, **shared} for row in rows], options.output)


if __name__ == "__main__":
    main()
