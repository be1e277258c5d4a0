"""The hidden truth: which image each caption was written for. Only evaluation has access to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.types import Correspondence, IntArray, Rematch

REMEMBERED_IMAGES = 20_000
"""Most images for which the answers of a caption are cached."""


@dataclass(frozen=True)
class HiddenTruth:
    """The true pairing of a training split; never passed to a matcher, a method, selection or correction.

    Attributes:
        image_of_caption: (N_captions,) int64.
    """

    image_of_caption: IntArray

    def is_mismatched(self, given: Correspondence) -> npt.NDArray[np.bool_]:
        """Return (N_captions,) bool, True if the given image is not the caption's own."""
        return np.not_equal(given.image_of_caption, self.image_of_caption)


class FittingCells:
    """Tells which captions of a rematching are true of which of its images.

    Called at every step, so answers are cached, one bit an image, unless there are too many images.

    Args:
        given: the pairing as given, which maps pairs to images.
        fits: returns whether a caption row is true of (k,) images; (k,) bool.
        remembered_images: most images for which answers are cached.
    """

    def __init__(
        self,
        given: Correspondence,
        fits: Callable[[int, IntArray], npt.NDArray[np.bool_]],
        remembered_images: int = REMEMBERED_IMAGES,
    ) -> None:
        self._given = given
        self._fits = fits
        self._remembers = given.n_images <= remembered_images
        self._known = np.zeros(len(given), dtype=np.bool_)
        width = -(-given.n_images // 8) if self._remembers else 0
        self._bits = np.zeros((len(given), width), dtype=np.uint8)  # memory is used only where written

    def __call__(self, rematch: Rematch) -> Tensor:
        """Return (n, m) bool on the CPU, True if the column's caption is true of the row's image."""
        images = self._given.image_of_caption[rematch.image_pairs.cpu().numpy()]  # (n,)
        captions = rematch.caption_pairs.cpu().numpy()  # (m,)
        if not self._remembers:
            columns = [self._fits(int(row), images) for row in captions]
            cells = np.stack(columns, axis=1) if columns else np.zeros((len(images), 0), dtype=np.bool_)
            return torch.from_numpy(cells)
        everything = np.arange(self._given.n_images)
        for row in np.unique(captions[~self._known[captions]]):
            self._bits[row] = np.packbits(self._fits(int(row), everything))
            self._known[row] = True
        bytes_ = self._bits[captions[None, :], (images >> 3)[:, None]]  # (n, m), highest bit first
        return torch.from_numpy((bytes_ >> (7 - (images & 7))[:, None].astype(np.uint8) & 1).astype(np.bool_))
