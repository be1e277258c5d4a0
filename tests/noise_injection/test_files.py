from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noise_injection import (
    LabelNoiseRecord,
    NoiseError,
    NoiseRecord,
    describe,
    load_label_noise,
    load_noise,
    make_label_noise,
    make_mismatch,
    read_noise_file,
    regular_truth,
    save_label_noise,
    save_noise,
)
from noise_injection.atomic import atomic_file
from noise_injection.files import read_array

TRUTH = regular_truth(40, 5)
INDEX, RECORD = make_mismatch(TRUTH, 8, 0.5, "caption", 2, data_fingerprint="abc")
LABELS = np.arange(40) % 4
GIVEN, LABEL_RECORD = make_label_noise(
    LABELS, 4, 0.5, "symmetric", 2, per_modality=True, data_fingerprint="abc"
)


def write_archive(path: Path, index: Any = INDEX, **changes: Any) -> Path:
    text = json.dumps({**RECORD.to_dict(), **changes})
    np.savez(path, index=index, record=np.array(text))
    return path


def test_npz_round_trip(tmp_path: Path) -> None:
    save_noise(tmp_path / "new" / "n.npz", INDEX, RECORD)
    index, record = load_noise(tmp_path / "new" / "n.npz", TRUTH, 8, "abc")
    assert index.tobytes() == INDEX.tobytes()
    assert record == RECORD


def test_npz_is_the_same_bytes_each_time_and_needs_no_pickle(tmp_path: Path) -> None:
    for name in "ab":
        save_noise(tmp_path / f"{name}.npz", INDEX, RECORD)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["index", "record"]
        assert json.loads(str(archive["record"]))["seed"] == 2


def test_npy_is_the_published_layout(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npy", INDEX, RECORD)
    plain = np.load(tmp_path / "n.npy", allow_pickle=False)
    assert plain.dtype == np.dtype("<i8")
    np.testing.assert_array_equal(plain, INDEX)
    index, record = load_noise(tmp_path / "n.npy", TRUTH, 8, "xyz")
    np.testing.assert_array_equal(index, INDEX)
    assert (record.protocol, record.source, record.data_fingerprint) == ("caption", "n.npy", "xyz")
    assert (record.ratio_asked, record.seed, record.derange, record.n_chosen) == (None, None, None, None)
    assert (record.ratio_realised, record.index_sha256) == (RECORD.ratio_realised, RECORD.index_sha256)


def test_numbers_beyond_int64_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([1, 2**63], np.uint64))
    with pytest.raises(NoiseError, match="9223372036854775808, too large for int64"):
        read_noise_file(tmp_path / "n.npy")


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<i4", "u2"])
def test_any_whole_numbers_are_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "n.npy", INDEX.astype(dtype))
    index, record = load_noise(tmp_path / "n.npy", TRUTH, 8)
    assert index.dtype == np.int64
    assert index.dtype.isnative
    assert record.index_sha256 == RECORD.index_sha256


def test_image_permutation_is_expanded(tmp_path: Path) -> None:
    permutation = np.array([1, 0, 2, 3, 4, 5, 7, 6])
    np.save(tmp_path / "p.npy", permutation)
    index, record = load_noise(tmp_path / "p.npy", TRUTH, 8)
    np.testing.assert_array_equal(index, np.repeat(permutation, 5))
    assert (record.protocol, record.n_captions, record.ratio_realised) == ("image", 40, 0.5)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    (tmp_path / "n.npz").rename(tmp_path / "n.npy")
    assert load_noise(str(tmp_path / "n.npy"), TRUTH, 8)[1] == RECORD


def test_fingerprint_is_filled_in_where_the_file_has_none(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, dataclasses.replace(RECORD, data_fingerprint=None))
    assert load_noise(tmp_path / "n.npz", TRUTH, 8, "new")[1].data_fingerprint == "new"
    assert load_noise(tmp_path / "n.npz", TRUTH, 8)[1].data_fingerprint is None


