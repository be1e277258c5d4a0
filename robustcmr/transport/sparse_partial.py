"""Partial entropic transport on a sparse graph: memory and time by the number of edges.

It is the problem of ``partial_plan`` with every cell forbidden that is no edge, solved the same way.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport.sparse_graph import Graph, Product, sparse_feasible_mass
from robustcmr.transport.sparse_scaling import solve_sparse

_SLACK = 1e-5  # relative excess of mass that rounding explains

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparsePlan:
    """Outcome of a transport problem on E edges.

    Attributes:
        log_plan: (E,) logarithm of the mass moved along each edge, in the order given; finite however little
            that is, and -inf where a row or column has no weight.
        row_marginal: (n,) sums of the rows.
        column_marginal: (m,) sums of the columns.
        mass: scalar, sum of the plan.
        iterations: scalings of rows and columns done, and inner iterations of Newton steps, which cost the
            same.
        marginal_error: scalar, by how much the sums of rows and columns and the mass miss what the problem
            asks of them, in all and relative to the mass.
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
        """(E,) mass moved along each edge."""
        return self.log_plan.exp()


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
    """Plan P >= 0 on E edges of least <cost, P> + epsilon * sum P (log P - 1) that moves a fixed mass.

    Sums of rows and columns are at most their weights. Rows and columns may have any number of edges, none
    included. Nothing but vectors of E, n and m numbers is ever held. It runs on the CPU by SciPy's products,
    on CUDA by torch's; tensors of other devices are solved on the CPU and brought back.

    Args:
        rows: (E,) int, row of each edge, 0..n-1, in any order.
        columns: (E,) int, column of each edge, 0..m-1; no edge may be listed twice.
        cost: (E,) finite; float32, float64 or narrower, which is widened to float32.
        row_weights: (n,) >= 0, most mass a row may send.
        column_weights: (m,) >= 0, most mass a column may receive.
        mass: mass to move, > 0. What rounding puts above the sum of a side is cut off.
        epsilon: smoothing > 0, in units of cost.
        tolerance: stop when this share of the mass is out of place, in all; looked at every few iterations.
            Below 1e-6 float32 may not get there.
        max_iterations: most of these; a warning is logged when they did not suffice.

    Returns:
        The plan, detached, on the device of the cost.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if no edge joins rows and columns with weight, or weights and edges cannot
            carry the mass; the bound is told.

    References:
        Benamou, Carlier, Cuturi, Nenna and Peyre, "Iterative Bregman Projections for Regularized
        Transportation Problems", 2015, section 5.
    """
    if not (epsilon > 0 and tolerance > 0 and max_iterations >= 1):
        raise ValueError(
            "epsilon and tolerance must be positive and max_iterations at least 1, "
            f"got {epsilon}, {tolerance} and {max_iterations}"
        )
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
        if mass > moved * (1 + _SLACK) or mass > _easy_bound(graph, r, c) * (1 + _SLACK):
            _refuse_infeasible(graph, r, c, mass)
        Z = C[graph.kept].double()
        Z = (Z.amin() - Z) / epsilon  # the largest is 0, which changes no plan
        found = solve_sparse(graph, Z, r, c, moved, tolerance, max_iterations)
        if found.error > tolerance:
            _log.warning(
                "a sparse transport problem did not converge in %d iterations: error %.2g, asked for %.2g",
                found.iterations,
                found.error,
                tolerance,
            )
            _refuse_infeasible(graph, r, c, mass)
        log_plan = C.new_full(C.shape, -math.inf)
        log_plan[graph.kept] = found.log_plan.to(dtype)
        missed = torch.tensor(found.error, dtype=dtype, device=device)
        return SparsePlan(
            log_plan.to(home),
            found.row_sums.to(home),
            found.column_sums.to(home),
            found.row_sums.sum().to(home),
            found.iterations,
            missed.to(home),
            (missed <= tolerance).to(home),
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
    if not bool(cost.isfinite().all()):
        raise ValueError("costs of edges must be finite; leave forbidden edges out")
    if not (mass > 0 and math.isfinite(mass)):
        raise ValueError(f"the mass to move must be a positive finite number, got {mass}")


def _easy_bound(graph: Graph, r: Tensor, c: Tensor) -> float:
    """Mass that surely cannot be passed: a row sends at most its weight and what its columns hold."""
    ones = Product(graph, torch.ones(len(graph.kept), dtype=r.dtype, device=r.device))
    by_rows, by_columns = torch.minimum(r, ones.rows(c)).sum(), torch.minimum(c, ones.columns(r)).sum()
    return min(float(by_rows), float(by_columns))


def _refuse_infeasible(graph: Graph, r: Tensor, c: Tensor, mass: float) -> None:
    """Raise if the mass is above that of a side, or above the exact bound by more than its own rounding."""
    bound = sparse_feasible_mass(graph.row_of, graph.column_of, r, c)
    rounding = (len(r) + len(c)) * 2.0**-30
    if mass > bound * (1 + _SLACK + rounding) or mass > min(float(r.sum()), float(c.sum())) * (1 + _SLACK):
        raise InfeasibleTransportError(
            f"a transport problem is asked to move a mass of {mass:.6g}, but its weights and edges let at "
            f"most {bound:.6g} pass; ask for less mass or list more edges"
        )
