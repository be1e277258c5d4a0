"""Noise handed to other programs: tables of captions and the images given to them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from noise_injection import checks
from noise_injection.atomic import atomic_file
from noise_injection.checks import Array, NoiseError
from noise_injection.describe import to_caption_rows
from noise_injection.reading import read_bytes
from noise_injection.reasons import reason

TABLES: tuple[str, ...] = (".tsv", ".csv")


def read_captions(path: str | Path) -> list[str]:
    r"""Read the captions of a file in order, without surrounding white space.

    The file is UTF-8 text with one caption per line or, if its name ends in ``.tsv``, lines of
    ``identifier<TAB>caption``, in which ``\t`` stands for a tab within a caption and further columns are
    ignored.
    """
    path = Path(path)
    lines = _read_lines(path, "caption")
    if path.suffix != ".tsv":
        return lines
    columns = [line.split("\t") for line in lines]
    for number, parts in enumerate(columns, 1):
        if len(parts) < 2 or not parts[1].strip():
            raise NoiseError(
                f"{path} line {number} has no caption after a tab; expected identifier<TAB>caption"
            )
    return [parts[1].strip().replace("\\t", "\t") for parts in columns]


def read_names(path: str | Path, truth: Array, n_images: int) -> list[str]:
    """Read the names of the images, one per image.

    The file is UTF-8 text with one name per line, one line per image or per caption; all captions of an image
    must name it alike, and no other image. Unicode forms of a name count as one.
    """
    path = Path(path)
    truth = checks.truth(truth, n_images)
    lines = _read_lines(path, "name")
    if len(lines) == n_images:
        return lines
    if len(lines) != truth.size or np.unique(truth).size < n_images:
        raise NoiseError(
            f"{path} has {len(lines)} names; expected {n_images} (one per image) or {truth.size} (one per "
            "caption)"
        )
    names: dict[int, str] = {}
    owners: dict[str, int] = {}
    for number, (image, name) in enumerate(zip(truth.tolist(), lines, strict=True), 1):
        first, owner = names.setdefault(image, name), owners.setdefault(normalize("NFC", name), image)
        if normalize("NFC", first) != normalize("NFC", name):
            raise NoiseError(
                f"{path} line {number} names {name} for an image named {first} before; "
                "expected the same name for all captions of an image"
            )
        if owner != image:
            raise NoiseError(
                f"{path} line {number} names {name} for image {image}, which is the name of image {owner}; "
                "give the image of each caption with --truth FILE.npy"
            )
    return [names[image] for image in range(n_images)]


def given_pairs(
    values: Array,
    truth: Array,
    n_images: int,
    captions: Sequence[str],
    names: Sequence[str] | None = None,
    with_truth: bool = False,
) -> Iterator[list[str]]:
    """Return the rows of a table of captions and the images given to them, header first.

    The index is given as to ``to_caption_rows``, with n_captions ``captions`` and, for another column,
    n_images ``names``. ``with_truth`` adds the image each caption was written for, and 1 where both differ;
    leave it out of anything a training program reads.

    Returns:
        Rows of ``caption_row, image[, image_name][, written_for_image, mismatched], caption``.

    Example:
        >>> for row in given_pairs(np.array([1, 0]), np.array([0, 1]), 2, ["a dog", "a cat"]):
        ...     print(row)
        ['caption_row', 'image', 'caption']
        ['0', '1', 'a dog']
        ['1', '0', 'a cat']
    """
    truth = checks.truth(truth, n_images)
    index = to_caption_rows(values, truth, n_images).tolist()
    if len(captions) != truth.size:
        raise NoiseError(
            f"there are {len(captions)} captions and the noise is for {truth.size}; give their file"
        )
    columns: dict[str, Sequence[Any]] = {"caption_row": range(truth.size), "image": index}
    if names is not None:
        if len(names) != n_images:
            raise NoiseError(f"there are {len(names)} image names and {n_images} images; give one per image")
        columns["image_name"] = [names[image] for image in index]
    if with_truth:
        columns["written_for_image"] = truth.tolist()
        columns["mismatched"] = (truth != index).astype(int).tolist()
    columns["caption"] = captions
    return (list(map(str, row)) for row in ([*columns], *zip(*columns.values(), strict=True)))


def write_table(path: str | Path, rows: Iterator[list[str]]) -> None:
    r"""Write rows as ``.csv``, or as ``.tsv`` without quoting, in which a tab within a cell becomes ``\t``.

    Rows are lists of cells, header first; an existing file is replaced.
    """
    path = checks.suffix(path, TABLES, "a table")
    text = io.StringIO(newline="")
    if path.suffix == ".csv":
        csv.writer(text, lineterminator="\n").writerows(rows)
    else:
        escapes = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})
        text.writelines("\t".join(cell.translate(escapes) for cell in row) + "\n" for row in rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def _read_lines(path: Path, what: str) -> list[str]:
    """Return the lines between line feeds; other Unicode line ends occur within captions."""
    try:
        text = read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as error:
        raise NoiseError(f"there is no file {path}; check the path") from error
    except UnicodeDecodeError as error:
        raise NoiseError(f"{path} is not UTF-8 text; expected one {what} per line") from error
    except OSError as error:
        raise NoiseError(f"cannot read {path}: {reason(error)}") from error
    lines = [line.strip(" \r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise NoiseError(f"{path} is empty; expected one {what} per line")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise NoiseError(f"{path} line {number} is empty; expected one {what} per line")
    return lines
