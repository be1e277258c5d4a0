"""What is remembered of noise: a record that travels with every result, and the hash that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noise_injection.checks import PROTOCOLS, IntArray
from noise_injection.errors import NoiseError

FORMAT = 1
KINDS: tuple[str, ...] = ("mismatch",)
RECORDED_PROTOCOLS: tuple[str, ...] = (*PROTOCOLS, "none", "other")


def index_sha256(index: IntArray) -> str:
    """The name of an index: SHA-256 of its little-endian int64 bytes, the same on every machine.

    Args:
        index: (n_captions,) int64, the image given to each caption row.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(index.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class NoiseRecord:
    """How an index of given images came about, and its hash.

    Attributes:
        kind: ``mismatch``: captions given to wrong images.
        protocol: ``caption`` or ``image``; ``none`` where no noise was asked for or found; ``other`` for a
            file that follows neither rule. A file without a record whose images have one caption each counts
            as ``caption``, the two protocols being the same rule there.
        ratio_asked: share of rows (or images) to choose, in [0, 1); None for a file that does not say.
        ratio_realised: share of caption rows whose given image is not the one they were written for, in [0,
            1].
        seed: seed of the legacy NumPy generator; None for a file that does not say.
        derange: whether chosen rows were kept from falling back on their own image; None for a file that does
            not say.
        data_fingerprint: which data set the index was made for; None where unknown.
        index_sha256: the hash of the index, see ``index_sha256``.
        n_captions: length of the index.
        n_images: number of images.
        n_chosen: caption rows that took part in the exchange; None for a file that does not say.
        n_mismatched: caption rows whose given image is wrong; ``n_chosen - n_mismatched`` rows were chosen
            and came back to their own image by chance.
        source: ``made``, or the name of the file it was read from.
        format: version of this record's layout.

    Raises:
        NoiseError: a value has the wrong type or range.
    """

    kind: str
    protocol: str
    ratio_asked: float | None
    ratio_realised: float
    seed: int | None
    derange: bool | None
    data_fingerprint: str | None
    index_sha256: str
    n_captions: int
    n_images: int
    n_chosen: int | None
    n_mismatched: int
    source: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        good = {
            "kind": self.kind in KINDS,
            "protocol": self.protocol in RECORDED_PROTOCOLS,
            "ratio_asked": self.ratio_asked is None or (is_share(self.ratio_asked) and self.ratio_asked < 1),
            "ratio_realised": is_share(self.ratio_realised),
            "seed": self.seed is None or (is_count(self.seed) and self.seed < 2**32),
            "derange": self.derange is None or isinstance(self.derange, bool),
            "data_fingerprint": self.data_fingerprint is None or isinstance(self.data_fingerprint, str),
            "index_sha256": isinstance(self.index_sha256, str) and is_sha256(self.index_sha256),
            "n_captions": is_count(self.n_captions) and self.n_captions > 0,
            "n_images": is_count(self.n_images) and self.n_images > 0,
            "n_chosen": self.n_chosen is None or is_count(self.n_chosen),
            "n_mismatched": is_count(self.n_mismatched),
            "source": isinstance(self.source, str),
            "format": self.format == FORMAT,
        }
        for name, fits in good.items():
            if not fits:
                raise NoiseError(
                    f"the noise record has {name} = {getattr(self, name)!r}, which no noise can have; make "
                    "the noise again"
                )

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoiseRecord:
        """The record that ``to_dict`` gave.

        Args:
            values: every attribute by name.

        Raises:
            NoiseError: a value is missing, unknown, or of the wrong type or range.
        """
        if values.get("format") != FORMAT:
            raise NoiseError(
                f"the noise record has format {values.get('format')!r} and this version reads {FORMAT}; "
                "use the version that wrote it"
            )
        names = {field.name for field in dataclasses.fields(cls)}
        wrong = sorted(names ^ set(values))
        if wrong:
            raise NoiseError(
                f"the noise record has missing or unknown entries ({', '.join(wrong)}); make the noise again"
            )
        return cls(**values)


def is_count(value: object) -> bool:
    """Whether it is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_sha256(value: str) -> bool:
    """Whether it is 64 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{64}", value) is not None


def is_share(value: object) -> bool:
    """Whether it is a number in [0, 1]."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= 1  # type: ignore[arg-type,operator]
