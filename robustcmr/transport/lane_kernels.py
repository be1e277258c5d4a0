"""The transport of one tile of pairs in compiled loops: scores forward, and the gradient by hand.

What is computed is that of ``tiles``; how it is laid out differs. Sixteen left sets lie side by side as the
lanes of a vector, and one right set at a time meets them: its kernel, (W, R, 16), stays in a cache through
all iterations, so a similarity is read from memory once on the way forth and once on the way back. Words of
no weight are left out before they come here.

All arrays are flat float32: with L = 16 lanes, ``Z`` is (words of the tile, R, L), ``a`` (R, L), and ``b``
one number a word of all right sets. Whoever changes ``vector_lanes`` must touch this file, by whose date the
compiled functions are kept.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from robustcmr.transport.vector_lanes import (
    LANES,
    add,
    div,
    exp,
    fma,
    larger,
    load,
    mul,
    smaller,
    splat,
    store,
    sub,
    where_positive,
)

L = LANES


def _compiled(function):
    """Compiled on first use and kept on disk, where there is a place to keep it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that could be written to
        return njit(nogil=True)(function)


@_compiled
def _plain_kernel(Z, base, W, R, K, start, p):
    """K = exp(Z), start = 1, p = K start."""
    one = splat(np.float32(1.0))
    for r in range(R):
        total = splat(np.float32(0.0))
        for w in range(W):
            value = exp(load(Z, base + (w * R + r) * L))
            store(K, (w * R + r) * L, value)
            total = add(total, value)
        store(p, r * L, total)
    for w in range(W):
        store(start, w * L, one)


@_compiled
def _shifted_kernel(Z, base, W, R, a, K, start, p):
    """The same where exp(Z) leaves the range of float32: rows and columns divided by their largest entry.

    The row factor vanishes in the first scaling of rows, and the column factor is given back in ``start``.
    Rows of no weight have kernel 1.
    """
    one, zero, lowest = splat(np.float32(1.0)), splat(np.float32(0.0)), splat(np.float32(-3e38))
    for r in range(R):
        most = lowest
        for w in range(W):
            most = larger(most, load(Z, base + (w * R + r) * L))
        store(p, r * L, most)
    for w in range(W):
        most = lowest
        for r in range(R):
            value = sub(load(Z, base + (w * R + r) * L), load(p, r * L))
            most = where_positive(load(a, r * L), larger(most, value), most)
        for r in range(R):
            value = sub(sub(load(Z, base + (w * R + r) * L), load(p, r * L)), most)
            store(K, (w * R + r) * L, where_positive(load(a, r * L), exp(value), one))
        store(start, w * L, exp(smaller(most, zero)))
    for r in range(R):
        total = zero
        for w in range(W):
            total = fma(load(K, (w * R + r) * L), load(start, w * L), total)
        store(p, r * L, total)


@_compiled
def _scalings(Z, base, W, R, a, b, word, T, shifted, K, start, us, vs, p):
    """The kernel K (W, R, L) and the T scalings of rows, us (T, R, L), and of columns, vs (T, W, L).

    In an iteration the kernel is read once: four columns are scaled, and then added to the next rows' sums
    while they are at hand.
    """
    zero = splat(np.float32(0.0))
    row = R * L
    if shifted:
        _shifted_kernel(Z, base, W, R, a, K, start, p)
    else:
        _plain_kernel(Z, base, W, R, K, start, p)
    for t in range(T):
        u, v = t * R * L, t * W * L
        for r in range(R):
            store(us, u + r * L, div(load(a, r * L), load(p, r * L)))
            store(p, r * L, zero)
        w = 0
        while w + 3 < W:
            k = w * row
            v0, v1, v2, v3 = zero, zero, zero, zero
            for r in range(R):
                scale = load(us, u + r * L)
                v0 = fma(load(K, k + r * L), scale, v0)
                v1 = fma(load(K, k + row + r * L), scale, v1)
                v2 = fma(load(K, k + 2 * row + r * L), scale, v2)
                v3 = fma(load(K, k + 3 * row + r * L), scale, v3)
            v0 = div(splat(b[word + w]), v0)
            v1 = div(splat(b[word + w + 1]), v1)
            v2 = div(splat(b[word + w + 2]), v2)
            v3 = div(splat(b[word + w + 3]), v3)
            store(vs, v + w * L, v0)
            store(vs, v + (w + 1) * L, v1)
            store(vs, v + (w + 2) * L, v2)
            store(vs, v + (w + 3) * L, v3)
            if t < T - 1:
                for r in range(R):
                    total = load(p, r * L)
                    total = fma(load(K, k + r * L), v0, total)
                    total = fma(load(K, k + row + r * L), v1, total)
                    total = fma(load(K, k + 2 * row + r * L), v2, total)
                    total = fma(load(K, k + 3 * row + r * L), v3, total)
                    store(p, r * L, total)
            w += 4
        while w < W:
            k = w * row
            v0 = zero
            for r in range(R):
                v0 = fma(load(K, k + r * L), load(us, u + r * L), v0)
            v0 = div(splat(b[word + w]), v0)
            store(vs, v + w * L, v0)
            if t < T - 1:
                for r in range(R):
                    store(p, r * L, fma(load(K, k + r * L), v0, load(p, r * L)))
            w += 1


