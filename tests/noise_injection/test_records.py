from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct

import numpy as np
import pytest

from noise_injection import NoiseError, NoiseRecord, index_sha256, make_mismatch, regular_truth


@pytest.fixture
def record() -> NoiseRecord:
    return make_mismatch(regular_truth(20, 5), 4, 0.5, "caption", 1, data_fingerprint="f")[1]


def test_hash_is_that_of_little_endian_bytes() -> None:
    values = [3, 0, 258]
    expected = hashlib.sha256(struct.pack("<3q", *values)).hexdigest()
    assert index_sha256(np.array(values)) == expected
    assert index_sha256(np.array(values, dtype=">i8")) == expected


def test_round_trip_through_json(record: NoiseRecord) -> None:
    assert NoiseRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_it_cannot_be_changed(record: NoiseRecord) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "label"),
        ("protocol", "words"),
        ("ratio_asked", 1.0),
        ("ratio_asked", math.nan),
        ("ratio_asked", "0.4"),
        ("ratio_realised", 1.5),
        ("ratio_realised", None),
        ("ratio_realised", True),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.0),
        ("derange", 1),
        ("data_fingerprint", 5),
        ("index_sha256", "ab"),
        ("index_sha256", "G" * 64),
        ("index_sha256", None),
        ("n_captions", 0),
        ("n_images", True),
        ("n_chosen", -1),
        ("n_mismatched", None),
        ("source", None),
    ],
)
def test_impossible_values(record: NoiseRecord, name: str, value: object) -> None:
    with pytest.raises(NoiseError, match=name):
        NoiseRecord.from_dict({**record.to_dict(), name: value})


def test_missing_and_unknown_entries(record: NoiseRecord) -> None:
    values = record.to_dict()
    del values["seed"]
    with pytest.raises(NoiseError, match=r"\(colour, seed\)"):
        NoiseRecord.from_dict({**values, "colour": 1})


@pytest.mark.parametrize("number", [2, None, "1"])
def test_other_format(record: NoiseRecord, number: object) -> None:
    with pytest.raises(NoiseError, match="use the version that wrote it"):
        NoiseRecord.from_dict({**record.to_dict(), "format": number, "new": 1})


def test_record_of_another_format_cannot_be_built(record: NoiseRecord) -> None:
    with pytest.raises(NoiseError, match="format = 9"):
        dataclasses.replace(record, format=9)
