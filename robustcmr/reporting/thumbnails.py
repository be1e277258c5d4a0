"""Pictures small enough to lie inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from robustcmr.data.picture_files import upright_rgb

CARD, SMALL = 224, 112
"""Largest width and height in pixels of a picture on a card, and of one in a row of five."""


@dataclass(frozen=True)
class Thumbnail:
    """An image of the data set.

    Attributes:
        name: what it is called.
        uri: the whole picture as a ``data:`` URI, WebP; "" where the data has no pictures.
        width: in pixels.
        height: in pixels.
    """

    name: str
    uri: str = ""
    width: int = 0
    height: int = 0


class Thumbnails:
    """The pictures of a split, each made small once.

    Args:
        picture: draws or loads an image by number; None where the data has no pictures.
        names: of the images; None where they are known by number alone.

    Attributes:
        size: characters of all pictures handed out so far, repeated ones counted again.
    """

    def __init__(
        self, picture: Callable[[int], Image.Image] | None = None, names: Sequence[str] | None = None
    ) -> None:
        self._picture = picture
        self._names = names
        self._made: dict[tuple[int, int], Thumbnail] = {}
        self.size = 0

    def get(self, image: int, side: int = CARD) -> Thumbnail:
        """An image, at most ``side`` pixels wide and high; its name alone where there are no pictures."""
        if (image, side) not in self._made:
            name = f"image {image}" if self._names is None else str(self._names[image])
            found = Thumbnail(name) if self._picture is None else thumbnail(name, self._picture(image), side)
            self._made[image, side] = found
        self.size += len(self._made[image, side].uri)
        return self._made[image, side]


def thumbnail(name: str, picture: Image.Image, side: int) -> Thumbnail:
    """Shrink a picture to at most ``side`` pixels wide and high, and write it as text for a page."""
    small = upright_rgb(picture).copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=78, method=4)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(name, f"data:image/webp;base64,{text}", small.width, small.height)
