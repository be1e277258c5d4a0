"""Random fragment sets, and the released formula in a slow loop."""

import math

import pytest
import torch
from torch.nn.functional import normalize


def random_sets(n=4, m=3, R=5, W=4, D=6, seed=0, dtype=torch.float64, bins=False):
    """Unit fragments and weights; the second left and the last right set have fragments of no weight."""
    generator = torch.Generator().manual_seed(seed)
    left = normalize(torch.randn(n, R, D, dtype=torch.float64, generator=generator), dim=-1)
    right = normalize(torch.randn(m, W, D, dtype=torch.float64, generator=generator), dim=-1)
    a = torch.rand(n, R, dtype=torch.float64, generator=generator) + 0.1
    b = torch.rand(m, W, dtype=torch.float64, generator=generator) + 0.1
    if n > 1 and R > 3:
        a[1, 1:3] = 0.0
    if m > 1 and W > 2:
        b[-1, 0] = 0.0
    if bins:
        a[:, -1], b[:, -1] = 0.25 * a[:, :-1].sum(1), 0.25 * b[:, :-1].sum(1)
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    return tuple(x.to(dtype) for x in (left, right, a, b))


def slow_scores(left, right, a, b, smoothing, iterations, corner=None, bins=None):
    """The released formula in plain Python floats, pair by pair, on the fragments that have weight."""
    bins = "mean" if bins is None and corner is not None else bins
    scores = torch.zeros(len(left), len(right), dtype=torch.float64)
    for i in range(len(left)):
        for j in range(len(right)):
            rows = [r for r in range(a.shape[1]) if a[i, r] > 0]
            columns = [w for w in range(b.shape[1]) if b[j, w] > 0]
            S = [[float(left[i, r] @ right[j, w]) for w in columns] for r in rows]
            if corner is not None:
                S[-1][-1] = corner
            P = [[math.exp(-(1 - s) / smoothing) for s in line] for line in S]
            total = math.fsum(map(math.fsum, P))
            P = [[p / total for p in line] for line in P]
            for _ in range(iterations):
                for k, r in enumerate(rows):
                    have = math.fsum(P[k])
                    P[k] = [p * float(a[i, r]) / have for p in P[k]]
                for k, w in enumerate(columns):
                    have = math.fsum(line[k] for line in P)
                    for line in P:
                        line[k] *= float(b[j, w]) / have
            inner = slice(None) if bins is None else slice(-1)
            S, P = [line[inner] for line in S[inner]], [line[inner] for line in P[inner]]
            collected = math.fsum(s * p for x, y in zip(S, P, strict=True) for s, p in zip(x, y, strict=True))
            mass = math.fsum(map(math.fsum, P)) if bins == "mean" else 1.0
            scores[i, j] = collected / mass
    return scores


@pytest.fixture(scope="session")
def sets():
    return random_sets


@pytest.fixture(scope="session")
def slow():
    return slow_scores
