"""The functions that judge pairs, for the stages of an audit, which know rows and files only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.audit.judging import Columns, Repeats
from robustcmr.types import FloatArray, IntArray


@dataclass(frozen=True)
class Mathematics:
    """The functions that judge pairs.

    Attributes:
        fit: image vectors and text vectors (n, D) of unit rows, codes of pictures and of captions (n,), seed,
            deep, device -> calibration.
        save: calibration, path.
        read: path -> calibration.
        score: image vectors, text vectors, codes of pictures, calibration, device -> columns (n,).
        terms: columns, calibration -> rows (k,) of repeated captions and their terms (k,).
        repeats: log B of captions, log odds of other pairs, calibration -> what repeated captions say.
        judge: columns (n,), what repeated captions say, calibration -> columns (n,).
    """

    fit: Callable[[FloatArray, FloatArray, IntArray, IntArray, int, bool, str], Any]
    save: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    score: Callable[[FloatArray, FloatArray, IntArray, Any, str], Mapping[str, FloatArray]]
    terms: Callable[[Columns, Any], tuple[IntArray, IntArray]]
    repeats: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64], Any], Repeats]
    judge: Callable[[Columns, Repeats, Any], Mapping[str, FloatArray]]


def _fit(
    images: FloatArray,
    texts: FloatArray,
    image_codes: IntArray,
    caption_codes: IntArray,
    seed: int,
    deep: bool,
    device: str,
) -> Any:
    from robustcmr.audit.calibration import Sample, fit_calibration

    sample = Sample(images, texts, image_codes, caption_codes)
    if not deep:
        return fit_calibration(sample, seed)
    from robustcmr.audit.deep import FOLDS, fit_deep
    from robustcmr.audit.judging import fold_of

    return fit_deep(sample, fold_of(image_codes, FOLDS), seed, device)


def product_mathematics() -> Mathematics:
    """Return the functions of ``robustcmr.audit``."""
    from robustcmr.audit import judging, saved

    return Mathematics(
        _fit,
        saved.save_calibration,
        saved.read_calibration,
        judging.score_part,
        judging.fixed_terms,
        judging.fit_repeats,
        judging.judge,
    )
