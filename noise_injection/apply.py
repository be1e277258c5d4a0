"""Handing noise to other programs: a table of captions and the images given to them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.atomic import atomic_file
from noise_injection.checks import IntArray, check_truth
from noise_injection.describe import to_caption_rows
from noise_injection.errors import NoiseError

TABLES: tuple[str, ...] = (".tsv", ".csv")


def read_captions(path: str | Path) -> list[str]:
    r"""Read a caption file.

    Args:
        path: UTF-8 text with one caption a line or, where the name ends in ``.tsv``,
            ``identifier<TAB>caption`` lines, in which a tab within a caption is written ``\t``; further
            columns are left out.

    Returns:
        The captions in order, without surrounding white space.

    Raises:
        NoiseError: the file is missing, empty or not UTF-8, or a line has no caption.
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


def read_names(path: str | Path, truth: npt.NDArray[Any], n_images: int) -> list[str]:
    """Read the names of the images.

    Args:
        path: UTF-8 text with one name a line, either once an image or once a caption.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.

    Returns:
        One name an image.

    Raises:
        NoiseError: the file is missing, empty or not UTF-8, the number of lines fits neither images nor
            captions, or captions of one image name it differently.
    """
    path = Path(path)
    truth = check_truth(truth, n_images)
    lines = _read_lines(path, "name")
    if len(lines) == n_images:
        return lines
    if len(lines) != truth.size or np.unique(truth).size < n_images:
        raise NoiseError(
            f"{path} has {len(lines)} names; expected {n_images} (one an image) or {truth.size} (one a "
            "caption)"
        )
    names = [""] * n_images
    for row, image in enumerate(truth.tolist()):
        if names[image] not in ("", lines[row]):
            raise NoiseError(
                f"{path} line {row + 1} names {lines[row]} for an image named {names[image]} before; "
                "expected one name an image, or the same name for all captions of an image"
            )
        names[image] = lines[row]
    return names


def given_pairs(
    values: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    n_images: int,
    captions: Sequence[str],
    names: Sequence[str] | None = None,
    with_truth: bool = False,
) -> Iterator[list[str]]:
    """Rows of a table that says which image is given to each caption, its head first.

    Args:
        values: (n_captions,) image given to each caption row, or (n_images,) an image permutation.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.
        captions: n_captions texts.
        names: n_images names, for a column more; None for none.
        with_truth: add the image each caption was written for, and 1 where the two differ. Leave it out of
            what a training program reads.

    Returns:
        Rows of ``caption_row, image[, image_name][, written_for_image, mismatched], caption``.

    Raises:
        NoiseError: the numbers of captions or names do not fit the index.
    """
    truth = check_truth(truth, n_images)
    index = to_caption_rows(np.asarray(values), truth, n_images)
    if len(captions) != truth.size:
        raise NoiseError(
            f"there are {len(captions)} captions and the noise is for {truth.size}; give the file it is for"
        )
    if names is not None and len(names) != n_images:
        raise NoiseError(f"there are {len(names)} image names and {n_images} images; give one name an image")
    return _rows(index, truth, captions, names, with_truth)


def write_table(path: str | Path, rows: Iterator[list[str]]) -> None:
    r"""Write rows as ``.csv``, or as ``.tsv`` without quoting: a tab within a cell becomes ``\t``.

    Args:
        path: name ending in ``.tsv`` or ``.csv``; a file there is replaced.
        rows: cells by row, head first.

    Raises:
        NoiseError: the name ends otherwise, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in TABLES:
        raise NoiseError(f"{path} ends in {path.suffix or 'nothing'}; name a table .tsv or .csv")
    text = io.StringIO(newline="")
    if path.suffix == ".csv":
        csv.writer(text, lineterminator="\n").writerows(rows)
    else:
        for row in rows:
            text.write("\t".join(_plain(cell) for cell in row) + "\n")
    with atomic_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def _rows(
    index: IntArray, truth: IntArray, captions: Sequence[str], names: Sequence[str] | None, with_truth: bool
) -> Iterator[list[str]]:
    named = [] if names is None else ["image_name"]
    yield [
        "caption_row",
        "image",
        *named,
        *(["written_for_image", "mismatched"] if with_truth else []),
        "caption",
    ]
    for row, (given, own) in enumerate(zip(index.tolist(), truth.tolist(), strict=True)):
        cells = [str(row), str(given)]
        if names is not None:
            cells.append(names[given])
        if with_truth:
            cells += [str(own), str(int(given != own))]
        yield [*cells, captions[row]]


def _plain(cell: str) -> str:
    return cell.replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")


def _read_lines(path: Path, what: str) -> list[str]:
    """Lines ended by a line feed only: what else Unicode calls a line end occurs within captions."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NoiseError(f"there is no file {path}; check the path") from error
    except UnicodeDecodeError as error:
        raise NoiseError(f"{path} is not UTF-8 text; expected one {what} a line") from error
    except OSError as error:
        raise NoiseError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    lines = [line.strip(" \r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise NoiseError(f"{path} is empty; expected one {what} a line")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise NoiseError(f"{path} line {number} is empty; expected one {what} a line")
    return lines
