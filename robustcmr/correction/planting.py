"""Practice for the cost network: problems made of clean pairs, whose few true matches are known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.losses.checks import check_square


@dataclass(frozen=True)
class PlantedProblem:
    """A score matrix in which a few known cells are matches.

    Attributes:
        scores: (n, m) detached similarity, larger is closer.
        is_match: (n, m) bool, the planted cells; at most one a row and one a column.
        allowed: (n, m) bool, cells that count; False where an image meets another caption given to it, which
            is neither a match to be found nor a non-match. Planted cells are always allowed.
    """

    scores: Tensor
    is_match: Tensor
    allowed: Tensor


def n_planted(share: float, n: int) -> int:
    """How many of n rows get their partner: the share of them, rounded, at least one.

    Raises:
        ValueError: if the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of planted matches must be above 0 and at most 1, got {share}")
    return max(1, round(share * n))


def planted_problem(
    scores: Tensor,
    share: float,
    same_image: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> PlantedProblem:
    """Choose images and captions of clean pairs such that only a share of them finds its partner.

    That is the situation rematching meets among mismatched pairs. As all others must miss their partner,
    the problem has about half as many rows as there are pairs: with k matches, n = (B + k) // 2 images and
    as many captions, in random order.

    Args:
        scores: (B, B) similarity of pairs believed clean, on the diagonal; B >= 1.
        share: of the images whose caption is there too, in (0, 1]; at least one is.
        same_image: (B, B) bool, True where the image given to pair i is the one given to pair j.
        generator: on the CPU; the same one gives the same problem.

    Returns:
        The problem, n x n.

    Raises:
        ValueError: if shapes do not fit, there is no pair, or the share is out of range.
    """
    B = require_pairs(scores, same_image)
    n = (B + 1) // 2
    while (B + n_planted(share, n + 1)) // 2 >= n + 1:  # n grows with k, and k with n
        n += 1
    k = n_planted(share, n)
    order = torch.randperm(B, generator=generator)
    images, captions = order[:n], torch.cat([order[:k], order[n : 2 * n - k]])
    images = images[torch.randperm(n, generator=generator)]
    captions = captions[torch.randperm(n, generator=generator)]
    return cut_problem(scores, images, captions, images[:, None] == captions[None, :], same_image)


def planted_loss(
    cost: Tensor,
    is_match: Tensor,
    allowed: Tensor,
    temperature: float,
    contrast: float = 1.0,
) -> Tensor:
    """Mean cost of the planted matches above the lowest, plus how little they stand out from other cells.

    The contrast of a planted cell is the mean of three cross entropies: softmax of -cost / temperature over
    its row, its column and the whole problem. The last one compares cells that share neither, as the plan
    does when it chooses which rows to move at all: most of them have no match. In the released form, the mean
    cost alone, nothing keeps the cost of non-matches up; that is ``legacy_planted_loss``. Here neither part
    changes when all costs are raised or lowered together, which a plan of fixed mass would not notice, so
    nothing is gained by lowering all.

    Args:
        cost: (n, m) from the cost network, with its graph; detach the scores before, so that only the network
            learns.
        is_match: (n, m) bool, planted cells.
        allowed: (n, m) bool, cells that take part; planted ones among them.
        temperature: > 0, in units of the cost; 0.05 suits cosines.
        contrast: weight of the contrast against the mean cost, >= 0.

    Returns:
        Scalar, both parts averaged over the planted cells; 0 where none is planted.

    References:
        Han et al., L2RM, CVPR 2024, for the mean cost; the rest is ours.
    """
    planted = is_match & allowed
    count = planted.sum().clamp(min=1)
    logits = -cost / temperature
    surprise = cost.new_zeros(())
    for axes in ((1,), (0,), (0, 1)):
        # A row without allowed cells holds no planted one either: any finite number will do.
        seen = torch.where(allowed | ~allowed.any(axes, keepdim=True), logits, -torch.inf)
        surprise = surprise + torch.where(planted, seen.logsumexp(axes, keepdim=True) - logits, 0.0).sum() / 3
    lowest = torch.where(allowed | ~allowed.any(), cost, torch.inf).amin()
    excess = torch.where(planted, cost - lowest, 0.0).sum()
    return (excess + contrast * surprise) / count


def require_pairs(scores: Tensor, same_image: Tensor | None) -> int:
    """Number of pairs B of a (B, B) score matrix.

    Raises:
        ValueError: if a shape does not fit, or there is no pair.
    """
    check_square(scores, same_image)
    if len(scores) == 0:
        raise ValueError("planting needs at least one pair, got none")
    return len(scores)


def cut_problem(
    scores: Tensor, images: Tensor, captions: Tensor, is_match: Tensor, same_image: Tensor | None
) -> PlantedProblem:
    """Some images and captions of a batch, with cells of the same image left out unless they are planted.

    Args:
        scores: (B, B).
        images: (n,) int64 on the CPU, pairs whose images become the rows.
        captions: (m,) int64 on the CPU, pairs whose captions become the columns.
        is_match: (n, m) bool on the CPU, planted cells.
        same_image: (B, B) bool or None.
    """
    rows, columns, planted = (x.to(scores.device) for x in (images, captions, is_match))
    allowed = torch.ones_like(planted)
    if same_image is not None:
        allowed = ~same_image.to(scores.device)[rows][:, columns] | planted
    return PlantedProblem(scores.detach()[rows][:, columns], planted, allowed)
