"""The released OMIT formula in plain tensors and autograd, for references of whole programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from robustcmr.matchers import omit

_TINY = torch.finfo(torch.float32).tiny


def released_scores(
    left: Tensor, right: Tensor, a: Tensor, b: Tensor, *, smoothing: float, iterations: int, **_: object
) -> Tensor:
    """A plan for every pair, (N, M, R, W), rewritten at every scaling; padding is left out by masks.

    Args:
        left: (N, R, D) unit fragments.
        right: (M, W, D) likewise.
        a: (N, R) weights, 0 where padded.
        b: (M, W) likewise.
        smoothing: lambda.
        iterations: T.

    Returns:
        (N, M) scores.
    """
    S = torch.einsum("nrd,mwd->nmrw", left, right)
    present = (a > 0)[:, None, :, None] & (b > 0)[None, :, None, :]
    P = torch.exp(-(1.0 - S) / smoothing) * present
    P = P / P.sum((-1, -2), keepdim=True)
    for _ in range(iterations):
        P = P * (a.unsqueeze(1) / P.sum(-1).clamp(min=_TINY)).unsqueeze(-1)
        P = P * (b.unsqueeze(0) / P.sum(-2).clamp(min=_TINY)).unsqueeze(-2)
    return (S * P).sum((-1, -2))


@contextmanager
def released_formula() -> Iterator[None]:
    """Have the OMIT matcher score by the released formula for a while."""
    ours = omit.pair_scores
    omit.pair_scores = released_scores  # type: ignore[assignment]
    try:
        yield
    finally:
        omit.pair_scores = ours
