"""Time of partial plans: ours, the same iteration as a NumPy loop, and POT's partial and batched solvers.

    python scripts/benchmarks/transport.py
    python scripts/benchmarks/transport.py --sizes 128 --repeats 3 --device cuda

The problems are those of rematching: 1 - cosine costs, equal weights, a tenth of the mass, the diagonal
forbidden. In ``all`` every caption has its image in the batch. In ``few`` one in twenty has, as among pairs
that are mismatched; such rows and columns are full, hold each other and make scaling in turn slow.

Every solver runs until its plan is off by at most ``--error`` of the mass. Ours and the NumPy loop stop by
the same rule: excess over weights, shortfall of full rows and columns, and error of the mass. POT's solvers
get the fewest iterations that make excess and error of the mass that small, a laxer rule in their favour.
Solvers that need more than ``--patience`` seconds are left out. POT takes a forbidden cell as one
of cost 5. Its batched solver is given a dummy row and column for the mass that stays, so its entropy covers
these too and its plan is another one. Needs POT 0.9.7. The floor
is one reading of the costs and one writing of the plan.
"""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import common
import numpy as np
import numpy.typing as npt
import ot
import ot.batch
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from robustcmr.transport import partial_plan

MASS = 0.1
FORBIDDEN_COST = 5.0
MOST_ITERATIONS = 2**14
SHARES = {"all": 1.0, "few": 0.05}  # captions that have their image in the batch

Array = npt.NDArray[np.float64]
Solver = Callable[[int], Tensor]  # iterations in, (B, n, n) plans out


def costs(n: int, batch: int, share: float, seed: int = 0) -> Tensor:
    """(batch, n, n) costs 1 - cosine of images and captions, a share of which belong to another image."""
    generator = torch.Generator().manual_seed(seed)
    images, own, noise = (torch.randn(batch, n, 64, generator=generator) for _ in range(3))
    paired = torch.arange(n).unsqueeze(-1) < share * n  # (n, 1)
    captions = torch.where(paired, images.roll(1, 1) + noise, own)
    return 1 - normalize(images, dim=-1) @ normalize(captions, dim=-1).mT


def marginal_error(plan: Tensor) -> float:
    """Largest sum of excess over weights 1 / n and of missing mass, as a share of the mass, in the batch."""
    plan = plan.detach().double().cpu()
    n = plan.shape[-1]
    over = [(plan.sum(dim) - 1 / n).clamp(min=0).sum(-1) for dim in (-1, -2)]
    error = (over[0] + over[1] + (plan.sum((-2, -1)) - MASS).abs()) / MASS
    return float(error.max()) if bool(error.isfinite().all()) else float("inf")


def log_sum_exp(x: Array, axis: int) -> Array:
    """Logarithm of a sum of exponentials, safe at any size."""
    top = x.max(axis, keepdims=True)
    answer: Array = (top + np.log(np.exp(x - top).sum(axis, keepdims=True))).squeeze(axis)
    return answer


def fill(log_sums: Array, weight: float) -> tuple[Array, float]:
    """Scaling of one side and the common factor, in logarithms: the factor is found by sorting."""
    limit = np.log(weight) - log_sums
    order = np.argsort(limit)
    rest = np.append(np.logaddexp.accumulate(log_sums[order][::-1])[::-1], -np.inf)
    filled = weight * np.arange(1, len(limit) + 1) + np.exp(limit[order] + rest[1:])
    n_full = int((filled <= MASS).sum())
    level = float(np.log(MASS - weight * n_full) - rest[n_full])
    return np.minimum(0.0, limit - level), level


def numpy_loop(cost: Array, epsilon: float, error: float, patience: float) -> tuple[Array, int]:
    """One problem at a time, rows and columns in turn in the log domain, by our rule for stopping.

    Every iteration meets columns and mass. Returned are plans (B, n, n) and the most iterations of one, or 0
    if ``patience`` seconds did not suffice.
    """
    n, most, until = cost.shape[-1], 0, time.perf_counter() + patience
    plans = np.full_like(cost, np.nan)
    for i, C in enumerate(cost):
        Z = -C / epsilon
        log_sums, missed, iterations = log_sum_exp(Z, 1), np.inf, 0
        while missed > error * MASS:
            if time.perf_counter() > until:
                return plans, 0
            u, _ = fill(log_sums, 1 / n)
            v, level = fill(log_sum_exp(Z + u[:, None], 0), 1 / n)
            log_sums = log_sum_exp(Z + v, 1)
            excess = np.exp(log_sums + u + level) - 1 / n
            missed = np.where(u < 0, np.abs(excess), np.maximum(excess, 0.0)).sum()
            iterations += 1
        most = max(most, iterations)
        plans[i] = np.exp(Z + u[:, None] + v + level)
    return plans, most


def pot_loop(cost: Array, epsilon: float, iterations: int, method: str) -> Array:
    """POT's entropic partial solver, one problem at a time."""
    n = cost.shape[-1]
    w = np.full(n, 1 / n)
    options = {"m": MASS, "numItermax": iterations, "stopThr": 0.0, "method": method}
    return np.stack([ot.partial.entropic_partial_wasserstein(w, w, C, epsilon, **options) for C in cost])


