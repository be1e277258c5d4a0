"""Partial entropic transport on a sparse graph: memory and time grow with the number of edges.

The problem is that of ``partial_plan`` with all cells forbidden that are no edges, solved the same way.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport.problems import LARGEST_COST, SLACK, check_options, refuse_blurred
from robustcmr.transport.rules import tensor
from robustcmr.transport.sparse_graph import Graph, Product, sparse_feasible_mass
from robustcmr.transport.sparse_kernel import solve_sparse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparsePlan:
    """Outcome of a transport problem on E edges.

    Attributes:
        log_plan: (E,) logarithm of the mass along each edge, in the order given; finite however small the
            mass, and -inf where a row or column has no weight.
        row_marginal: (n,) sums of the rows.
        column_marginal: (m,) sums of the columns.
        mass: scalar, sum of the plan.
        iterations: scalings of rows and columns plus inner iterations of Newton steps, of equal cost.
        marginal_error: scalar, as in ``partial_plan``.
        converged: scalar bool, whether that error is within the tolerance.
    """

    log_plan: Tensor
    row_marginal: Tensor
    column_marginal: Tensor
    mass: Tensor
    iterations: int
    marginal_error: Tensor
    converged: Tensor

    @property
    def plan(self) -> Tensor:
        """Return (E,) mass moved along each edge."""
        return self.log_plan.exp()


@takes_arrays()
def sparse_partial_plan(
    rows: Tensor,
    columns: Tensor,
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    mass: float,
    *,
    epsilon: float,
    tolerance: float = 1e-5,
    max_iterations: int = 10_000,
) -> SparsePlan:
    """Find the plan P >= 0 on E edges of least <cost, P> + epsilon * sum P (log P - 1) for a fixed mass.

    Sums of rows and columns are at most their weights. Rows and columns may have any number of edges, or
    none. Memory is a few vectors of E, n and m numbers. SciPy multiplies on the CPU, torch on CUDA; tensors
    of other devices are solved on the CPU and moved back.

    Args:
        rows: (E,) int, row of each edge, 0..n-1, in any order.
        columns: (E,) int, column of each edge, 0..m-1; each edge listed once.
        cost: (E,) below 5e29 in size; float32, float64 or narrower, which is widened to float32.
        row_weights: (n,) >= 0, most mass a row may send.
        column_weights: (m,) >= 0, most mass a column may receive.
        mass: mass to move, > 0. An excess over the sum of a side is cut off if rounding explains it.
        epsilon: smoothing > 0, in units of cost.
        tolerance: stop when this share of the mass is out of place, in all. float32 may not reach less than
            1e-6.
        max_iterations: most of these; a warning is logged if they do not suffice.

    Returns:
        The plan, detached, on the device of the cost.

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: no edge joins a row and a column with weight, or weights and edges cannot
            carry the mass; the message gives the bound. Or mass passes at costs 2e14 epsilons apart.

    References:
        Benamou, Carlier, Cuturi, Nenna and Peyre, "Iterative Bregman Projections for Regularized
        Transportation Problems", 2015, section 5.

    Example:
        >>> import torch
        >>> from robustcmr.transport import sparse_partial_plan
        >>> half, edges = torch.tensor([0.5, 0.5]), torch.tensor([[0, 0, 1], [0, 1, 1]])
        >>> sparse_partial_plan(*edges, torch.tensor([0.0, 1.0, 0.0]), half, half, 0.4, epsilon=0.2).plan
        tensor([0.1993, 0.0013, 0.1993])
    """
    check_options(epsilon, tolerance, max_iterations)
    home, dtype = cost.device, torch.promote_types(cost.dtype, torch.float32)
    device = home if home.type == "cuda" else torch.device("cpu")
    r, c, C = (x.detach().to(device, dtype) for x in (row_weights, column_weights, cost))
    with torch.no_grad():
        _check_numbers(r, c, C, mass)
        if len(C) != len(rows):
            raise ValueError(f"got {len(C)} costs for {len(rows)} edges; give one an edge")
        graph = Graph.build(rows.to(device), columns.to(device), len(r), len(c), (r > 0, c > 0))
        if len(graph.kept) == 0:
            raise InfeasibleTransportError(
                "a transport problem has no edge between rows and columns that have weight; list some edges"
            )
        moved = min(mass, float(r.sum()), float(c.sum()))
        if mass > min(moved, _easy_bound(graph, r, c)) * (1 + SLACK):
            _refuse_infeasible(graph, r, c, mass)
        Z = C[graph.kept].double()
        Z = (Z.amin() - Z) / epsilon  # the largest is 0, which changes no plan
        with np.errstate(all="ignore"):
            solved = solve_sparse(graph, Z, (r, c), moved, tolerance, max_iterations)
        log_kept, state, iterations, error = solved
        if error > tolerance:
            message = (
                "a sparse transport problem did not converge in %d iterations: error %.2g, tolerance %.2g"
            )
            _log.warning(message, iterations, error, tolerance)
            _refuse_infeasible(graph, r, c, mass)
        refuse_blurred((Z * epsilon)[None], log_kept.exp()[None], epsilon)
        log_plan = C.new_full(C.shape, -math.inf)
        log_plan[graph.kept] = log_kept.to(dtype)
        row_sums, column_sums = (tensor(x).flatten().to(home) for x in state.sums)
        missed = torch.tensor(error, dtype=dtype, device=home)
        return SparsePlan(
            log_plan.to(home), row_sums, column_sums, row_sums.sum(), iterations, missed, missed <= tolerance
        )


def _check_numbers(r: Tensor, c: Tensor, cost: Tensor, mass: float) -> None:
    if r.ndim != 1 or c.ndim != 1 or cost.ndim != 1:
        raise ValueError(
            "costs and weights of a sparse problem must be vectors, got shapes "
            f"{tuple(cost.shape)}, {tuple(r.shape)} and {tuple(c.shape)}"
        )
    weights = torch.cat([r, c])
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError("weights must be finite and not negative")
    if not bool((cost.abs() < LARGEST_COST).all()):
        raise ValueError(
            f"costs of edges must be finite and below {LARGEST_COST:g} in size; leave forbidden edges out"
        )
    if not (mass > 0 and math.isfinite(mass)):
        raise ValueError(f"the mass to move must be a positive finite number, got {mass}")


def _easy_bound(graph: Graph, r: Tensor, c: Tensor) -> float:
    """Return an upper bound of the mass: a row sends at most its weight and what its columns hold."""
    ones = Product(graph, torch.ones(len(graph.kept), dtype=r.dtype, device=r.device))
    by_rows, by_columns = torch.minimum(r, ones.rows(c)).sum(), torch.minimum(c, ones.columns(r)).sum()
    return min(float(by_rows), float(by_columns))


def _refuse_infeasible(graph: Graph, r: Tensor, c: Tensor, mass: float) -> None:
    """Raise if the mass exceeds that of a side, or the exact bound by more than rounding."""
    bound = sparse_feasible_mass(graph.row_of, graph.column_of, r, c)
    rounding = (len(r) + len(c)) * 2.0**-30
    if mass > bound * (1 + SLACK + rounding) or mass > min(float(r.sum()), float(c.sum())) * (1 + SLACK):
        raise InfeasibleTransportError(
            f"a transport problem is asked to move a mass of {mass:.6g}, but its weights and edges let at "
            f"most {bound:.6g} pass; ask for less mass or list more edges"
        )
