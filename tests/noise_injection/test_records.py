from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from noise_injection import (
    LabelNoiseRecord,
    NoiseError,
    NoiseRecord,
    index_sha256,
    make_label_noise,
    make_mismatch,
    regular_truth,
)

LABELS = np.arange(40) % 4
LABEL_RECORD = make_label_noise(LABELS, 4, 0.5, "asymmetric", 2, per_modality=True, data_fingerprint="abc")[1]
SYMMETRIC = make_label_noise(LABELS, 4, 0.5, "symmetric", 2)[1]
INSTANCE = make_label_noise(LABELS, 4, 0.5, "instance", 2, features=np.arange(80).reshape(40, 2))[1]


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


@pytest.mark.parametrize("record", [LABEL_RECORD, SYMMETRIC, INSTANCE])
def test_label_record_round_trip_through_json(record: LabelNoiseRecord) -> None:
    values = json.loads(json.dumps(record.to_dict()))
    assert values == record.to_dict()
    assert LabelNoiseRecord.from_dict(values) == record
    hash(LabelNoiseRecord.from_dict(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "mismatch"),
        ("noise", "open_set"),
        ("protocol", "caption"),
        ("protocol", "shared"),  # with two columns of counts
        ("ratio_asked", 1.0),
        ("ratio_asked", "0.5"),
        ("ratio_asked", None),
        ("ratio_realised", 0.4),
        ("ratio_realised", float("nan")),
        ("ratio_by_modality", [0.5]),
        ("ratio_by_modality", [0.5, 0.6]),
        ("ratio_by_modality", 0.5),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", True),
        ("redraw_true", 1),
        ("redraw_true", True),  # of asymmetric noise
        ("class_map", None),
        ("class_map", [1, 2, 3]),
        ("class_map", [1, 2, 3, 4]),
        ("class_map", [1, 2, 3, 0.0]),
        ("data_fingerprint", 3),
        ("labels_sha256", "abc"),
        ("labels_sha256", None),
        ("features_sha256", "0" * 64),
        ("n", 0),
        ("n_classes", 1),
        ("n_chosen", 19),
        ("n_chosen", 20.0),
        ("n_wrong", [20]),
        ("n_wrong", [20, 21]),
        ("n_wrong", [20, -1]),
        ("n_wrong", 20),
        ("source", None),
    ],
)
def test_values_no_label_noise_can_have(name: str, value: Any) -> None:
    with pytest.raises(NoiseError, match=f"has (n_wrong|{name}) = "):
        LabelNoiseRecord.from_dict({**LABEL_RECORD.to_dict(), name: value})


def test_contradictions_in_a_label_record() -> None:
    with pytest.raises(NoiseError, match="n_wrong"):  # every chosen label of such noise is wrong
        dataclasses.replace(SYMMETRIC, n_wrong=(19,), ratio_by_modality=(0.475,), ratio_realised=0.475)
    dataclasses.replace(
        SYMMETRIC, redraw_true=True, n_wrong=(19,), ratio_by_modality=(0.475,), ratio_realised=0.475
    )
    with pytest.raises(NoiseError, match="class_map"):
        dataclasses.replace(SYMMETRIC, class_map=(1, 2, 3, 0))
    with pytest.raises(NoiseError, match="features_sha256"):
        dataclasses.replace(INSTANCE, features_sha256=None)
    with pytest.raises(NoiseError, match="format = 2"):
        dataclasses.replace(SYMMETRIC, format=2)


def test_missing_unknown_and_later_entries_of_a_label_record() -> None:
    values = LABEL_RECORD.to_dict()
    with pytest.raises(NoiseError, match=r"unknown entries \(extra\)"):
        LabelNoiseRecord.from_dict({**values, "extra": 1})
    del values["seed"]
    with pytest.raises(NoiseError, match=r"missing or unknown entries \(seed\)"):
        LabelNoiseRecord.from_dict(values)
    with pytest.raises(NoiseError, match="format 9 and this version reads 1"):
        LabelNoiseRecord.from_dict({**LABEL_RECORD.to_dict(), "format": 9})


def test_records_of_pairs_and_of_labels_are_not_mistaken() -> None:
    pairs = make_mismatch(LABELS, 4, 0.5, "caption", 0)[1]
    with pytest.raises(NoiseError, match="missing or unknown entries"):
        LabelNoiseRecord.from_dict(pairs.to_dict())
    with pytest.raises(NoiseError, match="missing or unknown entries"):
        NoiseRecord.from_dict(LABEL_RECORD.to_dict())
