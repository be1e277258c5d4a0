"""Pixels of the pictures of a split, prepared for a pretrained image encoder when they are read."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import get_worker_info

from robustcmr.data.base import PairsSplit
from robustcmr.data.picture_files import PictureError, unreadable, upright_rgb
from robustcmr.errors import DataError, some_of
from robustcmr.pretrained import PROCESSOR, read
from robustcmr.types import FloatArray, IntArray

P = TypeVar("P")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PicturePixels:
    """Pixels of all pictures of a split; each is loaded, resized and normalised when it is read."""

    picture: Callable[[int], Any]
    n_images: int
    processor: PictureProcessor
    names: Sequence[str] | None

    @classmethod
    def of_split(cls, split: PairsSplit, processor: PictureProcessor) -> PicturePixels:
        """Return the pixels of a split, which must have pictures."""
        if split.picture is None:
            raise DataError(
                f"the {split.name} split has region features but no pictures, which this matcher reads; "
                "use --data images, or a matcher that reads regions"
            )
        return cls(split.picture, split.n_images, processor, split.image_names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_images, 3, H, W)."""
        return self.n_images, 3, *self.processor.size

    def take(self, images: IntArray) -> FloatArray:
        """Return some pictures, (k, 3, H, W) float32, in the requested order; repeats are loaded once.

        Raises:
            DataError: a picture cannot be read.
        """
        distinct, places = np.unique(images, return_inverse=True)
        rows = distinct.tolist()
        # a worker of a data loader is one of several processes already; otherwise threads decode in parallel
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
            return self.processor(self.picture(image))
        except (
            PictureError,
            OSError,
            SyntaxError,
            ValueError,
        ) as error:  # the last three from other data sets
            name = f"image {image}" if self.names is None else self.names[image]
            raise unreadable(name, error) from error


class PictureProcessor:
    """Turns pictures of any size and mode into pixels of one size by an image processor of transformers.

    Raises:
        DataError: the size of its pixels depends on the picture.
    """

    def __init__(self, processor: Any, name: str) -> None:
        self._processor = processor
        probes = (Image.new("RGB", size) for size in ((64, 64), (96, 48), (48, 96)))
        shapes = [self._pixels(probe).shape for probe in probes]
        if len(set(shapes)) > 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
            square, wide, tall = ("x".join(map(str, shape)) for shape in shapes)
            raise DataError(
                f"the image processor of {name!r} makes {square}, {wide} and {tall} of a square, a wide and "
                "a tall picture; expected one size for all, as do_center_crop gives"
            )
        self.size = shapes[0][1], shapes[0][2]  # (H, W)

    @property
    def settings(self) -> dict[str, Any]:
        """What it does to pictures, as plain values."""
        return settings_of(self._processor)

    def __call__(self, picture: Image.Image) -> FloatArray:
        """Return the pixels of a picture of any size and mode, upright as its EXIF data say."""
        return self._pixels(upright_rgb(picture))

    def _pixels(self, image: Image.Image) -> FloatArray:
        made = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(made, dtype=np.float32)


class PatchProcessor:
    """Turns pictures of any shape into patches with their mask and layout, as NaFlex models of SigLIP 2 read.

    Raises:
        DataError: the processor makes no patches.
    """

    def __init__(self, processor: Any, name: str) -> None:
        self._processor = processor
        made = self(Image.new("RGB", (96, 48)))
        expected = {"pixel_values": 2, "pixel_attention_mask": 1, "spatial_shapes": 1}
        if {key: value.ndim for key, value in made.items()} != expected:
            raise DataError(
                f"the image processor of {name!r} makes {some_of(sorted(made))}; expected patches, their "
                "mask and their layout, as Siglip2ImageProcessor makes"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What it does to pictures, as plain values."""
        return settings_of(self._processor)

    def __call__(self, picture: Image.Image) -> dict[str, Array]:
        """Return patches (P, F), their mask (P,) and layout (2,) of a picture of any size and mode."""
        made = self._processor(images=upright_rgb(picture), return_tensors="np")
        return {key: np.asarray(value[0]) for key, value in made.items()}


def settings_of(processor: Any) -> dict[str, Any]:
    """Return the settings of an image processor of transformers, as JSON holds them."""
    found: dict[str, Any] = json.loads(processor.to_json_string())
    return found


def open_processor(name: str) -> PictureProcessor:
    """Open the image processor of a model, a local folder or hub name; it needs only PIL and NumPy.

    Raises:
        DataError: the files are missing or damaged, or the size of the pixels depends on the picture.
    """
    return _open(name, PictureProcessor)


def open_patch_processor(name: str) -> PatchProcessor:
    """Open the image processor of a model that reads pictures of any shape; see :func:`open_processor`.

    Raises:
        DataError: the files are missing or damaged, or it makes no patches.
    """
    return _open(name, PatchProcessor)


def _open(name: str, kind: Callable[[Any, str], P]) -> P:
    transformers: Any = importlib.import_module("transformers")  # takes seconds; its types are incomplete
    # releases differ in how to ask for processors without torchvision
    new = importlib.util.find_spec("transformers.image_processing_backends") is not None
    without_torchvision: dict[str, Any] = {"backend": "pil"} if new else {"use_fast": False}

    def opening(*arguments: Any, **keywords: Any) -> P:
        load = transformers.AutoImageProcessor.from_pretrained
        processor = load(*arguments, **keywords, **without_torchvision)
        return kind(processor, name)  # some damage appears only in use

    opened: P = read(PROCESSOR, name, opening)
    return opened
