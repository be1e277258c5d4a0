"""Scores of 1,000 images with 5,000 captions by OMIT: time and peak memory, against the released formula.

    python scripts/benchmarks/evaluation.py
    python scripts/benchmarks/evaluation.py --images 5000 --device cuda

Fragments are encoded already; captions have 14 words on average and 32 at most, marks included. The reference
goes block by block as well, since no plan of all pairs fits into memory: 128 images with 128 captions, padded
to the longest of each block. The floor is the bare matrix product of all regions with all real words. Peak
memory is what each needs on top of the fragments, the scores included; on the CPU each in a process of its
own (Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import (
    Floor,
    benchmark_parser,
    headline,
    machine_description,
    parsed,
    publish,
    stopwatch,
    timed,
)
from released import released_scores
from torch import Tensor
from torch.nn.functional import normalize

from robustcmr.evaluation.scoring import score_matrix
from robustcmr.matchers.omit import Omit
from robustcmr.types import DataSpec, Fragments

BLOCK = 128
CAPTIONS_PER_IMAGE = 5


def fragments(options: argparse.Namespace, dim: int) -> tuple[Omit, Fragments, Fragments]:
    """A matcher and both sides, of length 1, zero where padded."""
    torch.manual_seed(0)
    n, R, W = options.images, options.regions, options.words
    m = n * CAPTIONS_PER_IMAGE
    lengths = np.clip(np.random.default_rng(0).normal(14, 5, m).round(), 5, W).astype(np.int64)
    mask = torch.arange(W) < torch.from_numpy(lengths).unsqueeze(1)  # (m, W)
    regions = normalize(torch.randn(n, R, dim), dim=-1)
    words = normalize(torch.randn(m, W, dim), dim=-1).mul_(mask.unsqueeze(-1))
    spec = DataSpec(feature_width=8, n_regions=R, vocabulary_size=8, longest_caption=W)
    matcher = Omit(Omit.Config(dim=dim, word_dim=8, region_hidden=8), spec).to(options.device)
    sides = Fragments(regions, torch.ones(n, R, dtype=torch.bool)), Fragments(words, mask)
    images, texts = (side.to(torch.device(options.device)) for side in sides)
    return matcher, images, texts


def released_blocks(matcher: Omit, images: Fragments, texts: Fragments) -> Tensor:
    """(N, M) by the released formula, a block of images and of captions at a time."""
    scores = torch.empty(len(images), len(texts))
    a = images.mask / images.mask.sum(1, keepdim=True)
    b = texts.mask / texts.mask.sum(1, keepdim=True)
    longest = texts.mask.sum(1)
    config = matcher.config
    with torch.inference_mode():
        for i in range(0, len(images), BLOCK):
            for j in range(0, len(texts), BLOCK):
                rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
                W = int(longest[columns].max())
                scores[rows, columns] = released_scores(
                    images.features[rows],
                    texts.features[columns, :W],
                    a[rows],
                    b[columns, :W],
                    smoothing=config.smoothing,
                    iterations=config.iterations,
                ).cpu()
    return scores


def ours(matcher: Omit, images: Fragments, texts: Fragments) -> Tensor:
    """(N, M) as evaluation computes them."""
    return score_matrix(matcher, images, texts)


VARIANTS: dict[str, Callable[[Omit, Fragments, Fragments], Tensor]] = {
    "released": released_blocks,
    "robustcmr": ours,
}


def bare_product(images: Fragments, texts: Fragments) -> Floor:
    """Seconds of all regions by all real words, from a block of both."""
    words = texts.features[texts.mask]  # (V, D)
    block = images.features[:BLOCK].flatten(0, 1)  # (128 R, D)
    some = words[: 128 * 32].T
    out = torch.empty(len(block), some.shape[1], device=block.device)
    seconds = timed(lambda: torch.mm(block, some, out=out), repeats=5)["median"]
    share = images.features[..., 0].numel() / len(block) * len(words) / some.shape[1]
    return Floor(seconds * share, f"bare product, {2 * block.numel() * len(words) * share / 1e12:.2g} TFLOP")


def measured(options: argparse.Namespace, dim: int) -> list[dict[str, object]]:
    """Rows of one width."""
    matcher, images, texts = fragments(options, dim)
    few = (matcher, images[torch.arange(4, device=options.device)], texts[slice(0, 20)])
    seconds: dict[str, float] = {}
    scores: dict[str, Tensor] = {}
    peaks: dict[str, float] = {}

    def keep(name: str) -> None:
        scores[name] = VARIANTS[name](matcher, images, texts)

    for name, score in VARIANTS.items():
        score(*few)  # what is compiled is compiled now
        seconds[name] = stopwatch(partial(keep, name))
        if options.memory:
            peaks[name] = peak(options, name, dim)
    floor = bare_product(images, texts)
    n, m = scores["robustcmr"].shape
    different = (scores["robustcmr"] - scores["released"]).abs().max().item()
    what = f"scores of {n:,} x {m:,}, R {options.regions}, W to {options.words}, D {dim}"
    details = {
        "images": n,
        "captions": m,
        "dim": dim,
        "device": options.device,
        "score_difference": f"{different:.1e}",
        **machine_description(),
    }
    rows: list[dict[str, object]] = [
        {
            **headline(
                "evaluation", what, seconds["robustcmr"], seconds["released"], "released formula", floor=floor
            ),
            **details,
        }
    ]
    if peaks:
        rows.append(
            {
                **headline(
                    *("evaluation", f"peak memory, D {dim}", peaks["robustcmr"], peaks["released"]),
                    "released formula",
                    unit="MiB",
                    floor=Floor(n * m * 4 / 2**20, "the scores themselves"),
                ),
                **details,
            }
        )
    return rows


def peak(options: argparse.Namespace, name: str, dim: int) -> float:
    """Peak memory in MiB of one variant; on the CPU in a process of its own."""
    if torch.device(options.device).type == "cuda":
        return peak_memory(options, name, dim)
    command = [sys.executable, *sys.argv, "--child", name, str(dim)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(ran.stdout.split()[-1])


def peak_memory(options: argparse.Namespace, name: str, dim: int) -> float:
    """MiB that one call takes on top of what the process held before it, the scores included."""
    matcher, images, texts = fragments(options, dim)
    VARIANTS[name](matcher, images[slice(0, BLOCK)], texts[slice(0, BLOCK)])
    gc.collect()
    if images.features.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        VARIANTS[name](matcher, images, texts)
        return torch.cuda.max_memory_allocated() / 2**20 - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident()
    VARIANTS[name](matcher, images, texts)
    return resident() - before


def resident() -> float:
    """Peak resident memory of this process since the last reset, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "evaluation.csv", devices=True)
    parser.add_argument("--images", type=int, default=1000, help="with five captions each")
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--words", type=int, default=32, help="words of the longest caption")
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 1024])
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory too"
    )
    parser.add_argument("--child", nargs=2, metavar=("VARIANT", "DIM"), help=argparse.SUPPRESS)
    options = parsed(parser)
    if options.child is not None:
        print(peak_memory(options, options.child[0], int(options.child[1])))
        return 0
    rows = [row for dim in options.dim for row in measured(options, dim)]
    publish(rows, options.output)
    if max(float(str(row["score_difference"])) for row in rows) > 1e-5:
        sys.exit("the scores differ by more than 1e-5")
    return 0


if __name__ == "__main__":
    sys.exit(main())
