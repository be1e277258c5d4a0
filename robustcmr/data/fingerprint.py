"""A short hash that says whether two people hold the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from robustcmr.data.base import FeatureStore

SAMPLED_IMAGES = 16


def fingerprint(
    captions: Sequence[str], store: FeatureStore, text_vectors: FeatureStore | None = None
) -> str:
    """Hash all captions, the shape of the features and the features of some evenly spaced images.

    It does not depend on the number type of the file, as long as the values agree, nor on whether each image
    is stored once or once a caption. At most 16 images are read.

    Args:
        captions: raw caption text, in order.
        store: features of the split's images.
        text_vectors: a vector a caption, of which some are hashed as well; None where there are none.

    Returns:
        16 hexadecimal digits, the same on every machine.
    """
    digest = hashlib.sha256()
    digest.update(f"{len(captions)} {' '.join(str(size) for size in store.shape)}\n".encode())
    for caption in captions:
        encoded = caption.encode("utf-8", "surrogatepass")
        # the length in front keeps ("ab", "c") apart from ("a", "bc")
        digest.update(f"{len(encoded)} ".encode() + encoded)
    digest.update(_sample(store))
    if text_vectors is not None:
        digest.update(f"{text_vectors.shape[2]} ".encode() + _sample(text_vectors))
    return digest.hexdigest()[:16]


def _sample(store: FeatureStore) -> bytes:
    """Bytes of some evenly spaced entries."""
    n = store.shape[0]
    chosen = np.unique(np.linspace(0, n - 1, min(SAMPLED_IMAGES, n)).round().astype(np.int64))
    return store.take(chosen).astype("<f4").tobytes()
