"""``robustcmr list``, ``show``, ``validate`` and ``env``: what can be chosen, and its options."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustcmr.cli import complete
from robustcmr.cli.options import (
    AsJson,
    DataRoot,
    Trust,
    note,
    output,
    print_json,
    say,
    table_console,
)

if TYPE_CHECKING:
    from robustcmr.data.base import LabelledSplit, PairsSplit
    from robustcmr.plugins import Registry

KINDS = {"matchers": "matcher", "methods": "method", "data": "data", "configs": "config", "sweeps": "sweep"}
FILES = ("configs", "sweeps")
"""Kinds that are shipped files, not classes."""

WITH_TRACK = ("methods", "data")
"""Kinds whose members serve one track each; a matcher may serve both."""

_PROSE = 110
"""Most columns of a line of text; a table takes all that the terminal has."""

_UNFOLDED = 10_000  # columns of a list for other programs: one line each


def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="matchers, methods, data, configs or sweeps.", autocompletion=complete.words(KINDS)
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """List the names that can be chosen, with one line about each; methods and data with their track.

    Examples:
      robustcmr list methods
      robustcmr list data --json
    """
    from robustcmr.cli.prose import summary_in_source
    from robustcmr.config.recipes import opening_comment
    from robustcmr.errors import PluginError

    kind = _kind(kind)
    rows: list[tuple[str, ...]] = []
    broken: list[PluginError] = []
    for name in complete.known(kind):
        if kind in FILES:
            rows.append((name, opening_comment(_file(kind, name)).split("\n")[0]))
            continue
        place = None if kind in WITH_TRACK else _registry(kind).announced(name)
        summary = None if place is None else summary_in_source(place)
        if summary is not None:  # importing a matcher would take seconds
            rows.append((name, summary))
            continue
        try:
            cls = _registry(kind).load(name)
        except PluginError as error:
            broken.append(error)
            continue
        track = (str(getattr(cls, "track", "?")),) if kind in WITH_TRACK else ()
        rows.append((name, *track, (inspect.getdoc(cls) or "").split("\n")[0]))
    if as_json:
        print_json({row[0]: row[-1] for row in rows})
    elif rows:
        _print_rows(rows)
    for message in broken:
        note(f"robustcmr: skipped: {message}")


def show(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[KIND] NAME",
            help="Such as 'omit' or 'data scenes'.",
            autocompletion=complete.shown,
        ),
    ],
    split: Annotated[str, typer.Option(help="Split to show pictures of.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="Pictures on the contact sheet.")] = 12,
    target: Annotated[Path | None, output("Contact sheet to write, PNG; DATA-SPLIT.png by default.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Describe a matcher, method, data set, recipe or sweep with all its options.

    'data NAME' also shows captions, on a contact sheet if the data has pictures.

    Examples:
      robustcmr show omit
      robustcmr show data scenes --split test --count 24 -o scenes.png
    """
    from robustcmr.config.recipes import recipe_text
    from robustcmr.errors import ConfigError
    from robustcmr.plugins import did_you_mean

    if len(words) > 2:
        raise ConfigError(f"show takes a name, or a kind and a name, got {' '.join(words)}")
    name = words[-1]
    kinds = [_kind(words[0])] if len(words) == 2 else [kind for kind in KINDS if name in complete.known(kind)]
    if not kinds:
        everything = sorted({known for kind in KINDS for known in complete.known(kind)})
        raise ConfigError(
            f"nothing is called '{name}'{did_you_mean(name, everything)} (see 'robustcmr list')"
        )
    for kind in kinds:
        if kind in FILES:
            sys.stdout.write(recipe_text(_file(kind, name)))
        else:
            _print_class(kind, name)
    if len(words) == 2 and kinds == ["data"]:
        _show_data(name, split, count, target, data_root)


def validate(
    config: Annotated[
        str,
        typer.Argument(
            help="A YAML recipe: a path, or the name of a shipped one.",
            autocompletion=complete.names("configs"),
        ),
    ],
    trusted: Trust = False,
) -> None:
    """Check a recipe without running it, and print it with every default filled in.

    Examples:
      robustcmr validate mine.yaml
      robustcmr validate mine.yaml > resolved.yaml
    """
    from robustcmr.config.resolve import compose

    resolved = compose(config, {}, [], trusted)
    sys.stdout.write(resolved.to_yaml(ascii_only=True))
    note(f"{config} is valid: {resolved.matcher.name} + {resolved.method.name} on {resolved.data.name}")


def environment(as_json: AsJson = False) -> None:
    """Show machine, versions and devices, as saved with every run.

    Examples:
      robustcmr env
      robustcmr env --json
    """
    from robustcmr.environment import describe_environment

    facts = describe_environment()
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {version or 'not installed'}" for name, version in value.items())
        elif isinstance(value, list):
            value = " ".join(str(item) for item in value) or "none"
        say(f"{key:14s} {value}")


