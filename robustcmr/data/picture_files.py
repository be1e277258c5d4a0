"""Picture files, opened by one function for every use: upright, in RGB, within limits.

``docs/pictures.md`` states the rules.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from robustcmr.errors import DataError

MAX_PIXELS = 89_478_485
"""Largest picture by default, in pixels; Pillow's own limit."""

MAX_ELONGATION = 100
"""Largest ratio of a picture's sides; resizing the shorter side to 224 makes a longer one of 22,400."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, told by content. Pillow hands some others to programs such as Ghostscript."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by EXIF orientation."""

_OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


class PictureError(DataError):
    """A picture cannot be used; the message is the reason alone, without the picture's name."""


def open_picture(folder: Path, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the first frame of a picture file, decoded, upright and in RGB.

    Args:
        folder: of all pictures, as ``Path.resolve`` returns it; links that leave it are refused.
        name: of the file, relative to the folder.
        max_pixels: >= 1, largest width times height. A value above Pillow's limit raises that limit for the
            whole process.

    Raises:
        PictureError: the name is no picture file of the folder, or the picture is damaged, too large, or of
            a mode without a rule.
    """
    path = find_picture(folder, name)
    try:
        # given a path, Pillow may map the file into memory, where a file that shrinks ends the process
        file = path.open("rb")
    except OSError as error:
        raise PictureError(_in_words(error)) from error
    with file:
        return _decoded(file, max_pixels)


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the first frame of a picture file that is in memory; see :func:`open_picture`.

    Raises:
        PictureError: the picture is damaged, too large, or of a mode without a rule.
    """
    return _decoded(io.BytesIO(data), max_pixels)


def _decoded(file: BinaryIO, max_pixels: int) -> Image.Image:
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with Image.open(file, formats=_formats()) as picture:
            _check_size(*picture.size, max_pixels)
            return upright_rgb(picture)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError("it is damaged, or of no format that is read, such as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PictureError(
            f"it has more than {limit:,} pixels, expected at most {max_pixels:,}; shrink it, or allow it "
            f"with such as --set data.max_pixels={2 * limit}"
        ) from error
    except Exception as error:  # decoders raise whatever damaged bytes lead to
        raise PictureError(_in_words(error)) from error


def find_picture(folder: Path, name: str) -> Path:
    """Return the path of a picture file; accented letters of its name may be composed or decomposed.

    Args:
        folder: of all pictures, as ``Path.resolve`` returns it.
        name: relative to the folder.

    Raises:
        PictureError: there is no such file in the folder, or it is a link that leaves the folder.
    """
    given = Path(name)
    if not given.name:
        raise PictureError("its name is empty")
    if given.is_absolute() or ".." in given.parts:
        raise PictureError("its name is outside the pictures folder; give one relative to that folder")
    spellings = [name]
    if not name.isascii():
        spellings += [unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    paths = [folder / spelled for spelled in spellings]
    found = [(path, status) for path in paths if (status := _status(path)) is not None]
    if not found:
        raise PictureError("there is no such file")
    path, status = found[0]
    if not all(os.path.samestat(status, other) for _, other in found):
        raise PictureError("there are two files of this name, one composed and one decomposed; rename one")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("it is not a regular file")
    real = path.resolve()
    if not real.is_relative_to(folder):
        raise PictureError(
            f"it is a link to {shown(str(real), 300)}, outside the pictures folder; copy it there"
        )
    return path


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode in RGB, turned as its EXIF orientation says, without metadata.

    Args:
        picture: stays as it is; returned itself if nothing is to be done.

    Raises:
        PictureError: it cannot be decoded, or its mode has no rule.
    """
    plain = type(picture) is Image.Image and picture.mode == "RGB" and not picture.info
    if plain and _turn(picture) is None:
        return picture
    try:
        picture.load()
        turn = _turn(picture)
        rgb = _rgb(picture)
        rgb = (rgb.copy() if rgb is picture else rgb) if turn is None else rgb.transpose(turn)
    except PictureError:
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead to
        raise PictureError(_in_words(error)) from error
    rgb.info.clear()
    return rgb


def unreadable(name: str, reason: Exception) -> DataError:
    """Return the error of a picture that cannot be used where it is needed."""
    return DataError(
        f"cannot read the picture {shown(name)}: {reason}; repair it, or leave it out with "
        "--set data.broken=skip"
    )


def shown(text: str, most: int = 80) -> str:
    """Return a text of a file or name for a message: on one line, printable, shortened."""
    short = text if len(text) <= most else f"{text[:most]}... ({len(text):,} letters)"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in short)


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _status(path: Path) -> os.stat_result | None:
    """The status of a file; None if there is none."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise PictureError(_in_words(error)) from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(
            f"it has {width} x {height} = {width * height:,} pixels, expected at most {max_pixels:,}; shrink "
            f"it, or allow it with --set data.max_pixels={width * height}"
        )
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise PictureError(
            f"it has {width} x {height} pixels, expected sides of at most {MAX_ELONGATION} to 1; crop it"
        )


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata says nothing about the pixels
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        image = _eight_bits(image)
    if image.mode in ("I", "F"):
        raise PictureError(
            f"its pixels are signed, 32-bit or fractional numbers (Pillow's mode {image.mode}), of which no "
            "value is stated to be white; save it with 8 or 16 bits a colour"
        )
    if image.mode not in _OPAQUE + _ALPHA:
        raise PictureError(f"its colours (Pillow's mode {image.mode}) cannot be converted; save it as RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # one of 16-bit colours, reduced to their upper bits
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    rgb = Image.new("RGB", layer.size, "white")
    rgb.paste(layer, mask=layer)
    return rgb


def _eight_bits(image: Image.Image) -> Image.Image:
    """Turn 16-bit grey, or the 12 bits of some TIFF files, into 8-bit grey by its upper bits."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    values = np.asarray(image)
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return Image.eval(grey, lambda value: 255 - value)
    if isinstance(key := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _in_words(error: Exception) -> str:
    """The reason of an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return shown(" ".join(str(error).split()), 300) or type(error).__name__
