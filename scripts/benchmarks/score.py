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
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

# Threads that spin long at barriers while another program holds a core cost more than all the work.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from common import (
    Floor,
    benchmark_parser,
    extra_memory,
    headline,
    in_own_process,
    in_turns,
    machine_description,
    print_headlines,
    released_scores,
    write_rows,
)
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from robustcmr.transport import pair_scores
from robustcmr.transport.pairwise import Backend

SMOOTHING, ITERATIONS = 0.05, 3
Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def ours(backend: Backend) -> Score:
    """Ours, computed by one backend."""
    return partial(pair_scores, smoothing=SMOOTHING, iterations=ITERATIONS, backend=backend)


released = partial(released_scores, smoothing=SMOOTHING, iterations=ITERATIONS)
VARIANTS: dict[str, Score] = {"released": released}
VARIANTS.update({name: ours(name) for name in get_args(Backend)})


def main() -> None:
    """Measure, print a table and write the CSV."""
    options = parse()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.child is not None:
        name, direction, batch, dim = options.child
        print(peak_memory(options, name, direction, int(batch), int(dim)))
        return
    rows = [row for batch in options.batch for dim in options.dim for row in measured(options, batch, dim)]
    print_headlines(rows)
    print_table(rows)
    write_rows(options.output, rows)
    print(f"written to {options.output}")
    if max(float(str(row["score_difference"])) for row in rows) > 1e-5:
        sys.exit("the scores differ by more than 1e-5")


def measured(options: argparse.Namespace, batch: int, dim: int) -> list[dict[str, object]]:
    """Rows of one batch size and width, all variants forward and forward with backward."""
    inputs, upstream = make_inputs(options, batch, dim)
    fastest = "triton" if inputs[0].is_cuda else "numba"
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
    for direction in ("forward", "forward+backward"):
        calls: dict[str, Callable[[], object]] = {
            name: partial(forward, VARIANTS[name], inputs)
            if direction == "forward"
            else partial(forward_backward, VARIANTS[name], inputs, upstream)
            for name in names
        }
        calls["product"] = products(inputs, 1 if direction == "forward" else 3)
        calls["product"]()
        seconds = in_turns(calls, options.repeats)
        product = statistics.median(seconds["product"])
        count = "1 bare matrix product" if direction == "forward" else "3 bare matrix products"
        memory = (
            {name: peak(options, name, direction, batch, dim) for name in names} if options.memory else {}
        )
        for name in names:
            gradients = forward_backward(VARIANTS[name], inputs, upstream)
            ratios = [x / y for x, y in zip(seconds["released"], seconds[name], strict=True)]
            scores = forward(VARIANTS[name], inputs)
            median = statistics.median(seconds[name])
            front = headline(
                "omit",
                f"{direction}, B {batch}, R {options.regions}, W {options.words}, D {dim}",
                median,
                median * statistics.median(ratios),
                "released formula",
                floor=Floor(product, f"{count} in the same turns"),
            )
            rows.append(
                {
                    **(front if name == fastest else {}),
                    "variant": name,
                    "direction": direction,
                    "batch": batch,
                    "regions": options.regions,
                    "words": options.words,
                    "dim": dim,
                    "device": options.device,
                    "milliseconds": round(1e3 * median, 3 if inputs[0].is_cuda else 1),
                    "fastest_milliseconds": round(1e3 * min(seconds[name]), 3 if inputs[0].is_cuda else 1),
                    "times_faster": round(statistics.median(ratios), 2),
                    "product_milliseconds": round(1e3 * product, 3 if inputs[0].is_cuda else 1),
                    "peak_mebibytes": round(memory[name], 1) if memory else "",
                    "times_less_memory": round(memory["released"] / max(memory[name], 0.1), 2)
                    if memory
                    else "",
                    "score_difference": f"{(scores - expected).abs().max().item():.1e}",
                    "gradient_difference": f"{relative_difference(gradients, expected_gradients):.1e}",
                    "warm_up_seconds": round(warm_up[name], 2),
                    "repeats": options.repeats,
                    **machine_description(),
                }
            )
    return rows


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__, "score.csv", devices=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[128], help="images, and as many captions")
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--compile", action="store_true", help="also measure with torch.compile")
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory too"
    )
    parser.add_argument("--repeats", type=int, default=9, help="turns; medians over them are reported")
    parser.add_argument(
        "--child", nargs=4, metavar=("VARIANT", "DIRECTION", "BATCH", "DIM"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def products(inputs: tuple[Tensor, Tensor, Tensor, Tensor], count: int) -> Callable[[], object]:
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


def make_inputs(
    options: argparse.Namespace, n: int, D: int
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Random unit fragments that want gradients, uniform weights, and a gradient by the scores."""
    torch.manual_seed(0)
    R, W, device = options.regions, options.words, options.device
    left = torch.nn.functional.normalize(torch.randn(n, R, D), dim=-1).to(device).requires_grad_()
    right = torch.nn.functional.normalize(torch.randn(n, W, D), dim=-1).to(device).requires_grad_()
    weights = torch.full((n, R), 1.0 / R, device=device), torch.full((n, W), 1.0 / W, device=device)
    return (left, right, *weights), torch.randn(n, n).to(device)


def forward(score: Score, inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Scores, as in evaluation."""
    with torch.no_grad():
        return score(*inputs)


def forward_backward(
    score: Score, inputs: tuple[Tensor, Tensor, Tensor, Tensor], upstream: Tensor
) -> tuple[Tensor, ...]:
    """Gradients by the fragments, as in training."""
    return torch.autograd.grad(score(*inputs), inputs[:2], upstream)


def relative_difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Largest difference over the largest expected value."""
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(found, expected, strict=True))


def peak(options: argparse.Namespace, name: str, direction: str, batch: int, dim: int) -> float:
    """Peak memory in MiB of one variant; on the CPU in a process of its own."""
    if torch.device(options.device).type == "cuda":
        return peak_memory(options, name, direction, batch, dim)
    return in_own_process(name, direction, batch, dim)


def peak_memory(options: argparse.Namespace, name: str, direction: str, batch: int, dim: int) -> float:
    """MiB that one call takes on top of its inputs; one call is made before, as it compiles."""
    inputs, upstream = make_inputs(options, batch, dim)
    forward_backward(VARIANTS[name], inputs, upstream)
    if direction == "forward":
        return extra_memory(partial(forward, VARIANTS[name], inputs), options.device)
    return extra_memory(partial(forward_backward, VARIANTS[name], inputs, upstream), options.device)


def print_table(rows: list[dict[str, object]]) -> None:
    """The measurements, one line a variant and direction."""
    shown = ["direction", "batch", "dim", "variant", "milliseconds", "times_faster", "peak_mebibytes"]
    shown += ["times_less_memory", "score_difference", "gradient_difference"]
    for line in [{key: key for key in shown}, *rows]:
        print("  ".join(str(line[key]).ljust(min(19, max(len(key), 16))) for key in shown).rstrip())


if __name__ == "__main__":
    main()
