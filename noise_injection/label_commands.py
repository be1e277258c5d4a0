"""The command line's part on labels: ``make-labels``, and ``describe`` and ``verify`` for label noise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError
from noise_injection.label_checks import LABEL_KINDS, Features
from noise_injection.label_describe import describe_labels
from noise_injection.label_files import (
    load_label_noise,
    read_array,
    read_label_file,
    save_label_noise,
)
from noise_injection.label_records import LabelNoiseRecord
from noise_injection.label_verify import verify_labels
from noise_injection.labels import make_label_noise

Answer = tuple[str, dict[str, Any]]
"""What a command says: as text, and as JSON."""

_OF_PAIRS = (
    "captions",
    "captions_file",
    "truth",
    "captions_per_image",
    "protocol",
    "ratio",
    "seed",
    "derange",
)
_OF_LABELS = ("labels", "features")


def add_make_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``make-labels``, all but the output."""
    parser.add_argument(
        "--labels", type=Path, required=True, metavar="FILE.npy", help="true class of each pair, from 0"
    )
    parser.add_argument(
        "--classes", type=int, metavar="K", help="number of classes (default: the highest class plus 1)"
    )
    parser.add_argument("--ratio", type=float, required=True, help="share of rows, at least 0 and below 1")
    parser.add_argument(
        "--kind",
        default="symmetric",
        metavar="KIND",
        help=f"how wrong labels are chosen: {', '.join(LABEL_KINDS)} (default symmetric)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default 0)")
    parser.add_argument(
        "--per-modality", action="store_true", help="draw image and text labels independently"
    )
    parser.add_argument(
        "--redraw-true", action="store_true", help="symmetric: draw from all classes, the true one included"
    )
    parser.add_argument(
        "--class-map", metavar="C,C,...", help="asymmetric: what each class becomes (default: the next class)"
    )
    add_features_option(parser)
    parser.add_argument(
        "--data-fingerprint", metavar="TEXT", help="which data this is for, to be kept in the record"
    )


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """Add the option without which a label noise file says nothing of right and wrong."""
    parser.add_argument(
        "--labels", type=Path, metavar="FILE.npy", help="for label noise: true class of each pair, from 0"
    )


def add_features_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that gives the features instance-dependent noise is made from."""
    parser.add_argument(
        "--features",
        type=Path,
        nargs="+",
        metavar="FILE.npy",
        help="instance-dependent label noise: features, or those of the images and those of the texts",
    )


def make_labels(arguments: argparse.Namespace) -> Answer:
    """Make label noise and save it.

    Raises:
        NoiseError: what was given does not fit.
    """
    truth = read_array(arguments.labels, "label file")
    n_classes = arguments.classes
    if n_classes is None:  # what is not even whole numbers is refused below, whatever the number of classes
        n_classes = max(1, int(truth.max()) + 1) if truth.dtype.kind in "iu" and truth.size else 2
    given, record = make_label_noise(
        truth,
        n_classes,
        arguments.ratio,
        arguments.kind,
        arguments.seed,
        per_modality=arguments.per_modality,
        redraw_true=arguments.redraw_true,
        class_map=None if arguments.class_map is None else _class_map(arguments.class_map),
        features=_features(arguments.features),
        data_fingerprint=arguments.data_fingerprint,
    )
    save_label_noise(arguments.output, given, record)
    text, values = _description(given, truth, record)
    return f"{text}\nwritten to {arguments.output}", {"file": str(arguments.output), **values}


def describe_label_file(arguments: argparse.Namespace) -> Answer:
    """Say what a label noise file does to the data.

    Raises:
        NoiseError: what was given does not fit.
    """
    truth = _true_labels(arguments)
    record = read_label_file(arguments.noise).record
    given, record = load_label_noise(arguments.noise, truth, record.n_classes)
    text, values = _description(given, truth, record)
    return text, {"file": str(arguments.noise), **values}


def verify_label_file(arguments: argparse.Namespace) -> tuple[bool, Answer]:
    """Make label noise again from its record, and compare.

    Returns:
        Whether it is the same, and what to say.

    Raises:
        NoiseError: what was given does not fit.
    """
    truth = _true_labels(arguments)
    noise = read_label_file(arguments.noise)
    outcome = verify_labels(noise.given, truth, noise.record, _features(arguments.features))
    return outcome.matches, (outcome.to_text(), {"file": str(arguments.noise), **outcome.to_dict()})


def refuse_label_options(arguments: argparse.Namespace) -> None:
    """Refuse options for labels together with a file of mismatched pairs.

    Raises:
        NoiseError: such an option was given.
    """
    given = _given(arguments, _OF_LABELS)
    if given:
        raise NoiseError(f"{arguments.noise} is no label noise file; leave --{given[0]} out")


def _true_labels(arguments: argparse.Namespace) -> IntArray:
    given = _given(arguments, _OF_PAIRS)
    if given:
        raise NoiseError(f"{arguments.noise} holds labels, not pairs; leave --{given[0]} out")
    if arguments.labels is None:
        raise NoiseError(f"{arguments.noise} holds labels; give the true ones with --labels FILE.npy")
    return read_array(arguments.labels, "label file")


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    values = {name: getattr(arguments, name, None) for name in names}
    # a flag not given is False, and a seed of 0, which equals False, was given
    return [
        name.replace("_", "-") for name, value in values.items() if value is not None and value is not False
    ]


def _class_map(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise NoiseError(
            f"the class map is {text!r}; expected one class for each, separated by commas, such as 1,2,0"
        ) from error


def _features(paths: list[Path] | None) -> Features | None:
    if paths is None:
        return None
    if len(paths) > 2:
        raise NoiseError(f"there are {len(paths)} files of features; give one, or the images' and the texts'")
    arrays = [read_array(path, "feature file") for path in paths]
    return arrays[0] if len(arrays) == 1 else (arrays[0], arrays[1])


def _description(given: IntArray, truth: IntArray, record: LabelNoiseRecord) -> Answer:
    found = describe_labels(given, truth, record.n_classes)
    extra = ", true class redrawn" if record.redraw_true else ""
    asked = f"ratio {record.ratio_asked:g}, {record.noise}, seed {record.seed}{extra}"
    each = " in each modality" if record.n_columns == 2 else ""
    lines = [
        f"{'source':<16} {record.source}",
        f"{'asked':<16} {asked}",
        f"{'chosen':<16} {record.n_chosen} rows{each}",
    ]
    if record.data_fingerprint is not None:
        lines.append(f"{'data':<16} {record.data_fingerprint}")
    text = "\n".join([*lines, found.to_text()])
    return text, {"record": record.to_dict(), "description": found.to_dict()}
