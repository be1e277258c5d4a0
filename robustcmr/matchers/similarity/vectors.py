"""The similarity vectors of one tile of image-caption pairs, and their gradient worked out by hand.

A tile holds n images and c captions, whose t real words lie one after the other without padding. The context
of a word in an image, normalised, is linear in the regions once the attention is divided by the context's
length, and that length comes from the regions' inner products, R by R an image. So (context - word) is one
matrix product, and the way back through attention and length stays in R numbers a word, not D. Nothing here
outlives its tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SHORTEST = 1e-8
"""Vectors shorter than this count as zero, stay zero when normalised and get no gradient."""

MOST_SMOOTH = 16.0
"""Largest factor before the softmax of the attention; exp(4 * 16) and its multiples fit float32."""

_LEAK = 0.1


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., D) over their lengths; zero, without gradient, where shorter than ``SHORTEST``."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    shortened: Tensor = vectors / length.masked_fill(length < SHORTEST, torch.inf)
    return shortened


def _inverse_root(squares: Tensor) -> Tensor:
    """One over the lengths whose squares are given, zero for lengths below ``SHORTEST``."""
    return squares.clamp(min=0.0).sqrt().reciprocal().masked_fill(squares < SHORTEST**2, 0.0)


@dataclass(frozen=True)
class Captions:
    """Some captions whose real words lie one after the other.

    Attributes:
        rows: which of all captions.
        words: which of all T words; t of them.
        owner: (t,) int64, the caption of each word, counted from 0.
        indicator: (c, t) 1 where a word belongs to a caption, else 0; in the type sums are taken in.
        places: (t,) int64, where each word's node lies among the c * N nodes of an image.
        mask: (c, N) bool, which nodes are real, N = 1 + longest caption; the first, for the whole, always is.
        even: whether all nodes are real.
    """

    rows: slice
    words: slice
    owner: Tensor
    indicator: Tensor
    places: Tensor
    mask: Tensor
    even: bool

    @staticmethod
    def of(lengths: Sequence[int], first: int, start: int, like: Tensor) -> Captions:
        """Captions of these lengths, the first of them number ``first``, its first word number ``start``."""
        counts = torch.tensor(lengths)
        owner = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        inside = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts)[owner]
        N = 1 + max(lengths)
        return Captions(
            slice(first, first + len(lengths)),
            slice(start, start + len(owner)),
            owner.to(like.device),
            F.one_hot(owner, len(lengths)).T.to(like.device, like.dtype).contiguous(),
            (owner * N + 1 + inside).to(like.device),
            (torch.arange(N) <= counts.unsqueeze(1)).to(like.device),
            min(lengths) == N - 1,
        )

    def node_mask(self, n: int) -> Tensor | None:
        """(n c, N) bool, which nodes of the pairs with n images are real; None where all are."""
        return None if self.even else self.mask.repeat(n, 1)

    def sums(self, values: Tensor) -> Tensor:
        """Sums over each caption's words, handed to each of them: (n, t, R) -> (n, t, R)."""
        if len(self.indicator) == 1:
            return values.sum(1, keepdim=True)
        return torch.matmul(self.indicator, values).index_select(1, self.owner)


@dataclass(frozen=True)
class Attention:
    """How each word looks at the regions, with what its way back needs; all (n, t, R) but one.

    Attributes:
        slope: of the leaky ReLU.
        scaled: similarity after the leaky ReLU, over its length along the caption's words.
        inverse: one over that length.
        context: attention over the length of the context, so that ``context @ regions`` has length 1.
        pull: ``context @ gram``.
    """

    slope: Tensor
    scaled: Tensor
    inverse: Tensor
    context: Tensor
    pull: Tensor


def attend(similarity: Tensor, captions: Captions, gram: Tensor, smooth: float) -> Attention:
    """The attention of words on regions.

    The context is made unit length, so the softmax needs no sum to divide by; and its exponents lie within
    -smooth..smooth, so none must be searched for the largest. Padded regions are zero, so whatever attention
    they get adds nothing to a context.

    Args:
        similarity: (n, t, R) inner products of words and regions.
        captions: whose words they are.
        gram: (n, R, R) inner products of the regions.
        smooth: factor before the softmax, at most ``MOST_SMOOTH``.

    Returns:
        Its parts, in the type of ``similarity``.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021, section 3.2.
    """
    slope = (similarity > 0).to(similarity.dtype).mul_(1.0 - _LEAK).add_(_LEAK)
    leaky = similarity * slope
    inverse = _inverse_root(captions.sums(leaky * leaky))
    scaled = leaky.mul_(inverse)
    weights = (scaled + 1.0).mul_(smooth).exp_()  # at least 1
    pull = torch.bmm(weights, gram)
    shrink = _inverse_root((weights * pull).sum(-1, keepdim=True))  # one over the length of the context
    return Attention(slope, scaled, inverse, weights.mul_(shrink), pull.mul_(shrink))


def attend_backward(
    attention: Attention, captions: Captions, smooth: float, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by the similarity, (n, t, R), and by the inner products of the regions, (n, R, R).

    Args:
        attention: from ``attend``.
        captions: as given to ``attend``.
        smooth: as given to ``attend``.
        gradient: (n, t, R) by ``attention.context``.
    """
    radial = (gradient * attention.context).sum(-1, keepdim=True)  # (n, t, 1)
    by_gram = torch.bmm((attention.context * radial).transpose(1, 2), attention.context).mul_(-0.5)
    by_scaled = torch.addcmul(gradient, attention.pull, radial, value=-1.0)
    by_scaled.mul_(attention.context).mul_(smooth)
    inward = captions.sums(by_scaled * attention.scaled)
    by_leaky = torch.addcmul(by_scaled, attention.scaled, inward, value=-1.0).mul_(attention.inverse)
    return by_leaky.mul_(attention.slope), by_gram


def project_squares(difference: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity vectors of differences: the square, entry by entry, through a linear map, then length 1.

    Args:
        difference: (x, D); its memory is used up.
        weight: (K, D).
        bias: (K,) float32 or wider.

    Returns:
        Vectors (x, K) in the type of ``difference``, and one over their lengths before (x, 1).
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
    """The gradient by the differences, (x, D).

    Args:
        difference: (x, D).
        weight: (K, D), as given to ``project_squares``.
        vectors: (x, K) from there.
        inverse: (x, 1) from there.
        gradient: (x, K) by the vectors.
        weight_total: (K, D), where the gradient by the weight is added.
        bias_total: (K,), where the gradient by the bias is added.
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
    """Add ``left @ right`` to a total of the same or a wider type; matrices, or stacks of them."""
    if total.dtype != left.dtype:
        total += left @ right
    elif total.ndim == 2:
        total.addmm_(left, right)
    else:
        total.baddbmm_(left, right)
