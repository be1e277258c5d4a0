"""The commands of the command line: parsed options in, text and JSON out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noise_injection import checks
from noise_injection.apply import TABLES, given_pairs, read_captions, read_names, write_table
from noise_injection.checks import CAPTIONS_PER_IMAGE, Array, Features, IntArray, NoiseError, regular_truth
from noise_injection.describe import describe, describe_labels, to_caption_rows
from noise_injection.files import (
    NoiseFile,
    check_size,
    load_label_noise,
    load_noise,
    read_array,
    read_noise_file,
    save_label_noise,
    save_noise,
)
from noise_injection.formulas import is_formula
from noise_injection.labels import make_label_noise
from noise_injection.mismatch import make_mismatch
from noise_injection.printing import one_line
from noise_injection.records import LabelNoiseRecord, NoiseRecord, Record, Report, index_sha256
from noise_injection.verify import Verification, verify, verify_labels, verify_record

_SETTINGS = ("protocol", "ratio", "seed", "derange")
_OF_PAIRS = ("captions", "captions_file", "truth", "captions_per_image", *_SETTINGS)
_OF_LABELS = ("labels", "features")


class Answer(NamedTuple):
    """Output of a command as text and as JSON, and the exit code."""

    text: str
    values: dict[str, Any]
    code: int = 0


def make(arguments: argparse.Namespace) -> Answer:
    """Make mismatched pairs and save them."""
    output = _output(arguments, (".npz", ".npy"), "a noise file")
    truth, n_images = _data(arguments)
    settings = _values(arguments, *_SETTINGS, "data_fingerprint")
    index, record = make_mismatch(truth, n_images, **settings)
    save_noise(output, index, record)
    return _description(output, record, describe(index, truth, n_images), _written(output))


def make_labels(arguments: argparse.Namespace) -> Answer:
    """Make wrong class labels and save them."""
    output = _output(arguments, (".npz",), "a label noise file")
    truth = read_array(arguments.labels, "label file")
    n_classes = arguments.classes
    if n_classes is None:  # labels that are no integers are refused below, whatever the number of classes
        n_classes = max(1, int(truth.max()) + 1) if truth.dtype.kind in "iu" and truth.size else 2
    given, record = make_label_noise(
        truth,
        n_classes,
        class_map=_class_map(arguments.class_map),
        features=_features(arguments.features),
        **_values(arguments, "ratio", "kind", "seed", "per_modality", "redraw_true", "data_fingerprint"),
    )
    save_label_noise(output, given, record)
    found = describe_labels(given, truth, record.n_classes)
    return _description(output, record, found, _written(output))


def describe_file(arguments: argparse.Namespace) -> Answer:
    """Describe a noise file, compared with the data."""
    noise = read_noise_file(arguments.noise)
    if isinstance(noise.record, LabelNoiseRecord):
        labels = _true_labels(arguments)
        given, label_record = load_label_noise(noise.path, labels, noise.record.n_classes)
        return _description(noise.path, label_record, describe_labels(given, labels, label_record.n_classes))
    truth, n_images = _data(arguments, noise)
    _, record = load_noise(noise.path, truth, n_images)
    return _description(noise.path, record, describe(noise.values, truth, n_images))


def verify_file(arguments: argparse.Namespace) -> Answer:
    """Make noise again from its record or the options, and compare; exit code 1 if it differs."""
    noise = read_noise_file(arguments.noise)
    if isinstance(noise.record, LabelNoiseRecord):
        labels = _true_labels(arguments)
        outcome = verify_labels(noise.values, labels, noise.record, _features(arguments.features))
    else:
        outcome = _verify_pairs(arguments, noise, noise.record)
    values = {"file": str(noise.path), **outcome.to_dict()}
    return Answer(outcome.to_text(), values, 0 if outcome.matches else 1)


def apply_file(arguments: argparse.Namespace) -> Answer:
    """Write the given pairs as a table or an index."""
    output = _output(arguments, (*TABLES, ".npy"), "the output")
    table = output.suffix in TABLES
    if table and arguments.captions is None:
        raise NoiseError(f"a {output.suffix} table lists the captions; give their file with --captions FILE")
    if not table and (arguments.ids is not None or arguments.with_truth):
        raise NoiseError(
            "a .npy holds image indices only; leave --ids and --with-truth out, or write a .tsv or .csv"
        )
    noise = read_noise_file(arguments.noise)
    captions = [] if arguments.captions is None else read_captions(arguments.captions)
    if isinstance(noise.record, LabelNoiseRecord):
        raise NoiseError(f"{noise.path} holds labels, not pairs; give a noise file of mismatched pairs")
    truth, n_images = data_of(len(captions) or None, arguments.captions_per_image, arguments.truth, noise)
    index, record = load_noise(noise.path, truth, n_images)
    formulas = 0
    if table:
        names = None if arguments.ids is None else read_names(arguments.ids, truth, n_images)
        formulas = sum(map(is_formula, [*captions, *(names or ())]))
        write_table(output, given_pairs(index, truth, n_images, captions, names, arguments.with_truth))
    else:
        save_noise(output, index, record)
    text = (
        f"{index.size} captions, {record.n_mismatched} of them given a wrong image "
        f"({record.ratio_realised:.4%}), noise {record.index_sha256[:12]}"
        f"{_written(output)}"
    )
    if formulas:
        text += (
            f"\n{formulas} cells start with =, +, - or @, which a spreadsheet runs as formulas; import the "
            "table as text"
        )
    values = {"file": str(output), "record": record.to_dict(), "formula_cells": formulas}
    return Answer(text, values)


def data_of(
    n_captions: int | None, captions_per_image: int | None, truth: Path | None, noise: NoiseFile | None = None
) -> tuple[IntArray, int]:
    """Return the true pairing, (n_captions,) int64, and the number of images.

    Both follow from the options (None if not given; ``truth`` is a file) and the noise file itself. Without
    either, a file without a record that permutes all its rows is read as a permutation of images.
    """
    record = noise.record if noise is not None and isinstance(noise.record, NoiseRecord) else None
    if truth is not None:
        if captions_per_image is not None:
            raise NoiseError("--truth says which captions belong to an image; leave --captions-per-image out")
        pairing = checks.vector(read_array(truth, "truth file"), None, str(truth))
        n_images = int(pairing.max()) + 1
        pairing = checks.truth(pairing, n_images)
        if n_captions not in (None, pairing.size):
            raise NoiseError(
                f"there are {n_captions} captions and {truth} has {pairing.size} entries; expected one each"
            )
        return pairing, n_images if record is None else max(n_images, record.n_images)
    if record is not None:
        n_captions = record.n_captions if n_captions is None else n_captions
        if captions_per_image is None:
            if record.n_captions % record.n_images:
                raise NoiseError(
                    f"the noise is for {record.n_captions} captions of {record.n_images} images, not the "
                    "same number each; give the image each caption was written for with --truth FILE.npy"
                )
            captions_per_image = record.n_captions // record.n_images
    each = CAPTIONS_PER_IMAGE if captions_per_image is None else captions_per_image
    if n_captions is None:
        if noise is None:
            raise NoiseError("the number of captions is unknown; give it with --captions N")
        n_entries = noise.values.size
        of_images = np.array_equal(np.sort(noise.values), np.arange(n_entries))
        n_captions = n_entries * (each if of_images else 1)
    pairing = regular_truth(n_captions, each)
    if noise is not None and record is not None:
        _check_grouping(noise, record, pairing, each)
    return pairing, n_captions // each


def _check_grouping(noise: NoiseFile, record: NoiseRecord, pairing: IntArray, each: int) -> None:
    """Refuse noise of captions that are not grouped in rows of ``each``, as identifiers may group them."""
    n_images = pairing.size // each
    if (pairing.size, n_images) != (record.n_captions, record.n_images):
        return  # refused for its size
    if index_sha256(noise.values) != record.sha256:
        return  # refused as altered
    wrong = int((to_caption_rows(noise.values, pairing, n_images, str(noise.path)) != pairing).sum())
    if wrong != record.n_mismatched:
        raise NoiseError(
            f"the record of {noise.path} counts {record.n_mismatched} wrong captions, and there are {wrong} "
            f"if every {each} captions in a row are of one image; if the data groups them otherwise, give "
            "the image of each caption with --truth FILE.npy"
        )


def _data(arguments: argparse.Namespace, noise: NoiseFile | None = None) -> tuple[IntArray, int]:
    if noise is not None:
        _refuse(arguments, _OF_LABELS, f"{noise.path} holds mismatched pairs, not labels")
    file = arguments.captions_file
    n_captions = arguments.captions if file is None else len(read_captions(file))
    return data_of(n_captions, arguments.captions_per_image, arguments.truth, noise)


def _true_labels(arguments: argparse.Namespace) -> Array:
    _refuse(arguments, _OF_PAIRS, f"{arguments.noise} holds labels, not pairs")
    if arguments.labels is None:
        raise NoiseError(f"{arguments.noise} holds labels; give the true ones with --labels FILE.npy")
    return read_array(arguments.labels, "label file")


def _verify_pairs(
    arguments: argparse.Namespace, noise: NoiseFile, record: NoiseRecord | None
) -> Verification:
    truth, n_images = _data(arguments, noise)
    if record is not None:
        check_size(noise.path, record, truth.size, n_images)
    if record is not None and record.seed is not None:
        _refuse(arguments, _SETTINGS, f"{noise.path} has a record of how it was made")
        return verify_record(noise.values, truth, n_images, record)
    settings = _values(arguments, *_SETTINGS)
    missing = [f"--{name}" for name, value in settings.items() if value is None]
    if missing:
        raise NoiseError(f"{noise.path} does not say how it was made; give {' and '.join(missing)}")
    recorded = None if record is None else record.sha256
    return verify(noise.values, truth, n_images, **settings, recorded_sha256=recorded)


def _values(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names}


def _output(arguments: argparse.Namespace, suffixes: Sequence[str], what: str) -> Path:
    path = checks.suffix(arguments.output, suffixes, what)
    if path.exists() and not arguments.force:
        raise NoiseError(f"{path} already exists; choose another name or add --force to replace it")
    return path


def _refuse(arguments: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse options that have no effect on this file."""
    for name in names:
        value = getattr(arguments, name, None)
        if value is not None and value is not False:  # a seed of 0, which equals False, was given
            raise NoiseError(f"{reason}; leave --{name.replace('_', '-')} out")


def _class_map(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise NoiseError(
            f"the class map is {text!r}; expected a class for each class, such as 1,2,0"
        ) from error


def _features(paths: list[Path] | None) -> Features | None:
    if paths is None:
        return None
    if len(paths) > 2:
        raise NoiseError(f"there are {len(paths)} feature files; give one, or those of images and texts")
    arrays = [read_array(path, "feature file") for path in paths]
    return arrays[0] if len(arrays) == 1 else (arrays[0], arrays[1])


def _written(output: Path) -> str:
    return f"\nwritten to {one_line(str(output))}"


def _description(path: Path, record: Record, found: Report, note: str = "") -> Answer:
    values = {"file": str(path), "record": record.to_dict(), "description": found.to_dict()}
    return Answer(f"{record.to_text()}\n{found.to_text()}{note}", values)
