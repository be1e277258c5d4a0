"""Loops that score one tile of pairs and work out the gradients, compiled by numba.

A tile holds L left sets and several right sets. The left sets are the last, contiguous axis of every array,
so each innermost loop runs over L neighbouring numbers and the compiler turns it into SIMD instructions.
Right sets are taken one at a time, so that a kernel of (W, R, L) numbers stays in cache. Words of weight 0
are left out beforehand. For one pair, with Z the similarity over lambda:

    K = exp(Z),  v_0 = 1,  u_t = a / (K v_{t-1}),  v_t = b / (K' u_t)  for t = 1..T,  u = u_T,  v = v_T
    score = lambda sum(Z * K * u v')

With bins, the last entry of u and v is set to 0 in the score, which may be a mean, divided by the mass
m = sum(K * u v'). Given G, the gradient by the score, let g = lambda G and h = 0, or for a mean
g = lambda G / m and h = G score / m. The reverse sweep is then

    u_bar = g (Z * K) v - h K v,  v_bar = g (Z * K)' u - h K' u, and for t = T..1:
        q_t = v_bar v_t^2 / b,  b_bar += v_bar v_t / b,  u_bar -= K q_t
        p_t = u_bar u_t^2 / a,  a_bar += u_bar u_t / a,  v_bar = -K' p_t,  u_bar = 0
    Z_bar = K * ((g Z + g - h) * u v' - sum over t of (u_t q_t' + p_t v_{t-1}'))

Shapes: V words of the tile, R left fragments, Z and K (V, R, L), a (R, L), b (V,) > 0 and v_0 = ``start``
(V, L), all float32. ``ends`` (right sets + 1,) says where the words of each right set begin, ``bins``
whether there are bins, ``mean`` whether the score is one, and ``has_bin`` (right sets,) whether the last word
of a right set has weight and so may be a bin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_LOWEST = np.float32(-87.0)  # exp() of less is no normal number of float32, and divisions by it overflow


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; cache the result on disk where a folder is writable."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder
        compiled = njit(**options)(function)
    return compiled


@_compiled
def shift(first, last, Z, ends, a, exponents, start):
    """Write the logarithms of a kernel whose largest entry in every row and column is 1, and of its v_0.

    Used where exp(Z) leaves the range of float32. Dividing a row of K by its largest entry changes nothing,
    because u_1 cancels it; what a column is divided by is given back by v_0. Rows of weight 0 have kernel 1.
    """
    _, R, L = Z.shape
    row, column = np.empty((R, L), np.float32), np.empty(L, np.float32)
    for j in range(first, last):
        row[:] = -np.inf
        for w in range(ends[j], ends[j + 1]):
            for r in range(R):
                for i in range(L):
                    row[r, i] = max(row[r, i], Z[w, r, i])
        for w in range(ends[j], ends[j + 1]):
            column[:] = -np.inf
            for r in range(R):
                for i in range(L):
                    highest = max(column[i], Z[w, r, i] - row[r, i])
                    column[i] = highest if a[r, i] > 0 else column[i]
            for r in range(R):
                for i in range(L):
                    exponent = max(Z[w, r, i] - row[r, i] - column[i], _LOWEST)
                    exponents[w, r, i] = exponent if a[r, i] > 0 else 0.0
            for i in range(L):
                start[w, i] = min(column[i], 0.0)


@_compiled
def _scale(K, start, a, b, us, vs):
    """Write u_1..u_T to us (T, R, L) and v_0..v_T to vs (T + 1, W, L) for one right set; start is v_0."""
    W, R, L = K.shape
    sums = np.zeros((R, L), np.float32)  # K v
    for w in range(W):
        for i in range(L):
            vs[0, w, i] = start[w, i]
        for r in range(R):
            for i in range(L):
                sums[r, i] += K[w, r, i] * start[w, i]
    for t in range(len(us)):
        for r in range(R):
            for i in range(L):
                us[t, r, i] = a[r, i] / sums[r, i]
                sums[r, i] = 0.0
        for w in range(W):
            v = vs[t + 1, w]
            v[:] = 0.0
            for r in range(R):
                for i in range(L):
                    v[i] += K[w, r, i] * us[t, r, i]
            for i in range(L):
                v[i] = b[w] / v[i]
            for r in range(R):  # the next row sums, while this word's kernel is in the nearest cache
                for i in range(L):
                    sums[r, i] += K[w, r, i] * v[i]


@_compiled
def forward(first, last, Z, K, start, ends, has_bin, a, b, T, smoothing, bins, mean, scores):
    """Write the scores (right sets, L) of the right sets from ``first`` to before ``last``."""
    _, R, L = Z.shape
    longest = np.diff(ends[first : last + 1]).max()  # words of a right set
    us, vs = np.empty((T, R, L), np.float32), np.empty((T + 1, longest, L), np.float32)
    collected, weight, mass = np.empty(L, np.float32), np.empty(L, np.float32), np.empty(L, np.float32)
    for j in range(first, last):
        low, high = ends[j], ends[j + 1]
        _scale(K[low:high], start[low:high], a, b[low:high], us, vs)
        if bins:
            us[T - 1, R - 1] = 0.0
            if has_bin[j]:
                vs[T, high - low - 1] = 0.0
        scores[j], mass[:] = 0.0, 0.0
        for w in range(low, high):
            collected[:], weight[:] = 0.0, 0.0
            for r in range(R):
                for i in range(L):
                    share = K[w, r, i] * us[T - 1, r, i]
                    collected[i] += share * Z[w, r, i]
                    weight[i] += share
            for i in range(L):
                scores[j, i] += collected[i] * vs[T, w - low, i]
                mass[i] += weight[i] * vs[T, w - low, i]
        for i in range(L):
            scores[j, i] *= smoothing
            if mean:
                scores[j, i] = scores[j, i] / mass[i] if mass[i] > 0 else 0.0


@_compiled
def backward(first, last, Z, K, start, ends, has_bin, a, b, T, smoothing, bins, mean, gradient, b_bar):
    """Work out the gradients from those of the scores, running the iterations again first.

    Arguments up to ``mean`` are those of ``forward``; ``gradient`` is G, (right sets, L). Written are
    ``b_bar`` (V, L), the gradient by b from each left set, and in place of K the gradient by Z. Returned is
    the gradient by a from these right sets, (R, L).
    """
    _, R, L = Z.shape
    longest = np.diff(ends[first : last + 1]).max()  # words of a right set
    us, vs = np.empty((T, R, L), np.float32), np.empty((T + 1, longest, L), np.float32)
    ps, qs = np.empty((T, R, L), np.float32), np.empty((T, longest, L), np.float32)
    u, v = np.empty((R, L), np.float32), np.empty((longest, L), np.float32)
    u_bar, v_bar = np.empty((R, L), np.float32), np.empty((longest, L), np.float32)
    g, h = np.empty(L, np.float32), np.empty(L, np.float32)
    pull, row_mass = np.empty((R, L), np.float32), np.empty((R, L), np.float32)  # (Z * K) v and K v
    total = np.empty(L, np.float32)
    a_bar = np.zeros((R, L), np.float32)
    for j in range(first, last):
        low, W = ends[j], ends[j + 1] - ends[j]
        _scale(K[low : low + W], start[low : low + W], a, b[low : low + W], us, vs)
        u[:], v[:W] = us[T - 1], vs[T, :W]
        if bins:
            u[R - 1] = 0.0
            if has_bin[j]:
                v[W - 1] = 0.0
        pull[:], row_mass[:] = 0.0, 0.0
        for w in range(W):
            for r in range(R):
                for i in range(L):
                    share = K[low + w, r, i] * v[w, i]
                    pull[r, i] += share * Z[low + w, r, i]
                    row_mass[r, i] += share
        for i in range(L):
            g[i], h[i] = gradient[j, i] * smoothing, 0.0
        if mean:
            for i in range(L):
                collected, mass = np.float32(0.0), np.float32(0.0)
                for r in range(R):
                    collected += u[r, i] * pull[r, i]
                    mass += u[r, i] * row_mass[r, i]
                g[i] = g[i] / mass if mass > 0 else 0.0
                h[i] = g[i] * collected / mass if mass > 0 else 0.0
        for r in range(R):
            for i in range(L):
                u_bar[r, i] = g[i] * pull[r, i] - h[i] * row_mass[r, i]
        v_bar[:] = 0.0
        for w in range(W):
            for r in range(R):
                for i in range(L):
                    v_bar[w, i] += K[low + w, r, i] * u[r, i] * (g[i] * Z[low + w, r, i] - h[i])
        if bins:
            u_bar[R - 1] = 0.0
            if has_bin[j]:
                v_bar[W - 1] = 0.0
        for t in range(T - 1, -1, -1):
            for w in range(W):
                for i in range(L):
                    step = v_bar[w, i] * vs[t + 1, w, i] / b[low + w]
                    b_bar[low + w, i] += step
                    qs[t, w, i] = step * vs[t + 1, w, i]
                for r in range(R):
                    for i in range(L):
                        u_bar[r, i] -= K[low + w, r, i] * qs[t, w, i]
            for r in range(R):
                for i in range(L):
                    step = u_bar[r, i] * us[t, r, i] / a[r, i] if a[r, i] > 0 else 0.0
                    a_bar[r, i] += step
                    ps[t, r, i] = step * us[t, r, i]
                    u_bar[r, i] = 0.0
            for w in range(W):
                v_bar[w] = 0.0
                for r in range(R):
                    for i in range(L):
                        v_bar[w, i] -= K[low + w, r, i] * ps[t, r, i]
        for w in range(W):
            for r in range(R):
                for i in range(L):
                    total[i] = (g[i] * Z[low + w, r, i] + g[i] - h[i]) * u[r, i] * v[w, i]
                for t in range(T):
                    for i in range(L):
                        total[i] -= us[t, r, i] * qs[t, w, i] + ps[t, r, i] * vs[t, w, i]
                for i in range(L):
                    K[low + w, r, i] *= total[i]
    return a_bar
