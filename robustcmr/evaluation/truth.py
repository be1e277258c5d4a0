"""The hidden truth: which image each caption was written for. Only the evaluation side ever holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.types import Correspondence, IntArray, Rematch

REMEMBERED_IMAGES = 20_000
"""Up to so many images, a caption once asked about is answered for all of them and remembered."""


@dataclass(frozen=True)
class HiddenTruth:
    """The true pairing of a training split; never handed to a matcher, a method, selection or correction.

    Attributes:
        image_of_caption: (N_captions,) int64.
    """

    image_of_caption: IntArray

    def is_mismatched(self, given: Correspondence) -> npt.NDArray[np.bool_]:
        """(N_captions,) bool, True where the given image is not the caption's own."""
        return np.not_equal(given.image_of_caption, self.image_of_caption)

    def mismatched_share(self, given: Correspondence) -> float:
        """Share of the given pairs that are wrong, in [0, 1]."""
        return float(self.is_mismatched(given).mean())


class FittingCells:
    """Which images of a rematching fit which of its captions.

    Asked at every step, so what a caption fits is remembered, one bit an image, where the images are few.

    Args:
        given: the pairing as given, by which pairs name images.
        fits: of a caption row and (k,) images, whether the caption is true of each; (k,) bool.
        remembered_images: with more images than that nothing is remembered.
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
        self._bits = np.zeros((len(given), width), dtype=np.uint8)  # memory is taken only where written

    def __call__(self, rematch: Rematch) -> Tensor:
        """(n, m) bool on the CPU, True where the image given to the row's pair fits the column's caption."""
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
