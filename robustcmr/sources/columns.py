"""Which columns hold the picture, the caption and the id: named by the user, or guessed from usual names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.sources.names import listed, meant
from robustcmr.sources.records import Columns

USUAL = {
    # a column that holds the picture comes before one that names its file, and that before an address
    "image": (
        *("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "imagebytes", "imagedata"),
        *("imagepath", "imgpath", "picturepath", "filepath", "imagefile", "imagefilename", "imagename"),
        *("filename", "picturefile", "path", "file", "imageurl", "imgurl", "pictureurl", "photourl", "url"),
        *("uri", "imageuri", "imagelink", "link", "imageid", "imgid", "photoid", "images", "bytes"),
    ),
    "text": (
        *("caption", "captions", "text", "texts", "alttext", "alt", "sentence", "sentences", "title"),
        *("description", "comment", "imagecaption", "txt", "raw", "rawcaption", "prompt", "toptext"),
    ),
    "id": ("uid", "id", "pairid", "sampleid", "uuid", "guid", "key", "sha256", "md5", "hash"),
}
"""Names by what they hold, the likelier first; lower case, letters and digits alone."""

_OPTIONS = {"image": "--image", "text": "--text", "id": "--id"}
_HOLDS = {
    "image": "text, whole numbers, bytes or a struct with bytes or path",
    "text": "text or lists of text",
    "id": "text or whole numbers",
}


def plain(name: str) -> str:
    """Return the letters and digits of a column's name, in lower case.

    Example:
        >>> plain("Image URL"), plain("alt_text")
        ('imageurl', 'alttext')
    """
    return re.sub(r"[\W_]+", "", name.lower())


def choose(schema: pa.Schema, given: Columns, path: Path) -> tuple[Columns, tuple[str, ...]]:
    """Return which columns to use, and what to tell the user of it.

    Args:
        schema: of the source.
        given: columns that the user named; the others are guessed.
        path: of the source, for messages.

    Raises:
        DataError: a named column does not exist or cannot hold what it should, or none holds captions.
    """
    named = {"image": given.image, "text": given.text, "id": given.id}
    for role, name in named.items():
        if name is not None:
            _check(schema, role, name, path)
    guessed: dict[str, str] = {}
    for role in named:
        taken = {*guessed.values(), *(name for name in named.values() if name is not None)}
        if named[role] is None and (found := _usual(schema, role, taken)) is not None:
            guessed[role] = found
    chosen = Columns(**{role: name or guessed.get(role) for role, name in named.items()})
    if chosen.text is None:
        raise DataError(
            f"no column of {path} has a usual name of captions, such as caption or text; it has the columns "
            f"{listed(schema.names)}; name the one with captions, such as --text {_example(schema, 'text')}"
        )
    return chosen, tuple(_says(chosen, guessed))


def _says(chosen: Columns, guessed: dict[str, str]) -> list[str]:
    says = []
    if guessed:
        pairs = ", ".join(f"{role} = {name}" for role, name in guessed.items())
        options = ", ".join(_OPTIONS[role] for role in guessed)
        says.append(f"Columns guessed by their names: {pairs} (others can be named with {options}).")
    if chosen.image is None:
        says.append(
            "There is no image column, so every row counts as a picture of its own; --image names one."
        )
    if chosen.id is None:
        says.append("There is no id column, so ids are made from file and row, such as part-0:17.")
    return says


def _usual(schema: pa.Schema, role: str, taken: set[str]) -> str | None:
    """The column of the likeliest usual name whose type fits."""
    by_plain: dict[str, str] = {}
    for field in schema:
        if field.name not in taken and FITS[role](field.type):
            by_plain.setdefault(plain(field.name), field.name)
    return next((by_plain[name] for name in USUAL[role] if name in by_plain), None)


def _check(schema: pa.Schema, role: str, name: str, path: Path) -> None:
    if name not in schema.names:
        raise DataError(
            f"{path} has no column {name!r}{meant(name, schema.names)}; expected one of "
            f"{listed(schema.names)}, such as {_OPTIONS[role]} {_example(schema, role)}"
        )
    if not FITS[role](found := schema.field(name).type):
        raise DataError(
            f"the column {name!r} of {path} holds {str(found)[:80]}, expected {_HOLDS[role]}; name another "
            f"one of {listed(schema.names)} with {_OPTIONS[role]}"
        )


def _example(schema: pa.Schema, role: str) -> str:
    """A column that could be named, as a shell takes it."""
    fitting = [field.name for field in schema if FITS[role](field.type)]
    return shlex.quote(fitting[-1]) if fitting else role


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary or extension type, of any other type itself."""
    while True:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are text, or null."""
    kind = value_type(kind)
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether values of a type are bytes."""
    kind, types = value_type(kind), pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Return whether values of a type are lists of any kind."""
    kind, types = value_type(kind), pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def is_picture_struct(kind: pa.DataType) -> bool:
    """Return whether a type is that of the ``datasets`` library's pictures: bytes, path, or both."""
    kind = value_type(kind)
    if not pa.types.is_struct(kind):
        return False
    fields: Sequence[pa.Field] = [kind.field(number) for number in range(kind.num_fields)]
    names = {field.name: field.type for field in fields}
    return ("bytes" in names and is_bytes(names["bytes"])) or ("path" in names and is_text(names["path"]))


def _is_number(kind: pa.DataType) -> bool:
    kind = value_type(kind)
    return bool(pa.types.is_integer(kind))


def _text_fits(kind: pa.DataType) -> bool:
    plain_kind = value_type(kind)
    inner = plain_kind.value_type if is_list(plain_kind) else plain_kind
    return is_text(inner) or is_bytes(inner)


FITS: dict[str, Callable[[pa.DataType], bool]] = {
    "image": lambda kind: is_text(kind) or is_bytes(kind) or is_picture_struct(kind) or _is_number(kind),
    "text": _text_fits,
    "id": lambda kind: is_text(kind) or is_bytes(kind) or _is_number(kind) or pa.types.is_floating(kind),
}
"""Whether a column of a type can hold each."""
