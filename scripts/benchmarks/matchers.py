"""Time and memory of SGR and SAF, against a loop over captions written plainly with autograd.

    python scripts/benchmarks/matchers.py --threads 1

The loop does what the released code does: one caption after the other against all images, every step of the
graph for every node, everything kept for the way back. To fit into memory at all it goes back after every
``--part`` captions, which no training could, since a loss needs all scores; its time is that of all captions.
Both run in the same process, turn by turn, and each ratio is the median over turns; processor time, beside
wall-clock time, leaves out what other programs on the machine take. Peak memory is what each
needs on top of its inputs, each in a process of its own (Linux); for the loop it is given for one part, and
for all captions as that times their number. The floor is the matrix products that ours makes, at the speed of
a bare one.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import (
    arithmetic_floor,
    benchmark_parser,
    headline,
    machine_description,
    publish,
)
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from robustcmr.matchers.sgraf import Saf, Sgr
from robustcmr.types import DataSpec, Fragments

MATCHERS = {"sgr": Sgr, "saf": Saf}
Step = Callable[[Sgr | Saf, Fragments, Fragments, Tensor, int], tuple[Tensor, ...]]


def normalised(x: Tensor, dim: int = -1) -> Tensor:
    """Vectors over their lengths, written out."""
    return x / (x.pow(2).sum(dim, keepdim=True).sqrt() + 1e-8)


def caption_scores(model: Sgr | Saf, images: Fragments, words: Tensor, whole: Tensor) -> Tensor:
    """Scores (N,) of all images with one caption of W words, as the released code works them out."""
    n = len(images)
    parts = model.similarity
    query = words.unsqueeze(0).repeat(n, 1, 1)  # (N, W, D)
    attention = F.leaky_relu(torch.bmm(images.features, query.transpose(1, 2)), 0.1)
    attention = normalised(attention, 2).transpose(1, 2).contiguous()
    attention = torch.softmax(attention * parts.smooth, 2)
    context = normalised(torch.bmm(attention, images.features))  # (N, W, D)
    local = normalised(parts.local((context - query).pow(2)))
    glob = normalised(parts.whole((images.pooled - whole).pow(2)))
    nodes = torch.cat([glob.unsqueeze(1), local], 1)  # (N, 1 + W, K)
    if isinstance(model, Sgr):
        for step in model.steps:
            edges = torch.softmax(torch.bmm(step.query(nodes), step.key(nodes).transpose(1, 2)), -1)
            nodes = torch.relu(step.graph(torch.bmm(edges, nodes)))
        vector = nodes[:, 0]
    else:
        gates = torch.sigmoid(model.gate_norm(model.gate(nodes).transpose(1, 2)))
        vector = normalised(torch.bmm(gates / gates.sum(-1, keepdim=True), nodes).squeeze(1))
    return torch.sigmoid(parts.evaluate(vector)).squeeze(1)


def loop(
    model: Sgr | Saf, images: Fragments, texts: Fragments, upstream: Tensor | None, part: int
) -> tuple[Tensor, ...]:
    """Scores, and gradients if ``upstream`` is given, caption by caption."""
    lengths, scores = texts.mask.sum(1).tolist(), []
    for first in range(0, len(texts), part):
        columns = [
            caption_scores(model, images, texts.features[j, : lengths[j]], texts.pooled[j])
            for j in range(first, min(first + part, len(texts)))
        ]
        block = torch.stack(columns, 1)
        if upstream is not None:
            block.backward(upstream[:, first : first + part])
        scores.append(block.detach())
    return torch.cat(scores, 1), *taken_gradients(model, images, texts)


def tiled(
    model: Sgr | Saf, images: Fragments, texts: Fragments, upstream: Tensor | None, part: int
) -> tuple[Tensor, ...]:
    """Scores, and gradients if ``upstream`` is given, of the matcher itself."""
    del part
    scores = model.score(images, texts)
    if upstream is not None:
        scores.backward(upstream)
    return scores.detach(), *taken_gradients(model, images, texts)


def taken_gradients(model: Sgr | Saf, images: Fragments, texts: Fragments) -> list[Tensor]:
    """The gradients that have gathered, which are then cleared."""
    sides = (images.features, images.pooled, texts.features, texts.pooled)
    leaves = [x for x in (*sides, *model.parameters()) if x.is_leaf]
    gradients = [x.grad for x in leaves if x.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    return gradients


VARIANTS = {"loop": loop, "tiled": tiled}


def main() -> None:
    """Measure, print a table and write the CSV."""
    options = parse()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.child is not None:
        print(peak_memory(options))
        return
    rows = [row for matcher in options.matchers for row in measured(options, matcher)]
    for row in rows:
        print(
            f"{row['matcher']} {row['direction']:16} {row['variant']:6} {row['seconds']:7.2f} s "
            f"{row['times_faster']:5.2f}x  CPU {row['cpu_seconds']:7.2f} s {row['times_less_cpu']:5.2f}x  "
            f"{row['peak_mebibytes']!s:>8} MiB  scores differ by "
            f"{row['score_difference']}, gradients by {row['gradient_difference']}"
        )
    publish(rows, options.output)
    if max(float(str(row["score_difference"])) for row in rows) > 1e-5:
        sys.exit("the scores differ by more than 1e-5")


def measured(options: argparse.Namespace, matcher: str) -> list[dict[str, object]]:
    """Rows of one matcher, loop and tiled, forward and forward with backward."""
    model, images, texts, upstream = make_inputs(options, matcher)
    rows: list[dict[str, object]] = []
    # the context of every word in every image, which a batch without tiles would hold, and more than once
    naive = options.batch**2 * options.words * options.dim * 4 / 2**20
    for direction in ("forward", "forward+backward"):
        wanted = None if direction == "forward" else upstream
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        cpu_seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        results = {}
        flop = operations(model, images, texts, wanted, options.part)
        for _ in range(options.repeats):
            for name, run in VARIANTS.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                with torch.set_grad_enabled(wanted is not None):
                    results[name] = run(model, images, texts, wanted, options.part)
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
        for name in VARIANTS:
            memory = peak_in_child(matcher, name, direction) if options.memory else float("nan")
            parts = -(-options.batch // options.part) if wanted is not None and name == "loop" else 1
            ratios, cpu_ratios = (
                [x / y for x, y in zip(spent["loop"], spent[name], strict=True)]
                for spent in (seconds, cpu_seconds)
            )
            found, expected = results[name], results["loop"]
            median = statistics.median(seconds[name])
            what = f"{matcher.upper()} {direction}, B {options.batch}, R {options.regions}, "
            what += f"W {options.words}, D {options.dim}"
            front = headline(
                "sgr",
                what,
                median,
                median * statistics.median(ratios),
                "loop over captions",
                floor=arithmetic_floor(flop),
            )
            rows.append(
                {
                    **(front if name == "tiled" else {}),
                    "matcher": matcher,
                    "variant": name,
                    "direction": direction,
                    "batch": options.batch,
                    "regions": options.regions,
                    "words": options.words,
                    "dim": options.dim,
                    "sim_dim": options.sim_dim,
                    "seconds": round(statistics.median(seconds[name]), 2),
                    "fastest_seconds": round(min(seconds[name]), 2),
                    "times_faster": round(statistics.median(ratios), 2),
                    "cpu_seconds": round(statistics.median(cpu_seconds[name]), 2),
                    "times_less_cpu": round(statistics.median(cpu_ratios), 2),
                    "peak_mebibytes": round(memory * parts) if options.memory else "",
                    "gflop": round(flop / 1e9) if name == "tiled" else "",
                    "naive_context_mebibytes": round(naive),
                    "score_difference": f"{(found[0] - expected[0]).abs().max().item():.1e}",
                    "gradient_difference": f"{relative(found[1:], expected[1:]):.1e}",
                    "loop_part": options.part,
                    "repeats": options.repeats,
                    **machine_description(),
                }
            )
    return rows


def operations(
    model: Sgr | Saf, images: Fragments, texts: Fragments, upstream: Tensor | None, part: int
) -> float:
    """FLOP of the matrix products that the matcher itself makes."""

    def added_product(
        total: list[int], left: list[int], right: list[int], *rest: object, **named: object
    ) -> int:
        del total, rest, named
        return 2 * math.prod(left) * right[-1]

    in_place = {torch.ops.aten.addmm_: added_product, torch.ops.aten.baddbmm_: added_product}
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    with counter, torch.set_grad_enabled(upstream is not None):
        tiled(model, images, texts, upstream, part)
    return float(counter.get_total_flops())


def relative(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Length of the difference over the length expected, all gradients taken as one vector."""
    pairs = list(zip(found, expected, strict=True))
    lengths = [sum(x.double().pow(2).sum() for x in side) for side in ([x - y for x, y in pairs], expected)]
    return float((lengths[0] / lengths[1]) ** 0.5) if pairs else 0.0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__, "matchers.csv")
    parser.add_argument("--matchers", nargs="+", choices=list(MATCHERS), default=list(MATCHERS))
    parser.add_argument("--batch", type=int, default=128, help="images, and as many captions")
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--words", type=int, default=32, help="words of every caption")
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--sim-dim", type=int, default=256)
    parser.add_argument("--part", type=int, default=16, help="captions after which the loop goes back")
    parser.add_argument("--repeats", type=int, default=3, help="turns; medians over them are reported")
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory too"
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def make_inputs(options: argparse.Namespace, matcher: str) -> tuple[Sgr | Saf, Fragments, Fragments, Tensor]:
    """A model in evaluation mode, random fragments of length 1 that want gradients, and a gradient by scores.

    In evaluation mode both use the same statistics, so the results can be compared.
    """
    torch.manual_seed(0)
    n, D = options.batch, options.dim
    spec = DataSpec(
        feature_width=8, n_regions=options.regions, vocabulary_size=8, longest_caption=options.words
    )
    kind = MATCHERS[matcher]
    model = kind(kind.Config(dim=D, sim_dim=options.sim_dim, word_dim=8), spec).eval()

    def side(length: int) -> Fragments:
        features = F.normalize(torch.randn(n, length, D), dim=-1).requires_grad_()
        pooled = F.normalize(torch.randn(n, D), dim=-1).requires_grad_()
        return Fragments(features, torch.ones(n, length, dtype=torch.bool), pooled)

    return model, side(options.regions), side(options.words), torch.randn(n, n)


def peak_in_child(matcher: str, variant: str, direction: str) -> float:
    """Peak memory in MiB of one variant, in a process of its own."""
    command = [sys.executable, *sys.argv, "--child", matcher, variant, direction]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(ran.stdout.split()[-1])


def peak_memory(options: argparse.Namespace) -> float:
    """MiB that one call takes on top of what the process held before it; of the loop, one part's."""
    matcher, name, direction = options.child
    model, images, texts, upstream = make_inputs(options, matcher)
    if name == "loop":
        texts = Fragments(
            *(x.detach()[: options.part].requires_grad_(x.is_floating_point()) for x in vars(texts).values())
        )
        upstream = upstream[:, : options.part]
    few = Fragments(texts.features[:2], texts.mask[:2], texts.pooled[:2])
    with torch.no_grad():
        VARIANTS[name](model, images, few, None, options.part)  # what a library allocates once is not counted
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident()
    wanted = None if direction == "forward" else upstream
    with torch.set_grad_enabled(wanted is not None):
        VARIANTS[name](model, images, texts, wanted, options.part)
    return resident() - before


def resident() -> float:
    """Peak resident memory of this process since the last reset, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