def test_fingerprint_that_does_not_fit(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    with pytest.raises(NoiseError, match=r"fingerprint abc and this data has xyz"):
        load_noise(tmp_path / "n.npz", TRUTH, 8, "xyz")


def test_data_of_another_size(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    with pytest.raises(NoiseError, match="40 captions of 8 images and the data has 50 captions of 10 images"):
        load_noise(tmp_path / "n.npz", regular_truth(50, 5), 10)


def test_data_of_the_same_size_with_another_pairing(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    with pytest.raises(NoiseError, match="with this data there are"):
        load_noise(tmp_path / "n.npz", TRUTH[::-1].copy(), 8)


def test_altered_index(tmp_path: Path) -> None:
    altered = INDEX.copy()
    altered[[0, -1]] = altered[[-1, 0]]
    with pytest.raises(NoiseError, match="altered"):
        load_noise(write_archive(tmp_path / "n.npz", altered), TRUTH, 8)


def test_out_of_range_index_with_fitting_hash(tmp_path: Path) -> None:
    from noise_injection import index_sha256

    wrong = INDEX + 1
    path = write_archive(tmp_path / "n.npz", wrong, index_sha256=index_sha256(wrong))
    with pytest.raises(NoiseError, match="from 1 to 8; expected image indices from 0 to 7"):
        load_noise(path, TRUTH, 8)


def test_record_of_a_later_version_or_with_nonsense(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match=r"n\.npz cannot be used: the noise record has format 2"):
        read_noise_file(write_archive(tmp_path / "n.npz", format=2))
    with pytest.raises(NoiseError, match="seed"):
        read_noise_file(write_archive(tmp_path / "n.npz", seed="one"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (np.array("{"), "unreadable record"),
        (np.array("[1]"), "unreadable record"),
        (np.array(5), "unreadable record"),
        (np.array(["{}"]), "unreadable record"),
        (np.array([{}], dtype=object), "pickled"),
    ],
)
def test_record_that_is_none(tmp_path: Path, record: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "n.npz", index=INDEX, record=record)
    with pytest.raises(NoiseError, match=message):
        read_noise_file(tmp_path / "n.npz")


def test_archive_with_other_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", image=INDEX, label=INDEX)
    with pytest.raises(
        NoiseError, match=r"holds image, label; expected a noise file with index \(or labels\) and record"
    ):
        load_noise(tmp_path / "n.npz", TRUTH, 8)
    np.savez(tmp_path / "n.npz", index=INDEX)
    with pytest.raises(NoiseError, match="holds index; expected"):
        load_noise(tmp_path / "n.npz", TRUTH, 8)
    np.savez(tmp_path / "n.npz")
    with pytest.raises(NoiseError, match="holds nothing; expected"):
        load_noise(tmp_path / "n.npz", TRUTH, 8)


class Trap:
    """Makes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_index_of_another_length_than_its_record(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match=r"index of shape \(8,\) and its record expects \(40,\)"):
        read_noise_file(write_archive(tmp_path / "n.npz", np.arange(8)))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    import pickle

    trap = np.empty(40, dtype=object)
    trap[:] = [Trap(tmp_path / "sprung")] * 40
    np.save(tmp_path / "n.npy", trap, allow_pickle=True)
    with pytest.raises(NoiseError, match="pickled Python objects"):
        load_noise(tmp_path / "n.npy", TRUTH, 8)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(NoiseError, match="not a NumPy file"):
        load_noise(tmp_path / "p.npy", TRUTH, 8)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["n.npz", "n.npy"])
def test_truncated_at_any_place(tmp_path: Path, name: str) -> None:
    save_noise(tmp_path / name, INDEX, RECORD)
    whole = (tmp_path / name).read_bytes()
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(NoiseError, match=r"damaged or incomplete|not a NumPy file"):
            load_noise(tmp_path / name, TRUTH, 8)


def test_any_flipped_byte_of_an_archive_is_noticed_or_harmless(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    whole = (tmp_path / "n.npz").read_bytes()
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "n.npz").write_bytes(damaged)
        try:
            index, record = load_noise(tmp_path / "n.npz", TRUTH, 8)
        except NoiseError:
            refused += 1
        else:  # a date or attribute of the archive: the content is whole
            assert index.tobytes() == INDEX.tobytes()
            assert record == RECORD
    assert refused > len(whole) / 2


@pytest.mark.parametrize(
    "values", [INDEX.astype(np.float32), INDEX.reshape(8, 5), INDEX > 2, np.array(3), INDEX[:0]]
)
def test_wrong_kind_of_array(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "n.npy", values)
    with pytest.raises(NoiseError, match=r"n\.npy (has \w+ values|has shape|is empty)"):
        load_noise(tmp_path / "n.npy", TRUTH, 8)


def test_wrong_length_and_range(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", INDEX[:-1])
    with pytest.raises(NoiseError, match=r"n\.npy has 39 entries; expected 40 .* or 8"):
        load_noise(tmp_path / "n.npy", TRUTH, 8)
    np.save(tmp_path / "n.npy", INDEX - 1)
    with pytest.raises(NoiseError, match="from -1 to 6"):
        load_noise(tmp_path / "n.npy", TRUTH, 8)


def test_labels_are_not_taken_for_noise(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.arange(40) % 3)
    with pytest.raises(NoiseError, match="uses only 3 of 8 images"):
        load_noise(tmp_path / "labels.npy", TRUTH, 8)
    np.save(tmp_path / "labels.npy", np.arange(8) % 5)
    with pytest.raises(NoiseError, match="no permutation of 0 to 7"):
        load_noise(tmp_path / "labels.npy", TRUTH, 8)


def test_ambiguous_layout(tmp_path: Path) -> None:
    truth = np.array([1, 2, 0, 3])
    np.save(tmp_path / "n.npy", np.array([1, 0, 2, 3]))
    with pytest.raises(NoiseError, match="one per caption or one per image"):
        load_noise(tmp_path / "n.npy", truth, 4)
    np.save(tmp_path / "n.npy", np.arange(4))
    assert load_noise(tmp_path / "n.npy", np.arange(4), 4)[1].protocol == "none"
    index, record = make_mismatch(
        truth, 4, 0.9, "caption", 0
    )  # as many captions as images, but with a record
    save_noise(tmp_path / "n.npz", index, record)
    np.testing.assert_array_equal(load_noise(tmp_path / "n.npz", truth, 4)[0], index)
    assert describe(index, truth, 4).index_sha256 == record.index_sha256


def test_an_index_of_half_the_images_is_taken_for_noise(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.arange(40) % 4)
    assert load_noise(tmp_path / "n.npy", TRUTH, 8)[1].protocol == "other"


def test_one_entry_per_image_that_is_no_permutation_is_read_as_caption_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([1, 1, 2, 3]))
    index, record = load_noise(tmp_path / "n.npy", np.array([1, 2, 0, 3]), 4)
    assert index.tolist() == [1, 1, 2, 3]
    assert record.n_mismatched == 2


def test_an_archive_with_index_and_labels_is_label_noise(tmp_path: Path) -> None:
    path = tmp_path / "both.npz"
    np.savez(path, index=INDEX, labels=GIVEN, record=np.array(json.dumps(LABEL_RECORD.to_dict())))
    np.testing.assert_array_equal(load_label_noise(path, LABELS, 4)[0], GIVEN)
    with pytest.raises(NoiseError, match="holds class labels"):
        load_noise(path, TRUTH, 8)


def test_missing_file_folder_and_text(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match="there is no noise file"):
        load_noise(tmp_path / "none.npz", TRUTH, 8)
    with pytest.raises(NoiseError, match="cannot read"):
        load_noise(tmp_path, TRUTH, 8)
    (tmp_path / "n.npy").write_text("1 2 3\n")
    with pytest.raises(NoiseError, match="not a NumPy file"):
        load_noise(tmp_path / "n.npy", TRUTH, 8)


def test_save_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match="not that of the index"):
        save_noise(tmp_path / "n.npz", TRUTH, RECORD)
    for name, ending in (("n.txt", ".txt"), ("n", "nothing")):
        with pytest.raises(NoiseError, match=f"ends in {ending}"):
            save_noise(tmp_path / name, INDEX, RECORD)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.npz"
    save_noise(path, INDEX, RECORD)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(NoiseError, match="No space left"):
        save_noise(path, INDEX, RECORD)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_leave_nothing_behind_either(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_file(tmp_path / "x") as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoiseError, match="cannot write"):
        save_noise(tmp_path / "file" / "n.npz", INDEX, RECORD)


@pytest.mark.skipif(os.name != "posix", reason="permissions are of POSIX")
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    save_noise(tmp_path / "n.npz", INDEX, RECORD)
    (tmp_path / "ordinary").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("n.npz", "ordinary")}
    assert len(modes) == 1


def write_labels(path: Path, labels: Any = GIVEN, **changes: Any) -> Path:
    np.savez(path, labels=labels, record=np.array(json.dumps({**LABEL_RECORD.to_dict(), **changes})))
    return path


@pytest.mark.parametrize("per_modality", [False, True])
def test_label_round_trip(tmp_path: Path, per_modality: bool) -> None:
    given, record = make_label_noise(LABELS, 4, 0.5, "asymmetric", 2, per_modality=per_modality)
    save_label_noise(tmp_path / "new" / "l.npz", given, record)
    loaded, found = load_label_noise(tmp_path / "new" / "l.npz", LABELS, 4)
    assert loaded.tobytes() == given.tobytes()
    assert loaded.shape == given.shape
    assert found == record
    _, named = load_label_noise(tmp_path / "new" / "l.npz", LABELS, 4, "xyz")
    assert named == dataclasses.replace(record, data_fingerprint="xyz")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["l.npz"]


def test_label_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in "ab":
        save_label_noise(tmp_path / f"{name}.npz", GIVEN, LABEL_RECORD)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["labels"].dtype == np.dtype("<i8")
        assert json.loads(str(archive["record"])) == LABEL_RECORD.to_dict()


@pytest.mark.parametrize("dtype", [">i8", "u1"])
def test_labels_of_any_integer_type_are_read(tmp_path: Path, dtype: str) -> None:
    given, record = load_label_noise(write_labels(tmp_path / "l.npz", GIVEN.astype(dtype)), LABELS, 4, "abc")
    assert given.dtype == np.int64
    assert given.dtype.isnative
    assert record == LABEL_RECORD


def test_saving_labels_of_another_record_is_refused(tmp_path: Path) -> None:
    for labels in (np.flip(GIVEN, axis=1), GIVEN[:20], GIVEN[:, :1], GIVEN.reshape(80, 1)):
        with pytest.raises(NoiseError, match=r"not that of the labels|record expects \(40, 2\)"):
            save_label_noise(tmp_path / "l.npz", labels, LABEL_RECORD)
    with pytest.raises(NoiseError, match=r"ends in \.npy; name a label noise file with suffix \.npz"):
        save_label_noise(tmp_path / "l.npy", GIVEN, LABEL_RECORD)
    with pytest.raises(NoiseError, match="ends in nothing"):
        save_label_noise(tmp_path / "l", GIVEN, LABEL_RECORD)
    with pytest.raises(NoiseError, match=r"given label array has shape \(40,\)"):
        save_label_noise(tmp_path / "l.npz", GIVEN[:, 0], LABEL_RECORD)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_of_labels_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "l.npz").write_text("precious")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(NoiseError, match="No space left"):
        save_label_noise(tmp_path / "l.npz", GIVEN, LABEL_RECORD)
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
def test_labels_that_do_not_fit_their_record(
    tmp_path: Path, labels: Any, changes: dict[str, Any], part: str
) -> None:
    with pytest.raises(NoiseError, match=part) as caught:
        load_label_noise(write_labels(tmp_path / "l.npz", labels, **changes), LABELS, 4)
    assert "l.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_other_data_are_refused(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "l.npz")
    with pytest.raises(NoiseError, match="fingerprint abc and this data has xyz"):
        load_label_noise(path, LABELS, 4, "xyz")
    with pytest.raises(NoiseError, match="has 40 rows and the data has 39 labels"):
        load_label_noise(path, LABELS[:39], 4)
    with pytest.raises(NoiseError, match="is for 4 classes and the data has 5"):
        load_label_noise(path, LABELS, 5)
    with pytest.raises(NoiseError, match="the label vector has entries from 1 to 4"):
        load_label_noise(path, LABELS + 1, 4)
    with pytest.raises(NoiseError, match="counts 20 and 20 wrong entries and with this data there are"):
        load_label_noise(path, (LABELS + 1) % 4, 4)


def test_files_of_pairs_and_of_labels_are_not_mistaken(tmp_path: Path) -> None:
    truth = regular_truth(40, 5)
    index, record = make_mismatch(truth, 8, 0.5, "caption", 0)
    save_noise(tmp_path / "pairs.npz", index, record)
    save_noise(tmp_path / "pairs.npy", index, record)
    save_label_noise(tmp_path / "labels.npz", GIVEN, LABEL_RECORD)
    with pytest.raises(NoiseError, match="holds no class labels"):
        load_label_noise(tmp_path / "pairs.npz", LABELS, 4)
    with pytest.raises(NoiseError, match="holds no class labels"):
        load_label_noise(tmp_path / "pairs.npy", LABELS, 4)
    with pytest.raises(NoiseError, match="labels") as caught:
        load_noise(tmp_path / "labels.npz", truth, 8)
    assert "\n" not in str(caught.value)
    kinds = {path.name: type(read_noise_file(path).record) for path in tmp_path.iterdir()}
    assert kinds == {"labels.npz": LabelNoiseRecord, "pairs.npz": NoiseRecord, "pairs.npy": type(None)}


def test_label_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "l.npz"
    with pytest.raises(NoiseError, match="there is no noise file"):
        read_noise_file(path)
    path.write_text("hello")
    with pytest.raises(NoiseError, match="is not a NumPy file"):
        read_noise_file(path)
    with pytest.raises(NoiseError, match="cannot read"):
        read_noise_file(tmp_path)
    write_labels(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(NoiseError, match="damaged or incomplete"):
        read_noise_file(path)
    np.savez(path, labels=GIVEN)
    with pytest.raises(NoiseError, match="holds labels; expected"):
        read_noise_file(path)
    np.savez(path)
    with pytest.raises(NoiseError, match="holds nothing; expected"):
        read_noise_file(path)
    np.savez(path, labels=np.array([object()]), record=np.array(json.dumps(LABEL_RECORD.to_dict())))
    with pytest.raises(NoiseError, match="pickled"):
        read_noise_file(path)
    for record in (np.array(3), np.array("{"), np.array("[]"), np.array(["{}"])):
        np.savez(path, labels=GIVEN, record=record)
        with pytest.raises(NoiseError, match="unreadable record"):
            read_noise_file(path)


def test_read_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LABELS)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy", "label file"), LABELS)
    with pytest.raises(NoiseError, match=r"the label file .* is an archive"):
        read_array(write_labels(tmp_path / "l.npz"), "label file")
    with pytest.raises(NoiseError, match="there is no label file"):
        read_array(tmp_path / "none.npy", "label file")


def test_any_damage_to_labels_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "l.npz"
    save_label_noise(path, GIVEN, LABEL_RECORD)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 11)]
    damaged += [whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
    for content in damaged:
        path.write_bytes(content)
        try:
            given, record = load_label_noise(path, LABELS, 4, "abc")
        except NoiseError:
            continue
        assert given.tobytes() == GIVEN.tobytes()
        assert record == LABEL_RECORD
