"""The ``robustcmr`` command: its subcommands, and how it reports errors.

Slow imports happen inside the commands, so that help is quick.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import typer

import robustcmr
from robustcmr.cli import (
    apply,
    audit,
    card,
    certify,
    compare,
    convert,
    data,
    describe,
    embed,
    evaluate,
    noise,
    rematch,
    report,
    review,
    search,
    suggest,
    suspects,
    sweep,
    train,
)
from robustcmr.cli.options import Command, Group
from robustcmr.ctrl_c import STOPPED, say_stopped
from robustcmr.errors import UserError


class _Main(Group):
    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; Ctrl-C is one line on stderr."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_stopped()
            raise typer.Exit(STOPPED) from None


app = typer.Typer(
    name="robustcmr",
    cls=_Main,
    help="Train image-text matchers on pairs that are partly mismatched, measure them, and audit pairs "
    "of one's own.\n\n"
    "Examples:\n  robustcmr train --noise 0.4\n  robustcmr audit 'web/*.parquet' -o audits/web\n"
    "  robustcmr report runs/a\n  robustcmr train --help",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
UsageError: Any = typer.BadParameter.__base__
"""The error for a command line that cannot be parsed; typer and click each have one of this name."""

data_app = typer.Typer(help="Check or export data.", no_args_is_help=True, cls=Group)

_COMMANDS: dict[str, Callable[..., None]] = {
    "eval": evaluate.evaluate,
    "audit": audit.audit,
    "certify": certify.certify,
    "suggest": suggest.suggest,
    "apply": apply.apply,
    "suspects": suspects.suspects,
    "rematch": rematch.rematch,
    "search": search.search,
    "embed": embed.embed,
    "report": report.report,
    "compare": compare.compare,
    "card": card.card,
    "convert": convert.convert,
    "list": describe.list_names,
    "show": describe.show,
    "validate": describe.validate,
    "env": describe.environment,
}
app.command("train", cls=train.TrainCommand)(train.train)
for _name, _function in _COMMANDS.items():
    app.command(_name, cls=Command)(_function)
data_app.command("check", cls=Command)(data.check)
data_app.command("export", cls=Command)(data.export)
app.add_typer(noise.app, name="noise")
app.add_typer(data_app, name="data")
app.add_typer(review.app, name="review")
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
    for name in ("stdout", "stderr"):  # letters that the encoding lacks become escapes
        stream = getattr(sys, name)
        if stream is None:  # the process was started without it
            setattr(sys, name, io.StringIO())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Threads that spin for long stall each other on a shared machine; threads that sleep at once are slow to
    # wake. Torch reads this when it is imported, later.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a picture that cannot be used is named by us
    # numba reads settings from the current folder, which could place its cache, and so code, anywhere
    os.environ.setdefault("NUMBA_CACHE_DIR", "")
    try:
        sys.exit(app(standalone_mode=False))
    except UsageError as error:
        from typer.rich_utils import rich_format_error

        from noise_injection.printing import message

        text = message(error.format_message())
        error.format_message = lambda: text
        rich_format_error(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    except (UserError, ValueError, OSError) as error:
        from noise_injection.checks import NoiseError
        from noise_injection.printing import message
        from noise_injection.reasons import reason

        if isinstance(error, OSError):
            text = f"{error.filename or 'the output'}: {reason(error)}"
        elif isinstance(error, (UserError, NoiseError)):
            text = str(error)
        else:
            raise
        sys.stderr.write(f"robustcmr: {message(text)}\n")
        sys.exit(2)
