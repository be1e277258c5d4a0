"""Making label noise again from its record, and comparing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.errors import NoiseError
from noise_injection.label_checks import Features, check_features, check_given, features_sha256
from noise_injection.label_describe import check_rows
from noise_injection.label_records import LabelNoiseRecord
from noise_injection.labels import make_label_noise
from noise_injection.records import index_sha256


@dataclass(frozen=True)
class LabelVerification:
    """Given labels held against those their record gives.

    Attributes:
        matches: whether the labels are the same and the record names their hash.
        noise: kind of noise they were made again with.
        protocol: ``shared`` or ``per_modality``.
        ratio: ratio they were made again with.
        seed: seed they were made again with.
        found_sha256: hash of the labels at hand.
        expected_sha256: hash of the labels made again.
        recorded_sha256: hash the record names.
        labels_different: labels in which the two differ.
    """

    matches: bool
    noise: str
    protocol: str
    ratio: float
    seed: int
    found_sha256: str
    expected_sha256: str
    recorded_sha256: str
    labels_different: int

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """A few readable lines, without a final newline."""
        if self.matches:
            outcome = "the same, byte for byte"
        elif self.labels_different:
            outcome = f"DIFFERENT in {self.labels_different} labels"
        else:
            outcome = "DIFFERENT from the hash recorded, though the labels are as expected"
        rule = f"{self.noise}, {self.protocol}, ratio {self.ratio:g}, seed {self.seed}"
        return "\n".join(
            [
                f"{'made again with':<16} {rule}",
                f"{'found':<16} {self.found_sha256}",
                f"{'expected':<16} {self.expected_sha256}",
                f"{'recorded':<16} {self.recorded_sha256}",
                outcome,
            ]
        )


def verify_labels(
    given: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    record: LabelNoiseRecord,
    features: Features | None = None,
) -> LabelVerification:
    """Make label noise again from its record and compare it with labels at hand.

    Args:
        given: (n, 1) or (n, 2) whole numbers, the labels at hand.
        truth: (n,) whole numbers, the true labels.
        record: their record.
        features: for ``instance`` the features they were made with, see ``make_label_noise``.

    Returns:
        The outcome.

    Raises:
        NoiseError: labels or features do not fit the record.
    """
    found = check_given(given, record.n_classes)
    if found.shape != (record.n, record.n_columns):
        raise NoiseError(
            f"the given labels have shape {found.shape} and their record is of ({record.n}, "
            f"{record.n_columns}); choose the record made for these labels"
        )
    check_rows(found, np.asarray(truth), "the labels and their record")
    if record.noise == "instance" and features is not None:
        parts = check_features(features, record.n, record.n_columns)
        if features_sha256(parts) != record.features_sha256:
            raise NoiseError(
                "the noise was made with other features than these; give the features it was made with"
            )
    expected, made = make_label_noise(
        truth,
        record.n_classes,
        record.ratio_asked,
        record.noise,
        record.seed,
        per_modality=record.protocol == "per_modality",
        redraw_true=record.redraw_true,
        class_map=record.class_map,
        features=features,
    )
    found_sha256 = index_sha256(found)
    return LabelVerification(
        matches=found_sha256 == made.labels_sha256 == record.labels_sha256,
        noise=record.noise,
        protocol=record.protocol,
        ratio=record.ratio_asked,
        seed=record.seed,
        found_sha256=found_sha256,
        expected_sha256=made.labels_sha256,
        recorded_sha256=record.labels_sha256,
        labels_different=int((found != expected).sum()),
    )
