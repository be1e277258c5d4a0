"""The pages docs/reference/commands.md and configuration.md, from the command line's parser and schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from leaderboard_page import DOCS, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from robustcmr import plugins
from robustcmr.cli.main import app
from robustcmr.config.fields import (
    choices,
    expectation,
    one_of,
    part_of,
    section_class,
    type_name,
    yaml_scalar,
)
from robustcmr.config.schema import Settings
from robustcmr.config.tracks import TRACKS
from robustcmr.matchers.fragment_matcher import FragmentOptions
from robustcmr.options import Options
from robustcmr.sweeps.options import ExecutionOptions, SweepOptions

COMMANDS, CONFIGURATION = DOCS / "reference" / "commands.md", DOCS / "reference" / "configuration.md"

COMMANDS_HEAD = """# Commands

Every command with all its options. `robustcmr train --help` prints the same, as it does after any other.

Results go to stdout; progress, notes and warnings go to stderr. The exit code is 0 after success, 2 after a
mistake, which one sentence names, and 1 where the answer is no: a check found a problem, no list can be
certified, a trial of a sweep failed. Ctrl-C gives 130, SIGTERM 143.

`robustcmr --install-completion` lets TAB complete commands, options and names. This page is written by
`python scripts/pages.py`.
"""
CONFIGURATION_HEAD = """# Configuration

Every key of a run, with the values that it accepts, its default and its meaning. Set a key in one of three
ways; a later one wins:

1. in a YAML recipe, in its section, such as `training: {epochs: 12}`; read by `--config FILE`;
2. by an option of its own, such as `--epochs 12`, where {doc}`commands` has one;
3. by `--set training.epochs=12`, for any key; a list is written `[8, 10]`, no value `null`.

`robustcmr validate f30k_omit` prints a recipe with every default filled in. A run keeps the same in
`config.yaml`. `data.name`, `matcher.name` and `method.name` choose a class, which has the other keys of its
section.

