"""Making noise again from what its record says, and comparing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.checks import IntArray, check_truth
from noise_injection.describe import to_caption_rows
from noise_injection.errors import NoiseError
from noise_injection.mismatch import make_mismatch
from noise_injection.records import NoiseRecord, index_sha256


@dataclass(frozen=True)
class Verification:
    """An index held against the one its settings give.

    Attributes:
        matches: whether the indices are the same and, where there is a record, whether it names their hash.
        protocol: protocol it was made again with.
        ratio: ratio it was made again with.
        seed: seed it was made again with.
        derange: whether chosen rows were kept from their own image.
        found_sha256: hash of the index at hand, as caption rows.
        expected_sha256: hash of the index made again.
        recorded_sha256: hash the record names; None without a record.
        rows_different: caption rows at which the two indices differ.
    """

    matches: bool
    protocol: str
    ratio: float
    seed: int
    derange: bool
    found_sha256: str
    expected_sha256: str
    recorded_sha256: str | None
    rows_different: int

    def to_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """A few readable lines, without a final newline."""
        rule = f"protocol {self.protocol}, ratio {self.ratio:g}, seed {self.seed}"
        lines = [
            f"{'made again with':<16} {rule}{', deranged' if self.derange else ''}",
            f"{'found':<16} {self.found_sha256}",
            f"{'expected':<16} {self.expected_sha256}",
        ]
        if self.recorded_sha256 is not None:
            lines.append(f"{'recorded':<16} {self.recorded_sha256}")
        if self.matches:
            lines.append("the same, byte for byte")
        elif self.rows_different:
            lines.append(f"DIFFERENT in {self.rows_different} caption rows")
        else:
            lines.append("DIFFERENT from the hash recorded, though the rows are as expected")
        return "\n".join(lines)


def verify(
    values: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    n_images: int,
    protocol: str,
    ratio: float,
    seed: int,
    derange: bool = False,
    recorded_sha256: str | None = None,
) -> Verification:
    """Make the noise again and compare it with an index at hand.

    Args:
        values: (n_captions,) image given to each caption row, or (n_images,) an image permutation.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.
        protocol: one of ``PROTOCOLS``.
        ratio: share asked for, in [0, 1).
        seed: seed of the generator.
        derange: whether chosen rows were kept from their own image.
        recorded_sha256: hash a record names for the index, to be compared as well.

    Returns:
        The outcome.

    Raises:
        NoiseError: the index does not fit the data, or the settings make no noise.
    """
    truth = check_truth(truth, n_images)
    found: IntArray = to_caption_rows(np.asarray(values), truth, n_images)
    expected, record = make_mismatch(truth, n_images, ratio, protocol, seed, derange)
    found_sha256 = index_sha256(found)
    return Verification(
        matches=found_sha256 == record.index_sha256 and recorded_sha256 in (None, found_sha256),
        protocol=protocol,
        ratio=float(ratio),
        seed=int(seed),
        derange=bool(derange),
        found_sha256=found_sha256,
        expected_sha256=record.index_sha256,
        recorded_sha256=recorded_sha256,
        rows_different=int((found != expected).sum()),
    )


def verify_record(
    values: npt.NDArray[Any], truth: npt.NDArray[Any], n_images: int, record: NoiseRecord
) -> Verification:
    """Make the noise again from its record and compare, see ``verify``.

    Raises:
        NoiseError: the record does not say how the noise was made, or the index does not fit the data.
    """
    if record.ratio_asked is None or record.seed is None or record.derange is None:
        raise NoiseError(
            f"the record (source {record.source}) does not say ratio and seed; give protocol, ratio and "
            "seed to verify with"
        )
    # a record of ratio 0 names no protocol: both leave everything in its place
    protocol = "caption" if record.protocol == "none" else record.protocol
    return verify(
        values,
        truth,
        n_images,
        protocol,
        record.ratio_asked,
        record.seed,
        record.derange,
        record.index_sha256,
    )
