"""Noise records, which say how noise was made, and the hashes that identify it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from noise_injection.checks import (
    BLOCK,
    LABEL_KINDS,
    MOST_CLASSES,
    PROTOCOLS,
    Array,
    IntArray,
    NoiseError,
    most_images,
)
from noise_injection.printing import one_line

FORMAT = 1
RECORDED_PROTOCOLS: tuple[str, ...] = (*PROTOCOLS, "none", "other")
LABEL_PROTOCOLS: tuple[str, ...] = ("shared", "per_modality")


def index_sha256(index: IntArray) -> str:
    """Return the SHA-256 of an array's little-endian int64 bytes, the same digits on every machine.

    Example:
        >>> import numpy as np
        >>> index_sha256(np.array([3, 0, 258]))[:16]
        'e1ede75ddecb4829'
    """
    return hashlib.sha256(index.astype("<i8").tobytes()).hexdigest()


def features_sha256(parts: Sequence[Array]) -> str:
    """Return the SHA-256 of shapes and little-endian float64 bytes, equal for equal numbers of any type."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.shape[0]} {part.shape[1]} ".encode())
        for start in range(0, len(part), BLOCK):
            digest.update(part[start : start + BLOCK].astype("<f8").tobytes())
    return digest.hexdigest()


def counted(index: IntArray, truth: IntArray, n_images: int) -> dict[str, Any]:
    """Return the entries of a record that follow from the image given to each caption row."""
    n_mismatched = int((index != truth).sum())
    return {
        "n_captions": truth.size,
        "n_images": int(n_images),
        "n_mismatched": n_mismatched,
        "ratio_realised": n_mismatched / truth.size,
        "index_sha256": index_sha256(index),
    }


def counted_labels(given: IntArray, truth: IntArray, n_classes: int) -> dict[str, Any]:
    """Return the entries of a record that follow from given labels, (n, 1) or (n, 2)."""
    is_wrong = given != truth[:, None]
    return {
        "protocol": LABEL_PROTOCOLS[given.shape[1] - 1],
        "n": truth.size,
        "n_classes": n_classes,
        "n_wrong": tuple(is_wrong.sum(axis=0).tolist()),
        "ratio_realised": float(is_wrong.mean()),
        "ratio_by_modality": tuple(is_wrong.mean(axis=0).tolist()),
        "labels_sha256": index_sha256(given),
    }