This page is written by `python scripts/pages.py`.
"""
ENCODERS = "Keys of every matcher that encodes regions and words: {names}."
SWEEP = "Keys of a sweep file, such as `robustcmr show noise_rates` prints."
KEY_HEAD = ["key", "value", "default", "meaning"]


def commands() -> str:
    """Return the page of the commands."""
    return "\n".join([COMMANDS_HEAD, *_commands(get_command(app), "robustcmr")])


def _commands(command: Any, name: str) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    if hasattr(command, "commands"):
        for part in command.list_commands(context):
            yield from _commands(command.get_command(context, part), f"{name} {part}")
        return
    text, _, examples = (command.help or "").partition("Examples:\n")
    yield f"## {name}\n\n{markdown_text(text).strip()}\n"
    arguments = [["argument", "meaning"]]
    options = [["option", "value", "default", "meaning"]]
    for each in command.get_params(context):
        if each.param_type_name == "argument":
            arguments.append([f"`{each.metavar}`", each.help or ""])
        elif each.name != "help":
            names = ", ".join(f"`{spelling}`" for spelling in each.opts)
            value = f"`{each.metavar}`" if each.metavar and not each.is_flag else ""
            shown = "" if each.default is None or each.is_flag else f"`{each.default}`"
            options.append([names, value, "required" if each.required else shown, each.help or ""])
    yield from (markdown_table(lines) for lines in (arguments, options) if len(lines) > 1)
    if examples:
        lines = [line.strip() for line in examples.strip().splitlines()]
        yield "\n".join(["```text", *lines, "```", ""])


def configuration() -> str:
    """Return the page of the configuration."""
    parts = [CONFIGURATION_HEAD, "## A run\n", keys(Settings)]
    for key, info in Settings.model_fields.items():
        section = section_class(info.annotation)
        if section is not None:
            parts += [f"## {key}\n", f"{first_line(section)}\n", keys(section, f"{key}.")]
    parts += ["## Defaults of the tracks\n", track_defaults(), "## Data sets\n", *_parts("data")]
    encoding = [
        n for n in own_names(plugins.matchers) if issubclass(options_of("matcher", n), FragmentOptions)
    ]
    encoders = ENCODERS.format(names=", ".join(f"`{name}`" for name in encoding))
    parts += ["## Matchers\n", "### Encoders\n", f"{encoders}\n", keys(FragmentOptions, "matcher.")]
    parts += [*_parts("matcher", FragmentOptions), "## Methods\n", *_parts("method")]
    execution = keys(ExecutionOptions, "execution.")
    parts += ["## A sweep\n", f"{SWEEP}\n", keys(SweepOptions), execution]
    return "\n".join(parts)


def _parts(section: str, shared: type[BaseModel] = Options) -> Iterator[str]:
    """A heading and a table of each class of options, with the names of those that have it."""
    names: dict[type[BaseModel], list[str]] = {}
    for name in own_names(plugins.BY_SECTION[section]):
        names.setdefault(options_of(section, name), []).append(name)
    for options, each in names.items():
        yield f"### {section}.name: {', '.join(each)}\n"
        yield keys(options, f"{section}.", shared if issubclass(options, shared) else Options)


def options_of(section: str, name: str) -> type[BaseModel]:
    """Return the options class of a data set, matcher or method."""
    return plugins.BY_SECTION[section].load(name).Config  # type: ignore[attr-defined, no-any-return]


def own_names(registry: plugins.Registry) -> list[str]:
    """Return the names that this package announces."""
    return [n for n in registry.names() if (registry.announced(n) or "").startswith("robustcmr.")]


def keys(options: type[BaseModel], prefix: str = "", without: type[BaseModel] = Options) -> str:
    """Return the table of the keys of an options class that are no sections.

    Args:
        options: the class.
        prefix: put before every key.
        without: a base of it whose keys are left out.
    """
    lines = [
        line
        for name, info in own_fields(options, without).items()
        for line in _key_lines(prefix + name, info)
    ]
    return markdown_table([KEY_HEAD, *lines]) if lines else "No keys of its own.\n"


def own_fields(options: type[BaseModel], without: type[BaseModel] = Options) -> dict[str, FieldInfo]:
    """Return the fields that are no sections and that ``without``, a base, has not, or otherwise."""
    return {
        name: info
        for name, info in options.model_fields.items()
        if section_class(info.annotation) is None
        and (name not in without.model_fields or default_of(info) != default_of(without.model_fields[name]))
    }


def _key_lines(key: str, info: FieldInfo) -> Iterator[list[str]]:
    """The line of a key, and those of the keys of sections within it."""
    inner = part_of(info.annotation)
    values = choices(inner)
    words = f"a list of {one_of(values)}" if values else expectation(info)
    yield [f"`{key}`", words or f"`{type_name(info.annotation)}`", default_of(info), info.description or ""]
    section = section_class(inner)
    for name, field in section.model_fields.items() if section else ():
        yield from _key_lines(f"{key}.NAME.{name}", field)


def default_of(info: FieldInfo) -> str:
    """Return the default of a field, as it is written in a recipe."""
    if info.is_required():
        return "required"
    return f"`{yaml_scalar(info.get_default(call_default_factory=True))}`"


def track_defaults() -> str:
    """Return the table of what a run takes by default on each track."""
    usual = {
        f"{name}.{key}": default_of(field)
        for name, info in Settings.model_fields.items()
        if (section := section_class(info.annotation)) is not None
        for key, field in section.model_fields.items()
    }
    values: dict[str, dict[str, Any]] = {}
    for track, of in TRACKS.items():
        values[track] = {"matcher.name": of.matcher, "method.name": of.method}
        values[track] |= {"noise.kind": of.kinds[0], "noise.protocol": of.protocols[0]}
        values[track] |= {
            f"{s}.{key}": value for s, each in of.settings.items() for key, value in each.items()
        }
    every = dict.fromkeys(key for each in values.values() for key in each)
    lines = [
        [
            f"`{key}`",
            *(f"`{yaml_scalar(each[key])}`" if key in each else usual[key] for each in values.values()),
        ]
        for key in every
    ]
    return markdown_table([["key", *TRACKS], *lines])


def first_line(cls: type) -> str:
    """Return the first line of a class's docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]


def markdown_table(lines: list[list[str]]) -> str:
    """Return a table of cells of any text."""
    return table(
        [[markdown_text(" ".join(cell.split())).replace("|", r"\|") for cell in line] for line in lines]
    )


def markdown_text(text: str) -> str:
    """Return text in which no ``<word>`` is taken for HTML."""
    return text.replace("<", r"\<")
