"""Shape checks shared by the losses."""

from __future__ import annotations

from torch import Tensor


def check_square(scores: Tensor, same_image: Tensor | None = None) -> None:
    """Refuse scores that are not (B, B), and masks of another shape.

    Raises:
        ValueError: a shape does not fit.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"scores must be (B, B), one caption an image, got {tuple(scores.shape)}")
    if same_image is not None and same_image.shape != scores.shape:
        raise ValueError(
            f"same_image must be {tuple(scores.shape)} like the scores, got {tuple(same_image.shape)}"
        )