@_compiled
def _most_words(offsets, first, last):
    most = 0
    for j in range(first, last):
        most = max(most, offsets[j + 1] - offsets[j])
    return most


@_compiled
def forward(
    first, last, Z, offsets, origin, a, b, bins, corner, T, smoothing, shifted, scores, column, stride
):
    """Scores of sixteen left sets with the right sets ``first`` to ``last``.

    Args:
        first: first right set.
        last: the one after the last.
        Z: similarities over smoothing, of the words from ``origin`` on.
        offsets: whole numbers, where each right set's words begin, and where the last one's end.
        origin: the first word of the tile.
        a: weights of the left sets' fragments, >= 0, some > 0 in each lane.
        b: weights of all words, > 0.
        bins: whether the last word of a right set is its bin, a byte each; read with ``corner`` alone.
        corner: whether the last fragments are bins, which the score leaves out.
        T: iterations.
        smoothing: lambda.
        shifted: whether kernels are kept in range.
        scores: written at ``j * stride + column`` and the fifteen places that follow.
        column: the first left set's column.
        stride: length of a row of scores.
    """
    R = a.size // L
    most = _most_words(offsets, first, last)
    K = np.empty(most * R * L, np.float32)
    us, vs = np.empty(T * R * L, np.float32), np.empty(T * most * L, np.float32)
    start, p = np.empty(most * L, np.float32), np.empty(R * L, np.float32)
    zero = splat(np.float32(0.0))
    rows = R - 1 if corner else R
    for j in range(first, last):
        word = offsets[j]
        W = offsets[j + 1] - word
        base = (word - origin) * R * L
        _scalings(Z, base, W, R, a, b, word, T, shifted, K, start, us, vs, p)
        u, v = (T - 1) * R * L, (T - 1) * W * L
        words = W - 1 if corner and bins[j] else W
        score, mass = zero, zero
        for w in range(words):
            pulled, held = zero, zero
            for r in range(rows):
                share = mul(load(K, (w * R + r) * L), load(us, u + r * L))
                pulled = fma(share, load(Z, base + (w * R + r) * L), pulled)
                held = add(held, share)
            score = fma(pulled, load(vs, v + w * L), score)
            mass = fma(held, load(vs, v + w * L), mass)
        score = mul(score, splat(smoothing))
        if corner:
            score = where_positive(mass, div(score, mass), zero)
        store(scores, j * stride + column, score)


