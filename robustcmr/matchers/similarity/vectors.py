"""Similarity vectors of one tile of image-caption pairs, with a gradient written by hand.

A tile holds n images and c captions with t real words in total, concatenated; ``sums`` adds values (n, t, R)
over the words of each caption and broadcasts the sum back to them. With regions V (R, D), a word x and its
attention a (R,), the normalised context is ``c = V' a / |V' a|`` and ``|V' a|^2 = a' G a`` with the
Gram matrix G = V V'. So ``c - x`` is one matrix product, and the backward pass through attention and norm
needs R numbers a word, not D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SHORTEST = 1e-8
"""Vectors of a smaller norm stay zero when normalised and get no gradient."""

MOST_SMOOTH = 16.0
"""Largest inverse temperature of the attention; exp(4 * 16) and its multiples fit float32."""

_LEAK = 0.1

Sums = Callable[[Tensor], Tensor]


def unit(vectors: Tensor) -> Tensor:
    """Normalise vectors (..., D) to unit norm; zero, without gradient, below the norm ``SHORTEST``."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    shortened: Tensor = vectors / length.masked_fill(length < SHORTEST, torch.inf)
    return shortened


def _inverse_root(squares: Tensor) -> Tensor:
    """Return the inverse square root, zero for norms below ``SHORTEST``."""
    return squares.clamp(min=0.0).sqrt().reciprocal().masked_fill(squares < SHORTEST**2, 0.0)


@dataclass(frozen=True)
class Attention:
    """Attention of words over regions, and the intermediates of its gradient; all (n, t, R).

    Attributes:
        slope: of the leaky ReLU.
        scaled: similarity after the leaky ReLU, normalised along the words of the caption.
        inverse: inverse of that norm.
        context: attention over the norm of the context, so that ``context @ regions`` has unit norm.
        pull: ``context @ gram``.
    """

    slope: Tensor
    scaled: Tensor
    inverse: Tensor
    context: Tensor
    pull: Tensor


def attend(similarity: Tensor, sums: Sums, gram: Tensor, smooth: float) -> Attention:
    """Compute the attention of words over regions.

    The context is normalised, so the softmax needs no division by its sum; its exponents are bounded by
    ``smooth``, so no maximum is subtracted. Padded regions are zero and add nothing to a context.

    Args:
        similarity: (n, t, R) inner products of words and regions.
        sums: sums over the words of each caption.
        gram: (n, R, R) inner products of the regions.
        smooth: inverse temperature, at most ``MOST_SMOOTH``.

    Returns:
        The attention and its intermediates, in the dtype of ``similarity``.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021, section 3.2.
    """
    slope = (similarity > 0).to(similarity.dtype).mul_(1.0 - _LEAK).add_(_LEAK)
    leaky = similarity * slope
    inverse = _inverse_root(sums(leaky * leaky))
    scaled = leaky.mul_(inverse)
    weights = (scaled + 1.0).mul_(smooth).exp_()  # at least 1
    pull = torch.bmm(weights, gram)
    shrink = _inverse_root((weights * pull).sum(-1, keepdim=True))  # inverse norm of the context
    return Attention(slope, scaled, inverse, weights.mul_(shrink), pull.mul_(shrink))


def attend_backward(
    attention: Attention, sums: Sums, smooth: float, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients by similarity (n, t, R) and Gram matrix (n, R, R), given that by the context."""
    radial = (gradient * attention.context).sum(-1, keepdim=True)  # (n, t, 1)
    by_gram = torch.bmm((attention.context * radial).transpose(1, 2), attention.context).mul_(-0.5)
    by_scaled = torch.addcmul(gradient, attention.pull, radial, value=-1.0)
    by_scaled.mul_(attention.context).mul_(smooth)
    inward = sums(by_scaled * attention.scaled)
    by_leaky = torch.addcmul(by_scaled, attention.scaled, inward, value=-1.0).mul_(attention.inverse)
    return by_leaky.mul_(attention.slope), by_gram


def project_squares(difference: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Map squared differences to similarity vectors: ``unit(W d^2 + b)``.

    Args:
        difference: (x, D), overwritten.
        weight: (K, D).
        bias: (K,) float32 or wider.

    Returns:
        Vectors (x, K) in the dtype of ``difference``, and the inverse of their norms before (x, 1).
    """
    squares = torch.mul(difference, difference, out=difference)
    hidden = (
        torch.addmm(bias, squares, weight.T)
        if bias.dtype == squares.dtype
        else (squares @ weight.T).to(bias.dtype) + bias
    )
    inverse = _inverse_root((hidden * hidden).sum(-1, keepdim=True))
    return hidden.mul_(inverse).to(difference.dtype), inverse


def project_squares_backward(
    difference: Tensor,
    weight: Tensor,
    vectors: Tensor,
    inverse: Tensor,
    gradient: Tensor,
    weight_total: Tensor,
    bias_total: Tensor,
) -> Tensor:
    """Return the gradient by the differences (x, D), given that by the result of ``project_squares``, (x, K).

    Adds the gradients by weight (K, D) and bias (K,) to their totals.
    """
    wide, vectors = gradient.to(inverse.dtype), vectors.to(inverse.dtype)
    radial = (wide * vectors).sum(-1, keepdim=True)
    by_hidden = torch.addcmul(wide, vectors, radial, value=-1.0).mul_(inverse)  # (x, K)
    bias_total += by_hidden.sum(0)
    narrow = by_hidden.to(difference.dtype)
    squares = difference * difference
    add_product(weight_total, narrow.T, squares)
    return torch.mm(narrow, weight, out=squares).mul_(difference).mul_(2.0)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` to a total of the same or a wider dtype; matrices or batches of them."""
    if total.dtype != left.dtype:
        total += left @ right
    elif total.ndim == 2:
        total.addmm_(left, right)
    else:
        total.baddbmm_(left, right)
