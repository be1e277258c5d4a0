"""Of which class is a pair? What images, texts and their neighbours say, before any label is believed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_CELLS = 2**24  # cosines held at once


@dataclass(frozen=True)
class ClassEvidence:
    """What is said of the class of N pairs, among K.

    Attributes:
        probabilities: (N, K), rows summing to 1: both modalities and their neighbours, blended.
        by_neighbours: (N, K), rows summing to 1: neighbours alone.
        image_trust: (N,) in 0..1, how much of the blend is the image's; the text has the rest.
    """

    probabilities: Tensor
    by_neighbours: Tensor
    image_trust: Tensor


def neighbours(vectors: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """The nearest others of each vector by cosine, in bounded memory.

    Args:
        vectors: (N, D) of length 1, N >= 2.
        count: neighbours of each; at most N - 1 are taken.
        temperature: > 0, in units of the cosine; the weight of a neighbour is the softmax of its cosine.

    Returns:
        Rows (N, k) int64 and weights (N, k) summing to 1.

    Raises:
        ValueError: there are fewer than two vectors, or fewer than one neighbour is asked for.
    """
    n = len(vectors)
    if n < 2 or count < 1:
        raise ValueError(f"expected at least two vectors and one neighbour, got {n} and {count}")
    size = max(1, _BLOCK_CELLS // n)
    rows, weights = [], []
    for start in range(0, n, size):
        cosines = vectors[start : start + size] @ vectors.T  # (b, N)
        own = torch.arange(len(cosines), device=vectors.device)
        cosines[own, start + own] = -torch.inf
        nearest = cosines.topk(min(count, n - 1), dim=1)
        rows.append(nearest.indices)
        weights.append(torch.softmax(nearest.values / temperature, dim=1))
    return torch.cat(rows), torch.cat(weights)


def neighbour_mean(values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(N, K) weighted mean of the neighbours' values.

    Args:
        values: (N, K).
        rows: (N, k) int64, who the neighbours are.
        weights: (N, k) summing to 1.
    """
    total = torch.zeros_like(values)
    for column in range(rows.shape[1]):  # one neighbour after the other: never (N, k, K) at once
        total += weights[:, column, None] * values[rows[:, column]]
    return total


def class_evidence(
    images: Tensor,
    texts: Tensor,
    of_images: Tensor,
    of_texts: Tensor,
    count: int = 60,
    share: float = 0.8,
    temperature: float = 0.1,
    trust: bool = True,
) -> ClassEvidence:
    """Blend what both modalities and their neighbours say of the class of each pair.

    Each modality says its own probabilities, mixed with those of its neighbours (mean of image and text). A
    modality is trusted more where its own opinion agrees with that of the other's neighbours: opinions that
    only one modality supports are likely its own mistakes.

    Args:
        images: (N, D) of length 1.
        texts: (N, D) of length 1.
        of_images: (N, K) class probabilities of each image.
        of_texts: (N, K) of each text.
        count: neighbours of each.
        share: how much of a modality's opinion is its neighbours', in 0..1.
        temperature: of the weights of neighbours, in units of the cosine.
        trust: whether modalities are weighted by that agreement; else alike.

    Returns:
        The evidence.
    """
    both = (of_images + of_texts) / 2
    near_images = neighbour_mean(both, *neighbours(images, count, temperature))  # (N, K)
    near_texts = neighbour_mean(both, *neighbours(texts, count, temperature))  # (N, K)
    say_images = (1 - share) * of_images + share * near_images
    say_texts = (1 - share) * of_texts + share * near_texts
    image_trust = torch.full_like(both[:, 0], 0.5)
    if trust:
        agrees, disagrees = (say_images * near_texts).sum(1), (say_texts * near_images).sum(1)
        image_trust = agrees / (agrees + disagrees).clamp(min=torch.finfo(both.dtype).tiny)
    blend = image_trust[:, None] * say_images + (1 - image_trust[:, None]) * say_texts
    return ClassEvidence(blend, (near_images + near_texts) / 2, image_trust)