class Report(ABC):
    """Base of the dataclasses that are printed as text or JSON."""

    @abstractmethod
    def rows(self) -> list[tuple[str, str]]:
        """Return what to print as pairs of name and value."""

    def to_text(self) -> str:
        """Return readable lines of names and values, without a final newline."""
        return "\n".join(f"{name:<16} {one_line(value)}" for name, value in self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Return all values by name, with tuples as the lists that JSON makes of them."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]
        return values


@dataclass(frozen=True, kw_only=True)
class Record(Report):
    """Provenance that both kinds of record share; impossible or contradictory values raise ``NoiseError``.

    Attributes:
        kind: ``mismatch`` (captions given to wrong images) or ``labels`` (wrong class labels).
        ratio_realised: share of caption rows, or of labels, that are wrong, in [0, 1].
        data_fingerprint: data set the noise was made for; None if unknown.
        source: ``made``, or the name of the file it was read from.
        format: version of the record's layout.
    """

    key: ClassVar[str]  # name of the noise array in a file

    kind: str
    ratio_realised: float
    data_fingerprint: str | None
    source: str = "made"
    format: int = FORMAT

    def __post_init__(self) -> None:
        for name, fits in self._checks():
            if not fits:
                raise NoiseError(
                    f"the noise record has {name} = {getattr(self, name)!r}, which no noise can have; make "
                    "the noise again"
                )

    @property
    def sha256(self) -> str:
        """Hash of the noise array."""
        return str(getattr(self, f"{self.key}_sha256"))

    def rows(self) -> list[tuple[str, str]]:
        """Return what to print of how the noise was made, as pairs of name and value."""
        data = [] if self.data_fingerprint is None else [("data", self.data_fingerprint)]
        return [("source", self.source), *self._made(), *data]

    @abstractmethod
    def _made(self) -> list[tuple[str, str]]: ...

    def _checks(self) -> Iterator[tuple[str, bool]]:
        """Yield a field's name and whether its value is possible; a check may rely on those before it."""
        yield "ratio_realised", _is_share(self.ratio_realised)
        yield "data_fingerprint", self.data_fingerprint is None or isinstance(self.data_fingerprint, str)
        yield "source", isinstance(self.source, str)
        yield "format", self.format == FORMAT

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the record whose ``to_dict`` gave ``values``."""
        if values.get("format") != FORMAT:
            raise NoiseError(
                f"the noise record has format {values.get('format')!r} and this version reads {FORMAT}; use "
                "the version that wrote it"
            )
        wrong = sorted({field.name for field in dataclasses.fields(cls)} ^ set(values))
        if wrong:
            raise NoiseError(
                f"the noise record has missing or unknown entries ({', '.join(wrong)}); make the noise again"
            )
        fields: dict[str, Any] = {k: tuple(x) if isinstance(x, list) else x for k, x in values.items()}
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class NoiseRecord(Record):
    """How an index of given images was made; what a published file does not say is None.

    Attributes:
        protocol: ``caption`` or ``image``; ``none`` without noise; ``other`` for a file that follows neither
            rule. With one caption per image the two rules coincide and are called ``caption``.
        ratio_asked: requested share of rows (or images) to choose, in [0, 1); None if unknown.
        seed: seed of NumPy's legacy generator; None if unknown.
        derange: whether chosen rows were kept from returning to their own image; None if unknown.
        index_sha256: hash of the index, see ``index_sha256``.
        n_captions: length of the index.
        n_images: number of images.
        n_chosen: caption rows that took part in the exchange; None if unknown.
        n_mismatched: caption rows given a wrong image; the other chosen rows returned by chance.
    """

    key: ClassVar[str] = "index"

    kind: str = "mismatch"
    protocol: str
    ratio_asked: float | None = None
    seed: int | None = None
    derange: bool | None = None
    index_sha256: str
    n_captions: int
    n_images: int
    n_chosen: int | None = None
    n_mismatched: int

    @property
    def shape(self) -> tuple[int]:
        """Shape of the index."""
        return (self.n_captions,)

    def _made(self) -> list[tuple[str, str]]:
        if self.ratio_asked is None or self.n_chosen is None:
            return [("asked", "unknown, the file has no record")]
        deranged = ", deranged" if self.derange else ""
        asked = f"ratio {self.ratio_asked:g}, protocol {self.protocol}, seed {self.seed}{deranged}"
        returned = self.n_chosen - self.n_mismatched
        chosen = f"{self.n_chosen} captions, {returned} returned to their own image"
        return [("asked", asked), ("chosen", chosen)]

    def _checks(self) -> Iterator[tuple[str, bool]]:
        yield "kind", self.kind == "mismatch"
        yield "protocol", self.protocol in RECORDED_PROTOCOLS
        yield "ratio_asked", self.ratio_asked is None or _is_ratio(self.ratio_asked)
        yield "seed", self.seed is None or _is_count(self.seed, 0, 2**32)
        yield "derange", self.derange is None or isinstance(self.derange, bool)
        yield "index_sha256", _is_sha256(self.index_sha256)
        yield "n_captions", _is_count(self.n_captions, 1)
        yield "n_images", _is_count(self.n_images, 1, most_images(self.n_captions) + 1)
        yield "n_chosen", self.n_chosen is None or _is_count(self.n_chosen)
        yield "n_mismatched", _is_count(self.n_mismatched)
        yield from super()._checks()


@dataclass(frozen=True, kw_only=True)
class LabelNoiseRecord(Record):
    """How given labels were made.

    Attributes:
        noise: ``symmetric``, ``asymmetric`` or ``instance``, see ``noise_injection.labels``.
        protocol: ``shared`` (one column of labels) or ``per_modality`` (two, drawn independently).
        ratio_asked: requested share of rows to choose in each column, in [0, 1).
        ratio_by_modality: share of wrong labels in each column: the one, or the images' and the texts'.
        seed: seed of NumPy's legacy generator.
        redraw_true: whether a chosen row could draw its true class again.
        class_map: for ``asymmetric``, the class that replaces each class; None otherwise.
        labels_sha256: hash of the given labels, row by row, see ``index_sha256``.
        features_sha256: for ``instance``, the hash of the features; None otherwise.
        n: number of rows.
        n_classes: number of classes.
        n_chosen: rows chosen in each column.
        n_wrong: wrong labels in each column; the other chosen rows kept their true class.
    """

    key: ClassVar[str] = "labels"

    kind: str = "labels"
    noise: str
    protocol: str
    ratio_asked: float
    ratio_by_modality: tuple[float, ...]
    seed: int
    redraw_true: bool
    class_map: tuple[int, ...] | None
    labels_sha256: str
    features_sha256: str | None
    n: int
    n_classes: int
    n_chosen: int
    n_wrong: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the labels: (n, 1) for ``shared``, (n, 2) for ``per_modality``."""
        return self.n, 2 if self.protocol == "per_modality" else 1

    def _made(self) -> list[tuple[str, str]]:
        redrawn = ", true class redrawn" if self.redraw_true else ""
        each = " in each modality" if self.protocol == "per_modality" else ""
        asked = f"ratio {self.ratio_asked:g}, {self.noise}, seed {self.seed}{redrawn}"
        return [("asked", asked), ("chosen", f"{self.n_chosen} rows{each}")]

    def _checks(self) -> Iterator[tuple[str, bool]]:
        yield "kind", self.kind == "labels"
        yield "noise", self.noise in LABEL_KINDS
        yield "protocol", self.protocol in LABEL_PROTOCOLS
        yield "seed", _is_count(self.seed, 0, 2**32)
        yield "labels_sha256", _is_sha256(self.labels_sha256)
        yield "n", _is_count(self.n, 1)
        yield "n_classes", _is_count(self.n_classes, 2, MOST_CLASSES + 1)
        yield "ratio_asked", _is_ratio(self.ratio_asked)
        yield "n_chosen", _is_count(self.n_chosen) and self.n_chosen == int(self.ratio_asked * self.n)
        symmetric = self.noise == "symmetric"
        yield "redraw_true", isinstance(self.redraw_true, bool) and (symmetric or not self.redraw_true)
        exact = self.noise == "instance" or (symmetric and not self.redraw_true)
        least = self.n_chosen if exact else 0
        fits = isinstance(self.n_wrong, tuple) and len(self.n_wrong) == self.shape[1]
        yield "n_wrong", fits and all(_is_count(wrong, least, self.n_chosen + 1) for wrong in self.n_wrong)
        yield "ratio_by_modality", _close(self.ratio_by_modality, tuple(n / self.n for n in self.n_wrong))
        yield "ratio_realised", _close((self.ratio_realised,), (sum(self.n_wrong) / math.prod(self.shape),))
        mapped = self.noise == "asymmetric"
        yield "class_map", _is_class_map(self.class_map, self.n_classes) if mapped else self.class_map is None
        digest = self.features_sha256
        yield "features_sha256", _is_sha256(digest) if self.noise == "instance" else digest is None
        yield from super()._checks()


def _is_count(value: object, low: int = 0, limit: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < limit


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _is_ratio(value: object) -> bool:
    return _is_share(value) and value != 1


def _is_class_map(value: object, n_classes: int) -> bool:
    good = isinstance(value, tuple) and len(value) == n_classes
    return good and all(_is_count(target, 0, n_classes) for target in value)  # type: ignore[attr-defined]


def _close(found: object, expected: tuple[float, ...]) -> bool:
    good = isinstance(found, tuple) and len(found) == len(expected)
    return good and all(
        _is_share(a) and math.isclose(a, b, abs_tol=1e-12)
        for a, b in zip(found, expected, strict=True)  # type: ignore[call-overload]
    )
