"""The hidden truth: which image each caption was written for. Only the evaluation side ever holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.types import Correspondence, IntArray


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
