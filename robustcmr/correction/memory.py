"""A memory of clean pairs, and prototypes of what belongs to an image or text: a target for suspected pairs.

An item is compared with the items of its own modality; what the nearest were paired with is its prototype:

    prototype(q) = pool(value_1, ..., value_k),    key_1, ..., key_k nearest to q by cosine

with the memory's images as keys and its texts as values, or the other way round. ``pool`` takes the nearest
value, the mean, or a learned mean of values that attend to each other (:class:`AttentionRefiner`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays
from robustcmr.correction.candidates import BLOCK_BYTES, nearest_candidates

Modality = Literal["image", "text"]
Pooling = Literal["top1", "mean", "attention"]
"""A prototype of the neighbours: the nearest, their mean, or :class:`AttentionRefiner`."""


class PairMemory(nn.Module):
    """The latest clean pairs as vectors, first in, first out; saved with a checkpoint.

    It takes ``4 * capacity * (image_width + text_width)`` bytes from the beginning, and never more: 64 MiB
    for 65,536 pairs of width 128.

    Args:
        capacity: most pairs, >= 1.
        image_width: numbers of an image vector.
        text_width: numbers of a text vector; None for the same.

    Raises:
        ValueError: the capacity is below 1.

    Example:
        >>> memory = PairMemory(capacity=2, image_width=3)
        >>> memory.push(torch.eye(3), torch.eye(3).roll(1, 1))  # only the last two pairs are kept
        >>> len(memory)
        2
        >>> memory.neighbours(torch.tensor([[0.1, 0.9, 0.2]]), k=1, by="image")
        tensor([[[0., 0., 1.]]])

    References:
        Liu et al., IN2R, ICML 2026, section 3.3 (a queue of high-confidence pairs). Departure: which pairs
        are pushed is the caller's choice.
    """

    images: Tensor
    texts: Tensor
    pushed: Tensor

    def __init__(self, capacity: int, image_width: int, text_width: int | None = None) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"the capacity of a memory is {capacity}, expected at least 1 pair")
        self.capacity = capacity
        self.register_buffer("images", torch.zeros(capacity, image_width))
        self.register_buffer("texts", torch.zeros(capacity, text_width or image_width))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))  # pairs in all: place and filling

    def __len__(self) -> int:
        return min(int(self.pushed), self.capacity)

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor) -> None:
        """Store pairs (n, D) in place of the oldest, detached and at unit norm, float32; n may be 0."""
        n, kept = len(images), slice(-min(len(images), self.capacity) or None, None)
        places = (self.pushed + torch.arange(n, device=self.pushed.device))[kept] % self.capacity
        self.images[places] = F.normalize(images.detach().to(self.images)[kept], dim=-1)
        self.texts[places] = F.normalize(texts.detach().to(self.texts)[kept], dim=-1)
        self.pushed += n

    def neighbours(self, queries: Tensor, k: int, by: Modality) -> Tensor:
        """Return what the nearest stored items of the queries' modality were paired with.

        Args:
            queries: (n, D) images or texts, of any norm.
            k: number of neighbours, >= 1; fewer if there are fewer pairs.
            by: modality of the queries.

        Returns:
            (n, k, D) vectors of the other modality, nearest first; k = 0 where the memory is empty.
        """
        keys, values = (self.images, self.texts) if by == "image" else (self.texts, self.images)
        filled = len(self)
        if filled == 0:
            return values.new_zeros(len(queries), 0, values.shape[1])
        return nearest_values(queries, keys[:filled], values[:filled], k)


@takes_arrays()
def nearest_values(
    queries: Tensor, keys: Tensor, values: Tensor, k: int, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """Return the values of the keys nearest to each query by cosine.

    Args:
        queries: (n, D) float, of any norm.
        keys: (M, D) float, of any norm, M >= 1.
        values: (M, E) float, one of each key.
        k: number of neighbours, >= 1; fewer if there are fewer keys.
        block_bytes: memory for a block of cosines, in bytes; the whole (n, M) matrix is never held.

    Returns:
        (n, k, E) the values, nearest first, in their own type, without gradient of queries and keys.

    Raises:
        ValueError: shapes do not fit, or k is below 1.
        TrainingDivergedError: a cosine is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> nearest_values(np.array([[1.0, 0.2]]), np.eye(2), np.array([[5.0], [7.0]]), k=2).squeeze()
        tensor([5., 7.], dtype=torch.float64)
    """
    if len(keys) != len(values):
        raise ValueError(f"expected one value a key, got {len(values)} values and {len(keys)} keys")
    unit_queries, unit_keys = (F.normalize(side.detach().float(), dim=-1) for side in (queries, keys))
    return values[nearest_candidates(unit_queries, unit_keys, k, block_bytes=block_bytes).images]


@takes_arrays()
def pooled_values(values: Tensor, pooling: Pooling) -> Tensor:
    """Return prototypes of unit norm, (n, D): the nearest of (n, k, D) values, k >= 1, or their mean.

    Raises:
        ValueError: the pooling is learned, which takes an :class:`AttentionRefiner`.

    Example:
        >>> pooled_values(torch.eye(2).unsqueeze(0), "mean")
        tensor([[0.7071, 0.7071]])
    """
    if pooling not in ("top1", "mean"):
        raise ValueError(
            f"pooling is {pooling!r}, expected 'top1' or 'mean'; attention is an AttentionRefiner"
        )
    return F.normalize(values[:, 0] if pooling == "top1" else values.mean(1), dim=-1)


class AttentionRefiner(nn.Module):
    """A prototype of k values that attend to each other, so that those which agree weigh more.

    For the values H (k, D) of an item, with self-attention of several heads:

        prototype = unit(mean_k LayerNorm(H + dropout(linear(attention(H)))))

    Args:
        width: D.
        heads: number of heads; reduced to a divisor of D where it is none.
        dropout: of the attended values in training, in 0..1.

    Example:
        >>> AttentionRefiner(width=8)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 8])

    References:
        Liu et al., IN2R, ICML 2026, equations 7-9. The unit norm, the four heads and the dropout's place are
        those of the released code, as is its rate.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.project = nn.Linear(width, 3 * width)
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        """Return prototypes (n, D) of values (n, k, D), k >= 1, at least float32."""
        values = values.to(torch.promote_types(values.dtype, self.linear.weight.dtype))
        n, k, width = values.shape
        split = self.project(values).view(n, k, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (n, heads, k, width / heads) each
        weights = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1)  # (n, heads, k, k)
        attended = (weights @ value).transpose(1, 2).reshape(n, k, width)
        refined = self.norm(values + self.dropout(self.linear(attended)))
        return F.normalize(refined.mean(1), dim=-1)
