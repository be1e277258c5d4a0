"""Time and memory of OMIT scoring, against the released formula written plainly in tensors and autograd.

    python scripts/benchmarks/score.py --compile

Both run in the same process, turn by turn, and each ratio is the median over turns, so that a busy machine
disturbs both alike. Peak memory is what each needs on top of its inputs, each in a process of its own
(Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Threads that spin long at barriers while another program holds a core cost more than all the work.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from common import RESULTS, machine_description, write_rows
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from robustcmr.transport import pair_scores
from robustcmr.transport.pairwise import Backend

SMOOTHING, ITERATIONS = 0.05, 3
Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def released(left: Tensor, right: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The released formula: a plan for every pair, (N, M, R, W), rewritten at every scaling."""
    S = torch.einsum("nrd,mwd->nmrw", left, right)
    P = torch.exp(-(1.0 - S) / SMOOTHING)
    P = P / P.sum((-1, -2), keepdim=True)
    for _ in range(ITERATIONS):
        P = P * (a.unsqueeze(1) / P.sum(-1)).unsqueeze(-1)
        P = P * (b.unsqueeze(0) / P.sum(-2)).unsqueeze(-2)
    return (S * P).sum((-1, -2))


def ours(backend: Backend) -> Score:
    """Ours, computed by one backend."""
    return partial(pair_scores, smoothing=SMOOTHING, iterations=ITERATIONS, backend=backend)


VARIANTS: dict[str, Score] = {
    "released": released,
    "tensors": ours("tensors"),
    "lanes": ours("lanes"),
    "torch_compile": ours("torch_compile"),
}


def main() -> None:
    """Measure, print a table and write the CSV."""
    options = parse()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.child is not None:
        print(peak_memory(options))
        return
    inputs, upstream = make_inputs(options)
    names = ["released", "tensors", "lanes", *(["torch_compile"] if options.compile else [])]
    warm_up = {}
    for name in names:
        start = time.perf_counter()
        forward_backward(VARIANTS[name], inputs, upstream)
        forward(VARIANTS[name], inputs)
        warm_up[name] = time.perf_counter() - start
    if options.compile:
        print(f"compile warm-up: {warm_up['torch_compile']:.1f} s")
    expected = forward(released, inputs)
    expected_gradients = forward_backward(released, inputs, upstream)
    rows: list[dict[str, object]] = []
    for direction in ("forward", "forward+backward"):
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name in names:
                score = VARIANTS[name]
                start = time.perf_counter()
                if direction == "forward":
                    forward(score, inputs)
                else:
                    forward_backward(score, inputs, upstream)
                seconds[name].append(time.perf_counter() - start)
        base = peak_in_child("released", direction)
        for name in names:
            memory = peak_in_child(name, direction)
            gradients = forward_backward(VARIANTS[name], inputs, upstream)
            pairs = zip(seconds["released"], seconds[name], strict=True)
            scores = forward(VARIANTS[name], inputs)
            rows.append(
                {
                    "variant": name,
                    "direction": direction,
                    "batch": options.batch,
                    "regions": options.regions,
                    "words": options.words,
                    "dim": options.dim,
                    "milliseconds": round(1e3 * statistics.median(seconds[name]), 1),
                    "fastest_milliseconds": round(1e3 * min(seconds[name]), 1),
                    "times_faster": round(statistics.median(x / y for x, y in pairs), 2),
                    "peak_mebibytes": round(memory, 1),
                    "times_less_memory": round(base / memory, 2),
                    "score_difference": f"{(scores - expected).abs().max().item():.1e}",
                    "gradient_difference": f"{relative_difference(gradients, expected_gradients):.1e}",
                    "warm_up_seconds": round(warm_up[name], 2),
                    "repeats": options.repeats,
                    **machine_description(),
                }
            )
    print_table(rows)
    write_rows(options.output, rows)
    print(f"written to {options.output}")
    if max(float(str(row["score_difference"])) for row in rows) > 1e-5:
        sys.exit("the scores differ by more than 1e-5")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128, help="images, and as many captions")
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--compile", action="store_true", help="also measure with torch.compile")
    parser.add_argument("--repeats", type=int, default=9, help="turns; medians over them are reported")
    parser.add_argument("--threads", type=int, help="processor threads; by default as many as torch takes")
    parser.add_argument("--output", type=Path, default=RESULTS / "score.csv")
    parser.add_argument("--child", nargs=2, metavar=("VARIANT", "DIRECTION"), help=argparse.SUPPRESS)
    return parser.parse_args()


def make_inputs(options: argparse.Namespace) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Random unit fragments that want gradients, uniform weights, and a gradient by the scores."""
    torch.manual_seed(0)
    n, R, W, D = options.batch, options.regions, options.words, options.dim
    left = torch.nn.functional.normalize(torch.randn(n, R, D), dim=-1).requires_grad_()
    right = torch.nn.functional.normalize(torch.randn(n, W, D), dim=-1).requires_grad_()
    weights = torch.full((n, R), 1.0 / R), torch.full((n, W), 1.0 / W)
    return (left, right, *weights), torch.randn(n, n)


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


def peak_in_child(name: str, direction: str) -> float:
    """Peak memory in MiB of one variant, in a process of its own."""
    command = [sys.executable, *sys.argv, "--child", name, direction]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(ran.stdout.split()[-1])


def peak_memory(options: argparse.Namespace) -> float:
    """MiB that one call takes on top of what the process held before it.

    The compiler's own memory is no part of a call, so one call is made before; then the allocator gives
    back what it has hoarded and the recorded peak is reset.
    """
    name, direction = options.child
    inputs, upstream = make_inputs(options)
    forward_backward(VARIANTS[name], inputs, upstream)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident()
    if direction == "forward":
        forward(VARIANTS[name], inputs)
    else:
        forward_backward(VARIANTS[name], inputs, upstream)
    return resident() - before


def resident() -> float:
    """Peak resident memory of this process since the last reset, MiB.

    ``getrusage`` would not do: it starts from the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def print_table(rows: list[dict[str, object]]) -> None:
    """The measurements, one line a variant and direction."""
    shown = ["direction", "variant", "milliseconds", "times_faster", "peak_mebibytes", "times_less_memory"]
    shown += ["score_difference", "gradient_difference"]
    for line in [{key: key for key in shown}, *rows]:
        print("  ".join(str(line[key]).ljust(19) for key in shown).rstrip())


if __name__ == "__main__":
    main()
