"""The command line: ``python -m noise_injection make|make-labels|describe|verify|apply``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_injection.apply import TABLES, given_pairs, read_captions, read_names, write_table
from noise_injection.checks import PROTOCOLS
from noise_injection.describe import describe
from noise_injection.errors import NoiseError
from noise_injection.files import check_noise_name, check_size, load_noise, read_noise_file, save_noise
from noise_injection.label_commands import (
    Answer,
    add_features_option,
    add_make_options,
    add_read_options,
    describe_label_file,
    make_labels,
    refuse_label_options,
    verify_label_file,
)
from noise_injection.label_files import check_label_name, is_label_file
from noise_injection.mismatch import make_mismatch
from noise_injection.options import add_data_options, add_pairing_options, count_captions, data_of
from noise_injection.records import NoiseRecord
from noise_injection.verify import verify, verify_record


def main(argv: Sequence[str] | None = None, prog: str = "python -m noise_injection") -> int:
    """Run one command.

    Args:
        argv: arguments after the program's name; those of the process when None.
        prog: the program's name in help and error messages.

    Returns:
        The exit code: 0 when done, 1 when ``verify`` finds a difference, 2 for a mistake in what was given.
    """
    arguments = _parser(prog).parse_args(argv)
    commands = {
        "make": _make,
        "make-labels": _make_labels,
        "describe": _describe,
        "verify": _verify,
        "apply": _apply,
    }
    try:
        return commands[arguments.command](arguments)
    except NoiseError as error:
        sys.stderr.write(f"{prog} {arguments.command}: {error}\n")
        return 2


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make, describe, verify and apply noise for image-text pairs and their class labels.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="make|make-labels|describe|verify|apply"
    )

    make = _command(commands, "make", "make mismatched pairs and save them")
    add_data_options(make, required=True)
    make.add_argument("--ratio", type=float, required=True, help="share to mismatch, at least 0 and below 1")
    make.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="caption",
        help="move single captions, or images with all theirs",
    )
    make.add_argument("--seed", type=int, default=0, help="seed of the generator (default 0)")
    make.add_argument("--derange", action="store_true", help="let no chosen caption keep its own image")
    make.add_argument(
        "--data-fingerprint", metavar="TEXT", help="which data this is for, to be kept in the record"
    )
    _add_output(make, "where to save: .npz (index and record) or .npy (index alone, the published layout)")
    _add_json(make)

    label = _command(commands, "make-labels", "make wrong class labels and save them")
    add_make_options(label)
    _add_output(label, "where to save: .npz (labels and record)")
    _add_json(label)

    show = _command(commands, "describe", "say what a noise file does to the data")
    show.add_argument("noise", type=Path, help="noise file (.npz or .npy)")
    add_data_options(show, required=False)
    add_read_options(show)
    _add_json(show)

    check = _command(commands, "verify", "make the noise again from record or options, and compare")
    check.add_argument("noise", type=Path, help="noise file (.npz or .npy)")
    add_data_options(check, required=False)
    add_read_options(check)
    add_features_option(check)
    check.add_argument("--protocol", choices=PROTOCOLS, help="for a file without a record")
    check.add_argument("--ratio", type=float, help="for a file without a record")
    check.add_argument("--seed", type=int, help="for a file without a record")
    check.add_argument("--derange", action="store_true", help="for a file without a record")
    _add_json(check)

    use = _command(commands, "apply", "write the given pairs for another program to read")
    use.add_argument("noise", type=Path, help="noise file (.npz or .npy)")
    use.add_argument("--captions", type=Path, metavar="FILE", help="caption file, needed for a table")
    use.add_argument("--ids", type=Path, metavar="FILE", help="image names, one an image or one a caption")
    use.add_argument(
        "--with-truth", action="store_true", help="add columns that tell the wrong pairs from the right"
    )
    add_pairing_options(use, use)
    _add_output(use, "what to write: .tsv or .csv (a table of pairs) or .npy (one image index a caption row)")
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    return parser


def _add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help=text)
    parser.add_argument("--force", action="store_true", help="replace a file that is already there")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def _make(arguments: argparse.Namespace) -> int:
    _refuse_overwrite(check_noise_name(arguments.output), arguments.force)
    n_captions = count_captions(arguments.captions, arguments.captions_file)
    truth, n_images = data_of(n_captions, arguments.captions_per_image, arguments.truth)
    index, record = make_mismatch(
        truth,
        n_images,
        arguments.ratio,
        arguments.protocol,
        arguments.seed,
        arguments.derange,
        arguments.data_fingerprint,
    )
    save_noise(arguments.output, index, record)
    found = describe(index, truth, n_images)
    if arguments.json:
        _write_json(
            {"file": str(arguments.output), "record": record.to_dict(), "description": found.to_dict()}
        )
    else:
        _write(f"{_record_text(record)}\n{found.to_text()}\nwritten to {arguments.output}")
    return 0


def _make_labels(arguments: argparse.Namespace) -> int:
    _refuse_overwrite(check_label_name(arguments.output), arguments.force)
    _answer(make_labels(arguments), arguments.json)
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    if is_label_file(arguments.noise):
        _answer(describe_label_file(arguments), arguments.json)
        return 0
    refuse_label_options(arguments)
    noise = read_noise_file(arguments.noise)
    n_captions = count_captions(arguments.captions, arguments.captions_file)
    truth, n_images = data_of(n_captions, arguments.captions_per_image, arguments.truth, noise)
    _, record = load_noise(arguments.noise, truth, n_images)
    found = describe(noise.values, truth, n_images)
    if arguments.json:
        _write_json(
            {"file": str(arguments.noise), "record": record.to_dict(), "description": found.to_dict()}
        )
    else:
        _write(f"{_record_text(record)}\n{found.to_text()}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if is_label_file(arguments.noise):
        matches, answer = verify_label_file(arguments)
        _answer(answer, arguments.json)
        return 0 if matches else 1
    refuse_label_options(arguments)
    noise = read_noise_file(arguments.noise)
    n_captions = count_captions(arguments.captions, arguments.captions_file)
    truth, n_images = data_of(n_captions, arguments.captions_per_image, arguments.truth, noise)
    check_size(noise, truth.size, n_images)
    settings = {name: getattr(arguments, name) for name in ("protocol", "ratio", "seed")}
    if noise.record is not None and noise.record.seed is not None:
        given = [name for name, value in settings.items() if value is not None]
        if given or arguments.derange:
            raise NoiseError(
                f"{arguments.noise} has a record of how it was made; leave --{(given or ['derange'])[0]} out"
            )
        outcome = verify_record(noise.values, truth, n_images, noise.record)
    else:
        missing = [f"--{name}" for name, value in settings.items() if value is None]
        if missing:
            raise NoiseError(f"{arguments.noise} does not say how it was made; give {' and '.join(missing)}")
        recorded = None if noise.record is None else noise.record.index_sha256
        outcome = verify(
            noise.values, truth, n_images, **settings, derange=arguments.derange, recorded_sha256=recorded
        )
    if arguments.json:
        _write_json({"file": str(arguments.noise), **outcome.to_dict()})
    else:
        _write(outcome.to_text())
    return 0 if outcome.matches else 1


def _apply(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    if output.suffix not in (*TABLES, ".npy"):
        raise NoiseError(f"{output} ends in {output.suffix or 'nothing'}; name the output .tsv, .csv or .npy")
    _refuse_overwrite(output, arguments.force)
    table = output.suffix in TABLES
    if table and arguments.captions is None:
        raise NoiseError(f"a {output.suffix} table lists the captions; give their file with --captions")
    if not table and (arguments.ids is not None or arguments.with_truth):
        raise NoiseError(
            "a .npy holds image indices alone; leave --ids and --with-truth out, or write .tsv or .csv"
        )
    if is_label_file(arguments.noise):
        raise NoiseError(f"{arguments.noise} holds labels, not pairs; give a file of mismatched pairs")
    noise = read_noise_file(arguments.noise)
    captions = None if arguments.captions is None else read_captions(arguments.captions)
    n_captions = None if captions is None else len(captions)
    truth, n_images = data_of(n_captions, arguments.captions_per_image, arguments.truth, noise)
    index, record = load_noise(arguments.noise, truth, n_images)
    if table and captions is not None:
        names = None if arguments.ids is None else read_names(arguments.ids, truth, n_images)
        write_table(output, given_pairs(index, truth, n_images, captions, names, arguments.with_truth))
    else:
        save_noise(output, index, record)
    _write(
        f"{index.size} captions, {record.n_mismatched} of them given a wrong image "
        f"({record.ratio_realised:.4%}), "
        f"noise {record.index_sha256[:12]}\nwritten to {output}"
    )
    return 0


def _refuse_overwrite(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise NoiseError(f"{path} is already there; choose another name or add --force to replace it")


def _record_text(record: NoiseRecord) -> str:
    lines = [f"{'source':<16} {record.source}"]
    if record.ratio_asked is None or record.n_chosen is None:
        lines.append(f"{'asked':<16} unknown, the file has no record")
    else:
        deranged = ", deranged" if record.derange else ""
        lines.append(
            f"{'asked':<16} ratio {record.ratio_asked:g}, protocol {record.protocol}, seed "
            f"{record.seed}{deranged}"
        )
        by_chance = record.n_chosen - record.n_mismatched
        lines.append(f"{'chosen':<16} {record.n_chosen} captions, {by_chance} came back to their own image")
    if record.data_fingerprint is not None:
        lines.append(f"{'data':<16} {record.data_fingerprint}")
    return "\n".join(lines)


def _answer(answer: Answer, as_json: bool) -> None:
    text, values = answer
    if as_json:
        _write_json(values)
    else:
        _write(text)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write_json(value: dict[str, Any]) -> None:
    _write(json.dumps(value, indent=2, ensure_ascii=False))