@_compiled
def backward(
    first, last, Z, offsets, origin, a, b, bins, corner, T, smoothing, shifted,
    gradient, column, stride, Z_bar, b_bar,
):  # fmt: skip
    """Gradients of the same scores, by reverse sweep; the iterations are run again first.

    Takes what ``forward`` does, with the gradient of the loss in place of the scores. The gradient by Z is
    written to ``Z_bar``, laid out as Z; the one by b is added to ``b_bar``, (all words, L), lane by lane; the
    one by a from these right sets is returned, (R, L).
    """
    R = a.size // L
    n = 2 * T + 1  # outer products that make up the gradient by the kernel
    most = _most_words(offsets, first, last)
    K = np.empty(most * R * L, np.float32)
    us, vs = np.empty(T * R * L, np.float32), np.empty(T * most * L, np.float32)
    start, p = np.empty(most * L, np.float32), np.empty(R * L, np.float32)
    u, gu = np.empty(R * L, np.float32), np.empty(R * L, np.float32)
    u_bar, row_mass = np.empty(R * L, np.float32), np.empty(R * L, np.float32)
    v, v_bar = np.empty(most * L, np.float32), np.empty(most * L, np.float32)
    left, right = np.empty(R * n * L, np.float32), np.empty(most * n * L, np.float32)
    a_bar = np.zeros(R * L, np.float32)
    zero = splat(np.float32(0.0))
    for j in range(first, last):
        word = offsets[j]
        W = offsets[j + 1] - word
        base = (word - origin) * R * L
        _scalings(Z, base, W, R, a, b, word, T, shifted, K, start, us, vs, p)
        for r in range(R):
            store(u, r * L, load(us, ((T - 1) * R + r) * L))
            store(p, r * L, zero)
            store(row_mass, r * L, zero)
        for w in range(W):
            store(v, w * L, load(vs, ((T - 1) * W + w) * L))
        if corner:
            store(u, (R - 1) * L, zero)
            if bins[j]:
                store(v, (W - 1) * L, zero)
        # sums of Z K v over the columns in p, and of K v in row_mass
        for w in range(W):
            scale = load(v, w * L)
            for r in range(R):
                share = mul(load(K, (w * R + r) * L), scale)
                store(p, r * L, fma(share, load(Z, base + (w * R + r) * L), load(p, r * L)))
                if corner:
                    store(row_mass, r * L, add(share, load(row_mass, r * L)))
        given = load(gradient, j * stride + column)
        g, lost = mul(given, splat(smoothing)), zero  # by sum of Z P, and minus that by the local mass
        if corner:
            score, mass = zero, zero
            for r in range(R):
                score = fma(load(u, r * L), load(p, r * L), score)
                mass = fma(load(u, r * L), load(row_mass, r * L), mass)
            g = where_positive(mass, div(g, mass), zero)
            lost = where_positive(mass, div(mul(g, score), mass), zero)
        for r in range(R):
            scaled = mul(g, load(u, r * L))
            store(gu, r * L, scaled)
            store(left, r * n * L, mul(sub(g, lost), load(u, r * L)) if corner else scaled)
            pull = mul(g, load(p, r * L))
            if corner:
                pull = sub(pull, mul(lost, load(row_mass, r * L)))
                if r == R - 1:
                    pull = zero
            store(u_bar, r * L, pull)
        for w in range(W):
            pulled, held = zero, zero
            for r in range(R):
                share = mul(load(K, (w * R + r) * L), load(u, r * L))
                pulled = fma(share, load(Z, base + (w * R + r) * L), pulled)
                held = add(held, share)
            pull = sub(mul(g, pulled), mul(lost, held))
            if corner and bins[j] and w == W - 1:
                pull = zero
            store(v_bar, w * L, pull)
            store(right, w * n * L, load(v, w * L))
        for t in range(T - 1, -1, -1):
            x = 2 * (T - 1 - t) + 1  # this iteration's two outer products
            for w in range(W):
                if t < T - 1:  # minus the sums of K p_bar over the rows
                    total = zero
                    for r in range(R):
                        total = fma(load(K, (w * R + r) * L), load(left, (r * n + x - 1) * L), total)
                    store(v_bar, w * L, total)
                scale = load(vs, (t * W + w) * L)
                step = div(mul(load(v_bar, w * L), scale), splat(b[word + w]))
                store(b_bar, (word + w) * L, add(load(b_bar, (word + w) * L), step))
                q_bar = mul(step, scale)  # minus the gradient by K'u
                store(right, (w * n + x) * L, q_bar)
                store(
                    right, (w * n + x + 1) * L, load(vs, ((t - 1) * W + w) * L) if t else load(start, w * L)
                )
                for r in range(R):
                    total = load(u_bar, r * L)
                    store(u_bar, r * L, sub(total, mul(load(K, (w * R + r) * L), q_bar)))
            for r in range(R):
                weight, scale = load(a, r * L), load(us, (t * R + r) * L)
                step = where_positive(weight, div(mul(load(u_bar, r * L), scale), weight), zero)
                store(a_bar, r * L, add(load(a_bar, r * L), step))
                store(left, (r * n + x) * L, sub(zero, scale))
                store(left, (r * n + x + 1) * L, sub(zero, mul(step, scale)))  # the gradient by K v
                store(u_bar, r * L, zero)
        for w in range(W):
            for r in range(R):
                cell = base + (w * R + r) * L
                total = mul(mul(load(Z, cell), load(gu, r * L)), load(v, w * L))
                for x in range(n):
                    total = fma(load(left, (r * n + x) * L), load(right, (w * n + x) * L), total)
                store(Z_bar, cell, mul(total, load(K, (w * R + r) * L)))
    return a_bar
