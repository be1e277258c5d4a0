"""Coordinates in which pairs are compared: the vectors as given, or after the head of a fold of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustcmr.audit.evidence import Features, features
from robustcmr.audit.similarity import Reference, unit
from robustcmr.types import FloatArray, IntArray


@dataclass(frozen=True)
class Head:
    """A linear map of each side, (D, D) each, trained on the images of all other folds."""

    image: FloatArray
    text: FloatArray


@dataclass(frozen=True)
class Space:
    """A head, None for the vectors as given, and the reference in its coordinates."""

    head: Head | None
    reference: Reference

    @classmethod
    def behind(cls, head: Head, reference: Reference) -> Space:
        """Return the space of a head, from the reference in the given coordinates."""
        texts, centres = (unit(vectors @ head.text) for vectors in (reference.texts, reference.centres))
        return cls(head, Reference(unit(reference.images @ head.image), texts, centres))

    def images(self, vectors: FloatArray) -> FloatArray:
        """Map unit vectors of images (n, D) to unit vectors."""
        return vectors if self.head is None else unit(vectors @ self.head.image)

    def texts(self, vectors: FloatArray) -> FloatArray:
        """Map unit vectors of captions (n, D) to unit vectors."""
        return vectors if self.head is None else unit(vectors @ self.head.text)


def features_in(
    spaces: tuple[Space, ...],
    images: FloatArray,
    texts: FloatArray,
    image_codes: IntArray,
    folds: IntArray,
    device: str = "cpu",
) -> Features:
    """Return the features of a part, each image in the space of its fold.

    Args:
        spaces: one a fold.
        images: (n, D) unit vectors.
        texts: (n, D) unit vectors.
        image_codes: (n,).
        folds: (n,) in 0 .. len(spaces) - 1, the same for all pairs of an image.
        device: of torch.
    """
    if len(spaces) == 1:
        space = spaces[0]
        return features(space.images(images), space.texts(texts), image_codes, space.reference, device)
    n = len(texts)
    centred = len(spaces[0].reference.centres) > 0
    similarity, mapped = np.empty(n, np.float32), np.empty_like(texts)
    text_background = np.empty(n if centred else 0, np.float32)
    for fold, space in enumerate(spaces):
        rows = np.flatnonzero(folds == fold)
        if len(rows) == 0:
            continue
        found = features(
            space.images(images[rows]), space.texts(texts[rows]), image_codes[rows], space.reference, device
        )
        similarity[rows], mapped[rows] = found.similarity, found.texts
        if centred:
            text_background[rows] = found.text_background
    return Features(similarity, mapped, text_background, image_codes)
