"""The command line: ``python -m noise_injection make|make-labels|describe|verify|apply``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_injection import commands
from noise_injection.checks import CAPTIONS_PER_IMAGE, LABEL_KINDS, PROTOCOLS, NoiseError, percent_meant
from noise_injection.printing import message, plain_streams
from noise_injection.reasons import reason

FILE: dict[str, Any] = {"type": Path, "metavar": "FILE"}
NPY: dict[str, Any] = {"type": Path, "metavar": "FILE.npy"}
FLAG: dict[str, Any] = {"action": "store_true"}

COMMANDS = {
    "make": commands.make,
    "make-labels": commands.make_labels,
    "describe": commands.describe_file,
    "verify": commands.verify_file,
    "apply": commands.apply_file,
}


def main(argv: Sequence[str] | None = None, prog: str = "python -m noise_injection") -> int:
    """Run the command in ``argv``, by default that of the process, and return its exit code.

    The code is 0 on success, 1 if ``verify`` finds a difference, 2 for a user's mistake; ``prog`` names the
    program in help and error messages.
    """
    try:
        with plain_streams():
            return _run(_parser(prog).parse_args(argv), prog)
    except BrokenPipeError:  # the reader of our output has gone, such as `head`
        return 0
    except OSError as error:
        sys.stderr.write(f"{prog}: {message(str(error.filename or 'the output'))}: {reason(error)}\n")
        return 2


def _run(arguments: argparse.Namespace, prog: str) -> int:
    try:
        answer = COMMANDS[arguments.command](arguments)
    except NoiseError as error:
        sys.stderr.write(f"{prog} {arguments.command}: {message(str(error))}\n")
        return 2
    as_json = "json" in arguments and arguments.json
    sys.stdout.write((json.dumps(answer.values, indent=2) if as_json else answer.text) + "\n")
    return answer.code


def _share(text: str) -> float:
    """A number, whose range is checked with the rest."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"it is {text!r}; expected a number such as 0.4{percent_meant(text)}"
        ) from error


def parsers(prog: str) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command; another program may show their options as its own."""
    chosen = next(a for a in _parser(prog)._actions if isinstance(a, argparse._SubParsersAction))
    return dict(chosen.choices)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make, describe, verify and apply noise for image-text pairs and their class labels.",
        epilog=f"Run '{prog} COMMAND --help' for the options and examples of a command.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))

    def command(name: str, text: str, *examples: str) -> argparse.ArgumentParser:
        lines = "\n".join(f"  {prog} {name} {example}" for example in examples)
        added: argparse.ArgumentParser = subparsers.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        return added

    make = command(
        "make",
        "make mismatched pairs and save them",
        "--captions 145000 --ratio 0.4 --seed 96 -o noise.npz",
        "--captions-file train_caps.txt --ratio 0.6 --protocol image -o noise.npz",
        "--truth image_of_caption.npy --ratio 0.4 --derange -o noise.npz",
    )
    labels = command(
        "make-labels",
        "make wrong class labels and save them",
        "--labels true.npy --ratio 0.4 --seed 96 -o labels.npz",
        "--labels true.npy --ratio 0.4 --kind asymmetric --class-map 1,2,0 -o labels.npz",
        "--labels true.npy --ratio 0.4 --kind instance --features images.npy -o labels.npz",
    )
    show = command(
        "describe",
        "describe a noise file: layout, protocol, and how much is wrong",
        "noise.npz",
        "published.npy --captions 145000",
        "labels.npz --labels true.npy --json",
    )
    check = command(
        "verify",
        "make the noise again from its record or the options, and compare",
        "noise.npz",
        "published.npy --protocol caption --ratio 0.4 --seed 96",
        "labels.npz --labels true.npy --features images.npy",
    )
    use = command(
        "apply",
        "write the given pairs for another program",
        "noise.npz --captions train_caps.txt -o pairs.tsv",
        "noise.npz --captions train_caps.txt --ids train_ids.txt --with-truth -o pairs.csv",
        "noise.npz -o index.npy",
    )

    for reader in (show, check, use):
        reader.add_argument("noise", type=Path, help="noise file (.npz or .npy)")
    use.add_argument("--captions", **FILE, help="caption file, needed for a table")
    use.add_argument("--ids", **FILE, help="image names, one per image or per caption")
    use.add_argument("--with-truth", **FLAG, help="add columns that show which pairs are wrong")
    for pairs in (make, show, check, use):
        data: argparse._ActionsContainer = pairs
        if pairs is not use:
            data = pairs.add_mutually_exclusive_group(required=pairs is make)
            data.add_argument("--captions", type=int, metavar="N", help="number of captions")
            data.add_argument("--captions-file", **FILE, help="caption file, to count its captions")
        data.add_argument(
            "--truth", **NPY, help="image index of each caption, if images have different numbers of captions"
        )
        pairs.add_argument(
            "--captions-per-image",
            type=int,
            metavar="K",
            help=f"consecutive captions per image (default: as in the noise file, else {CAPTIONS_PER_IMAGE})",
        )
    make.add_argument("--ratio", type=_share, required=True, help="share to mismatch, in [0, 1), such as 0.4")
    make.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="caption",
        help="move single captions, or images with all their captions (default: caption)",
    )
    make.add_argument("--derange", **FLAG, help="never give a chosen caption its own image")
    labels.add_argument("--labels", **NPY, required=True, help="true classes, from 0")
    labels.add_argument(
        "--classes", type=int, metavar="K", help="number of classes (default: highest class + 1)"
    )
    labels.add_argument("--ratio", type=_share, required=True, help="share of rows to choose, in [0, 1)")
    labels.add_argument(
        "--kind",
        default="symmetric",
        metavar="KIND",
        help=f"how wrong labels are drawn: {', '.join(LABEL_KINDS)} (default: symmetric)",
    )
    labels.add_argument("--per-modality", **FLAG, help="draw image and text labels independently")
    labels.add_argument("--redraw-true", **FLAG, help="symmetric: the true class may be redrawn")
    labels.add_argument(
        "--class-map",
        metavar="C,C,...",
        help="asymmetric: replacement of each class (default: the next class)",
    )
    for reader in (show, check):
        reader.add_argument("--labels", **NPY, help="true classes, needed for label noise")
    for featured in (labels, check):
        featured.add_argument(
            "--features",
            **NPY,
            nargs="+",
            help="instance label noise: features of the pairs, or those of the images and of the texts",
        )
    without_record = "needed for a file without a record"
    check.add_argument("--protocol", choices=PROTOCOLS, help=without_record)
    check.add_argument("--ratio", type=_share, help=without_record)
    check.add_argument("--seed", type=int, help=without_record)
    check.add_argument("--derange", **FLAG, help="for a file without a record")
    for maker in (make, labels):
        maker.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
        maker.add_argument(
            "--data-fingerprint", metavar="TEXT", help="name of the data set, kept in the record"
        )
    for shown in (make, labels, show, check, use):
        shown.add_argument("--json", **FLAG, help="write JSON instead of text")
    for writer, layouts in (
        (make, ".npz (index and record) or .npy (index alone, the published layout)"),
        (labels, ".npz (labels and record)"),
        (use, ".tsv or .csv (a table of pairs) or .npy (one image index per caption row)"),
    ):
        text = f"file to write: {layouts}"
        writer.add_argument("--output", "-o", **FILE, required=True, help=text)
        writer.add_argument("--force", **FLAG, help="replace an existing file")
    return parser
