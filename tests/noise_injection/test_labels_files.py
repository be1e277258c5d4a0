from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noise_injection import (
    LabelNoiseRecord,
    NoiseError,
    NoiseRecord,
    describe_labels,
    load_label_noise,
    load_noise,
    make_label_noise,
    make_mismatch,
    read_noise_file,
    regular_truth,
    save_label_noise,
    save_noise,
    verify_labels,
)
from noise_injection.files import read_array

TRUTH = np.arange(40) % 4
GIVEN, RECORD = make_label_noise(TRUTH, 4, 0.5, "symmetric", 2, per_modality=True, data_fingerprint="abc")


def write(path: Path, labels: Any = GIVEN, **changes: Any) -> Path:
    np.savez(path, labels=labels, record=np.array(json.dumps({**RECORD.to_dict(), **changes})))
    return path


@pytest.mark.parametrize("per_modality", [False, True])
def test_round_trip(tmp_path: Path, per_modality: bool) -> None:
    given, record = make_label_noise(TRUTH, 4, 0.5, "asymmetric", 2, per_modality=per_modality)
    save_label_noise(tmp_path / "new" / "l.npz", given, record)
    loaded, found = load_label_noise(tmp_path / "new" / "l.npz", TRUTH, 4)
    assert loaded.tobytes() == given.tobytes()
    assert loaded.shape == given.shape
    assert found == record
    _, named = load_label_noise(tmp_path / "new" / "l.npz", TRUTH, 4, "xyz")
    assert named == dataclasses.replace(record, data_fingerprint="xyz")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["l.npz"]


def test_same_bytes_each_time_without_pickle(tmp_path: Path) -> None:
    for name in "ab":
        save_label_noise(tmp_path / f"{name}.npz", GIVEN, RECORD)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["labels"].dtype == np.dtype("<i8")
        assert json.loads(str(archive["record"])) == RECORD.to_dict()


@pytest.mark.parametrize("dtype", [">i8", "u1"])
def test_any_whole_numbers_are_read(tmp_path: Path, dtype: str) -> None:
    given, record = load_label_noise(write(tmp_path / "l.npz", GIVEN.astype(dtype)), TRUTH, 4, "abc")
    assert given.dtype == np.int64
    assert given.dtype.isnative
    assert record == RECORD


def test_saving_labels_of_another_record_is_refused(tmp_path: Path) -> None:
    for labels in (np.flip(GIVEN, axis=1), GIVEN[:20], GIVEN[:, :1], GIVEN.reshape(80, 1)):
        with pytest.raises(NoiseError, match=r"not that of the labels|record expects \(40, 2\)"):
            save_label_noise(tmp_path / "l.npz", labels, RECORD)
    with pytest.raises(NoiseError, match=r"ends in \.npy; name a label noise file with suffix \.npz"):
        save_label_noise(tmp_path / "l.npy", GIVEN, RECORD)
    with pytest.raises(NoiseError, match="ends in nothing"):
        save_label_noise(tmp_path / "l", GIVEN, RECORD)
    with pytest.raises(NoiseError, match=r"given label array has shape \(40,\)"):
        save_label_noise(tmp_path / "l.npz", GIVEN[:, 0], RECORD)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "l.npz").write_text("precious")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(NoiseError, match="No space left"):
        save_label_noise(tmp_path / "l.npz", GIVEN, RECORD)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def other(values: np.ndarray, row: int, value: int) -> np.ndarray:
    changed = values.copy()
    changed[row, 0] = value
    return changed


