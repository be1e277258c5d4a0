"""Synthetic matches: training problems for a learned cost, cut from clean pairs, whose few matches are known.

With cost C over the allowed cells A and synthetic matches M within A:

    loss = (1 / |M|) sum_{(i,j) in M} [ C_ij - min_A C + contrast * surprise_ij ]
    surprise_ij = C_ij / tau + mean over row, column and whole problem of logsumexp(-C / tau)

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import allowed_mask, check_square


@dataclass(frozen=True)
class SyntheticProblem:
    """A score matrix in which a few known cells are matches.

    Attributes:
        scores: (n, m) detached similarity, larger is closer.
        is_match: (n, m) bool, the synthetic matches; at most one a row and one a column.
        allowed: (n, m) bool, cells that count; False where an image meets another caption given to it, which
            is neither a match nor a non-match. Synthetic matches are always allowed.
    """

    scores: Tensor
    is_match: Tensor
    allowed: Tensor


def n_matches(share: float, n: int) -> int:
    """Return how many of n rows get their partner: ``share * n`` rounded, at least one."""
    if not 0 < share <= 1:
        raise ValueError(f"the share of synthetic matches must be above 0 and at most 1, got {share}")
    return max(1, round(share * n))


@takes_arrays()
def synthetic_problem(
    scores: Tensor,
    share: float = 0.1,
    same_image: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SyntheticProblem:
    """Choose images and captions of clean pairs so that only a share of the images meets its caption.

    This imitates rematching among mismatched pairs. As all other images must lack their caption, the problem
    has about half as many rows as there are pairs: k matches, n = (B + k) // 2 images and n captions, in
    random order.

    Args:
        scores: (B, B) similarity of pairs estimated to be clean, on the diagonal; B >= 1.
        share: of the images that meet their caption, in (0, 1]; at least one does.
        same_image: (B, B) bool, True where pairs i and j were given the same image.
        generator: on the CPU; fixes the problem.

    Returns:
        The problem, n x n, on the device of the scores; its random order is drawn on the CPU.

    Example:
        >>> import numpy as np
        >>> from robustcmr.correction import CostNetwork
        >>> found = synthetic_problem(np.eye(20))  # any score matrix of clean pairs
        >>> tuple(found.scores.shape), int(found.is_match.sum())
        ((10, 10), 1)
        >>> cost = CostNetwork()
        >>> synthetic_loss(cost(found.scores), found.is_match).backward()  # a step of training the cost
    """
    B = require_pairs(scores, same_image)
    n = (B + 1) // 2
    while (B + n_matches(share, n + 1)) // 2 >= n + 1:  # n grows with k, and k with n
        n += 1
    k = n_matches(share, n)
    order = torch.randperm(B, generator=generator)
    images, captions = order[:n], torch.cat([order[:k], order[n : 2 * n - k]])
    images = images[torch.randperm(n, generator=generator)]
    captions = captions[torch.randperm(n, generator=generator)]
    return cut_problem(scores, images, captions, images[:, None] == captions[None, :], same_image)


@takes_arrays("temperature")
def synthetic_loss(
    cost: Tensor,
    is_match: Tensor,
    allowed: Tensor | None = None,
    temperature: float = 0.05,
    contrast: float = 1.0,
) -> Tensor:
    """Return the mean cost of the synthetic matches above the lowest cost, plus their contrast to other
    cells.

    The term over the whole problem compares cells that share neither row nor column, as the plan does when it
    chooses the rows to move. The released loss is the mean cost alone, which lets the cost of non-matches
    fall as well (``positional_loss``). Here neither part changes when all costs shift together, which a plan
    of fixed mass would not notice either.

    Args:
        cost: C, (n, m) from the cost network, with its graph; detach the scores before.
        is_match: (n, m) bool, synthetic matches.
        allowed: (n, m) bool, cells that take part, synthetic matches among them; None for all.
        temperature: tau > 0, in units of the cost; 0.05 suits cosines.
        contrast: weight of the surprise, >= 0.

    Returns:
        Scalar; 0 where there is no match.

    Example:
        >>> import torch
        >>> cost, everywhere = torch.tensor([[0.1, 0.9], [0.8, 0.7]]), torch.ones(2, 2, dtype=torch.bool)
        >>> synthetic_loss(cost, torch.eye(2) == 1, everywhere, temperature=0.5)
        tensor(0.9391)

    References:
        Han et al., L2RM, CVPR 2024, for the mean cost; the rest is ours.
    """
    allowed = allowed_mask(cost, allowed)
    matches = is_match & allowed
    count = matches.sum().clamp(min=1)
    logits = -cost / temperature
    surprise = cost.new_zeros(())
    for axes in ((1,), (0,), (0, 1)):
        # a row without allowed cells has no match either: any finite number will do
        seen = torch.where(allowed | ~allowed.any(axes, keepdim=True), logits, -torch.inf)
        surprise = surprise + torch.where(matches, seen.logsumexp(axes, keepdim=True) - logits, 0.0).sum() / 3
    lowest = torch.where(allowed | ~allowed.any(), cost, torch.inf).amin()
    excess = torch.where(matches, cost - lowest, 0.0).sum()
    return (excess + contrast * surprise) / count


def require_pairs(scores: Tensor, same_image: Tensor | None) -> int:
    """Return the number of pairs B >= 1 of a (B, B) score matrix."""
    check_square(scores, same_image)
    if len(scores) == 0:
        raise ValueError("synthetic matches need at least one pair, got none")
    return len(scores)


def cut_problem(
    scores: Tensor, images: Tensor, captions: Tensor, is_match: Tensor, same_image: Tensor | None
) -> SyntheticProblem:
    """Cut the rows ``images`` (n,) and columns ``captions`` (m,), indices on the CPU, out of a batch (B, B).

    Cells of the same image that are no match are forbidden.
    """
    rows, columns, matches = (x.to(scores.device) for x in (images, captions, is_match))
    allowed = torch.ones_like(matches)
    if same_image is not None:
        allowed = ~same_image.to(scores.device)[rows][:, columns] | matches
    return SyntheticProblem(scores.detach()[rows][:, columns], matches, allowed)
