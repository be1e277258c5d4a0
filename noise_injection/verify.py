"""Noise made again from its settings, and compared with the noise at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from noise_injection import checks
from noise_injection.checks import Array, Features, IntArray, NoiseError
from noise_injection.describe import to_caption_rows
from noise_injection.labels import make_label_noise
from noise_injection.mismatch import make_mismatch
from noise_injection.records import LabelNoiseRecord, NoiseRecord, Report, features_sha256, index_sha256


@dataclass(frozen=True)
class Verification(Report):
    """Noise at hand compared with the noise its settings make.

    Attributes:
        matches: whether both are the same and the record, if any, names their hash.
        settings: by name, what the noise was made again with: protocol, ratio, seed, and derange (pairs) or
            noise (the kind of label noise).
        found_sha256: hash of the noise at hand (pairs as caption rows).
        expected_sha256: hash of the noise made again.
        recorded_sha256: hash in the record; None without a record.
        unit: ``rows`` for caption rows or ``labels``.
        n_different: number of units in which both differ.
    """

    matches: bool
    settings: dict[str, Any]
    found_sha256: str
    expected_sha256: str
    recorded_sha256: str | None
    unit: str
    n_different: int

    def to_dict(self) -> dict[str, Any]:
        """Return all values by name, ready for JSON; the count is called ``rows_different`` or the like."""
        values = super().to_dict()
        different = {f"{values.pop('unit')}_different": values.pop("n_different")}
        return {"matches": values.pop("matches"), **values.pop("settings"), **values, **different}

    def rows(self) -> list[tuple[str, str]]:
        """Return what to print as pairs of name and value."""
        rows = [("made again with", ", ".join(f"{name} {value}" for name, value in self.settings.items()))]
        rows += [("found", self.found_sha256), ("expected", self.expected_sha256)]
        if self.recorded_sha256 is not None:
            rows.append(("recorded", self.recorded_sha256))
        if self.matches:
            outcome = "the same, byte for byte"
        elif self.n_different:
            outcome = f"DIFFERENT in {self.n_different} {self.unit}"
        else:
            outcome = f"DIFFERENT from the recorded hash, although the {self.unit} are as expected"
        return [*rows, ("outcome", outcome)]


def verify(
    values: Array,
    truth: Array,
    n_images: int,
    protocol: str,
    ratio: float,
    seed: int,
    derange: bool = False,
    recorded_sha256: str | None = None,
) -> Verification:
    """Make mismatched pairs again and compare them with an index at hand.

    The index is given as to ``to_caption_rows``, its settings as to ``make_mismatch``; ``recorded_sha256`` is
    the hash of the index in a record, to compare as well.

    Example:
        >>> truth = np.arange(20) // 5
        >>> index, _ = make_mismatch(truth, 4, 0.4, "caption", seed=0)
        >>> verify(index, truth, 4, "caption", 0.4, seed=0).matches
        True
    """
    truth = checks.truth(truth, n_images)
    found = to_caption_rows(values, truth, n_images)
    expected, _ = make_mismatch(truth, n_images, ratio, protocol, seed, derange)
    settings = {"protocol": protocol, "ratio": float(ratio), "seed": int(seed), "derange": bool(derange)}
    return _compare(found, expected, recorded_sha256, settings, "rows")


def verify_record(values: Array, truth: Array, n_images: int, record: NoiseRecord) -> Verification:
    """Make mismatched pairs again from their record, which must say how they were made, see ``verify``."""
    if record.ratio_asked is None or record.seed is None or record.derange is None:
        raise NoiseError(
            f"the record (source {record.source}) does not say ratio and seed; give protocol, ratio and seed "
            "to verify with"
        )
    # at ratio 0 the record names no protocol: with both, everything keeps its place
    protocol = "caption" if record.protocol == "none" else record.protocol
    return verify(
        values, truth, n_images, protocol, record.ratio_asked, record.seed, record.derange, record.sha256
    )


def verify_labels(
    given: Array, truth: Array, record: LabelNoiseRecord, features: Features | None = None
) -> Verification:
    """Make label noise again from its record and compare it with labels at hand.

    Args:
        given: (n, 1) or (n, 2) integers, the labels at hand.
        truth: (n,) integers, the true labels.
        record: their record.
        features: for ``instance``, the features it was made with, see ``make_label_noise``.

    Example:
        >>> truth = np.arange(20) % 4
        >>> given, record = make_label_noise(truth, 4, 0.4, "symmetric", seed=0)
        >>> verify_labels(truth[:, None], truth, record).n_different
        8
    """
    found = checks.given(given, record.n_classes)
    if found.shape != record.shape:
        raise NoiseError(
            f"the given labels have shape {found.shape} and their record expects {record.shape}; choose the "
            "record made for these labels"
        )
    checks.rows(found, np.asarray(truth))
    if record.noise == "instance" and features is not None:
        parts = checks.features(features, record.n, record.shape[1])
        if features_sha256(parts) != record.features_sha256:
            raise NoiseError("the noise was made with other features than these; give those it was made with")
    noise, ratio, seed = record.noise, record.ratio_asked, record.seed
    expected, _ = make_label_noise(
        truth,
        record.n_classes,
        ratio,
        noise,
        seed,
        per_modality=record.protocol == "per_modality",
        redraw_true=record.redraw_true,
        class_map=record.class_map,
        features=features,
    )
    settings = {"noise": noise, "protocol": record.protocol, "ratio": ratio, "seed": seed}
    return _compare(found, expected, record.sha256, settings, "labels")


def _compare(
    found: IntArray, expected: IntArray, recorded_sha256: str | None, settings: dict[str, Any], unit: str
) -> Verification:
    found_sha256, expected_sha256 = index_sha256(found), index_sha256(expected)
    return Verification(
        matches=found_sha256 == expected_sha256 and recorded_sha256 in (None, found_sha256),
        settings=settings,
        found_sha256=found_sha256,
        expected_sha256=expected_sha256,
        recorded_sha256=recorded_sha256,
        unit=unit,
        n_different=int((found != expected).sum()),
    )
