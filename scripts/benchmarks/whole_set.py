"""Whole-set rematching: candidates by blocked products, then a sparse partial plan.

    python scripts/benchmarks/whole_set.py
    python scripts/benchmarks/whole_set.py --pairs 20000 --half
    python scripts/benchmarks/whole_set.py --device cuda            # with the extra cuda: the dense plan too

Pairs are random unit vectors in clusters, an image and a caption each. A share of the captions is
suspected; each looks for the 50 best images but the one it was given. Captions are noisy enough that some
score best with another image. The floor is the product of the same blocks; ratios and GFLOP/s are of
processor time, as other programs may share the machine. A second plan has less smoothing. On a small set
with all images as candidates the sparse plan is compared with the dense one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import common
import torch
from torch import Tensor
from torch.nn.functional import normalize

from robustcmr.correction.candidates import BLOCK_BYTES, Candidates, nearest_candidates
from robustcmr.correction.dense_whole_set import rematch_whole_set_densely
from robustcmr.correction.rematching import rematch
from robustcmr.correction.whole_set import WholeSetPlan, rematch_whole_set


def pairs(options: argparse.Namespace, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return unit vectors (n, width) of images around n / 50 centres, and of a caption near each."""
    generator = torch.Generator().manual_seed(seed)
    unit = options.width**-0.5  # a random vector of such numbers has a length of about 1

    def noisy(points: Tensor, noise: float) -> Tensor:
        return normalize(points + noise * unit * torch.randn(points.shape, generator=generator), dim=-1)

    centres = normalize(torch.randn(max(1, n // 50), options.width, generator=generator), dim=-1)
    images = noisy(centres[torch.randint(len(centres), (n,), generator=generator)], options.spread)
    return images, noisy(images, options.noise)


def clocked(work: Callable[[], Any], device: str = "cpu") -> tuple[Any, float, float]:
    """Return the result of a call, its wall-clock and its processor seconds (on a GPU the former twice)."""
    common.wait_for_device()
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = work()
    common.wait_for_device()
    seconds = time.perf_counter() - wall
    return outcome, seconds, time.process_time() - cpu if device == "cpu" else seconds


def bare_products(images: Tensor, captions: Tensor, blocks: int) -> float:
    """Return the processor seconds that the products of all blocks take, extrapolated from some."""
    rows = max(1, min(512, len(captions), BLOCK_BYTES // (5 * len(images))))
    out = torch.empty(rows, len(images), dtype=images.dtype, device=images.device)
    columns, least = images.T, float("inf")
    for start in range(0, min(len(captions) - rows, blocks * rows) + 1, rows):
        some = captions[start : start + rows]
        least = min(least, clocked(lambda x=some: torch.mm(x, columns, out=out), images.device.type)[2])  # type: ignore[misc]
    return least * len(captions) / rows


def agreement(n: int, options: argparse.Namespace) -> tuple[float, float]:
    """Return the largest difference to the dense plan times n, and the share of mass that lies elsewhere."""
    images, captions = pairs(options, n, seed=1)
    given = torch.arange(n).roll(1)
    found = nearest_candidates(captions, images, n, given)
    plan = rematch_whole_set(found, n, options.mass, options.epsilon, tolerance=1e-5)
    allowed = torch.arange(n).unsqueeze(0) != given.unsqueeze(1)
    dense = rematch(1 - captions @ images.T, allowed, options.mass, options.epsilon, tolerance=1e-5).plan
    P = torch.zeros(n, n)
    rows, columns, _ = found.edges()
    P[rows, columns] = plan.plan[found.images >= 0]
    return float((P - dense).abs().max() * n), float((P - dense).abs().sum() / 2 / options.mass)


def measure(options: argparse.Namespace) -> list[dict[str, object]]:
    """Return one row for each smoothing."""
    images, captions = pairs(options, options.pairs)
    chance = torch.Generator().manual_seed(2)
    own = torch.randperm(options.pairs, generator=chance)[: int(options.share * options.pairs)]
    captions = captions[own]
    given = own[torch.randperm(len(own), generator=chance)]  # the noise moves images among these pairs
    given = torch.where(given == own, -1, given)
    flops = 2.0 * len(captions) * len(images) * options.width
    kind = torch.bfloat16 if options.half else torch.float32
    images, captions = images.to(options.device), captions.to(options.device)
    floor = bare_products(images.to(kind), captions.to(kind), options.floor_blocks)
    given = given.to(options.device)
    search = partial(nearest_candidates, captions, images, options.top_k, given, half=options.half)
    found, seconds, cpu = clocked(search, options.device)
    found = found.cpu()
    most, elsewhere = agreement(options.small, options)
    details = {
        "pairs": options.pairs,
        "suspected": len(captions),
        "width": options.width,
        "top_k": options.top_k,
        "precision": "bfloat16" if options.half else "float32",
        "candidates_seconds": f"{seconds:.2f}",
        "candidates_gflops": f"{flops / cpu / 1e9:.1f}",
        "product_gflops": f"{flops / floor / 1e9:.1f}",
        "dense_pairs": options.small,
        "dense_row_difference": f"{most:.1e}",
        "dense_mass_elsewhere": f"{elsewhere:.1e}",
    }
    what = f"candidates of {len(captions):,} captions among {options.pairs:,} images"
    least = common.Floor(floor, "matrix product of the same blocks")
    front = common.headline("whole_set", what, cpu, None, "nothing", unit="s of the processor", floor=least)
    rows: list[dict[str, object]] = []
    for epsilon in dict.fromkeys([options.epsilon, *options.more_epsilons]):
        rematching = partial(rematch_whole_set, found, len(images), options.mass, epsilon)
        plan, _, transport = clocked(rematching)
        what = f"sparse plan of {plan.edges:,} edges, epsilon {epsilon}"
        row = common.headline("whole_set", what, transport, None, "nothing", unit="s of the processor")
        row |= {**details, "epsilon": epsilon, "transport_seconds": f"{plan.seconds:.2f}"}
        row |= {"iterations": plan.iterations, "edges": plan.edges, "mass_requested": options.mass}
        row |= {"mass": f"{plan.mass:.6f}", "error": f"{plan.error:.1e}"}
        rows.append({**row, **quality("", found, plan, own)})
        if options.device != "cpu" and find_spec("flash_sinkhorn") is not None:
            dense = dense_plan(captions, images, found, options.reach, epsilon)
            same = float((dense.place == plan.place).float().mean())
            rows[-1] |= {"dense_reach": options.reach, "dense_seconds": f"{dense.seconds:.2f}"}
            rows[-1] |= {"dense_mass": f"{dense.mass:.6f}", "dense_error": f"{dense.error:.1e}"}
            rows[-1] |= {**quality("dense_", found, dense, own), "dense_same_suggestions": f"{same:.4f}"}
    return [{**row, "device": options.device} for row in [{**front, **details}, *rows]]


def quality(prefix: str, found: Candidates, plan: WholeSetPlan, own: Tensor) -> dict[str, str]:
    """Return the shares of moved mass, suggestions and best scores that reach the right image."""
    fits = found.images == own.unsqueeze(1)
    suggested = fits.gather(1, plan.place.clamp(min=0).unsqueeze(1))
    shares = {
        "right_mass": (plan.plan * fits).sum() / plan.plan.sum(),
        "right_suggestions": suggested.float().mean(),
        "right_best_score": fits[:, 0].float().mean(),
    }
    return {f"{prefix}{name}": f"{float(share):.4f}" for name, share in shares.items()}


def dense_plan(captions: Tensor, images: Tensor, found: Candidates, *given: float) -> WholeSetPlan:
    """Return the dense plan for a reach and epsilon; its kernels are compiled before."""
    few = slice(0, 256)
    first = Candidates(found.images[few], found.scores[few], found.scored, found.search)
    rematch_whole_set_densely(captions[few], images, first, max_iterations=1)
    return rematch_whole_set_densely(captions, images, found, *given)


def main() -> None:
    """Measure one size and write the rows."""
    parser = common.benchmark_parser(__doc__, "whole_set.csv", devices=True)
    common.add_numbers(parser, pairs=145_000, width=512, top_k=50, mass=0.5, epsilon=0.01)
    parser.add_argument("--share", type=float, default=0.4, help="share of the pairs that are suspected")
    parser.add_argument("--spread", type=float, default=0.5, help="of images around centres of length 1")
    parser.add_argument("--noise", type=float, default=3.0, help="of captions around images of length 1")
    parser.add_argument("--more-epsilons", type=float, nargs="*", default=[0.002])
    parser.add_argument("--half", action="store_true", help="search in bfloat16")
    parser.add_argument("--small", type=int, default=1000, help="pairs of the comparison with the dense plan")
    parser.add_argument("--floor-blocks", type=int, default=5, help="blocks of the bare product to time")
    parser.add_argument("--reach", type=float, default=0.5, help="square root of the dense plan's price")
    parser.set_defaults(threads=1)
    options = common.parsed(parser)
    common.publish(measure(options), options.output)


if __name__ == "__main__":
    main()
