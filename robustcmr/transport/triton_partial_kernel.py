"""Triton kernel: iterations of a batch of partial problems, one program each, as in ``scaling``.

Rows come in NB blocks of BR; vectors of rows are (NB, BR) and of columns (BM,), all three powers of two. A
kernel of one block stays in registers.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

_FLAT = tl.constexpr(1e-6)  # as in ``rules``
_LARGEST = tl.constexpr(2e17)  # as in ``rules``
_SMALLEST = tl.constexpr(1e-37)
_UNSEEN = tl.constexpr(4)  # scalings between two looks at the error


@triton.jit
def _lift(weights, sums, level, mass):
    """Return a common factor after two Newton steps towards the mass."""
    for _ in tl.static_range(2):
        sent = level * sums
        short = mass - tl.sum(tl.minimum(sent, weights))
        slope = tl.sum(tl.where(sent < weights, sent, 0.0)) + _FLAT * mass
        level = level * tl.maximum(short / slope + 1.0, 0.1)
    return tl.minimum(level, _LARGEST)


@triton.jit
def _scale(weights, anchor, sums, level):
    """Return the scaling of a side, at most the anchor."""
    scaling = tl.minimum(weights / tl.maximum(level * sums, _SMALLEST), anchor)
    return tl.where(weights > 0, scaling, 0.0)


@triton.jit
def _missed(weights, anchor, scaling, sums):
    """Return by how much sums miss the weights that are their targets, in all."""
    held = (scaling < anchor) | (sums > weights)
    return tl.sum(tl.where(held, tl.abs(sums - weights), 0.0))


@triton.jit(do_not_specialize=["n", "m", "most"])
def partial_sweeps(
    K, row_weights, column_weights, row_anchors, column_anchors, masses, row_sums, levels,
    rows, columns, column_sums, errors, counts, n, m, most, tolerance, farthest,
    NB: tl.constexpr, BR: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Iterate one partial problem until it is solved, strays, or took ``most`` iterations.

    Per problem are given K (n, m), float32 or float64 like all else, weights (n,) and (m,), anchors (n,) and
    (m,), the mass, and row_sums K b (n,) and the level t, which are also written. Written are the factors
    rows (n,) and columns (m,), column_sums K' a (m,), the error, and the iterations as int32 in counts. It
    strays when max(a) max(b) t exceeds ``farthest``.
    """
    problem = tl.program_id(0).to(tl.int64)
    kind = K.dtype.element_ty
    k, c, r = tl.arange(0, NB)[:, None], tl.arange(0, BM), tl.arange(0, BR)
    row = k * BR + r[None, :]  # (NB, BR)
    row_there, column_there = row < n, c < m
    w_r = tl.load(row_weights + problem * n + row, mask=row_there, other=0.0)
    w_c = tl.load(column_weights + problem * m + c, mask=column_there, other=0.0)
    most_r = tl.load(row_anchors + problem * n + row, mask=row_there, other=1.0)
    most_c = tl.load(column_anchors + problem * m + c, mask=column_there, other=1.0)
    mass, level = tl.load(masses + problem), tl.load(levels + problem)
    s_r = tl.load(row_sums + problem * n + row, mask=row_there, other=0.0)
    cells = K + problem * n * m + r[:, None] * m + c[None, :]  # of the first block
    tile = tl.load(cells, mask=(r < n)[:, None] & column_there[None, :], other=0.0)
    u, v, s_c = tl.zeros_like(s_r), tl.zeros_like(w_c), tl.zeros_like(w_c)
    error, done, going = mass * 0, most * 0, most > 0
    while going:
        for _ in range(tl.minimum(most - done, _UNSEEN)):
            level = _lift(w_r, s_r * most_r, level, mass)
            u = _scale(w_r, most_r, s_r, level)
            if NB == 1:
                s_c = tl.sum(tile * tl.reshape(u, (BR, 1)), axis=0)
            else:
                sums = tl.zeros((BR, BM), dtype=kind)
                for block in range(tl.cdiv(n, BR)):
                    inside = (r < n - block * BR)[:, None] & column_there[None, :]
                    part = tl.sum(tl.where(k == block, u, 0.0), axis=0)
                    sums += part[:, None] * tl.load(cells + block * BR * m, mask=inside, other=0.0)
                s_c = tl.sum(sums, axis=0)
            level = _lift(w_c, s_c * most_c, level, mass)
            v = _scale(w_c, most_c, s_c, level)
            if NB == 1:
                s_r = tl.reshape(tl.sum(tile * v[None, :], axis=1), (1, BR))
            else:
                for block in range(tl.cdiv(n, BR)):
                    inside = (r < n - block * BR)[:, None] & column_there[None, :]
                    some = tl.load(cells + block * BR * m, mask=inside, other=0.0)
                    part = tl.sum(some * v[None, :], axis=1)
                    s_r = tl.where(k == block, part[None, :], s_r)
            done += 1
        sent = level * u * s_r
        moved = tl.sum(sent)
        missed = _missed(w_r, most_r, u, sent) + _missed(w_c, most_c, v, level * v * s_c)
        error = (missed + tl.abs(moved - mass)) / moved
        going = (done < most) & (error > tolerance) & (tl.max(u) * tl.max(v) * level <= farthest)
    tl.store(row_sums + problem * n + row, s_r, mask=row_there)
    tl.store(rows + problem * n + row, u, mask=row_there)
    tl.store(column_sums + problem * m + c, s_c, mask=column_there)
    tl.store(columns + problem * m + c, v, mask=column_there)
    tl.store(levels + problem, level)
    tl.store(errors + problem, error)
    tl.store(counts + problem, done)
