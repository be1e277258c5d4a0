"""Triton kernels: scores of pairs, and their gradients, as in ``tiles``.

A program holds L left sets of BR fragments and G right sets of BW: one matrix product gives the similarities
(L BR, G BW), which stay in registers as (L, BR, G, BW). Vectors of rows are (L, BR, G) and of columns
(L, G, BW). Sizes marked ``constexpr`` are powers of two; padding is masked on loading and has weight 0.
Offsets have 64 bits wherever they could exceed 2^31.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-1e30)
_GROUP = tl.constexpr(16)  # blocks of left sets that share the right sets in the L2

# Sizes that change from batch to batch are not compiled in.
_SIZES = ["n", "m", "R", "W", "T", "first_left", "first_right", "end_left", "end_right"]


@triton.jit
def _block(program, left_blocks, right_blocks):
    """Return the block of left sets and of right sets that a program works on."""
    of_group = _GROUP * right_blocks
    first = (program // of_group) * _GROUP
    height = tl.minimum(left_blocks - first, _GROUP)
    inner = program % of_group
    return first + inner % height, inner // height


@triton.jit
def _quotient(part, whole):
    """Return part / whole, and 0 where the whole is not positive."""
    some = whole > 0
    return tl.where(some, part / tl.where(some, whole, 1.0), 0.0)


@triton.jit
def _weights(weights, first, end, length, SETS: tl.constexpr, BLOCK: tl.constexpr):
    """Return weights (SETS, BLOCK) of the sets from ``first`` on, 0 beyond ``end`` and ``length``."""
    s = first + tl.arange(0, SETS)
    k = tl.arange(0, BLOCK)
    there = (s < end)[:, None] & (k < length)[None, :]
    return tl.load(weights + s.to(tl.int64)[:, None] * length + k[None, :], mask=there, other=0.0)


@triton.jit
def _similarities(
    left, right, a, b, left_set, right_set, end_left, end_right, R, W, D, smoothing, corner,
    CORNER: tl.constexpr, L: tl.constexpr, G: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
    BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return similarity over smoothing, (L, BR, G, BW), 0 where a fragment has no weight and is not read."""
    x = tl.arange(0, L * BR)
    s, r = left_set + x // BR, x % BR
    x_at = s.to(tl.int64) * R + r
    x_there = (s < end_left) & (r < R)
    x_there = x_there & (tl.load(a + x_at, mask=x_there, other=0.0) > 0)
    y = tl.arange(0, G * BW)
    s, w = right_set + y // BW, y % BW
    y_at = s.to(tl.int64) * W + w
    y_there = (s < end_right) & (w < W)
    y_there = y_there & (tl.load(b + y_at, mask=y_there, other=0.0) > 0)
    d = tl.arange(0, BD)
    x_from = left + x_at[:, None] * D + d[None, :]
    y_from = right + y_at[:, None] * D + d[None, :]
    S = tl.zeros((L * BR, G * BW), dtype=tl.float32)
    for k in range(0, D, BD):
        inside = (d < D - k)[None, :]
        X = tl.load(x_from + k, mask=x_there[:, None] & inside, other=0.0)
        Y = tl.load(y_from + k, mask=y_there[:, None] & inside, other=0.0)
        S = tl.dot(X, tl.trans(Y), S, input_precision=PRECISION)
    Z = tl.reshape(S / smoothing, (L, BR, G, BW))
    if CORNER:
        last = (tl.arange(0, BR) == R - 1)[None, :, None, None] & (tl.arange(0, BW) == W - 1)
        Z = tl.where(last, corner, Z)
    return Z


@triton.jit
def _row_sums(K, v):
    """Return K v: (L, BR, G, BW), (L, G, BW) -> (L, BR, G)."""
    return tl.sum(K * v[:, None, :, :], axis=3)


@triton.jit
def _column_sums(K, u):
    """Return K' u: (L, BR, G, BW), (L, BR, G) -> (L, G, BW)."""
    return tl.sum(K * u[:, :, :, None], axis=1)


@triton.jit
def _kernel(Z, A, B, SHIFTED: tl.constexpr):
    """Return the kernel (L, BR, G, BW) and v_0 (L, G, BW); A (L, BR), B (G, BW)."""
    present = tl.where(B > 0, 1.0, 0.0)[None, :, :]
    if SHIFTED:
        rows, columns = (A > 0)[:, :, None, None], (B > 0)[None, None, :, :]
        shifted = Z - tl.max(tl.where(columns, Z, _LOWEST), axis=3)[:, :, :, None]
        column = tl.max(tl.where(rows, shifted, _LOWEST), axis=1)
        K = tl.exp(tl.where(rows & columns, tl.maximum(shifted - column[:, None, :, :], -87.0), 0.0))
        start = present * tl.exp(tl.minimum(column, 0.0))
    else:
        K = tl.exp(Z)
        start = present + tl.zeros_like(tl.max(Z, axis=1))
    return K, start


