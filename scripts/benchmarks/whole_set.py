"""Time of a whole-set rematching: candidates by blocked products, then the sparse partial plan.

    python scripts/benchmarks/whole_set.py
    python scripts/benchmarks/whole_set.py --pairs 20000 --half

Pairs are random unit vectors in clusters, an image and a caption each; a share of the captions is suspected
and looks for the 50 best of all images, but for the one it was given. Captions are so blurred that some score
best with another image. Beside the seconds stand the bare products of the same blocks, which nothing that
scores all pairs can beat; ratios and GFLOP/s are of processor time, where another program shares the machine.
A plan with little smoothing takes longer and stands beside the usual one. On a small set whose candidates are
all images, the sparse plan is compared with the dense one. On a GPU the plan of all captions and images
streams beside it. Rows go to scripts/results/whole_set.csv.

    python scripts/benchmarks/whole_set.py --device cuda            # with the extra cuda, dense as well
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from common import RESULTS, machine_description, wait_for_device, write_rows
from torch import Tensor
from torch.nn.functional import normalize

from robustcmr.correction.candidates import BLOCK_BYTES, Candidates, nearest_candidates
from robustcmr.correction.dense_whole_set import rematch_whole_set_densely
from robustcmr.correction.rematching import rematch
from robustcmr.correction.whole_set import WholeSetPlan, rematch_whole_set

T = TypeVar("T")


def pairs(options: argparse.Namespace, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors of n images around n / 50 middles, and of a caption near each, (n, width) both."""
    generator = torch.Generator().manual_seed(seed)
    unit = options.width**-0.5  # about the length of a random vector is 1 then

    def blurred(points: Tensor, noise: float) -> Tensor:
        return normalize(points + noise * unit * torch.randn(points.shape, generator=generator), dim=-1)

    middles = normalize(torch.randn(max(1, n // 50), options.width, generator=generator), dim=-1)
    images = blurred(middles[torch.randint(len(middles), (n,), generator=generator)], options.spread)
    return images, blurred(images, options.noise)


def clocked(work: Callable[[], T], device: str = "cpu") -> tuple[T, float, float]:
    """What a call gave, its seconds by the wall clock, and of the processors; the former again on a GPU."""
    wait_for_device()
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = work()
    wait_for_device()
    seconds = time.perf_counter() - wall
    return outcome, seconds, time.process_time() - cpu if device == "cpu" else seconds


def bare_products(images: Tensor, captions: Tensor, blocks: int) -> float:
    """Processor seconds that the products of all blocks would take, from some of them."""
    rows = max(1, min(512, len(captions), BLOCK_BYTES // (5 * len(images))))
    out = torch.empty(rows, len(images), dtype=images.dtype, device=images.device)
    columns, least = images.T, float("inf")
    for start in range(0, min(len(captions) - rows, blocks * rows) + 1, rows):
        some = captions[start : start + rows]
        least = min(least, clocked(lambda x=some: torch.mm(x, columns, out=out), images.device.type)[2])  # type: ignore[misc]
    return least * len(captions) / rows


def right(found: Candidates, plan: WholeSetPlan, own: Tensor) -> tuple[float, float, float]:
    """Shares of the moved mass, of suggestions and of best scores that reach the caption's own image."""
    fits = found.images == own.unsqueeze(1)
    suggested = fits.gather(1, plan.place.clamp(min=0).unsqueeze(1)).float().mean()
    return (
        float((plan.plan * fits).sum() / plan.plan.sum()),
        float(suggested),
        float(fits[:, 0].float().mean()),
    )


def agreement(n: int, options: argparse.Namespace) -> tuple[float, float]:
    """Largest difference to the dense plan times n, and the share of mass that lies elsewhere."""
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
    """One row a smoothing."""
    images, captions = pairs(options, options.pairs)
    chance = torch.Generator().manual_seed(2)
    suspected = torch.randperm(options.pairs, generator=chance)[: int(options.share * options.pairs)]
    own, captions = suspected, captions[suspected]
    given = own[torch.randperm(len(own), generator=chance)]  # the noise moves images among these pairs
    given = torch.where(given == own, -1, given)
    flops = 2.0 * len(captions) * len(images) * options.width
    kind = torch.bfloat16 if options.half else torch.float32
    images, captions = images.to(options.device), captions.to(options.device)
    floor = bare_products(images.to(kind), captions.to(kind), options.floor_blocks)
    found, seconds, cpu = clocked(
        lambda: nearest_candidates(
            captions, images, options.top_k, given.to(options.device), half=options.half
        ),
        options.device,
    )
    found = found.cpu()
    sys.stdout.write(
        f"candidates: {seconds:.1f} s, of the processor {cpu:.1f} s, {cpu / floor:.2f} times the bare "
        f"products ({floor:.1f} s): {flops / cpu / 1e9:.0f} GFLOP/s of {flops / floor / 1e9:.0f}\n"
    )
    most, elsewhere = agreement(options.small, options)
    sys.stdout.write(
        f"sparse and dense plan of {options.small}: a row differs by at most {most:.1e} of its share, "
        f"{elsewhere:.1e} of the mass lies elsewhere\n"
    )
    rows: list[dict[str, object]] = []
    dense = options.device != "cpu" and find_spec("flash_sinkhorn") is not None
    for epsilon in dict.fromkeys([options.epsilon, *options.more_epsilons]):
        plan, _, transport = clocked(
            lambda e=epsilon: rematch_whole_set(found, len(images), options.mass, e)  # type: ignore[misc]
        )
        by_plan, by_suggestion, by_score = right(found, plan, own)
        sys.stdout.write(
            f"epsilon {epsilon}: transport {plan.seconds:.1f} s, of the processor {transport:.1f} s, "
            f"{plan.iterations} iterations, {plan.edges:,} edges, mass {plan.mass:.4f}, error "
            f"{plan.error:.1e}; right: {by_plan:.1%} of the mass, {by_suggestion:.1%} of suggestions, "
            f"{by_score:.1%} of best scores\n"
        )
        rows.append(
            {
                "pairs": options.pairs,
                "suspected": len(captions),
                "width": options.width,
                "top_k": options.top_k,
                "precision": "bfloat16" if options.half else "float32",
                "candidates_ratio": f"{cpu / floor:.3f}",
                "candidates_seconds": f"{seconds:.2f}",
                "candidates_cpu_seconds": f"{cpu:.2f}",
                "product_cpu_seconds": f"{floor:.2f}",
                "candidates_gflops": f"{flops / cpu / 1e9:.1f}",
                "product_gflops": f"{flops / floor / 1e9:.1f}",
                "epsilon": epsilon,
                "transport_seconds": f"{plan.seconds:.2f}",
                "transport_cpu_seconds": f"{transport:.2f}",
                "iterations": plan.iterations,
                "edges": plan.edges,
                "mass_asked": options.mass,
                "mass": f"{plan.mass:.6f}",
                "error": f"{plan.error:.1e}",
                "right_mass": f"{by_plan:.4f}",
                "right_suggestions": f"{by_suggestion:.4f}",
                "right_best_score": f"{by_score:.4f}",
                "dense_pairs": options.small,
                "dense_row_difference": f"{most:.1e}",
                "dense_mass_elsewhere": f"{elsewhere:.1e}",
                **(streamed(captions, images, found, own, plan, epsilon, options) if dense else {}),
                "device": options.device,
                **machine_description(),
            }
        )
    return rows


def streamed(
    captions: Tensor,
    images: Tensor,
    found: Candidates,
    own: Tensor,
    sparse: WholeSetPlan,
    epsilon: float,
    options: argparse.Namespace,
) -> dict[str, object]:
    """The plan of all captions and images, its kernels built beforehand, beside the sparse one."""
    few = slice(0, 256)
    first = Candidates(found.images[few], found.scores[few], found.scored, found.search)
    rematch_whole_set_densely(captions[few], images, first, max_iterations=1)
    plan = rematch_whole_set_densely(captions, images, found, options.reach, epsilon)
    by_plan, by_suggestion, _ = right(found, plan, own)
    same = float((plan.place == sparse.place).float().mean())
    sys.stdout.write(
        f"epsilon {epsilon}: dense plan in {plan.seconds:.1f} s, mass {plan.mass:.4f}, error "
        f"{plan.error:.1e}; right: {by_plan:.1%} of the mass, {by_suggestion:.1%} of suggestions; "
        f"{same:.1%} as by the sparse\n"
    )
    return {
        "dense_reach": options.reach,
        "dense_seconds": f"{plan.seconds:.2f}",
        "dense_mass": f"{plan.mass:.6f}",
        "dense_error": f"{plan.error:.1e}",
        "dense_right_mass": f"{by_plan:.4f}",
        "dense_right_suggestions": f"{by_suggestion:.4f}",
        "dense_same_suggestions": f"{same:.4f}",
    }


def main() -> int:
    """Measure one size and write the rows."""
    parser = argparse.ArgumentParser(description="Time a whole-set rematching.")
    parser.add_argument("--pairs", type=int, default=145_000)
    parser.add_argument("--share", type=float, default=0.4, help="part of the pairs that is suspected")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--top-k", type=int, default=50)
    parser.add_argument("--spread", type=float, default=0.5, help="of images around middles of length 1")
    parser.add_argument("--noise", type=float, default=3.0, help="of captions around images of length 1")
    parser.add_argument("--mass", type=float, default=0.5)
    parser.add_argument("--epsilon", type=float, default=0.01)
    parser.add_argument("--more-epsilons", type=float, nargs="*", default=[0.002])
    parser.add_argument("--half", action="store_true", help="search in bfloat16")
    parser.add_argument("--small", type=int, default=1000, help="pairs of the comparison with the dense plan")
    parser.add_argument("--floor-blocks", type=int, default=5, help="blocks of the bare product to time")
    parser.add_argument("--reach", type=float, default=0.5, help="root of the dense plan's price")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "whole_set.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(f"threads: {torch.get_num_threads()}\n")
    write_rows(options.output, measure(options))
    sys.stdout.write(f"written to {options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
