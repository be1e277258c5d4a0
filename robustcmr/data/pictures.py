"""Pixels of the pictures of a split, made ready for a pretrained image encoder as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import get_worker_info

from robustcmr.data.base import PairsSplit
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray


class Processor(Protocol):
    """Turns a picture into pixels of a fixed size."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        ...

    def __call__(self, picture: Any) -> npt.NDArray[np.float32]:
        """(3, H, W) of a ``PIL.Image.Image``."""
        ...


class PicturePixels:
    """Pixels of all pictures of a split; each is loaded, resized and normalised whenever it is asked for.

    Args:
        picture: loads or draws picture ``i``.
        n_images: how many there are.
        processor: resizes and normalises.
        names: of the pictures, for messages.
    """

    def __init__(
        self, picture: Callable[[int], Any], n_images: int, processor: Processor, names: Sequence[str] | None
    ) -> None:
        self._picture = picture
        self._n_images = n_images
        self._processor = processor
        self._names = names

    @classmethod
    def of_split(cls, split: PairsSplit, processor: Processor) -> PicturePixels:
        """The pixels of a split.

        Raises:
            DataError: it has no pictures.
        """
        if split.picture is None:
            raise DataError(
                f"the {split.name} split has region features but no pictures, which this matcher reads; "
                "use --data images, or a matcher that reads regions"
            )
        return cls(split.picture, split.n_images, processor, split.image_names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_images, 3, H, W)."""
        return self._n_images, 3, *self._processor.size

    def take(self, images: IntArray) -> FloatArray:
        """Some pictures, (k, 3, H, W) float32, in the order asked for; repeats are loaded once.

        Raises:
            DataError: a picture cannot be read; it is named.
        """
        distinct, places = np.unique(images, return_inverse=True)
        rows = distinct.tolist()
        # a worker of a loader is one of several already; elsewhere threads decode at the same time
        threads = 1 if get_worker_info() is not None else min(os.cpu_count() or 1, len(rows))
        if threads <= 1:
            pixels = [self._read(image) for image in rows]
        else:
            with ThreadPoolExecutor(threads) as pool:
                pixels = list(pool.map(self._read, rows))
        if not pixels:
            return np.empty((0, *self.shape[1:]), dtype=np.float32)
        return np.stack(pixels)[places]

    def _read(self, image: int) -> FloatArray:
        try:
            return self._processor(self._picture(image))
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
            name = f"image {image}" if self._names is None else self._names[image]
            raise DataError(
                f"cannot read the picture {name}: {error}; repair it, or leave it out by "
                "--set data.broken=skip"
            ) from error
