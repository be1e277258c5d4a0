"""Where truth and noise meet: the given pairing or labels of a run, read from a file or made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from noise_injection import (
    LabelNoiseRecord,
    NoiseError,
    NoiseRecord,
    load_label_noise,
    load_noise,
    make_label_noise,
    make_mismatch,
)
from robustcmr.config.schema import Settings
from robustcmr.data.base import FeatureStore, LabelledSplit, PairsSplit
from robustcmr.data.store import first_non_finite
from robustcmr.errors import DataError
from robustcmr.runs.folder import RunFolder
from robustcmr.types import FloatArray, IntArray


def given_pairs(
    settings: Settings, split: PairsSplit, fingerprint: str, saved: RunFolder | None
) -> tuple[IntArray, NoiseRecord]:
    """The pairing a run is given, and what was done to it.

    Args:
        settings: of the run.
        split: its training split, as it was written.
        fingerprint: of that split.
        saved: a run folder whose noise is used again where it has some.

    Returns:
        (n_captions,) int64 given images, and the record.

    Raises:
        DataError: the noise cannot be made, or its file cannot be read or is of other data.
    """
    options, truth, file = settings.noise, split.image_of_caption, noise_file(settings, saved)
    try:
        if file is not None:
            return load_noise(file, truth, split.n_images, fingerprint)
        return make_mismatch(
            truth,
            split.n_images,
            options.ratio,
            str(options.protocol),
            noise_seed(settings),
            options.derange,
            fingerprint,
        )
    except NoiseError as error:
        raise DataError(str(error)) from error


def given_labels(
    settings: Settings, split: LabelledSplit, fingerprint: str, saved: RunFolder | None
) -> tuple[IntArray, LabelNoiseRecord]:
    """The class labels a run is given, and what was done to them.

    Args:
        settings: of the run.
        split: its training split, as it was written.
        fingerprint: of that split.
        saved: a run folder whose noise is used again where it has some.

    Returns:
        (n, 1) int64 given labels, or (n, 2) where image and text have one each; and the record.

    Raises:
        DataError: the noise cannot be made, or its file cannot be read or is of other data.
    """
    options, file, n_classes = settings.noise, noise_file(settings, saved), len(split.class_names)
    try:
        if file is not None:
            return load_label_noise(file, split.labels, n_classes, fingerprint)
        per_modality = options.protocol == "per_modality"
        features: FloatArray | tuple[FloatArray, FloatArray] | None = None
        if options.kind == "instance":
            images = _all_vectors(split.images)
            features = (images, _all_vectors(split.texts)) if per_modality else images
        return make_label_noise(
            split.labels,
            n_classes,
            options.ratio,
            str(options.kind),
            noise_seed(settings),
            per_modality=per_modality,
            redraw_true=options.redraw_true,
            class_map=options.class_map,
            features=features,
            data_fingerprint=fingerprint,
        )
    except NoiseError as error:
        raise DataError(str(error)) from error


def noise_file(settings: Settings, saved: RunFolder | None) -> Path | None:
    """The file the noise is read from: that of the run folder, or the one asked for; None makes new noise."""
    if saved is not None and saved.noise.exists():
        return saved.noise
    return settings.noise.file


def noise_seed(settings: Settings) -> int:
    """The seed of the noise, by default the run's."""
    return settings.seed if settings.noise.seed is None else settings.noise.seed


def refuse_non_finite(split: str, stores: Mapping[str, FeatureStore | None]) -> None:
    """Refuse features that hold what is no number.

    Args:
        split: name of the split, for the sentence.
        stores: features by what they are of, in the plural, such as ``images``.

    Raises:
        DataError: a number is NaN or infinite.
    """
    for whose, store in stores.items():
        if store is None:
            continue
        found = first_non_finite(store, limit=store.shape[0])
        if found:
            several = store.shape[1] > 1
            places = ", ".join(
                f"{whose[:-1]} {row}" + (f" ({regions} regions)" if several else "")
                for row, regions in found[:3]
            )
            raise DataError(
                f"the {split} features hold NaN or infinite numbers in {len(found)} of "
                f"{store.shape[0]} {whose}, first {places}; repair the file, "
                "'robustcmr data check' lists more"
            )


def _all_vectors(store: FeatureStore) -> FloatArray:
    """(n, F) float32."""
    return store.take(np.arange(store.shape[0], dtype=np.int64))[:, 0]