def _kind(given: str) -> str:
    from robustcmr.config.fields import one_of
    from robustcmr.errors import ConfigError
    from robustcmr.plugins import did_you_mean

    for plural, singular in KINDS.items():
        if given in (plural, singular) or (plural == "data" and given in ("dataset", "datasets")):
            return plural
    raise ConfigError(f"unknown kind '{given}', expected {one_of(list(KINDS))}{did_you_mean(given, KINDS)}")


def _registry(kind: str) -> Registry:
    from robustcmr import plugins

    return {"matchers": plugins.matchers, "methods": plugins.methods, "data": plugins.datasets}[kind]


def _file(kind: str, name: str) -> Path:
    from robustcmr.config.recipes import recipe_path
    from robustcmr.sweeps.options import sweep_path

    return recipe_path(name) if kind == "configs" else sweep_path(name)


def _print_rows(rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    from robustcmr.reporting.tables import render
    from robustcmr.terminal import Console

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    if sys.stdout.isatty():
        Console().print(table)
    else:
        sys.stdout.write(render(table, _UNFOLDED))


def _track_lines(kind: str, cls: Any) -> str:
    """Return the track of a method or data set; for data, also the defaults of a run on it."""
    from robustcmr.config.fields import yaml_scalar
    from robustcmr.config.tracks import TRACKS, known_track

    track = known_track(cls)
    if track is None:
        return f"track: {getattr(cls, 'track', None)}, which is none of {', '.join(TRACKS)}\n\n"
    lines = [f"track: {track}"]
    if kind == "data":
        defaults = TRACKS[track]
        matcher = defaults.matcher
        if getattr(cls, "chooses_matcher", False):
            matcher = cls.usual_matcher or "that which reads what the data holds"
        values: dict[str, Any] = {"matcher": matcher, "method": defaults.method}
        values |= {"noise.kind": defaults.kinds[0], "noise.protocol": defaults.protocols[0]}
        for section, settings in defaults.settings.items():
            values |= {f"{section}.{key}": value for key, value in settings.items()}
        lines.append("defaults of a run on it:")
        lines += [f"  {key}: {yaml_scalar(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n\n"


def _print_class(kind: str, name: str) -> None:
    from rich.table import Table

    from robustcmr.cli.prose import prose
    from robustcmr.config.fields import field_rows

    console = table_console()
    cls: Any = _registry(kind).load(name)
    section = KINDS[kind]
    say(f"{section} {name}  ({cls.__module__}.{cls.__qualname__})", "")
    sys.stdout.write(prose(inspect.getdoc(cls) or "", min(console.width, _PROSE)) + "\n\n")
    if kind in WITH_TRACK:
        sys.stdout.write(_track_lines(kind, cls))
    rows = field_rows(cls.Config, f"{section}.")
    if not rows:
        say("no options")
        return
    table = Table()
    # names to be typed are never cut
    table.add_column("option", no_wrap=True, min_width=max(len(row[0]) for row in rows))
    for heading in ("type", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _show_data(name: str, split_name: str, count: int, target: Path | None, root: Path | None) -> None:
    from robustcmr.config.resolve import resolve_component
    from robustcmr.files import write_with
    from robustcmr.reporting.contact_sheet import SheetEntry, contact_sheet

    loaded: Any = _registry("data").load(name)
    options = loaded.Config.model_fields
    if root is None and "root" in options and options["root"].is_required():
        note(f"name the folder of {name} with --data-root to see its captions")
        return
    given: dict[str, Any] = {"name": name} if root is None else {"name": name, "root": str(root)}
    component = resolve_component("data", given)
    split = component.cls(component.options).split(split_name)
    lines = _texts(split, count)
    if split.picture is None:
        names = getattr(split, "image_names", None)
        for image, texts in enumerate(lines):
            title = f"image {image}" if names is None else names[image]
            say(title, *(f"  {line}" for line in texts))
        note(f"{name} holds features without pictures, so there is no contact sheet")
        return
    entries = (
        SheetEntry(split.picture(image), texts, f"{split_name} {image}") for image, texts in enumerate(lines)
    )
    sheet = contact_sheet(entries)
    path = target if target is not None else Path(f"{name}-{split_name}.png")
    write_with(path, lambda file: sheet.save(file, format="PNG"))
    say(f"wrote {path}: {len(lines)} pictures of {name} {split_name} with their captions")


def _texts(split: LabelledSplit | PairsSplit, count: int) -> list[list[str]]:
    """Return the captions of the first images; for labelled pairs, the class and the text if known."""
    from robustcmr.data.base import LabelledSplit

    if not isinstance(split, LabelledSplit):
        return [
            [split.captions[row] for row in (split.image_of_caption == image).nonzero()[0]]
            for image in range(min(count, split.n_images))
        ]
    texts = split.captions
    return [
        [f"class: {split.class_names[split.labels[pair]]}", *([] if texts is None else [texts[pair]])]
        for pair in range(min(count, len(split)))
    ]
