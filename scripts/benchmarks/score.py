"""Time and memory of OMIT scoring, against the released formula written plainly in tensors and autograd.

    python scripts/benchmarks/score.py --compile
    python scripts/benchmarks/score.py --device cuda --batch 128 512

All run in one process, interleaved, and each ratio is the median over turns, so that a busy machine
affects all alike. The floor is the matrix product of all regions with all words, nothing else, in the same
turns: one product forward, two more for the gradients backward. Peak memory is what each
needs on top of its inputs, on the CPU each in a process of its own (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, get_args

# Threads that spin long at barriers while another program holds a core cost more than all the work.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import common
import torch
from torch import Tensor

from robustcmr.transport import pair_scores
from robustcmr.transport.pairwise import Backend

SMOOTHING, ITERATIONS = 0.05, 3
Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
Score: TypeAlias = Callable[..., Tensor]

OPTIONS = {"smoothing": SMOOTHING, "iterations": ITERATIONS}
released: Score = partial(common.released_scores, **OPTIONS)
VARIANTS: dict[str, Score] = {
    "released": released,
    **{name: partial(pair_scores, **OPTIONS, backend=name) for name in get_args(Backend)},
}


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "score.csv", devices=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[128], help="images, and as many captions")
    common.add_numbers(parser, regions=36, words=32)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--compile", action="store_true", help="also measure with torch.compile")
    common.add_memory(parser, "VARIANT", "DIRECTION", "BATCH", "DIM")
    parser.add_argument("--repeats", type=int, default=9, help="turns; medians over them are reported")
    options = common.parsed(parser)
    if options.child is not None:
        print(peak_memory(options, *options.child))
        return
    rows = [row for batch in options.batch for dim in options.dim for row in measured(options, batch, dim)]
    common.publish(rows, options.output)


def measured(options: argparse.Namespace, batch: int, dim: int) -> list[dict[str, object]]:
    """Return the rows of one batch size and width, all variants forward and forward with backward."""
    inputs, upstream = make_inputs(options, batch, dim)
    on_gpu = inputs[0].is_cuda
    digits, fastest = (3, "triton") if on_gpu else (1, "numba")
    names = ["released", "tensors", fastest, *(["torch_compile"] if options.compile else [])]
    warm_up = {}
    for name in names:
        start = time.perf_counter()
        forward_backward(VARIANTS[name], inputs, upstream)
        forward(VARIANTS[name], inputs)
        warm_up[name] = time.perf_counter() - start
    expected = forward(released, inputs)
    expected_gradients = forward_backward(released, inputs, upstream)
    rows: list[dict[str, object]] = []
    for direction, n_products in (("forward", 1), ("forward+backward", 3)):
        calls = {name: call_of(name, direction, inputs, upstream) for name in names}
        calls["product"] = products(inputs, n_products)
        calls["product"]()
        seconds = common.in_turns(calls, options.repeats)
        product = statistics.median(seconds["product"])
        words = "1 bare matrix product" if n_products == 1 else "3 bare matrix products"
        floor = common.Floor(product, f"{words} in the same turns")
        memory: dict[str, float] = {}
        if options.memory:
            child = direction, str(batch), str(dim)
            memory = {name: common.peak_memory(peak_memory, options, name, *child) for name in names}
        for name in names:
            gradients = forward_backward(VARIANTS[name], inputs, upstream)
            scores = forward(VARIANTS[name], inputs)
            times = statistics.median(x / y for x, y in zip(seconds["released"], seconds[name], strict=True))
            median = statistics.median(seconds[name])
            what = f"{direction}, B {batch}, R {options.regions}, W {options.words}, D {dim}"
            front = common.headline("omit", what, median, median * times, "released formula", floor=floor)
            row = {
                **(front if name == fastest else {}),
                "variant": name,
                "direction": direction,
                "batch": batch,
                "regions": options.regions,
                "words": options.words,
                "dim": dim,
                "device": options.device,
                "milliseconds": round(1e3 * median, digits),
                "fastest_milliseconds": round(1e3 * min(seconds[name]), digits),
                "times_faster": round(times, 2),
                "product_milliseconds": round(1e3 * product, digits),
                "score_difference": f"{(scores - expected).abs().max().item():.1e}",
                "gradient_difference": f"{relative_difference(gradients, expected_gradients):.1e}",
                "warm_up_seconds": round(warm_up[name], 2),
                "repeats": options.repeats,
            }
            if memory:
                row["peak_mebibytes"] = round(memory[name], 1)
                row["times_less_memory"] = round(memory["released"] / max(memory[name], 0.1), 2)
            print(f"{what}, {name}: {row['milliseconds']} ms, {row['times_faster']} times faster")
            rows.append(row)
    return rows


def products(inputs: Inputs, count: int) -> Callable[[], object]:
    """Return the least work of any scorer: similarities, and for gradients their product with either side."""
    left, right = (side.detach().flatten(0, 1) for side in inputs[:2])  # (N R, D), (M W, D)
    S = left @ right.T
    outs = torch.empty_like(S), torch.empty_like(left), torch.empty_like(right)

    def run() -> None:
        torch.mm(left, right.T, out=outs[0])
        if count == 3:
            torch.mm(S, right, out=outs[1])
            torch.mm(S.T, left, out=outs[2])

    return run


def make_inputs(options: argparse.Namespace, n: int, D: int) -> tuple[Inputs, Tensor]:
    """Return random unit fragments, uniform weights, and a random gradient by the scores."""
    torch.manual_seed(0)
    R, W, device = options.regions, options.words, options.device
    left = torch.nn.functional.normalize(torch.randn(n, R, D), dim=-1).to(device).requires_grad_()
    right = torch.nn.functional.normalize(torch.randn(n, W, D), dim=-1).to(device).requires_grad_()
    weights = torch.full((n, R), 1.0 / R, device=device), torch.full((n, W), 1.0 / W, device=device)
    return (left, right, *weights), torch.randn(n, n).to(device)


@torch.no_grad()
def forward(score: Score, inputs: Inputs) -> Tensor:
    """Return scores, as in evaluation."""
    return score(*inputs)


def forward_backward(score: Score, inputs: Inputs, upstream: Tensor) -> tuple[Tensor, ...]:
    """Return gradients by the fragments, as in training."""
    return torch.autograd.grad(score(*inputs), inputs[:2], upstream)


def call_of(name: str, direction: str, inputs: Inputs, upstream: Tensor) -> Callable[[], object]:
    """Return what is measured of a variant."""
    if direction == "forward":
        return partial(forward, VARIANTS[name], inputs)
    return partial(forward_backward, VARIANTS[name], inputs, upstream)


def relative_difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Return the largest difference over the largest expected value."""
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(found, expected, strict=True))


def peak_memory(options: argparse.Namespace, name: str, direction: str, batch: str, dim: str) -> float:
    """Return the MiB that one call takes on top of its inputs; one call is made before, as it compiles."""
    inputs, upstream = make_inputs(options, int(batch), int(dim))
    forward_backward(VARIANTS[name], inputs, upstream)
    return common.extra_memory(call_of(name, direction, inputs, upstream), options.device)


if __name__ == "__main__":
    main()