@pytest.mark.parametrize(
    ("labels", "changes", "part"),
    [
        (other(GIVEN, 5, 4), {}, "l.npz has entries from 0 to 4; expected classes from 0 to 3"),
        (other(GIVEN, 5, -1), {}, "has entries from -1 to 3"),
        (other(GIVEN, 5, (GIVEN[5, 0] + 1) % 4), {}, "it was altered"),
        (GIVEN[:30], {}, r"holds labels of shape \(30, 2\) and its record expects \(40, 2\)"),
        (GIVEN[:, :1], {}, r"shape \(40, 1\)"),
        (GIVEN[:, 0], {}, r"has shape \(40,\); expected \(n, 1\)"),
        (GIVEN.astype(float), {}, "has float64 values"),
        (GIVEN[:0], {}, "is empty"),
        (GIVEN, {"seed": -3}, "cannot be used: the noise record has seed = -3"),
        (GIVEN, {"format": 2}, "has format 2"),
    ],
)
def test_contents_that_do_not_fit(tmp_path: Path, labels: Any, changes: dict[str, Any], part: str) -> None:
    with pytest.raises(NoiseError, match=part) as caught:
        load_label_noise(write(tmp_path / "l.npz", labels, **changes), TRUTH, 4)
    assert "l.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_data_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.npz")
    with pytest.raises(NoiseError, match="fingerprint abc and this data has xyz"):
        load_label_noise(path, TRUTH, 4, "xyz")
    with pytest.raises(NoiseError, match="has 40 rows and the data has 39 labels"):
        load_label_noise(path, TRUTH[:39], 4)
    with pytest.raises(NoiseError, match="is for 4 classes and the data has 5"):
        load_label_noise(path, TRUTH, 5)
    with pytest.raises(NoiseError, match="the label vector has entries from 1 to 4"):
        load_label_noise(path, TRUTH + 1, 4)
    with pytest.raises(NoiseError, match="counts 20 and 20 wrong entries and with this data there are"):
        load_label_noise(path, (TRUTH + 1) % 4, 4)


def test_files_of_pairs_and_of_labels_are_not_mistaken(tmp_path: Path) -> None:
    truth = regular_truth(40, 5)
    index, record = make_mismatch(truth, 8, 0.5, "caption", 0)
    save_noise(tmp_path / "pairs.npz", index, record)
    save_noise(tmp_path / "pairs.npy", index, record)
    save_label_noise(tmp_path / "labels.npz", GIVEN, RECORD)
    with pytest.raises(NoiseError, match="holds no class labels"):
        load_label_noise(tmp_path / "pairs.npz", TRUTH, 4)
    with pytest.raises(NoiseError, match="holds no class labels"):
        load_label_noise(tmp_path / "pairs.npy", TRUTH, 4)
    with pytest.raises(NoiseError, match="labels") as caught:
        load_noise(tmp_path / "labels.npz", truth, 8)
    assert "\n" not in str(caught.value)
    kinds = {path.name: type(read_noise_file(path).record) for path in tmp_path.iterdir()}
    assert kinds == {"labels.npz": LabelNoiseRecord, "pairs.npz": NoiseRecord, "pairs.npy": type(None)}


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "l.npz"
    with pytest.raises(NoiseError, match="there is no noise file"):
        read_noise_file(path)
    path.write_text("hello")
    with pytest.raises(NoiseError, match="is not a NumPy file"):
        read_noise_file(path)
    with pytest.raises(NoiseError, match="cannot read"):
        read_noise_file(tmp_path)
    write(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(NoiseError, match="damaged or incomplete"):
        read_noise_file(path)
    np.savez(path, labels=GIVEN)
    with pytest.raises(NoiseError, match="holds labels; expected"):
        read_noise_file(path)
    np.savez(path)
    with pytest.raises(NoiseError, match="holds nothing; expected"):
        read_noise_file(path)
    np.savez(path, labels=np.array([object()]), record=np.array(json.dumps(RECORD.to_dict())))
    with pytest.raises(NoiseError, match="pickled"):
        read_noise_file(path)
    for record in (np.array(3), np.array("{"), np.array("[]"), np.array(["{}"])):
        np.savez(path, labels=GIVEN, record=record)
        with pytest.raises(NoiseError, match="unreadable record"):
            read_noise_file(path)


def test_read_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TRUTH)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy", "label file"), TRUTH)
    with pytest.raises(NoiseError, match=r"the label file .* is an archive"):
        read_array(write(tmp_path / "l.npz"), "label file")
    with pytest.raises(NoiseError, match="there is no label file"):
        read_array(tmp_path / "none.npy", "label file")


