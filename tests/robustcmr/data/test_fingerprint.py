from __future__ import annotations

import hashlib
import os
import struct

import numpy as np
import pytest
from hypothesis import given, strategies as st

from robustcmr.data import fingerprint as module
from robustcmr.data.base import FeatureStore
from robustcmr.data.fingerprint import ends_of_file, fingerprint, sampled_fingerprint
from robustcmr.data.store import NpyFeatures

CAPTIONS = ["a dog", "un café", "two men", "a cat"]


class Memory:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.read: list[int] = []

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def take(self, images: np.ndarray) -> np.ndarray:
        self.read.extend(images.tolist())
        return self.array[images].astype(np.float32)


def features(n_images: int = 4) -> np.ndarray:
    return np.arange(n_images * 6, dtype=np.float32).reshape(n_images, 2, 3)


def mark_of(captions: list[str], store: FeatureStore) -> str:
    return fingerprint(captions, np.arange(len(captions)), store)


HEAD = "4 4 2 3\n5 a dog8 un café7 two men5 a cat".encode()


def test_value_spelt_out_byte_by_byte():
    rows = [hashlib.sha256(struct.pack("<6f", *range(6 * i, 6 * i + 6))).digest()[:16] for i in range(4)]
    content = b"2\n" + HEAD + struct.pack("<4q", *range(4)) + b"".join(rows)
    mark = mark_of(CAPTIONS, Memory(features()))
    assert mark == hashlib.sha256(content).hexdigest()[:16] == "3ca9fbcb034a1230"


def test_sampled_value_of_earlier_versions():
    content = HEAD + struct.pack("<24f", *range(24))
    mark = sampled_fingerprint(CAPTIONS, Memory(features()))
    assert mark == hashlib.sha256(content).hexdigest()[:16] == "00a2fa9b550e708e"


def test_number_type_byte_order_and_copies_do_not_matter(tmp_path):
    mark = mark_of(CAPTIONS, Memory(features()))
    for name, array, rows in [
        ("half", features().astype("float16"), None),
        ("big", features().astype(">f4"), None),
        ("five", features().repeat(5, axis=0), np.arange(0, 20, 5)),
    ]:
        np.save(tmp_path / f"{name}.npy", array)
        assert mark_of(CAPTIONS, NpyFeatures(tmp_path / f"{name}.npy", rows)) == mark


def other_value() -> np.ndarray:
    changed = features()
    changed[3, 1, 2] += 1
    return changed


@pytest.mark.parametrize(
    ("captions", "array"),
    [
        ([*CAPTIONS[:3], "a cow"], features()),
        (CAPTIONS[::-1], features()),
        (["a do", "gun café", *CAPTIONS[2:]], features()),
        (CAPTIONS[:3], features()),
        (CAPTIONS, other_value()),
        (CAPTIONS, features().reshape(4, 3, 2)),
        (CAPTIONS, features()[::-1]),
    ],
)
def test_any_change_shows(captions, array):
    assert mark_of(captions, Memory(array)) != mark_of(CAPTIONS, Memory(features()))


@given(st.integers(0, 299), st.integers(0, 1), st.integers(0, 2))
def test_a_change_of_any_number_shows(image, region, place):
    changed = features(300)
    changed[image, region, place] += 1
    assert mark_of(CAPTIONS, Memory(changed)) != mark_of(CAPTIONS, Memory(features(300)))


def test_a_change_of_the_pairing_or_of_a_caption_vector_shows():
    vectors = features(4).reshape(4, 1, 6)
    changed = vectors.copy()
    changed[2, 0, 5] += 1
    marks = {
        fingerprint(CAPTIONS, np.array(pairing), Memory(features()), stored)
        for pairing in ([0, 1, 2, 3], [0, 1, 3, 2])
        for stored in (None, Memory(vectors), Memory(changed))
    }
    assert len(marks) == 6


def test_digests_of_a_large_file_are_read_from_the_cache_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_BYTES", 0)
    path = tmp_path / "a.npy"
    np.save(path, features())
    os.utime(path, (1e9, 1e9))
    mark = mark_of(CAPTIONS, NpyFeatures(path))
    (cached,) = (tmp_path / "cache" / "digests").iterdir()

    monkeypatch.setattr(module, "_measured", lambda _: pytest.fail("the file was read again"))
    assert mark_of(CAPTIONS, NpyFeatures(path)) == mark
    monkeypatch.undo()
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_BYTES", 0)

    for damaged in (cached.read_bytes()[:-1], bytes(len(cached.read_bytes())), b""):
        cached.write_bytes(damaged)
        assert mark_of(CAPTIONS, NpyFeatures(path)) == mark
    np.save(path, other_value())  # of the same size
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert mark_of(CAPTIONS, NpyFeatures(path)) == mark_of(CAPTIONS, Memory(other_value())) != mark


def test_a_file_that_has_just_changed_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_BYTES", 0)
    np.save(tmp_path / "a.npy", features())
    mark = mark_of(CAPTIONS, NpyFeatures(tmp_path / "a.npy"))
    np.save(tmp_path / "a.npy", other_value())
    assert mark_of(CAPTIONS, NpyFeatures(tmp_path / "a.npy")) != mark


def test_pictures_are_hashed_at_both_ends(tmp_path):
    content = bytes(range(256)) * 64  # 16 KiB
    marks = set()
    for changed in (content, b"x" + content[1:], content[:-1] + b"x", content + b"x", b"", content[:100]):
        (tmp_path / "a.jpg").write_bytes(changed)
        marks.add(ends_of_file(tmp_path / "a.jpg"))
    assert len(marks) == 6


def test_only_a_few_images_were_read_by_earlier_versions():
    store = Memory(features(1000))
    sampled_fingerprint(CAPTIONS, store)
    assert len(store.read) == 16
    assert (store.read[0], store.read[-1]) == (0, 999)
    single = Memory(features(1))
    sampled_fingerprint(CAPTIONS, single)
    assert single.read == [0]
