"""Complementary contrastive loss: learn from what the pairs of a batch are not.

With p_ij = softmax_j(s_ij / tau), q the same of the transposed scores, and an increasing f, the loss of pair
i is

    sum_{j != i} f(p_ij) + sum_{j != i} f(q_ij)

The given pair enters through the softmax alone: a wrong one cannot pull without bound, as -log p_ii does.

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores; values are at least
float32, on their device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives
from robustcmr.losses.cross_entropy import log_matching_probabilities
from robustcmr.losses.fusing import fusible

Shape = Literal["log", "tan", "abs", "exp", "gce"]

_FLOOR = 1e-10  # inside the logarithm, as released
_LEAST = 1e-30  # of 1 - p under a fractional power, whose slope at 0 is infinite


@takes_arrays("temperature", "power")
@fusible
def complementary_loss(
    scores: Tensor,
    temperature: float = 0.05,
    shape: Shape = "log",
    same_image: Tensor | None = None,
    correspondence: Tensor | None = None,
    power: float = 0.2,
) -> Tensor:
    """Return the complementary contrastive loss of every pair, sum of both directions.

    The shapes f(p) of a negative's probability are ``log``: -log(1 - p + 1e-10), ``tan``: tan(p), ``abs``: p,
    ``exp``: exp(p - 1), and ``gce``: (1 - (1 - p)^power) / power.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        shape: f, by name.
        same_image: (B, B) bool, symmetric, cells that are no negatives; they have probability 0.
        correspondence: y (B,) in 0..1, how surely each pair is right. The sum over the negatives of pair i is
            then divided by (sum over all candidates)^(1 - y_i): at 1 it stays, at 0 it is a share of at most
            1.
        power: exponent > 0 of ``gce``; smaller is nearer to ``log``, 1 is ``abs``.

    Returns:
        (B,) one value a pair, >= 0, 0 where there is no negative, with the gradient of the scores.

    Raises:
        ValueError: an unknown shape, or one y for each pair was expected.

    Example:
        >>> import torch
        >>> complementary_loss(torch.tensor([[0.9, 0.8], [0.1, 0.5]]), temperature=0.1)
        tensor([0.3136, 3.0667])

    References:
        Hu et al., "Cross-Modal Retrieval with Partially Mismatched Pairs", TPAMI 2023; with
        ``correspondence``, Qin et al., "Cross-modal Active Complementary Learning with Self-refining
        Correspondence", NeurIPS 2023.
    """
    negatives = ~no_negatives(scores, same_image)  # (B, B)
    if correspondence is not None and correspondence.shape != (len(scores),):
        raise ValueError(
            f"correspondence is of shape {tuple(correspondence.shape)}; expected one number for each of the "
            f"{len(scores)} pairs, such as torch.ones({len(scores)})"
        )
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = wide.new_zeros(len(scores))
    for log_p in log_matching_probabilities(wide, temperature, same_image):
        values = _shaped(log_p.exp(), shape, power)  # (B, B)
        others = torch.where(negatives, values, 0.0).sum(1)  # (B,)
        if correspondence is not None:
            candidates = others + values.diagonal()
            others = others / candidates ** (1 - correspondence.to(wide))
        total = total + others
    return total


def _shaped(p: Tensor, shape: str, power: float) -> Tensor:
    """Return f(p) in every cell of (B, B) probabilities, whose rows sum to 1."""
    if shape == "log":
        return -(_complement(p) + _FLOOR).log()
    if shape == "tan":
        return p.tan()
    if shape == "abs":
        return p
    if shape == "exp":
        return (p - 1).exp()
    if shape == "gce":
        return (1 - _complement(p).clamp(min=_LEAST) ** power) / power
    raise ValueError(f"shape is {shape!r}; expected log, tan, abs, exp or gce, such as shape='log'")


def _complement(p: Tensor) -> Tensor:
    """Return 1 - p, in the largest cell of a row as the sum of the others: there 1 - p would cancel."""
    largest = p.argmax(1, keepdim=True)  # (B, 1)
    rest = p.scatter(1, largest, 0.0).sum(1, keepdim=True)
    return (1 - p).scatter(1, largest, rest)
