"""Options and output that several commands share, and the names of types in help."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from robustcmr.cli import complete
from robustcmr.cli.words import ManyWords

if TYPE_CHECKING:
    from robustcmr.terminal import Console

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or another program."""

Run = Annotated[Path, typer.Argument(help="Run folder of a finished run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; the run's own setting by default.")
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the data set's files.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the module:Class that a configuration made elsewhere names."),
]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Allow different data, protocols or noise files, and mark every row.")
]
Against = Annotated[
    str | None,
    typer.Option(metavar="METHOD", help="Test the others against this method; the best one by default."),
]
Format = Annotated[str, typer.Option("--format", help="table, csv, markdown, latex or json.")]


def output(text: str) -> Any:
    """Return the option ``--output``, ``-o`` with its help."""
    return typer.Option("--output", "-o", help=text)


def overrides(text: str) -> Any:
    """Return the option ``--set KEY=VALUE ...`` with its help; see :mod:`robustcmr.cli.words`."""
    rule = "Several may follow, or repeat --set; any other word ends them. Quote values with spaces."
    return typer.Option("--set", metavar="KEY=VALUE ...", help=f"{text} {rule}", autocompletion=complete.keys)


def number(name: str) -> Callable[[str], float]:
    """Return a parser of the option ``name``, a number; the command checks its range."""

    def parse(text: str) -> float:
        from noise_injection.checks import percent_meant
        from robustcmr.errors import ConfigError

        try:
            return float(text)
        except ValueError as error:
            raise ConfigError(
                f"{name} is '{text}', expected a number such as 0.5{percent_meant(text)}"
            ) from error

    return parse


def number_or_text(text: str) -> float | str:
    """Parse a number that the configuration checks, also where it is none."""
    try:
        return float(text)
    except ValueError:
        return text


def table_console() -> Console:
    """Return a console on stdout that does not squeeze tables for a reader that is not a terminal."""
    from robustcmr.terminal import Console

    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def write_out(text: str, target: Path | None) -> None:
    """Write text to a file, saying so on stderr; to stdout without one."""
    from robustcmr.files import write_text

    if target is None:
        sys.stdout.write(text)
    else:
        write_text(target, text)
        note(f"wrote {target}")


def say(*lines: str) -> None:
    r"""Print results on stdout, one line each; a line feed within a line is shown as ``\n``."""
    from noise_injection.printing import one_line

    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def print_json(value: Any) -> None:
    """Print a JSON document on stdout, in ASCII."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def note(*lines: str) -> None:
    """Print notes on stderr, as :func:`say` does."""
    from noise_injection.printing import one_line

    sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))


def typed(path: Path | str) -> str:
    """Return a path as it is typed in a shell, quoted where it needs to be."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


_TYPES = {
    "<bool>": "",
    "<int>": "INTEGER",
    "<int range>": "INTEGER",
    "<float>": "FLOAT",
    "<float range>": "FLOAT",
    "<path>": "PATH",
    "<str>": "TEXT",
    "list[path]": "PATH",
}


def _label(label: str, ctx: Any) -> str:
    del ctx
    return label


class _PlainTypes:
    """Names types as INTEGER or PATH where Typer would write <int> or <path>, and none for a flag."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            label = param.display_type(ctx) if hasattr(param, "display_type") else None
            if param.param_type_name == "option" and param.metavar is None and label in _TYPES:
                param.metavar = _TYPES[label]
            elif param.param_type_name == "argument":
                label = "PATH" if "path" in str(label) else "TEXT"
                param.display_type_rich = partial(_label, label)
                if param.metavar is None:
                    name = param.name.upper() + ("..." if param.nargs != 1 else "")
                    param.metavar = name if param.required else f"[{name}]"
        return params


class Command(_PlainTypes, ManyWords, TyperCommand):
    """A command with plain names of types in its help, whose output is safe to show in a terminal."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; that the reader of its output has gone, such as `head`, is no mistake."""
        from noise_injection.printing import plain_streams

        try:
            with plain_streams():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(0) from None


class Group(_PlainTypes, TyperGroup):
    """A group of commands with plain names of types in its help."""
