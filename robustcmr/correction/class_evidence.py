"""Class probabilities of every pair from both modalities and their neighbours, without its own label.

With p_v, p_t the probabilities of image and text, N_v, N_t the neighbour means of (p_v + p_t) / 2:

    e_v = (1 - share) p_v + share N_v,    e_t likewise
    image trust  a = <e_v, N_t> / (<e_v, N_t> + <e_t, N_v>)
    probabilities    a e_v + (1 - a) e_t

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.selection.neighbours import nearest_neighbours, neighbour_mean


@dataclass(frozen=True)
class ClassEvidence:
    """Class probabilities of N pairs, among K classes.

    Attributes:
        probabilities: (N, K), rows summing to 1: both modalities and their neighbours.
        by_neighbours: (N, K), rows summing to 1: (N_v + N_t) / 2.
        image_trust: (N,) in 0..1, weight of the image; the text has the rest.
    """

    probabilities: Tensor
    by_neighbours: Tensor
    image_trust: Tensor


def neighbours(vectors: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Return rows (N, k) and weights (N, k) of the nearest others of each unit vector (N, D), N >= 2.

    At most N - 1 of ``count`` are used. The weights are the softmax of cosines over the temperature.
    """
    rows, cosines = nearest_neighbours(vectors, count)
    return rows, torch.softmax(cosines / temperature, dim=1)


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
    """Combine both modalities and their neighbours, trusting a modality where the other's neighbours agree.

    A class that only one modality supports is likely that modality's mistake.

    Args:
        images: (N, D) of length 1.
        texts: (N, D) of length 1.
        of_images: p_v, (N, K) class probabilities of each image.
        of_texts: p_t, (N, K) of each text.
        count: neighbours of each.
        share: weight of the neighbours within a modality, in 0..1.
        temperature: of the weights of neighbours, in units of the cosine.
        trust: weight modalities by agreement; otherwise equally.

    Example:
        >>> import torch
        >>> p = torch.eye(2).repeat(2, 1)  # four pairs, classes 0 and 1 in turn
        >>> class_evidence(p, p, p, p, count=1).probabilities[0]
        tensor([1., 0.])
    """
    both = (of_images + of_texts) / 2
    near_images = neighbour_mean(both, *neighbours(images, count, temperature))  # (N, K)
    near_texts = neighbour_mean(both, *neighbours(texts, count, temperature))  # (N, K)
    e_v = (1 - share) * of_images + share * near_images
    e_t = (1 - share) * of_texts + share * near_texts
    image_trust = torch.full_like(both[:, 0], 0.5)
    if trust:
        agrees, disagrees = (e_v * near_texts).sum(1), (e_t * near_images).sum(1)
        image_trust = agrees / (agrees + disagrees).clamp(min=torch.finfo(both.dtype).tiny)
    blend = image_trust[:, None] * e_v + (1 - image_trust[:, None]) * e_t
    return ClassEvidence(blend, (near_images + near_texts) / 2, image_trust)
