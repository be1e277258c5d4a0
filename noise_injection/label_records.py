"""What is remembered of label noise: a record that travels with every result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noise_injection.errors import NoiseError
from noise_injection.label_checks import LABEL_KINDS
from noise_injection.records import is_count, is_sha256, is_share

LABEL_FORMAT = 1
LABEL_PROTOCOLS: tuple[str, ...] = ("shared", "per_modality")
"""One label for both modalities of a pair, or one drawn for each."""

_TUPLES = ("ratio_by_modality", "n_wrong", "class_map")


@dataclass(frozen=True)
class LabelNoiseRecord:
    """How given labels came about, and their hash.

    Attributes:
        kind: ``labels``.
        noise: ``symmetric``, ``asymmetric`` or ``instance``, see ``noise_injection.labels``.
        protocol: ``shared`` (one column of labels) or ``per_modality`` (two, drawn independently).
        ratio_asked: share of the rows to choose in each column, in [0, 1).
        ratio_realised: share of wrong labels among all given, in [0, 1].
        ratio_by_modality: the same for each column: the one, or the images' and the texts'.
        seed: seed of the legacy NumPy generator.
        redraw_true: whether a chosen row may have drawn its true class again.
        class_map: for ``asymmetric`` the class that labels of each class are turned into; None otherwise.
        data_fingerprint: which data set the labels were made for; None where unknown.
        labels_sha256: SHA-256 of the given labels, row by row as little-endian int64.
        features_sha256: for ``instance`` the hash of the features; None otherwise.
        n: number of rows.
        n_classes: number of classes.
        n_chosen: rows chosen in each column.
        n_wrong: labels that are wrong in each column; the other chosen ones are true all the same.
        source: ``made``.
        format: version of this record's layout.

    Raises:
        NoiseError: a value has the wrong type or range, or contradicts another.
    """

    kind: str
    noise: str
    protocol: str
    ratio_asked: float
    ratio_realised: float
    ratio_by_modality: tuple[float, ...]
    seed: int
    redraw_true: bool
    class_map: tuple[int, ...] | None
    data_fingerprint: str | None
    labels_sha256: str
    features_sha256: str | None
    n: int
    n_classes: int
    n_chosen: int
    n_wrong: tuple[int, ...]
    source: str
    format: int = LABEL_FORMAT

    def __post_init__(self) -> None:
        # later entries rely on the ones before, which is why they are looked at in turn
        checks: dict[str, Callable[[], bool]] = {
            "kind": lambda: self.kind == "labels",
            "noise": lambda: self.noise in LABEL_KINDS,
            "protocol": lambda: self.protocol in LABEL_PROTOCOLS,
            "seed": lambda: is_count(self.seed) and self.seed < 2**32,
            "data_fingerprint": lambda: (
                self.data_fingerprint is None or isinstance(self.data_fingerprint, str)
            ),
            "labels_sha256": lambda: isinstance(self.labels_sha256, str) and is_sha256(self.labels_sha256),
            "n": lambda: is_count(self.n) and self.n > 0,
            "n_classes": lambda: is_count(self.n_classes) and self.n_classes > 1,
            "ratio_asked": lambda: is_share(self.ratio_asked) and self.ratio_asked < 1,
            "n_chosen": lambda: is_count(self.n_chosen) and self.n_chosen == int(self.ratio_asked * self.n),
            "redraw_true": lambda: (
                isinstance(self.redraw_true, bool) and (not self.redraw_true or self.noise == "symmetric")
            ),
            "n_wrong": self._n_wrong_fits,
            "ratio_by_modality": lambda: _same(
                self.ratio_by_modality, tuple(wrong / self.n for wrong in self.n_wrong)
            ),
            "ratio_realised": lambda: _same(
                (self.ratio_realised,), (sum(self.n_wrong) / (self.n * len(self.n_wrong)),)
            ),
            "class_map": self._class_map_fits,
            "features_sha256": self._features_fit,
            "source": lambda: isinstance(self.source, str),
            "format": lambda: self.format == LABEL_FORMAT,
        }
        for name, fits in checks.items():
            if not fits():
                raise NoiseError(
                    f"the label noise record has {name} = {getattr(self, name)!r}, which no such noise can "
                    "have; make the noise again"
                )

    @property
    def n_columns(self) -> int:
        """Labels a row: 1 for ``shared``, 2 for ``per_modality``."""
        return 2 if self.protocol == "per_modality" else 1

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelNoiseRecord:
        """The record that ``to_dict`` gave.

        Args:
            values: every attribute by name.

        Raises:
            NoiseError: a value is missing, unknown, or of the wrong type or range.
        """
        if values.get("format") != LABEL_FORMAT:
            raise NoiseError(
                f"the label noise record has format {values.get('format')!r} and this version reads "
                f"{LABEL_FORMAT}; use the version that wrote it"
            )
        wrong = sorted({field.name for field in dataclasses.fields(cls)} ^ set(values))
        if wrong:
            raise NoiseError(
                f"the label noise record has missing or unknown entries ({', '.join(wrong)}); make the noise "
                "again"
            )
        lists = {name: tuple(values[name]) for name in _TUPLES if isinstance(values[name], list)}
        return cls(**{**values, **lists})

    def _n_wrong_fits(self) -> bool:
        good = isinstance(self.n_wrong, tuple) and len(self.n_wrong) == self.n_columns
        exact = self.noise == "instance" or (self.noise == "symmetric" and not self.redraw_true)
        least = self.n_chosen if exact else 0
        return good and all(is_count(wrong) and least <= wrong <= self.n_chosen for wrong in self.n_wrong)

    def _class_map_fits(self) -> bool:
        if self.noise != "asymmetric":
            return self.class_map is None
        if not isinstance(self.class_map, tuple) or len(self.class_map) != self.n_classes:
            return False
        return all(is_count(target) and target < self.n_classes for target in self.class_map)

    def _features_fit(self) -> bool:
        if self.noise != "instance":
            return self.features_sha256 is None
        return isinstance(self.features_sha256, str) and is_sha256(self.features_sha256)


def _same(found: object, expected: tuple[float, ...]) -> bool:
    good = isinstance(found, tuple) and len(found) == len(expected)
    return good and all(
        is_share(a) and math.isclose(a, b, abs_tol=1e-12)
        for a, b in zip(found, expected, strict=True)  # type: ignore[call-overload]
    )
