"""OMIT scores of 1,000 images with 5,000 captions: time and peak memory, against the released formula.

    python scripts/benchmarks/evaluation.py
    python scripts/benchmarks/evaluation.py --images 5000 --device cuda

Fragments are encoded beforehand; captions have 14 words on average and 32 at most, marks included. The
reference also works in blocks, 128 images by 128 captions padded to the longest of the block, as a plan of
all pairs does not fit into memory. The floor is the matrix product of all regions with all real words. Peak
memory is on top of the fragments and includes the scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import common
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustcmr.evaluation.scoring import score_matrix
from robustcmr.matchers.omit import Omit
from robustcmr.types import DataSpec, Fragments

BLOCK = 128
CAPTIONS_PER_IMAGE = 5


def fragments(options: argparse.Namespace, dim: int) -> tuple[Omit, Fragments, Fragments]:
    """Return a matcher and unit fragments of both sides, zero where padded."""
    torch.manual_seed(0)
    n, R, W = options.images, options.regions, options.words
    m = n * CAPTIONS_PER_IMAGE
    lengths = np.clip(np.random.default_rng(0).normal(14, 5, m).round(), 5, W).astype(np.int64)
    mask = torch.arange(W) < torch.from_numpy(lengths).unsqueeze(1)  # (m, W)
    regions = normalize(torch.randn(n, R, dim), dim=-1)
    words = normalize(torch.randn(m, W, dim), dim=-1).mul_(mask.unsqueeze(-1))
    spec = DataSpec(feature_width=8, n_regions=R, vocabulary_size=8, longest_caption=W)
    device = torch.device(options.device)
    matcher = Omit(Omit.Config(dim=dim, word_dim=8, region_hidden=8, partial="none"), spec).to(device)
    images = Fragments(regions, torch.ones(n, R, dtype=torch.bool))
    return matcher, images.to(device), Fragments(words, mask).to(device)


@torch.inference_mode()
def released(matcher: Omit, images: Fragments, texts: Fragments) -> Tensor:
    """Return (N, M) scores by the released formula, in blocks."""
    scores = torch.empty(len(images), len(texts))
    a, b = (side.mask / side.mask.sum(1, keepdim=True) for side in (images, texts))
    longest, config = texts.mask.sum(1), matcher.config
    options = {"smoothing": config.smoothing, "iterations": config.iterations}
    for i in range(0, len(images), BLOCK):
        for j in range(0, len(texts), BLOCK):
            rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
            W = int(longest[columns].max())
            sides = images.features[rows], texts.features[columns, :W], a[rows], b[columns, :W]
            scores[rows, columns] = common.released_scores(*sides, **options).cpu()
    return scores


VARIANTS: dict[str, Callable[[Omit, Fragments, Fragments], Tensor]] = {
    "released": released,
    "robustcmr": score_matrix,
}


def bare_product(images: Fragments, texts: Fragments) -> common.Floor:
    """Return the seconds of all regions by all real words, extrapolated from one block."""
    words = texts.features[texts.mask]  # (V, D)
    block = images.features[:BLOCK].flatten(0, 1)  # (128 R, D)
    some = words[: 128 * 32].T
    out = torch.empty(len(block), some.shape[1], device=block.device)
    seconds = common.timed(lambda: torch.mm(block, some, out=out), repeats=5)
    share = images.features[..., 0].numel() / len(block) * len(words) / some.shape[1]
    flop = 2 * block.numel() * len(words) * share
    return common.Floor(seconds * share, f"bare product, {flop / 1e12:.2g} TFLOP")


def peak_memory(options: argparse.Namespace, name: str, dim: str) -> float:
    """Return the MiB that one variant takes, scores included."""
    score, inputs = VARIANTS[name], fragments(options, int(dim))
    score(inputs[0], inputs[1][slice(0, BLOCK)], inputs[2][slice(0, BLOCK)])
    return common.extra_memory(partial(score, *inputs), options.device)


def measured(options: argparse.Namespace, dim: int) -> list[dict[str, object]]:
    """Return the rows of one width."""
    matcher, images, texts = fragments(options, dim)
    seconds: dict[str, float] = {}
    scores: dict[str, Tensor] = {}
    peaks: dict[str, float] = {}

    def keep(name: str) -> None:
        scores[name] = VARIANTS[name](matcher, images, texts)

    for name, score in VARIANTS.items():
        score(matcher, images[slice(0, 4)], texts[slice(0, 20)])  # compiles
        seconds[name] = common.stopwatch(partial(keep, name))
        if options.memory:
            peaks[name] = common.peak_memory(peak_memory, options, name, str(dim))
    n, m = scores["robustcmr"].shape
    what = f"scores of {n:,} x {m:,}, R {options.regions}, W to {options.words}, D {dim}"
    found = {what: ("s", seconds, bare_product(images, texts))}
    if peaks:
        least = common.Floor(n * m * 4 / 2**20, "the scores themselves")
        found[f"peak memory, D {dim}"] = "MiB", peaks, least
    difference = (scores["robustcmr"] - scores["released"]).abs().max().item()
    details = {"images": n, "captions": m, "dim": dim, "device": options.device}
    details["score_difference"] = f"{difference:.1e}"
    rows = []
    for what, (unit, values, floor) in found.items():
        pair = values["robustcmr"], values["released"], "released formula"
        rows.append({**common.headline("evaluation", what, *pair, unit=unit, floor=floor), **details})
    return rows


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "evaluation.csv", devices=True)
    parser.add_argument("--images", type=int, default=1000, help="with five captions each")
    parser.add_argument("--words", type=int, default=32, help="words of the longest caption")
    common.add_numbers(parser, regions=36)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 1024])
    common.add_memory(parser, "VARIANT", "DIM")
    options = common.parsed(parser)
    if options.child is not None:
        print(peak_memory(options, *options.child))
        return
    common.publish([row for dim in options.dim for row in measured(options, dim)], options.output)


if __name__ == "__main__":
    main()
