"""The recall that knowing the truth alone would give: how far the captions tell the pictures apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

RECALL_AT = (1, 5, 10)


def oracle_recalls(satisfied: npt.NDArray[np.bool_], image_of_caption: IntArray) -> dict[str, float]:
    """Expected recalls of a judge who ranks all fitting candidates first, in random order.

    Args:
        satisfied: (n_captions, n_images) whether the image fits the caption; True for a caption's own image.
        image_of_caption: (n_captions,) the image each caption was written for; every image has one.

    Returns:
        ``i2t_r1 ... i2t_r10, t2i_r1 ... t2i_r10`` in percent, and their sum ``rsum``.
    """
    recalls: dict[str, float] = {}
    rivals = satisfied.sum(axis=1) - 1  # (n_captions,) other images that fit
    n_images = satisfied.shape[1]
    own = np.bincount(image_of_caption, minlength=n_images)
    strangers = satisfied.sum(axis=0) - own  # (n_images,) captions of others that fit
    for k in RECALL_AT:
        # All of the first k of (strangers + own) random places are strangers.
        missed = np.ones(n_images)
        for step in range(k):
            missed *= np.maximum(strangers - step, 0) / (strangers + own - step).clip(1)
        recalls[f"i2t_r{k}"] = float(100.0 * (1.0 - missed).mean())
    for k in RECALL_AT:
        recalls[f"t2i_r{k}"] = float(100.0 * np.minimum(1.0, k / (rivals + 1)).mean())
    return {**recalls, "rsum": sum(recalls.values())}