def pot_batch(cost: Tensor, epsilon: float, iterations: int, method: str) -> Tensor:
    """POT's batched solver on the problems with a dummy row and column; their plans without the dummies."""
    batch, n, _ = cost.shape
    extended = torch.nn.functional.pad(cost, (0, 1, 0, 1))
    extended[:, -1, -1] = FORBIDDEN_COST
    weights = torch.cat([cost.new_full((batch, n), 1 / n), cost.new_full((batch, 1), 1 - MASS)], 1)
    options = {"max_iter": iterations, "tol": 0.0, "method": method}
    plan: Tensor = ot.batch.solve_batch(extended, epsilon, weights, weights, **options).plan[:, :n, :n]
    return plan


def fewest(solve: Solver, error: float, patience: float) -> tuple[int, float]:
    """About the fewest iterations that bring the error down, and that error; 0 if there are none in time."""
    low, high, start = 0, 1, time.perf_counter()
    while (reached := marginal_error(solve(high))) > error:
        if time.perf_counter() - start > patience or high >= MOST_ITERATIONS or not np.isfinite(reached):
            return 0, reached
        low, high = high, 2 * high
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        between = marginal_error(solve(middle))
        low, high, reached = (low, middle, between) if between <= error else (middle, high, reached)
    return high, reached


def seconds_of(run: Callable[[], object], options: Namespace) -> float:
    """Median of the repeats; of fewer, at least three, where they take long."""
    once = common.timed(run, 1)
    repeats = min(options.repeats, max(3, int(options.patience / 4 / once)))
    return common.timed(run, repeats, warmup=0)


def measure(kind: str, n: int, batch: int, epsilon: float, options: Namespace) -> list[dict[str, object]]:
    """Return the rows of one kind and size of problem and one epsilon."""
    cost = costs(n, batch, SHARES[kind]).to(options.device)
    weights = cost.new_full((n,), 1 / n)
    allowed = ~torch.eye(n, dtype=torch.bool, device=cost.device)
    given = torch.where(allowed, cost, FORBIDDEN_COST)
    array = given.double().cpu().numpy()

    solving = {"epsilon": epsilon, "allowed": allowed, "tolerance": options.error}
    ours = partial(partial_plan, cost, weights, weights, MASS, **solving)
    plan = ours()
    reached = marginal_error(plan.plan)
    if reached > options.error * 1.5:  # the rule and this measure differ by rounding
        raise RuntimeError(f"our plan is off by {reached:.2g}, so times cannot be compared")
    seconds = seconds_of(ours, options)
    results = [("robustcmr", plan.iterations, reached, seconds)]
    loop = partial(numpy_loop, array, epsilon, options.error, options.patience)
    found, iterations = loop()
    took = seconds_of(loop, options) if iterations else 0.0
    results.append(("NumPy loop", iterations, marginal_error(torch.from_numpy(found)), took))
    others: dict[str, Solver] = {
        "POT partial": lambda k: torch.from_numpy(pot_loop(array, epsilon, k, "sinkhorn")),
        "POT partial log": lambda k: torch.from_numpy(pot_loop(array, epsilon, k, "sinkhorn_log")),
        "POT batch, dummies": lambda k: pot_batch(given, epsilon, k, "sinkhorn"),
        "POT batch log, dummies": lambda k: pot_batch(given, epsilon, k, "log_sinkhorn"),
    }
    for name, solve in others.items():
        iterations, reached = fewest(solve, options.error, options.patience)
        took = seconds_of(partial(solve, iterations), options) if iterations else 0.0
        results.append((name, iterations, reached, took))
    rows: list[dict[str, object]] = []
    least = common.memory_floor(2 * cost.numel() * cost.element_size(), str(cost.device))
    what = f"{kind}, n {n}, {batch} at once, epsilon {epsilon}"
    for name, iterations, reached, took in results:
        result = "does not get there in time"
        if iterations:
            result = f"{took * 1e3:.2f} ms, {took / seconds:.1f} times ours, {iterations} iterations"
        print(f"{what}, {name}: {result}, error {reached:.1e}", flush=True)
        row: dict[str, object] = {}
        if name == "NumPy loop":
            slow = f"NumPy loop{'' if iterations else f', over {options.patience:g} s'}"
            row = common.headline("transport", what, seconds, took if iterations else None, slow, floor=least)
        row |= {"partners": kind, "n": n, "batch": batch, "epsilon": epsilon, "solver": name}
        row["device"] = options.device if name == "robustcmr" or "batch" in name else "cpu"
        row["error"] = f"{reached:.1e}"
        if iterations:
            row |= {"iterations": iterations, "seconds": f"{took:.6f}", "ratio": f"{took / seconds:.2f}"}
        rows.append({**row, "pot": ot.__version__})
    return rows


def main() -> None:
    """Measure all kinds and sizes at both values of epsilon and write the rows."""
    parser = common.benchmark_parser(__doc__, "transport.csv", devices=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--batch", type=int, default=64, help="problems in the batch of the smallest size")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.01, 0.07])
    parser.add_argument("--partners", choices=list(SHARES), nargs="+", default=list(SHARES))
    parser.add_argument("--error", type=float, default=1e-5, help="share of the mass that may be off")
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--patience", type=float, default=4.0, help="most seconds that a solver may take")
    parser.set_defaults(threads=1)  # of torch, NumPy and POT alike
    options = common.parsed(parser)
    # POT tells of numbers out of range; such runs show as errors that stay infinite.
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    rows = []
    with threadpool_limits(options.threads):
        for kind in options.partners:
            for epsilon in options.epsilons:
                for n in options.sizes:
                    rows += measure(kind, n, 1, epsilon, options)
                rows += measure(kind, min(options.sizes), options.batch, epsilon, options)
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
