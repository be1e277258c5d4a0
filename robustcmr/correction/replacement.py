"""Replacement of one side of a suspected pair by that of its nearest clean pair.

With unit vectors q of suspected items and r of clean ones:

    nearest clean   k_i = argmax_k q_i . r_k,    cosine q_i . r_k_i

Several items may get the same replacement, and are then no negatives of each other. Vectors may be tensors or
NumPy arrays. Results are detached, on their device. Shapes that do not fit raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays
from robustcmr.types import TextBatch

_ROUNDINGS = 16
"""Cosines this many roundings apart count as equal."""


@dataclass(frozen=True)
class Nearest:
    """The most similar reference of each query.

    Attributes:
        index: (n,) int64, its row among the references; may occur repeatedly.
        cosine: (n,) float, at least float32, in -1..1.
    """

    index: Tensor
    cosine: Tensor


@takes_arrays()
def nearest_clean(queries: Tensor, references: Tensor) -> Nearest:
    """Return the most similar reference of each query by cosine, the first of those that differ by rounding.

    Args:
        queries: q, (n, D) of any length; a vector of zeros has cosine 0 with all.
        references: r, (m, D), m >= 1.

    Example:
        >>> import torch
        >>> nearest_clean(torch.tensor([[3.0, 4.0], [2.0, 0.0]]), torch.eye(2))
        Nearest(index=tensor([1, 0]), cosine=tensor([0.8000, 1.0000]))

    References:
        SPS, IJCAI 2025, captions of the most similar clean image.
    """
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1]:
        raise ValueError(
            f"queries and references must be (n, D) and (m, D), got {tuple(queries.shape)} "
            f"and {tuple(references.shape)}"
        )
    if len(references) == 0:
        raise ValueError("there are no references; expected at least one clean item to replace by")
    q, r = (F.normalize(_wide(each.detach()), dim=1) for each in (queries, references))
    cosines = (q @ r.T).clamp(-1.0, 1.0)
    # captions of one image make references equal, and a product rounds equal columns in its own way
    rounding = _ROUNDINGS * torch.finfo(cosines.dtype).eps
    index = (cosines >= cosines.amax(1, keepdim=True) - rounding).int().argmax(1)
    return Nearest(index, cosines.gather(1, index[:, None]).squeeze(1))


@takes_arrays()
def same_replacement(index: Tensor, same_image: Tensor | None = None) -> Tensor:
    """Return which queries got the same replacement: they are no negatives of each other.

    Args:
        index: (n,) int64, the reference that replaces a side of each query.
        same_image: (m, m) bool, references that count as the same, such as captions of one image.

    Returns:
        (n, n) bool, symmetric, True on the diagonal.

    Example:
        >>> import torch
        >>> same_replacement(torch.tensor([2, 0, 2]))[0]
        tensor([ True, False,  True])
    """
    alike = index[:, None] == index[None, :]
    return alike if same_image is None else alike | same_image[index][:, index]


def replaced_texts(texts: TextBatch, index: Tensor) -> TextBatch:
    """Return the captions at ``index`` (n,), which may occur repeatedly."""
    vectors = None if texts.vectors is None else texts.vectors[index]
    return TextBatch(texts.tokens[index], texts.mask[index], vectors)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
