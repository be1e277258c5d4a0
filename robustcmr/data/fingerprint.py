"""A short hash of a data set's content, the same on every machine."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import FeatureStore
from robustcmr.data.cache import cache_root
from robustcmr.data.store import NpyFeatures, evenly_spaced, iterate_blocks
from robustcmr.errors import UserError
from robustcmr.files import write_with
from robustcmr.types import IntArray

SAMPLED = 16
"""Entries that :func:`sampled_fingerprint` reads."""

END_BYTES = 4096
"""Bytes that :func:`ends_of_file` reads at each end."""

CACHED_BYTES = 64 * 2**20
"""Digests of larger files are kept in the user's cache."""

SETTLED_SECONDS = 2.0
"""A file changed less than this before it was read is not cached: its time may not show another change."""

Digests = npt.NDArray[np.uint8]
"""(n, 16), the first half of the SHA-256 of each entry's numbers as float32."""

logger = logging.getLogger("robustcmr")


def fingerprint(
    captions: Sequence[str],
    image_of_caption: IntArray,
    store: FeatureStore,
    text_vectors: FeatureStore | None = None,
) -> str:
    """Hash all captions, their images, and every number of the features and of the captions' vectors.

    The 16 hexadecimal digits depend neither on the number type of the file nor on whether images are stored
    once or once per caption. Reading takes about a second per gigabyte; see :func:`row_digests`.
    """
    digest = hashlib.sha256(b"2\n")  # the version, which sampled fingerprints lack
    digest.update(_head(captions, store))
    digest.update(image_of_caption.astype("<i8").tobytes())
    digest.update(row_digests(store).tobytes())
    if text_vectors is not None:
        digest.update(f"{text_vectors.shape[2]} ".encode() + row_digests(text_vectors).tobytes())
    return digest.hexdigest()[:16]


def sampled_fingerprint(
    captions: Sequence[str], store: FeatureStore, text_vectors: FeatureStore | None = None
) -> str:
    """Hash all captions, the shape of the features and the features of 16 evenly spaced images.

    This was the fingerprint of files before 0.2, by which older run folders and noise files know their data.
    """
    digest = hashlib.sha256(_head(captions, store) + sample_bytes(store))
    if text_vectors is not None:
        digest.update(f"{text_vectors.shape[2]} ".encode() + sample_bytes(text_vectors))
    return digest.hexdigest()[:16]


def _head(captions: Sequence[str], store: FeatureStore) -> bytes:
    """Return the sizes and the captions, each after its length, which tells ("ab", "c") from ("a", "bc")."""
    encoded = (caption.encode("utf-8", "surrogatepass") for caption in captions)
    sizes = f"{len(captions)} {' '.join(str(size) for size in store.shape)}\n"
    return sizes.encode() + b"".join(b"%d %b" % (len(caption), caption) for caption in encoded)


def sample_bytes(store: FeatureStore) -> bytes:
    """Return the float32 bytes of up to 16 evenly spaced entries."""
    return store.take(evenly_spaced(store.shape[0], SAMPLED)).astype("<f4").tobytes()


def ends_of_file(path: Path) -> bytes:
    """Return a hash of a file's size and of its first and last 4 KiB."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        first = file.read(END_BYTES)
        file.seek(max(size - END_BYTES, 0))
        return hashlib.sha256(f"{size} ".encode() + first + file.read(END_BYTES)).digest()


def row_digests(store: FeatureStore) -> Digests:
    """Hash each entry of a store, read in blocks of bounded memory; equal numbers have equal digests.

    Digests of a large ``.npy`` file are kept in the user's cache until its size or its time of change differ.
    """
    if not isinstance(store, NpyFeatures):
        return _measured(store)
    found = _of_file(store.path)
    return found if store.rows is None else found[store.rows]


def _of_file(path: Path) -> Digests:
    before, store = path.stat(), NpyFeatures(path)
    if before.st_size < CACHED_BYTES:
        return _measured(store)
    stamp = f"{store.shape} {before.st_size} {before.st_mtime_ns} ".encode()
    name = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    cached = cache_root() / "digests" / name
    try:
        kept = cached.read_bytes()
    except OSError:
        kept = b""
    content = kept[len(stamp) + 32 :]
    if kept == stamp + hashlib.sha256(content).digest() + content and len(content) == 16 * store.shape[0]:
        return np.frombuffer(content, np.uint8).reshape(-1, 16)
    found = _measured(store)
    if time.time() - before.st_mtime > SETTLED_SECONDS:
        content = found.tobytes()
        try:
            write_with(cached, lambda file: file.write(stamp + hashlib.sha256(content).digest() + content))
        except UserError as error:
            logger.warning("cannot cache the digests of %s: %s", path, error)
    return found


def _measured(store: FeatureStore) -> Digests:
    found = np.empty((store.shape[0], 16), np.uint8)
    for first, block in iterate_blocks(store):  # (k, R, F)
        unsigned_zeros = block + np.float32(0)
        for row, numbers in enumerate(unsigned_zeros.astype("<f4", order="C", copy=False), first):
            found[row] = np.frombuffer(hashlib.sha256(numbers.data).digest()[:16], np.uint8)
    return found