@triton.jit
def _scaling_before(at, t, start, there, w, W):
    """Return v_t, with which iteration ``t`` (from 0) began: v_0 is ``start``, others are read."""
    words = there[:, :, None] & (w < tl.where(t > 0, W, 0))
    return tl.where(t > 0, tl.load(at, mask=words, other=0.0), start)


@triton.jit(do_not_specialize=_SIZES)
def scores_forward(
    left, right, a, b, scores, trace, n, m, R, W, D, T, smoothing, corner,
    CORNER: tl.constexpr, BINS: tl.constexpr, MEAN: tl.constexpr, SHIFTED: tl.constexpr,
    TRACE: tl.constexpr, L: tl.constexpr, G: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
    BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Score L left sets with G right sets.

    Read are fragments left (n, R, D) and right (m, W, D) of one type and float32 weights a (n, R), b (m, W).
    Written are scores (n, m) and, if ``TRACE``, the column scalings v_1..v_T, trace (T, n, m, W), both
    float32. D is the width of a fragment, T the iterations, smoothing lambda, and corner the similarity of
    the last fragments over lambda, used if ``CORNER``. ``BINS`` leaves these two out of the score, and
    ``MEAN`` divides it by the mass. ``SHIFTED`` kernels are kept in range. BD is the part of the width
    multiplied at once, with ``PRECISION`` for float32.
    """
    i, j = _block(tl.program_id(0), tl.cdiv(n, L), tl.cdiv(m, G))
    i, j = i * L, j * G
    Z = _similarities(
        left, right, a, b, i, j, n, m, R, W, D, smoothing, corner, CORNER, L, G, BR, BW, BD, PRECISION
    )
    A, B = _weights(a, i, n, R, L, BR), _weights(b, j, m, W, G, BW)
    K, v = _kernel(Z, A, B, SHIFTED)
    u = tl.zeros((L, BR, G), dtype=tl.float32)
    i, j, w = i + tl.arange(0, L), j + tl.arange(0, G), tl.arange(0, BW)
    pair = i.to(tl.int64)[:, None] * m + j[None, :]
    there = (i < n)[:, None] & (j < m)[None, :]
    at, step = trace + pair[:, :, None] * W + w, tl.cast(n, tl.int64) * m * W
    for _ in range(T):
        u = _quotient(A[:, :, None], _row_sums(K, v))
        v = _quotient(B[None, :, :], _column_sums(K, u))
        if TRACE:
            tl.store(at, v, mask=there[:, :, None] & (w < W))
            at += step
    if BINS:
        u = tl.where((tl.arange(0, BR) == R - 1)[None, :, None], 0.0, u)
        v = tl.where(w == W - 1, 0.0, v)
    score = smoothing * tl.sum(u * _row_sums(Z * K, v), axis=1)  # (L, G)
    if MEAN:
        score = _quotient(score, tl.sum(u * _row_sums(K, v), axis=1))
    tl.store(scores + pair, score, mask=there)


@triton.jit(do_not_specialize=_SIZES)
def scores_backward(
    left, right, a, b, trace, gradient, Z_bar, a_part, b_part,
    n, m, first_left, end_left, first_right, end_right, R, W, D, T, smoothing, corner,
    CORNER: tl.constexpr, BINS: tl.constexpr, MEAN: tl.constexpr, SHIFTED: tl.constexpr,
    L: tl.constexpr, G: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Work out gradients for L left sets with G right sets of a block, sets first_... to before end_... .

    Read are the arguments of ``scores_forward``, its trace, and the gradient (n, m) by the scores, float32.
    Written are, for the block's t left and s right sets, Z_bar (t, R, s, W) of the fragments' type, the
    gradient by similarity over lambda, and terms of the gradients by a and b, one for each program on the
    other side: a_part (., t, R) and b_part (., s, W), float32.
    """
    height, width = end_left - first_left, end_right - first_right
    left_part, right_part = _block(tl.program_id(0), tl.cdiv(height, L), tl.cdiv(width, G))
    i, j = first_left + left_part * L, first_right + right_part * G
    Z = _similarities(
        left, right, a, b, i, j, end_left, end_right, R, W, D, smoothing, corner,
        CORNER, L, G, BR, BW, BD, PRECISION,
    )  # fmt: skip
    A, B = _weights(a, i, end_left, R, L, BR), _weights(b, j, end_right, W, G, BW)
    K, start = _kernel(Z, A, B, SHIFTED)
    i, j = i + tl.arange(0, L), j + tl.arange(0, G)
    r, w = tl.arange(0, BR), tl.arange(0, BW)
    pair = i.to(tl.int64)[:, None] * m + j[None, :]
    there = (i < end_left)[:, None] & (j < end_right)[None, :]
    step = tl.cast(n, tl.int64) * m * W
    at = trace + pair[:, :, None] * W + w + (T - 1) * step
    g = tl.load(gradient + pair, mask=there, other=0.0)  # (L, G)
    # Score and mass from the last scalings.
    v_t = tl.load(at, mask=there[:, :, None] & (w < W), other=0.0)
    before = _scaling_before(at - step, T - 1, start, there, w, W)
    u = _quotient(A[:, :, None], _row_sums(K, before))
    v = v_t
    lost = tl.zeros((L, G), dtype=tl.float32)  # minus the gradient by the mass between fragments
    if BINS:
        u = tl.where((r == R - 1)[None, :, None], 0.0, u)
        v = tl.where(w == W - 1, 0.0, v)
    pulled = Z * K
    u_bar, v_bar = _row_sums(pulled, v), _column_sums(pulled, u)
    if MEAN:
        row_mass, column_mass = _row_sums(K, v), _column_sums(K, u)
        mass = tl.sum(u * row_mass, axis=1)
        lost = _quotient(g * smoothing * _quotient(tl.sum(u * u_bar, axis=1), mass), mass)
        g = _quotient(g * smoothing, mass)
        u_bar = g[:, None, :] * u_bar - lost[:, None, :] * row_mass
        v_bar = g[:, :, None] * v_bar - lost[:, :, None] * column_mass
    else:
        g = g * smoothing
        u_bar = g[:, None, :] * u_bar
        v_bar = g[:, :, None] * v_bar
    if BINS:
        u_bar = tl.where((r == R - 1)[None, :, None], 0.0, u_bar)
        v_bar = tl.where(w == W - 1, 0.0, v_bar)
    # The gradient by Z over K.
    g_cell, lost_cell = g[:, None, :, None], lost[:, None, :, None]
    total = (Z * g_cell + (g_cell - lost_cell)) * u[:, :, :, None] * v[:, None, :, :]
    a_inverse = _quotient(1.0, A)[:, :, None]
    b_inverse = _quotient(1.0, B)[None, :, :]
    a_bar, b_bar = tl.zeros_like(u_bar), tl.zeros_like(v_bar)
    for back in range(T):
        before = _scaling_before(at - step, T - 1 - back, start, there, w, W)
        u_t = _quotient(A[:, :, None], _row_sums(K, before))
        change = v_bar * v_t * b_inverse
        b_bar += change
        q_bar = change * v_t  # minus the gradient by K'u; p_bar below is minus that by K v
        u_bar -= _row_sums(K, q_bar)
        change = u_bar * u_t * a_inverse
        a_bar += change
        p_bar = change * u_t
        total -= u_t[:, :, :, None] * q_bar[:, None, :, :] + p_bar[:, :, :, None] * before[:, None, :, :]
        v_bar = -_column_sums(K, p_bar)
        u_bar = tl.zeros_like(u_bar)
        v_t = before
        at -= step
    total = total * K
    if CORNER:
        total = tl.where((r == R - 1)[None, :, None, None] & (w == W - 1), 0.0, total)
    row = (left_part * L + tl.arange(0, L))[:, None] * R + r[None, :]  # (L, BR)
    column = (right_part * G + tl.arange(0, G))[:, None] * W + w[None, :]  # (G, BW)
    rows, columns = (i < end_left)[:, None] & (r < R), (j < end_right)[:, None] & (w < W)
    cell = row.to(tl.int64)[:, :, None, None] * (width * W) + column[None, None, :, :]
    inside = rows[:, :, None, None] & columns[None, None, :, :]
    tl.store(Z_bar + cell, total.to(Z_bar.dtype.element_ty), mask=inside)
    a_at = a_part + tl.cast(right_part, tl.int64) * height * R
    b_at = b_part + tl.cast(left_part, tl.int64) * width * W
    tl.store(a_at + row, tl.sum(a_bar, axis=2), mask=rows)
    tl.store(b_at + column, tl.sum(b_bar, axis=0), mask=columns)
