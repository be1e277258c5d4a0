from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from noise_injection import LabelNoiseRecord, NoiseError, NoiseRecord, make_label_noise, make_mismatch

TRUTH = np.arange(40) % 4
RECORD = make_label_noise(TRUTH, 4, 0.5, "asymmetric", 2, per_modality=True, data_fingerprint="abc")[1]
SYMMETRIC = make_label_noise(TRUTH, 4, 0.5, "symmetric", 2)[1]
INSTANCE = make_label_noise(TRUTH, 4, 0.5, "instance", 2, features=np.arange(80).reshape(40, 2))[1]


@pytest.mark.parametrize("record", [RECORD, SYMMETRIC, INSTANCE])
def test_round_trip_through_json(record: LabelNoiseRecord) -> None:
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
def test_values_no_noise_can_have(name: str, value: Any) -> None:
    with pytest.raises(NoiseError, match=f"has (n_wrong|{name}) = "):
        LabelNoiseRecord.from_dict({**RECORD.to_dict(), name: value})


def test_contradictions() -> None:
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


def test_entries_must_be_the_ones_known() -> None:
    values = RECORD.to_dict()
    with pytest.raises(NoiseError, match=r"unknown entries \(extra\)"):
        LabelNoiseRecord.from_dict({**values, "extra": 1})
    del values["seed"]
    with pytest.raises(NoiseError, match=r"missing or unknown entries \(seed\)"):
        LabelNoiseRecord.from_dict(values)
    with pytest.raises(NoiseError, match="format 9 and this version reads 1"):
        LabelNoiseRecord.from_dict({**RECORD.to_dict(), "format": 9})


def test_records_of_pairs_and_of_labels_are_not_mistaken() -> None:
    pairs = make_mismatch(TRUTH, 4, 0.5, "caption", 0)[1]
    with pytest.raises(NoiseError, match="missing or unknown entries"):
        LabelNoiseRecord.from_dict(pairs.to_dict())
    with pytest.raises(NoiseError, match="missing or unknown entries"):
        NoiseRecord.from_dict(RECORD.to_dict())