def test_description_against_a_slow_loop() -> None:
    truth = np.array([0, 0, 0, 1, 1, 3, 3, 3, 3, 3])
    given = np.array([[0, 0], [1, 2], [0, 1], [1, 1], [1, 1], [3, 0], [0, 0], [3, 3], [3, 3], [1, 0]])
    found = describe_labels(given, truth, 4)
    for column in range(2):
        for own in range(4):
            for now in range(4):
                rows = [i for i in range(10) if truth[i] == own and given[i, column] == now]
                assert found.transitions[column][own][now] == len(rows)
    assert found.n_wrong == (3, 5)
    assert found.ratio_by_modality == (0.3, 0.5)
    assert found.ratio_realised == 0.4
    assert found.wrong_by_class[0] == pytest.approx((1 / 3, 0, None, 2 / 5))
    assert found.wrong_by_class[1] == pytest.approx((2 / 3, 0, None, 3 / 5))
    assert found.agreement == 0.6
    assert found.both_wrong == 0.3
    text = found.to_text()
    for part in (
        "10 of 4 classes",
        "8 labels (40.0000%)",
        "3 labels (30.0000%)",
        "60.00%",
        "0.00% to 66.67%",
    ):
        assert part in text
    assert [int(cell) for cell in text.splitlines()[-1].split()] == [3, 3, 0, 0, 2]
    json.dumps(found.to_dict())
    assert found.to_dict()["transitions"][1][0] == [1, 1, 1, 0]


def test_description_of_shared_labels() -> None:
    given, record = make_label_noise(TRUTH, 4, 0.5, "asymmetric", 2)
    found = describe_labels(given, TRUTH, 4)
    assert (found.protocol, found.agreement, found.both_wrong) == ("shared", None, None)
    assert (found.n_wrong, found.labels_sha256) == (record.n_wrong, record.labels_sha256)
    assert "agreement" not in found.to_text()
    many = describe_labels(given, TRUTH, 13).to_text()
    assert "13 classes, too many to show" in many
    assert describe_labels(given, TRUTH, 12).to_text().count("\n") > many.count("\n")
    with pytest.raises(NoiseError, match="40 rows and the data has 39 labels"):
        describe_labels(given, TRUTH[:39], 4)
    with pytest.raises(NoiseError, match="number of classes is 1"):
        describe_labels(given, TRUTH, 1)


FEATURES = np.random.RandomState(0).normal(size=(40, 3))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("symmetric", {"redraw_true": True}),
        ("asymmetric", {"class_map": [1, 0, 2, 2], "per_modality": True}),
        ("instance", {"features": FEATURES}),
        ("instance", {"features": (FEATURES, FEATURES[:, :2]), "per_modality": True}),
    ],
)
def test_verify_makes_it_again(kind: str, options: dict[str, Any]) -> None:
    given, record = make_label_noise(TRUTH, 4, 0.5, kind, 9, **options, data_fingerprint="abc")
    features = options.get("features")
    found = verify_labels(given, TRUTH, record, features)
    assert found.matches
    assert found.n_different == 0
    assert found.found_sha256 == found.expected_sha256 == found.recorded_sha256 == record.labels_sha256
    assert "the same, byte for byte" in found.to_text()
    changed = verify_labels(other(given, 0, (given[0, 0] + 1) % 4), TRUTH, record, features)
    assert not changed.matches
    assert changed.n_different == 1
    assert "DIFFERENT in 1 labels" in changed.to_text()
    reseeded = verify_labels(given, TRUTH, dataclasses.replace(record, seed=8), features)
    assert not reseeded.matches
    assert reseeded.n_different > 0
    misnamed = verify_labels(given, TRUTH, dataclasses.replace(record, labels_sha256="0" * 64), features)
    assert not misnamed.matches
    assert "recorded hash" in misnamed.to_text()
    assert misnamed.to_dict()["recorded_sha256"] == "0" * 64


def test_verify_refuses_what_does_not_fit() -> None:
    with pytest.raises(NoiseError, match=r"shape \(30, 2\) and their record expects \(40, 2\)"):
        verify_labels(GIVEN[:30], TRUTH, RECORD)
    with pytest.raises(NoiseError, match="40 rows and the data has 30 labels"):
        verify_labels(GIVEN, TRUTH[:30], RECORD)
    with pytest.raises(NoiseError, match="does not use features"):
        verify_labels(GIVEN, TRUTH, RECORD, FEATURES)
    given, record = make_label_noise(TRUTH, 4, 0.5, "instance", 9, features=FEATURES)
    with pytest.raises(NoiseError, match="needs features"):
        verify_labels(given, TRUTH, record)
    with pytest.raises(NoiseError, match="made with other features"):
        verify_labels(given, TRUTH, record, FEATURES * 2)


def test_any_damage_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "l.npz"
    save_label_noise(path, GIVEN, RECORD)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 11)]
    damaged += [whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
    for content in damaged:
        path.write_bytes(content)
        try:
            given, record = load_label_noise(path, TRUTH, 4, "abc")
        except NoiseError:
            continue
        assert given.tobytes() == GIVEN.tobytes()
        assert record == RECORD
