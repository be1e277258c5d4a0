"""The given pairing or labels of a run: its true ones with noise made anew or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
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
    read_noise_file,
)
from robustcmr.config.schema import Settings
from robustcmr.data.base import FeatureStore, LabelledSplit, PairsSplit
from robustcmr.errors import DataError
from robustcmr.runs.folder import RunFolder
from robustcmr.types import FloatArray, IntArray


def given_pairs(
    settings: Settings, split: PairsSplit, fingerprints: Sequence[str], saved: RunFolder | None
) -> tuple[IntArray, NoiseRecord]:
    """Return the pairing that a run trains on, and the record of its noise.

    ``split`` is the training split without noise, with its fingerprint and those that earlier versions gave
    it; noise saved in a run folder takes precedence over new noise.

    Returns:
        The image given to each caption, (n_captions,) int64, and the record.

    Raises:
        DataError: the noise cannot be made, or its file is unreadable or made for other data.
    """
    options, truth, (file, seed) = settings.noise, split.image_of_caption, _file_and_seed(settings, saved)
    try:
        if file is not None:
            return load_noise(file, truth, split.n_images, _recorded(file, fingerprints))
        return make_mismatch(
            truth,
            split.n_images,
            options.ratio,
            str(options.protocol),
            seed,
            options.derange,
            fingerprints[0],
        )
    except NoiseError as error:
        raise DataError(str(error)) from error


def given_labels(
    settings: Settings, split: LabelledSplit, fingerprints: Sequence[str], saved: RunFolder | None
) -> tuple[IntArray, LabelNoiseRecord]:
    """Return the class labels that a run trains on, and the record of their noise.

    Arguments and errors are those of :func:`given_pairs`.

    Returns:
        The labels, (n, 1) int64 or, with one each for image and text, (n, 2); and the record.
    """
    options, n_classes, (file, seed) = settings.noise, len(split.class_names), _file_and_seed(settings, saved)
    try:
        if file is not None:
            return load_label_noise(file, split.labels, n_classes, _recorded(file, fingerprints))
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
            seed,
            per_modality=per_modality,
            redraw_true=options.redraw_true,
            class_map=options.class_map,
            features=features,
            data_fingerprint=fingerprints[0],
        )
    except NoiseError as error:
        raise DataError(str(error)) from error


def _file_and_seed(settings: Settings, saved: RunFolder | None) -> tuple[Path | None, int]:
    """Return the noise file of the run folder or else of the settings, if any, and the seed of new noise."""
    file = settings.noise.file if saved is None or not saved.noise.exists() else saved.noise
    return file, settings.seed if settings.noise.seed is None else settings.noise.seed


def _recorded(file: Path, fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of this data that a noise file records, or else the current one."""
    found = getattr(read_noise_file(file).record, "data_fingerprint", None)
    return found if isinstance(found, str) and found in fingerprints else fingerprints[0]


def _all_vectors(store: FeatureStore) -> FloatArray:
    """Return all vectors of a store, (n, F) float32."""
    return store.take(np.arange(store.shape[0], dtype=np.int64))[:, 0]
