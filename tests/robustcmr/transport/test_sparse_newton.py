"""Newton steps on a graph against the equations that they solve, written out with the whole plan."""

import pytest
import torch

from robustcmr.transport import sparse_newton
from robustcmr.transport.sparse_graph import Graph, Product
from robustcmr.transport.sparse_newton import Held, newton_move


def state(seed=0, n=8, m=6, rows_held=True):
    """A plan with a row and a column of no edges, its factors, and what is held."""
    generator = torch.Generator().manual_seed(seed)
    K = torch.rand(n, m, generator=generator, dtype=torch.float64) + 0.1
    K = K * (torch.rand(n, m, generator=generator) < 0.6)
    K[2], K[:, 3] = 0.0, 0.0
    a, b = (torch.rand(k, generator=generator, dtype=torch.float64) + 0.2 for k in (n, m))
    level = torch.tensor(0.3, dtype=torch.float64)
    P = level * a[:, None] * K * b
    held_r = torch.rand(n, generator=generator) < 0.5
    held_c = torch.rand(m, generator=generator) < 0.6
    held_r[P.sum(1).argmax()] = held_c[P.sum(0).argmax()] = False  # else the mass would be given twice
    if not rows_held:
        held_r[:] = False
    i, j = K.nonzero().T
    graph = Graph.build(i, j, n, m)
    kernel = Product(graph, K[i, j][graph.kept])
    r, c = (torch.rand(k, generator=generator, dtype=torch.float64) for k in (n, m))
    rows, columns = Held(a, P.sum(1), held_r & (P.sum(1) > 0), r), Held(b, P.sum(0), held_c, c)
    return P, kernel, level, rows, columns


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows_held", [True, False])
def test_the_step_meets_held_sums_and_mass_to_first_order(seed, rows_held, monkeypatch):
    monkeypatch.setattr(sparse_newton, "_CLOSE", 1e-12)
    monkeypatch.setattr(sparse_newton, "_RIDGE", 1e-12)
    P, kernel, level, rows, columns = state(seed, rows_held=rows_held)
    mass = 1.1 * float(P.sum())
    y, z, done = newton_move(kernel, level, rows, columns, mass, 100)
    assert 0 < done <= 100
    assert (y[~columns.held] == 0).all()
    lack = torch.where(rows.held, (rows.weights - rows.sums - P @ y) / rows.sums.clamp(min=1e-30) - z, 0.0)
    change = P * (lack[:, None] + y + z)  # of the plan, to first order
    after = P + change
    assert torch.allclose(after.sum(1)[rows.held], rows.weights[rows.held], atol=1e-8)
    real = columns.held & (columns.sums > 0)
    assert torch.allclose(after.sum(0)[real], columns.weights[real], atol=1e-8)
    assert float(after.sum()) == pytest.approx(mass, rel=1e-8)


def test_inner_iterations_are_bounded():
    P, kernel, level, rows, columns = state()
    y, z, done = newton_move(kernel, level, rows, columns, float(P.sum()), 2)
    assert done == 2
    assert y.isfinite().all()
    assert z.isfinite()


def test_where_all_is_met_nothing_moves():
    P, kernel, level, rows, columns = state()
    rows, columns = rows._replace(weights=rows.sums), columns._replace(weights=columns.sums)
    y, z, _ = newton_move(kernel, level, rows, columns, float(P.sum()), 50)
    assert y.abs().max() < 1e-9
    assert abs(float(z)) < 1e-9
