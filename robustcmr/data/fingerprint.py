"""A short hash of a data set's content, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from robustcmr.data.base import FeatureStore
from robustcmr.data.store import evenly_spaced

SAMPLED = 16


def fingerprint(
    captions: Sequence[str], store: FeatureStore, text_vectors: FeatureStore | None = None
) -> str:
    """Hash all captions, the shape of the features and the features of 16 evenly spaced images.

    Vectors of the captions are hashed likewise. The 16 hexadecimal digits depend neither on the number type
    of the file nor on whether images are stored once or once per caption.
    """
    digest = hashlib.sha256()
    digest.update(f"{len(captions)} {' '.join(str(size) for size in store.shape)}\n".encode())
    for caption in captions:
        encoded = caption.encode("utf-8", "surrogatepass")
        # the length in front keeps ("ab", "c") apart from ("a", "bc")
        digest.update(f"{len(encoded)} ".encode() + encoded)
    digest.update(sample_bytes(store))
    if text_vectors is not None:
        digest.update(f"{text_vectors.shape[2]} ".encode() + sample_bytes(text_vectors))
    return digest.hexdigest()[:16]


def sample_bytes(store: FeatureStore) -> bytes:
    """Return the float32 bytes of up to 16 evenly spaced entries."""
    return store.take(evenly_spaced(store.shape[0], SAMPLED)).astype("<f4").tobytes()
