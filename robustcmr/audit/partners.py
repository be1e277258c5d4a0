"""Which images may belong to a caption, and what speaks for each: exact search over a whole pool of pairs.

For caption y and image x, whose believed captions have the unit sum L and whose room is r,

    f = (e(s, c), z.x - z.a - z_mean.x, log r)

with e of :mod:`robustcmr.audit.evidence`; z is the unit mean of the images of the captions nearest to y among
believed pairs, weighted by exp(y.y_n / t), and a the mean image. A weighted sum of f is a product of two
vectors and a bias, so that the best images are found exactly, in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from robustcmr.audit.calibration import Calibration
from robustcmr.audit.heads import Space
from robustcmr.audit.similarity import background, unit
from robustcmr.correction.candidates import nearest_candidates
from robustcmr.types import FloatArray, IntArray

Values = npt.NDArray[np.float64]

CANDIDATES = 48
"""Images that each caption is compared with in detail."""

FIRST_WEIGHTS = np.array([1.0, 2.0, 1.0])
"""Of the features, in the search."""

_NEIGHBOURS = 10
_NEIGHBOUR_TEMPERATURE = 0.05
_SAME = 0.99  # cosine of captions that say the same
_LEAST_ROOM = 0.05  # images with less room, and their captions, are left in peace


@dataclass(frozen=True)
class Pool:
    """Pairs among which partners are sought.

    Attributes:
        images: (M, D) unit vectors of distinct images.
        texts: (N, D) unit vectors, one a pair.
        image: (N,) image of each pair, in 0 .. M - 1.
        mismatched: (N,) probability that image and caption do not belong together.
        folds: (M,) fold of each image, see :meth:`robustcmr.audit.calibration.Calibration.judge`.
    """

    images: FloatArray
    texts: FloatArray
    image: IntArray
    mismatched: Values
    folds: IntArray

    def room(self) -> Values:
        """Return how many captions each image is expected to have lost, (M,)."""
        return np.bincount(self.image, self.mismatched, minlength=len(self.images)).astype(np.float64)

    def belief(self) -> Values:
        """Return how far each pair speaks for its image, (N,)."""
        return 1 - self.mismatched


@dataclass(frozen=True)
class Edges:
    """Candidate images of n captions.

    Attributes:
        rows: (E,) caption, as a place among those that were asked for, ascending.
        images: (E,) image.
        features: (E, 3), each higher for images that fit better.
    """

    rows: IntArray
    images: IntArray
    features: Values


def candidate_edges(
    pool: Pool,
    asked: IntArray,
    excluded: IntArray,
    belief: Values,
    room: Values,
    calibration: Calibration,
    k: int = CANDIDATES,
    device: str = "cpu",
) -> Edges:
    """Find the k images that fit each caption best, of those with room, and compare them in detail.

    An image that has this caption already, or nearly, is no candidate, nor is one that is excluded.

    Args:
        pool: of all pairs.
        asked: (n,) pairs whose captions seek an image.
        excluded: (n,) image that is no candidate of each, such as that it was given.
        belief: (N,) how far each pair speaks for its image and for its caption; 0 to leave it out.
        room: (M,) captions that each image may take.
        calibration: of the audit.
        k: candidates a caption.
        device: of torch.
    """
    open_images = np.flatnonzero(room >= _LEAST_ROOM)
    if not len(asked) or not len(open_images):
        return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3)))
    believed = belief > 0.5
    known = np.bincount(pool.image, believed, minlength=len(pool.images)) > 0
    z, already = _neighbours(pool, asked, belief, device)
    centre = pool.images[open_images].mean(0)
    towards = z - z.mean(0)  # x.(z - z_mean) - z.a
    parts: list[tuple[IntArray, IntArray, Values]] = []
    for fold, space in enumerate(calibration.spaces):
        chosen = open_images[pool.folds[open_images] == fold]
        rows = np.flatnonzero(believed & (pool.folds[pool.image] == fold))
        sums = np.zeros_like(pool.images)
        np.add.at(
            sums, pool.image[rows], space.texts(pool.texts[rows]) * belief[rows, None].astype(np.float32)
        )
        for several in (False, True):
            some = chosen[known[chosen] == several]
            if len(some):
                line = _linear(pool, asked, some, sums, several, space, calibration, device)
                sides = towards, z @ centre, pool.images[some], space.head is None
                parts.append(_best(line, *sides, room[some], some, excluded, k, device))
    rows, images, features = (np.concatenate(side) for side in zip(*parts, strict=True))  # (E,)
    held = np.isin(rows * len(pool.images) + images, already)
    total = features @ FIRST_WEIGHTS
    order = np.lexsort((images, -total, rows))
    order = order[~held[order]]
    place = _place_in_row(rows[order])
    order = order[place < k]
    return Edges(rows[order], images[order], features[order])


@dataclass(frozen=True)
class _Line:
    """The evidence e of some images as ``captions @ images.T + of_caption + of_image``."""

    captions: FloatArray
    images: FloatArray
    of_caption: FloatArray
    of_image: FloatArray


def _linear(
    pool: Pool,
    asked: IntArray,
    some: IntArray,
    sums: FloatArray,
    several: bool,
    space: Space,
    calibration: Calibration,
    device: str,
) -> _Line:
    """Return the evidence of images in one space, all with believed captions (``several``) or all without."""
    model, reference = calibration.model, space.reference
    x, y = space.images(pool.images[some]), space.texts(pool.texts[asked])
    x_side, y_side = background(x, reference.texts, device), background(y, reference.images, device)
    if model.both is None or not several:
        (weight,) = model.alone.weights
        half = np.float32(weight / 2)
        return _Line(y * np.float32(weight), x, model.alone.bias - half * y_side, -half * x_side)
    first, second = model.both.weights
    half = np.float32(first / 2)
    others = unit(sums[some])
    agreed = np.float32(second) * background(y, reference.centres, device)
    return _Line(
        np.hstack([y * np.float32(first), y * np.float32(second)]),
        np.hstack([x, others]),
        model.both.bias - half * y_side - agreed,
        -half * x_side,
    )


def _best(
    line: _Line,
    towards: FloatArray,
    shift: FloatArray,
    images: FloatArray,
    same_space: bool,
    room: Values,
    numbers: IntArray,
    excluded: IntArray,
    k: int,
    device: str,
) -> tuple[IntArray, IntArray, Values]:
    """Return rows, images and features of the best images of each caption."""
    of_evidence, of_neighbours, of_room = FIRST_WEIGHTS.astype(np.float32)
    log_room = np.log(room).astype(np.float32)
    bias = (of_evidence * line.of_image + of_room * log_room)[:, None]
    queries, keys = of_evidence * line.captions, line.images
    if same_space:  # both terms have a product with the image as given
        queries[:, : images.shape[1]] += of_neighbours * towards
    else:
        queries, keys = np.hstack([queries, of_neighbours * towards]), np.hstack([keys, images])
    queries = np.hstack([queries, np.ones((len(towards), 1), np.float32)]).astype(np.float32)
    keys = np.hstack([keys, bias]).astype(np.float32)
    place = np.full(max(int(excluded.max()), int(numbers.max())) + 1, -1, np.int64)
    place[numbers] = np.arange(len(numbers))
    found = nearest_candidates(
        torch.from_numpy(queries).to(device),
        torch.from_numpy(keys).to(device),
        min(k + 2, len(numbers)),  # some may have the caption already
        torch.from_numpy(np.where(excluded >= 0, place[excluded], -1)),
    )
    at = found.images.cpu().numpy()
    rows, ranks = np.nonzero(at >= 0)
    of = at[rows, ranks]
    features = np.empty((len(rows), 3))
    for start in range(0, len(rows), _BLOCK):
        r, i = rows[start : start + _BLOCK], of[start : start + _BLOCK]
        own = np.einsum("ed,ed->e", line.captions[r], line.images[i])
        features[start : start + _BLOCK, 0] = own + line.of_caption[r] + line.of_image[i]
        near = np.einsum("ed,ed->e", towards[r], images[i])
        features[start : start + _BLOCK, 1] = near - shift[r]
    features[:, 2] = log_room[of]
    return rows.astype(np.int64), numbers[of], features


_BLOCK = 1 << 15  # edges whose vectors are in memory at once


def _neighbours(pool: Pool, asked: IntArray, belief: Values, device: str) -> tuple[FloatArray, IntArray]:
    """Return z of each caption, (n, D), and which images have it already, as n_images * row + image."""
    kept = np.flatnonzero(belief > 0.5)
    if not len(kept):
        return np.zeros((len(asked), pool.images.shape[1]), np.float32), np.empty(0, np.int64)
    place = np.full(len(pool.texts), -1, np.int64)
    place[kept] = np.arange(len(kept))
    found = nearest_candidates(
        torch.from_numpy(pool.texts[asked]).to(device),
        torch.from_numpy(pool.texts[kept]).to(device),
        min(_NEIGHBOURS, len(kept)),
        torch.from_numpy(place[asked]),
    ).cpu()
    near, scores = kept[found.images.numpy()], found.scores.numpy()
    weights = np.exp((scores - scores[:, :1]) / _NEIGHBOUR_TEMPERATURE)
    z = np.zeros((len(asked), pool.images.shape[1]), np.float32)
    for rank in range(near.shape[1]):
        z += weights[:, rank, None] * pool.images[pool.image[near[:, rank]]]
    rows, ranks = np.nonzero(scores >= _SAME)
    return unit(z), rows * len(pool.images) + pool.image[near[rows, ranks]]


def _place_in_row(rows: IntArray) -> IntArray:
    """Return the place of each edge among those of its caption, from 0; rows come together."""
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    return np.asarray(np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)])))
