"""Do the labels of a pair's nearest neighbours say what its own label says?

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays

_BLOCK_CELLS = 2**24  # cosines in memory at once


@takes_arrays()
def nearest_neighbours(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the nearest others of each vector, by cosine, and these cosines.

    Memory is bounded: blocks of rows are compared with all.

    Args:
        vectors: (N, D) of length 1, N >= 2.
        count: k, neighbours of each; at most N - 1 are used.

    Returns:
        (N, k) int64 and (N, k), the nearest first.

    Example:
        >>> import torch
        >>> rows, cosines = nearest_neighbours(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), count=1)
        >>> rows.tolist()
        [[1], [0], [1]]
    """
    n = len(vectors)
    if n < 2 or count < 1:
        raise ValueError(f"expected at least two vectors and one neighbour, got {n} and {count}")
    size = max(1, _BLOCK_CELLS // n)
    rows, cosines = [], []
    for start in range(0, n, size):
        block = vectors[start : start + size] @ vectors.T  # (b, N)
        own = torch.arange(len(block), device=vectors.device)
        block[own, start + own] = -torch.inf
        nearest = block.topk(min(count, n - 1), dim=1)
        rows.append(nearest.indices)
        cosines.append(nearest.values)
    return torch.cat(rows), torch.cat(cosines)


@takes_arrays()
def neighbour_mean(values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over neighbours.

    Args:
        values: (N, K), of each row.
        rows: (N, k) int64, neighbours of each row.
        weights: (N, k) >= 0, rows summing to 1.

    Returns:
        (N, K).
    """
    total = torch.zeros_like(values)
    for column in range(rows.shape[1]):  # one neighbour at a time: never (N, k, K)
        total += weights[:, column, None] * values[rows[:, column]]
    return total


@dataclass(frozen=True)
class NeighbourLabels:
    """What the neighbours of N pairs are labelled, among K classes.

    Attributes:
        by_images: (N, K), rows summing to 1, mean label of the image's neighbours.
        by_texts: (N, K), the same of the text's.
        agreeing: (N,) int64, how many of both modalities have neighbours whose most frequent label is the
            pair's own: 2 (pure), 1 (hard) or 0 (noisy).
    """

    by_images: Tensor
    by_texts: Tensor
    agreeing: Tensor

    @property
    def pseudo_labels(self) -> Tensor:
        """(N,) int64, the most frequent label of the neighbours of both modalities together."""
        return (self.by_images + self.by_texts).argmax(1)


@takes_arrays()
def neighbour_labels(
    images: Tensor, texts: Tensor, labels: Tensor, n_classes: int, count: int = 10
) -> NeighbourLabels:
    """Ask the nearest neighbours of each image and of each text, inside its modality, for their labels.

    A label agrees if no other label is more frequent among the neighbours; where several are the most
    frequent, an arg-max would depend on the order of the classes.

    Args:
        images: (N, D) of length 1, N >= 2.
        texts: (N, D) of length 1.
        labels: (N, M) int64 in 0..K-1, given classes; M = 1, or 2 where image and text have one each.
        n_classes: K.
        count: neighbours of each; at most N - 1 are used.

    Example:
        >>> import torch
        >>> vectors = torch.eye(2).repeat_interleave(3, dim=0)  # two groups of three
        >>> labels = torch.tensor([[0], [0], [1], [1], [1], [1]])
        >>> neighbour_labels(vectors, vectors, labels, n_classes=2, count=2).agreeing.tolist()
        [2, 2, 0, 2, 2, 2]

    References:
        NIRNL, AAAI 2026, released code.
    """
    if labels.ndim != 2 or not len(images) == len(texts) == len(labels):
        raise ValueError(
            f"expected as many images as texts and (N, M) labels, got {len(images)} images, "
            f"{len(texts)} texts and labels of shape {tuple(labels.shape)}"
        )
    means, agreeing = [], torch.zeros(len(labels), dtype=torch.int64, device=labels.device)
    for vectors, given in ((images, labels[:, 0]), (texts, labels[:, -1])):
        rows, cosines = nearest_neighbours(vectors, count)
        one_hot = F.one_hot(given, n_classes).to(vectors)  # (N, K)
        counts = neighbour_mean(one_hot, rows, torch.ones_like(cosines))  # exact, so that ties are ties
        agreeing += (counts.gather(1, given[:, None])[:, 0] == counts.amax(1)).long()
        means.append(counts / rows.shape[1])
    return NeighbourLabels(means[0], means[1], agreeing)
