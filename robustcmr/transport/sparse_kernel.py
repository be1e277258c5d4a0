"""The kernel of a partial problem on a graph of E' edges, for the iteration of ``scaling``.

Z (E',) is -cost / epsilon in float64, of which the largest is 0; weights are (n,) and (m,) >= 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcmr.transport.rules import Array, Logs, Partial, Rule, Side, tensor, vector
from robustcmr.transport.scaling import LOWEST, State, Step, held, iterate, on_top
from robustcmr.transport.sparse_graph import Graph, Product
from robustcmr.transport.sparse_newton import Held, newton_move

_LEVEL_STEPS = 3  # Newton steps on the common factor for each scaling of a side
_INNER = 100  # most inner iterations of a Newton step, each of which costs as much as a scaling of both sides
_EASY = 50.0  # costs further apart than so many epsilons are solved in stages of falling epsilon
_COOLING = 4.0  # epsilon of a stage over that of the next
_ROUGH, _ROUGHLY = 1e-2, 200  # error and iterations of a stage


class _Kernel:
    """See ``scaling.Kernel``; there is one problem."""

    patience: float = 20.0

    def __init__(
        self, graph: Graph, Z: Tensor, weights: tuple[Tensor, Tensor], mass: float, logs: Logs | None = None
    ) -> None:
        self.graph, self.Z, self.weights, self.mass, self.logs = graph, Z, weights, mass, logs
        self.rule: Rule = Partial(_LEVEL_STEPS)
        values = self.log_plan(logs)
        values = torch.where(values > LOWEST, values.clamp(min=LOWEST).exp(), 0.0)
        self._product = Product(graph, values.to(weights[0].dtype))
        moved = vector(weights[0].new_full((1, 1, 1), mass))

        def side(axis: int) -> Side:
            w = weights[axis].reshape(1, 1, -1)
            return Side(vector(w), 1.0 if logs is None else vector(self.rule.anchor(logs[axis]).to(w)), moved)

        self.sides = side(0), side(1)

    def log_plan(self, logs: Logs | None) -> Tensor:
        """Return (E',) float64, the logarithm of the kernel that holds these scalings."""
        if logs is None:
            return self.Z
        f, g, h = (x.flatten() for x in logs)
        return self.Z + (f + h)[self.graph.row_of] + g[self.graph.column_of]

    def row_sums(self, b: Array | None) -> Array:
        factors = torch.ones_like(self.weights[1]) if b is None else tensor(b).flatten()
        return vector(self._product.rows(factors).view(1, 1, -1))

    def column_sums(self, a: Array) -> Array:
        return vector(self._product.columns(tensor(a).flatten()).view(1, 1, -1))

    def newton(self, state: State, unsolved: Tensor, most: int) -> Step:  # noqa: ARG002
        def of(axis: int) -> Held:
            side, sums, factors = self.sides[axis], state.sums[axis], state[axis]
            has_target, target = self.rule.goal(side, sums, factors)
            return Held(*(tensor(x).flatten() for x in (factors, sums, has_target, target)))

        given = self._product, tensor(state.level).reshape(()), of(0), of(1), self.mass
        move, level_move, inner = newton_move(*given, min(_INNER, most))
        return slice(None), move.view(1, -1), level_move.view(1, 1), inner

    def wait(self, before: Array, after: Array, patience: float) -> float:
        return 2 if (after < 0.5 * before).all() else 2 * patience

    def renewed(self, logs: Logs) -> _Kernel:
        return _Kernel(self.graph, self.Z, self.weights, self.mass, logs)


def solve_sparse(
    graph: Graph, Z: Tensor, weights: tuple[Tensor, Tensor], mass: float, tolerance: float, most: int
) -> tuple[Tensor, State, int, float]:
    """Scale the kernel of a partial problem on a graph.

    Where costs are many epsilons apart, problems of larger epsilon are solved roughly before; the potentials
    epsilon f, epsilon g and epsilon h carry over.

    Returns:
        (E',) float64 logarithm of the plan, the last state, iterations and error.
    """
    logs: Logs | None = None
    done = 0
    for stage in range(math.ceil(math.log(max(1.0, float(-Z.amin()) / _EASY), _COOLING)), 0, -1):
        if done >= most // 2:
            break
        kernel = _Kernel(graph, Z / _COOLING**stage, weights, mass, logs)
        some = max(1, min(_ROUGHLY, most // 2 - done))
        last, state, count, _ = iterate(kernel, _ROUGH, some, warm=logs is not None)
        f, g, h = (x * _COOLING for x in held(last, state))
        logs, done = (f, g, h), done + count
    kernel = _Kernel(graph, Z, weights, mass, logs)
    last, state, count, error = iterate(kernel, tolerance, most - done, warm=logs is not None)
    a, b, t = (x.flatten() for x in on_top(state))
    factors = (a + t)[graph.row_of] + b[graph.column_of]  # not lost in large logarithms, so the sums hold
    return kernel.log_plan(last.logs) + factors, state, done + count, float(error.max())
