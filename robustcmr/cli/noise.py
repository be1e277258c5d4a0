"""``robustcmr noise``: the commands of ``noise_injection`` with the help and the messages of ours."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer
from typer.main import get_command

from robustcmr.cli.options import Command, Group, number, print_json, say

_PROGRAM = "robustcmr noise"


class NoiseCommand(Command):
    """A command of ``noise_injection``; several files may follow ``--features``."""

    further: ClassVar[Mapping[str, re.Pattern[str]]] = {**Command.further, "--features": re.compile("[^-]")}


class NoiseGroup(Group):
    """The commands, made of their parser at first use, as it imports NumPy."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of their help."""
        del ctx
        if not self.commands:
            from noise_injection.cli import parsers

            self.commands = {name: _command(name, parser) for name, parser in parsers(_PROGRAM).items()}
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; None if there is none."""
        self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    help="Make, describe, verify or apply noise files (the same as 'python -m noise_injection').",
    no_args_is_help=True,
    cls=NoiseGroup,
)


@app.callback()
def _noise() -> None: ...


def _command(name: str, parser: argparse.ArgumentParser) -> Any:
    """Return the command that asks for what a parser asks for."""
    actions = [action for action in parser._actions if action.dest != "help"]

    def run(**given: Any) -> None:
        from noise_injection.cli import COMMANDS
        from robustcmr.config.fields import one_of
        from robustcmr.errors import ConfigError

        values = {key: None if value == [] else value for key, value in given.items()}
        for group in parser._mutually_exclusive_groups:
            options = {action.dest: action.option_strings[0] for action in group._group_actions}
            used = [option for dest, option in options.items() if values[dest] is not None]
            if len(used) > 1:
                raise ConfigError(f"{used[0]} and {used[1]} exclude each other; leave one of them out")
            if group.required and not used:
                raise ConfigError(
                    f"expected {one_of(list(options.values()))}, such as --captions 145000, got none of them"
                )
        answer = COMMANDS[name](argparse.Namespace(**values))
        if values.get("json"):
            print_json(answer.values)
        else:
            say(*answer.text.split("\n"))
        raise typer.Exit(answer.code)

    parameters = [_parameter(action) for action in actions]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    examples = str(parser.epilog).replace("examples:", "Examples:")
    made = typer.Typer(add_completion=False)
    made.command(name, cls=NoiseCommand, help=f"{parser.description}\n\n{examples}")(run)
    return get_command(made)


def _parameter(action: argparse.Action) -> inspect.Parameter:
    """Return the parameter of a command that stands for an argument or option of a parser."""
    text = str(action.help)
    text = f"{text[0].upper()}{text[1:]}."
    names = sorted(action.option_strings, reverse=True, key=len)
    kind: Any = action.type if action.type in (int, Path) else str
    parse: Callable[[str], Any] | None = None
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if action.nargs == 0:
        kind, metavar = bool, None
    elif action.choices is not None:
        kind, metavar = Literal[tuple(action.choices)], "|".join(action.choices)
    elif action.type not in (None, int, Path):
        kind, parse, metavar = float, number(names[0]), "FLOAT"
    elif kind is Path and metavar is not None and not metavar.endswith(".npy"):
        metavar = None  # PATH
    if action.nargs == "+":
        kind, metavar = list[kind], f"{metavar} ..."
    if not names:
        return inspect.Parameter(
            action.dest, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, typer.Argument(help=text)]
        )
    option = typer.Option(*names, help=text, metavar=metavar, parser=parse, show_default=False)
    default = inspect.Parameter.empty if action.required else action.default
    annotation = kind if action.required or kind is bool else kind | None
    return inspect.Parameter(
        action.dest,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option],
    )
