"""The ``robustcmr`` command: its subcommands, and how mistakes are told.

Heavy imports happen inside the commands, so that help is quick.
"""

from __future__ import annotations

import os
import sys

import typer

import robustcmr
from robustcmr.cli import (
    card,
    compare,
    convert,
    data,
    describe,
    evaluate,
    noise,
    rematch,
    report,
    suspects,
    sweep,
    train,
)
from robustcmr.errors import UserError

app = typer.Typer(
    name="robustcmr",
    help="Train image-text matchers on pairs that are partly wrong, and measure them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before using it.", no_args_is_help=True)

app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("suspects")(suspects.suspects)
app.command("rematch")(rematch.rematch)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("card")(card.card)
app.command("convert")(convert.convert)
app.command(
    "noise",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(noise.noise)
app.command("list")(describe.list_names)
app.command("show")(describe.show)
app.command("validate")(describe.validate)
app.command("env")(describe.environment)
data_app.command("check")(data.check)
app.add_typer(data_app, name="data")
app.add_typer(sweep.app, name="sweep")


@app.callback(invoke_without_command=True)
def _main(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    if version:
        sys.stdout.write(f"robustcmr {robustcmr.__version__}\n")
        raise typer.Exit


def run() -> None:
    """Run the command line; a user's mistake is one sentence on stderr and exit code 2."""
    # Threads that spin long while they wait stall each other on a machine shared with anything else; threads
    # that sleep at once are slow to wake. The pool of torch reads this when torch is imported, later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"robustcmr: {error}\n")
        sys.exit(2)
    except ValueError as error:
        from noise_injection.errors import NoiseError

        if not isinstance(error, NoiseError):
            raise
        sys.stderr.write(f"robustcmr: {error}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone, such as `head`
        sys.exit(0)
