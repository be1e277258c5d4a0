"""Similarity of a pair beside that of any other partner, and agreement with the image's other captions.

For unit vectors x (image) and y (caption), a reference of R random images a and captions b, and t = 0.05:

    s(x, y) = x.y - (t/2) [log sum_r exp(x.b_r / t) + log sum_r exp(y.a_r / t)]
    c(y | L) = y.L/|L| - t log sum_r exp(y.m_r / t)

where L is the weighted sum of the image's other captions and m the same sums of the reference images. The
reference is fixed, so a row's value depends on nothing but the row and its image's captions: parts of any
size and order give the same numbers. References of 512 rank pairs as well as the whole set does.

References:
    Wang et al., CLIPLoss and Norm-Based Data Selection Methods, 2024 (arXiv 2405.19547), for s over batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustcmr.types import FloatArray, IntArray

REFERENCES = 512
"""Images and captions in a reference."""
TEMPERATURE = 0.05
"""t; any value from 0.01 to 0.1 changes the ranking little."""

_BLOCK = 4096  # rows whose products with the reference are in memory at once


@dataclass(frozen=True)
class Reference:
    """Random images and captions that pairs are compared with.

    Attributes:
        images: (R, D) unit vectors of distinct images.
        texts: (R, D) unit vectors of distinct captions.
        centres: (R', D) unit sums of the captions of images that have several; empty where there are none.
    """

    images: FloatArray
    texts: FloatArray
    centres: FloatArray


def unit(vectors: FloatArray) -> FloatArray:
    """Return rows (n, D) scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def normalised_similarity(
    images: FloatArray, texts: FloatArray, reference: Reference, device: str = "cpu"
) -> FloatArray:
    """Return s of every pair, (n,), high where caption and image fit.

    Args:
        images: (n, D) unit vectors, one a pair.
        texts: (n, D) unit vectors.
        reference: of the same D.
        device: of torch.
    """
    x_side = background(images, reference.texts, device)
    y_side = background(texts, reference.images, device)
    own = np.einsum("nd,nd->n", images, texts)
    return np.asarray(own - (x_side + y_side) / 2, np.float32)


def background(vectors: FloatArray, reference: FloatArray, device: str = "cpu") -> FloatArray:
    """Return t log mean_r exp(v.r / t), (n,): the similarity that any partner reaches."""
    others = torch.from_numpy(reference).to(device).T / TEMPERATURE  # (D, R)
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = torch.from_numpy(vectors[start : start + _BLOCK]).to(device)
        found[start : start + _BLOCK] = _log_mean_exp(block @ others).cpu().numpy()
    return found * np.float32(TEMPERATURE)


def _log_mean_exp(values: Tensor) -> Tensor:
    """(n, R) -> (n,), in place: products of unit vectors over t cannot overflow after their row's maximum."""
    most = values.max(dim=1).values
    values -= most[:, None]
    return most + values.exp_().mean(dim=1).log_()


def other_captions(texts: FloatArray, image_codes: IntArray, weights: FloatArray) -> FloatArray:
    """Return the weighted sum of each image's other captions, (n, D); zeros where there is none.

    Args:
        texts: (n, D) unit vectors.
        image_codes: (n,) equal for captions of the same image.
        weights: (n,) how far each caption is believed, >= 0.
    """
    _, groups = np.unique(image_codes, return_inverse=True)
    weighted = texts * weights[:, None]
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    sums = np.add.reduceat(weighted[order], starts, axis=0)  # (images, D)
    return np.asarray(sums[groups] - weighted, np.float32)


def caption_agreement(texts: FloatArray, others: FloatArray, text_background: FloatArray) -> FloatArray:
    """Return c, (n,), high where a caption agrees with its image's other captions; NaN where there is none.

    Args:
        texts: (n, D) unit vectors.
        others: (n, D) of :func:`other_captions`.
        text_background: (n,) of the texts against ``Reference.centres``.
    """
    lengths = np.linalg.norm(others, axis=1)
    own = np.einsum("nd,nd->n", texts, others)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(lengths > 1e-6, own / lengths - text_background, np.nan), np.float32)
