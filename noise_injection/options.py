"""Which data a command is about: how many captions, and the image each was written for."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from noise_injection.apply import read_captions
from noise_injection.checks import IntArray, check_integers, check_truth, regular_truth
from noise_injection.errors import NoiseError
from noise_injection.files import NoiseFile, read_noise_file

CAPTIONS_PER_IMAGE = 5  # Flickr8K, Flickr30K and MS-COCO


def add_data_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that say which data it is.

    Args:
        parser: parser of one command.
        required: whether the number of captions must be given, there being no noise file to tell.
    """
    data = parser.add_mutually_exclusive_group(required=required)
    data.add_argument("--captions", type=int, metavar="N", help="number of captions")
    data.add_argument(
        "--captions-file", type=Path, metavar="FILE", help="caption file to count the captions of"
    )
    add_pairing_options(parser, data)


def add_pairing_options(parser: argparse.ArgumentParser, data: argparse._ActionsContainer) -> None:
    """Add the options that say which captions belong to one image.

    Args:
        parser: parser of one command.
        data: the parser itself, or a group of options of which only one may be given.
    """
    data.add_argument(
        "--truth",
        type=Path,
        metavar="FILE.npy",
        help="image index each caption was written for, where images have different numbers of captions",
    )
    parser.add_argument(
        "--captions-per-image",
        type=int,
        metavar="K",
        help=f"consecutive captions of one image (default: as in the noise file, else {CAPTIONS_PER_IMAGE})",
    )


def read_truth(path: Path) -> IntArray:
    """Read the image each caption was written for from a ``.npy``, (n_captions,) int64.

    Raises:
        NoiseError: the file is missing, damaged, or holds no image indices.
    """
    truth = read_noise_file(path).values
    return check_truth(truth, int(truth.max()) + 1)


def data_of(
    n_captions: int | None, captions_per_image: int | None, truth: Path | None, noise: NoiseFile | None = None
) -> tuple[IntArray, int]:
    """The true pairing and the number of images, from what was given and what the noise file itself tells.

    A file without a record, and no word on the number of captions: a permutation of all its rows is taken as
    one of images, anything else as caption rows.

    Args:
        n_captions: number of captions; None where not given.
        captions_per_image: consecutive captions of an image; None where not given.
        truth: file with the image each caption was written for; None for the regular pairing.
        noise: the noise file this is about; None where there is none yet.

    Returns:
        (n_captions,) int64 and the number of images.

    Raises:
        NoiseError: what was given contradicts itself or says too little.
    """
    record = None if noise is None else noise.record
    if truth is not None:
        if captions_per_image is not None:
            raise NoiseError("--truth says which captions belong to an image; leave --captions-per-image out")
        pairing = read_truth(truth)
        if n_captions not in (None, pairing.size):
            raise NoiseError(
                f"there are {n_captions} captions and {truth} has {pairing.size} entries; give one each"
            )
        n_images = int(pairing.max()) + 1
        return pairing, n_images if record is None else max(n_images, record.n_images)
    if record is not None:
        n_captions = record.n_captions if n_captions is None else n_captions
        if captions_per_image is None:
            if record.n_captions % record.n_images:
                raise NoiseError(
                    f"the noise is for {record.n_captions} captions of {record.n_images} images, not the "
                    "same number each; say with --truth which image each caption was written for"
                )
            captions_per_image = record.n_captions // record.n_images
    each = CAPTIONS_PER_IMAGE if captions_per_image is None else captions_per_image
    if n_captions is None:
        if noise is None:
            raise NoiseError("the number of captions is unknown; give it with --captions")
        n_captions = noise.values.size * (each if _is_permutation(noise.values) else 1)
    pairing = regular_truth(n_captions, each)
    return pairing, n_captions // each


def count_captions(n_captions: int | None, captions_file: Path | None) -> int | None:
    """Number of captions, as given or counted in a file; None where neither was given."""
    return n_captions if captions_file is None else len(read_captions(captions_file))


def _is_permutation(values: IntArray) -> bool:
    checked = check_integers(values, "the noise index")
    return bool(np.array_equal(np.sort(checked), np.arange(checked.size)))
