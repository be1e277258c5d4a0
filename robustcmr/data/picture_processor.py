"""Pictures into the pixels a pretrained vision model reads, by an image processor of transformers."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from robustcmr.errors import DataError
from robustcmr.pretrained import PROCESSOR, read
from robustcmr.types import FloatArray


class PictureProcessor:
    """Turn pictures of any size and mode into pixels of one size.

    Args:
        processor: image processor of transformers.
        name: what to call it in messages.

    Raises:
        DataError: the size of its pixels depends on the picture.
    """

    def __init__(self, processor: Any, name: str) -> None:
        self._processor, self._name = processor, name
        square, wide, tall = (self._pixels(Image.new("RGB", size)).shape for size in _PROBES)
        if not square == wide == tall or len(square) != 3 or square[0] != 3:
            raise DataError(
                f"the image processor of {name!r} makes {_shape(square)}, {_shape(wide)} and {_shape(tall)} "
                "of a square, a wide and a tall picture; expected one size for all, as do_center_crop gives"
            )
        self._size = (square[1], square[2])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pixels."""
        return self._size

    def __call__(self, picture: Image.Image) -> FloatArray:
        """Pixels of a picture.

        Args:
            picture: of any size and mode; it is turned upright where its camera says so.

        Returns:
            (3, H, W) float32.

        Raises:
            OSError: the file behind the picture is damaged, as Pillow says it.
        """
        return self._pixels(to_rgb(ImageOps.exif_transpose(picture)))

    def _pixels(self, image: Image.Image) -> FloatArray:
        made = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(made, dtype=np.float32)


_PROBES = ((64, 64), (96, 48), (48, 96))


def open_processor(name: str) -> PictureProcessor:
    """Open the image processor of a model; it works with PIL and NumPy alone.

    Args:
        name: local folder or hub name.

    Raises:
        DataError: the files are missing or damaged, or pictures would get different sizes.
    """
    transformers: Any = importlib.import_module("transformers")  # takes seconds; its types are incomplete

    def opening(*arguments: Any, **keywords: Any) -> PictureProcessor:
        processor = transformers.AutoImageProcessor.from_pretrained(*arguments, **keywords, **_with_pil())
        return PictureProcessor(processor, name)  # some damage shows only in use

    opened: PictureProcessor = read(PROCESSOR, name, opening)
    return opened


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture in three colours: what is transparent becomes white, 16-bit grey becomes 8-bit.

    Args:
        image: of any mode.

    Returns:
        The same picture in mode RGB.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _with_pil() -> dict[str, Any]:
    """How this release of transformers is asked for image processors without torchvision."""
    if importlib.util.find_spec("transformers.image_processing_backends") is not None:
        return {"backend": "pil"}
    return {"use_fast": False}


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
