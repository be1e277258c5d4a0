from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from robustcmr.data.fingerprint import fingerprint
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


def test_value_spelt_out_byte_by_byte():
    content = "4 4 2 3\n5 a dog8 un café7 two men5 a cat".encode() + struct.pack("<24f", *range(24))
    mark = fingerprint(CAPTIONS, Memory(features()))
    assert mark == hashlib.sha256(content).hexdigest()[:16] == "00a2fa9b550e708e"


def test_number_type_byte_order_and_copies_do_not_matter(tmp_path):
    mark = fingerprint(CAPTIONS, Memory(features()))
    for name, array, repeats in [
        ("half", features().astype("float16"), 1),
        ("big", features().astype(">f4"), 1),
        ("five", features().repeat(5, axis=0), 5),
    ]:
        np.save(tmp_path / f"{name}.npy", array)
        assert fingerprint(CAPTIONS, NpyFeatures(tmp_path / f"{name}.npy", repeats)) == mark


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
    assert fingerprint(captions, Memory(array)) != fingerprint(CAPTIONS, Memory(features()))


def test_only_a_few_images_are_read_with_both_ends():
    store = Memory(features(1000))
    fingerprint(CAPTIONS, store)
    assert len(store.read) == 16
    assert (store.read[0], store.read[-1]) == (0, 999)
    single = Memory(features(1))
    fingerprint(CAPTIONS, single)
    assert single.read == [0]
