"""How much a given pair corresponds, from 0 to 1, by what a matcher predicts for it in its batch.

With the margin a, the mean hinge h_i of a pair, and the similarities of a pair (v, t) to an anchor pair:

    prediction    r_i / mean of the largest (B // 10 + 1) of r,   r_i = [a - h_i / 2] within 0..a
    anchor ratio  (g_1 + g_2) / 2,  g_1 = cos(v, v_k) / cos(t, t_k),  g_2 = cos(t, t_l) / cos(v, v_l)

where v_k is the nearest anchor image, t_l the nearest anchor caption, and a ratio above 1 is inverted.

Values are at least float32, on the device of the first argument, without gradient. Shapes that do not fit and
numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays


def best_tenth(n: int) -> int:
    """Return how many of n pairs count as the best: n // 10 + 1, at most n."""
    return min(n // 10 + 1, n)


@takes_arrays("margin")
def hinge_agreement(mean_hinge: Tensor, margin: float) -> Tensor:
    """Return how far each pair is from breaking its margin: ``margin`` for a pair that never does.

    Args:
        mean_hinge: (B,) >= 0, mean over the batch of the hinges in both directions.
        margin: a > 0, margin of these hinges.

    Returns:
        (B,) in 0..a: a - mean_hinge / 2, cut to that range.

    Example:
        >>> import torch
        >>> hinge_agreement(torch.tensor([0.0, 0.2, 1.0]), 0.2)
        tensor([0.2000, 0.1000, 0.0000])
    """
    if mean_hinge.ndim != 1:
        raise ValueError(f"mean_hinge must be (B,), one value a pair, got {tuple(mean_hinge.shape)}")
    given = mean_hinge.detach().to(torch.promote_types(mean_hinge.dtype, torch.float32))
    return (margin - given / 2).clamp(0.0, margin)


@takes_arrays("margin")
def batch_relative_prediction(mean_hinge: Tensor, margin: float) -> Tensor:
    """Return the correspondence of each pair relative to the best tenth of its batch.

    The best B // 10 + 1 pairs of the batch define 1 by their mean, so the same pair may have another value in
    another batch. Where no pair keeps its margin at all, every value is 0.

    Args:
        mean_hinge: (B,) >= 0, mean over the batch of the hinges in both directions.
        margin: a > 0, margin of these hinges.

    Returns:
        (B,) in 0..1.

    Example:
        >>> import torch
        >>> batch_relative_prediction(torch.tensor([0.1, 0.2, 1.0]), 0.2)
        tensor([1.0000, 0.6667, 0.0000])

    References:
        Huang et al., NCR, NeurIPS 2021. Departure: where all are 0 the released code divides by 0.
    """
    agreement = hinge_agreement(mean_hinge, margin)
    if not len(agreement):
        return agreement
    best = agreement.topk(best_tenth(len(agreement)))[0].mean()
    return (agreement / torch.where(best > 0, best, 1.0)).clamp(0.0, 1.0)


@takes_arrays("floor")
def anchor_ratio(
    images: Tensor, texts: Tensor, anchor_images: Tensor, anchor_texts: Tensor, floor: float = 0.05
) -> Tensor:
    """Return how alike image and caption lie to anchors: pairs that are surely right.

    The nearest anchor by image is compared with the same anchor by caption, and the nearest by caption with
    the same one by image. A negative similarity counts as 0 and a ratio is min / max, the larger one taken as
    at least ``floor``. So every ratio lies in 0..1 and changes steadily where a similarity passes 0, and a
    pair far from every anchor in both modalities gets a low value instead of one of chance.

    Args:
        images: (n, D) vectors of the images in question.
        texts: (n, E) vectors of the captions given to them.
        anchor_images: (k, D) vectors of the anchors' images.
        anchor_texts: (k, E) vectors of the anchors' captions.
        floor: > 0, least similarity that a ratio is taken of, in units of the cosine.

    Returns:
        (n,) in 0..1, the mean of both ratios; 0 where there is no anchor.

    Example:
        >>> import torch
        >>> images, texts = torch.eye(3), torch.eye(3)[[0, 2, 1]]  # the second and third are exchanged
        >>> anchor_ratio(images, texts, torch.eye(3), torch.eye(3))
        tensor([1., 0., 0.])

    References:
        Yang et al., BiCro, CVPR 2023. Departure: the released code divides cosines as they are, which gives
        any number near 0, and cuts only the final value to 0..1.
    """
    if not (len(images) == len(texts) and len(anchor_images) == len(anchor_texts)):
        raise ValueError(
            f"expected as many images as texts, got {len(images)} and {len(texts)} in question, "
            f"{len(anchor_images)} and {len(anchor_texts)} anchors"
        )
    kind = torch.promote_types(images.dtype, torch.float32)
    if not len(anchor_images) or not len(images):
        return torch.zeros(len(images), dtype=kind, device=images.device)
    by_image = _cosines(images.to(kind), anchor_images.to(kind))  # (n, k)
    by_text = _cosines(texts.to(kind), anchor_texts.to(kind))  # (n, k)
    ratio = torch.minimum(by_image, by_text) / torch.maximum(by_image, by_text).clamp(min=floor)
    nearest = torch.stack([by_image.argmax(1), by_text.argmax(1)], dim=1)  # (n, 2)
    return ratio.gather(1, nearest).mean(1)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """(n, k) cosines, at least 0, without gradient."""
    return (F.normalize(one.detach(), dim=1) @ F.normalize(other.detach(), dim=1).T).clamp(0.0, 1.0)
