"""From YAML and overrides to a resolved run configuration, with every problem reported at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from robustcmr import plugins
from robustcmr.config import tracks, trust
from robustcmr.config.chosen_matcher import OpenedData, is_unnamed
from robustcmr.config.fields import section_class
from robustcmr.config.problems import Places, listing, sentences
from robustcmr.config.recipes import recipe_path
from robustcmr.config.schema import Settings
from robustcmr.config.switching import default_name, without_replaced
from robustcmr.errors import ConfigError, PluginError
from robustcmr.files import LimitError, parse_yaml, read_yaml, reason, to_yaml
from robustcmr.options import Options
from robustcmr.runs.older import current_config, replaced_options
from robustcmr.runs.schemas import Config as SavedConfig

AnyOptions = TypeVar("AnyOptions", bound=Options)

logger = logging.getLogger("robustcmr")

COMPONENTS = plugins.BY_SECTION
"""Sections that choose a plug-in. The data comes first: its track sets the defaults of the others."""

# all other sections; ``seed`` is none
SECTIONS = frozenset(name for name, info in Settings.model_fields.items() if section_class(info.annotation))


@dataclass(frozen=True)
class Component:
    """A plug-in chosen by name, its class and its validated options."""

    name: str
    cls: type
    options: Options

    def to_dict(self) -> dict[str, Any]:
        """Name and options as plain values."""
        return {"name": self.name, **self.options.model_dump(mode="json")}


@dataclass(frozen=True)
class RunConfig:
    """A resolved run: the plug-ins with their options, and the settings."""

    data: Component
    matcher: Component
    method: Component
    settings: Settings

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values that :func:`resolve` turns into an equal configuration."""
        settings = self.settings.model_dump(mode="json")
        return {
            "seed": settings.pop("seed"),
            "data": self.data.to_dict(),
            "noise": settings.pop("noise"),
            "matcher": self.matcher.to_dict(),
            "method": self.method.to_dict(),
            **settings,
        }

    def to_yaml(self, ascii_only: bool = False) -> str:
        """The resolved configuration as YAML; other letters than ASCII as escapes if ``ascii_only``."""
        return to_yaml(self.to_dict(), ascii_only)


def resolve(tree: Mapping[str, Any], folders: Sequence[Path] | None = None) -> RunConfig:
    """Validate a nested mapping against the schema and the options of the chosen plug-ins.

    Args:
        tree: sections as in a YAML recipe; missing ones take their defaults.
        folders: where modules of a ``package.module:Class`` that are not installed are searched; the current
            folder if None.

    Raises:
        ConfigError: unknown keys, unknown plug-ins or bad values; all of them are listed.
    """
    problems: list[str] = []
    known: list[tuple[type[Options], str]] = [(Settings, "")]
    components: dict[str, Component] = {}
    data: _Choice | None = None
    track: str | None = None
    opened = OpenedData(problems)
    for section in COMPONENTS:
        given = tree.get(section)
        if section == "matcher" and data is not None and is_unnamed(given):
            given = opened.with_matcher(given, data.cls, components.get("data"), folders)
        choice = _choose(section, given, track, problems, folders)
        if choice is None:
            continue
        if section == "data":
            data, track = choice, tracks.known_track(choice.cls)
            problems.extend(tracks.unknown_track(choice.name, choice.cls))
        if section == "method" and data is not None and track is not None:
            problems.extend(tracks.unfit_method(choice.name, choice.cls, data.name, track))
        known.append((choice.cls.Config, f"{section}."))  # type: ignore[attr-defined]  # the registry checked it
        component = _configured(section, choice, problems, known)
        if component is not None:
            components[section] = component
    settings = _settings(tree, None if data is None else data.name, track, problems, known)
    if problems:  # all that is missing is said at once
        opened.open(components.get("data"))
    if settings is not None:
        opened.check_split(settings.evaluation.select)
    if problems or settings is None:
        raise ConfigError(listing(problems))
    return RunConfig(settings=settings, **components)


def _settings(
    tree: Mapping[str, Any], data: str | None, track: str | None, problems: list[str], known: Places
) -> Settings | None:
    """All other sections; where the track is unknown, values are only checked by themselves."""
    rest = {
        key: value
        for key, value in tree.items()
        if key not in COMPONENTS and not (value is None and key in SECTIONS)  # a section may be empty
    }
    if track is not None:
        rest = tracks.with_defaults(rest, track)
    settings = _validate(Settings, rest, "", problems, tuple(COMPONENTS), known)
    if settings is None:
        return None
    if track is not None:
        settings = tracks.with_noise_filled(settings, track)
    problems.extend(tracks.refused(settings, data, track))
    return settings


def resolve_component(section: str, given: Mapping[str, Any]) -> Component:
    """Choose and configure a single plug-in.

    Args:
        section: ``data``, ``matcher`` or ``method``.
        given: its name and options; without a name, the default of the pairs track.

    Raises:
        ConfigError: the name or an option is unknown or bad; all problems are listed.
    """
    problems: list[str] = []
    choice = _choose(section, given, "pairs", problems)
    component = None if choice is None else _configured(section, choice, problems)
    if component is None:
        raise ConfigError(listing(problems))
    return component


def compose(
    recipe: str | None, flags: Mapping[str, Any], overrides: Sequence[str], trusted: bool = False
) -> RunConfig:
    """Resolve a recipe, then command-line flags, then overrides; later ones win.

    Args:
        recipe: path or name of a recipe; None starts from the defaults.
        flags: values by dotted key.
        overrides: ``key.key=value`` each. A flag or override that changes a plug-in, directly or by the track
            of the data, leaves out all of the recipe's options of the previous one, and a log message lists
            them; see :func:`robustcmr.config.switching.without_replaced`.
        trusted: import each ``package.module:Class`` that the recipe names; those of flags and overrides
            always are.

    Raises:
        TrustError: the recipe names code without consent.
        ConfigError: the recipe cannot be read, or the result does not fit the schema.
    """
    typed: dict[str, Any] = {}
    for key, value in flags.items():
        _set_value(typed, key, value)
    typed = apply_overrides(typed, overrides)
    tree: dict[str, Any] = {}
    named = set(trust.places(typed).values())
    folders: list[Path] = [Path.cwd()] if named else []
    if recipe is not None:
        path = recipe_path(recipe)
        tree = read_config(path)
        places = trust.places(tree, unless=typed)
        folders += trust.consent(path, tree, places, trusted)
        named.update(places.values())
    replaced = set(trust.places(tree).values()) - named  # never imported
    tree, left_out = without_replaced(tree, typed, folders, replaced)
    for key, value in flags.items():
        _set_value(tree, key, value)
    resolved = resolve(apply_overrides(tree, overrides), folders)
    if left_out:  # said once nothing else is wrong
        logger.info("left out of the recipe: %s", left_out)
    return resolved


def read_config(path: Path, schema: Any = Any) -> dict[str, Any]:
    """Read a YAML recipe, or a configuration that fits a stricter ``schema``.

    Raises:
        ConfigError: the file is missing, not YAML, gives a key twice, or is not a mapping.
    """
    try:
        tree = read_yaml(path, schema)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {reason(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} holds a {type(tree).__name__}, expected sections such as 'training:' and 'optim:'"
        )
    return {str(key): value for key, value in tree.items()}


def run_config(path: Path, trusted: bool = False) -> RunConfig:
    """Resolve the ``config.yaml`` of a run folder, of this version or of 0.1.

    Args:
        path: the file.
        trusted: import the ``package.module:Class`` that it names, even if it was not written here.

    Raises:
        TrustError: the file names code without consent.
        ConfigError: the file cannot be read, leaves out a plug-in or does not fit the schema; it is named.
    """
    tree = read_config(path, SavedConfig)
    folders = trust.consent(path, tree, trust.places(tree), trusted)
    try:
        return resolve(current_config(tree), folders)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def remember_run(path: Path, config: RunConfig) -> None:
    """Record that a ``config.yaml`` was written here, if it names a class as ``package.module:Class``."""
    if named := trust.places(config.to_dict()):
        trust.remember(path, read_config(path), named.values())


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a nested mapping with values set from texts such as ``optim.lr=1e-4``.

    Args:
        tree: the mapping to start from.
        overrides: ``key.key=value`` each, the value read as YAML.

    Raises:
        ConfigError: an override has no ``=``, an empty key, or goes below a value that is no section.
    """
    result = deepcopy(dict(tree))
    for text in overrides:
        key, equals, raw = text.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise ConfigError(f"cannot read the override '{text}', expected KEY=VALUE such as optim.lr=1e-4")
        _set_value(result, key.strip(), parse_value(raw))
    return result


def _set_value(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    node = tree
    for depth, section in enumerate(sections):
        below = node.get(section)
        if isinstance(below, str) and section in COMPONENTS and depth == 0:
            below = {"name": below}  # the short form 'matcher: omit'
        node[section] = {} if below is None else below
        node = node[section]
        if not isinstance(node, dict):
            raise ConfigError(
                f"cannot set {key}: {'.'.join(sections[: depth + 1])} is a value, not a section"
            )
    node[last] = value


def parse_value(raw: str) -> Any:
    """Read a command-line value as YAML, with ``1e-4`` as a number.

    Raises:
        ConfigError: it is nested too deeply, too large, aliases included, or holds no readable text.
    """
    try:
        value = parse_yaml(raw)
    except LimitError as error:
        raise ConfigError(f"cannot read the value '{raw[:40]}…': {error}") from error
    except ValueError as error:  # text that is no YAML
        if not raw.isprintable():
            raise ConfigError(f"cannot read the value {raw[:40]!a}: {error}") from error
        return raw
    if isinstance(value, str) and value == raw.strip() and any(letter.isdigit() for letter in value):
        try:
            return float(value)  # YAML 1.1 requires a dot, as in 1.0e-4
        except ValueError:
            return value
    return value


class _Choice(NamedTuple):
    """A plug-in whose options are not validated yet."""

    name: str
    cls: type
    given: Mapping[str, Any]


def _choose(
    section: str,
    given: Any,
    track: str | None,
    problems: list[str],
    folders: Sequence[Path] | None = None,
) -> _Choice | None:
    registry = COMPONENTS[section]
    given = {} if given is None else {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping):
        problems.append(f"{section}: got {given!r}, expected a section with a 'name'")
        return None
    options = {str(key): value for key, value in given.items()}
    name = options.pop("name", default_name(section, track))
    if name is None and "name" not in given:
        return None  # the data, on which it depends, has a problem of its own
    if not isinstance(name, str):
        problems.append(f"{section}.name: got {name!r}, expected the name of a {registry.kind}")
        return None
    try:
        return _Choice(name, registry.load(name, folders), options)
    except PluginError as error:
        problems.append(f"{section}.name: {error}")
        return None


def _configured(section: str, choice: _Choice, problems: list[str], known: Places = ()) -> Component | None:
    config_class: type[Options] = choice.cls.Config  # type: ignore[attr-defined]  # the registry checked it
    given = choice.given
    if section == "method":
        replaced = replaced_options(choice.name, given, config_class.model_fields)
        problems.extend(f"method.{key}: {hint}" for key, hint in replaced.items())
        given = {key: value for key, value in given.items() if key not in replaced}
    options = _validate(config_class, given, f"{section}.", problems, ("name",), known)
    return None if options is None else Component(choice.name, choice.cls, options)


def _validate(
    model: type[AnyOptions],
    values: Mapping[str, Any],
    prefix: str,
    problems: list[str],
    extra_keys: Sequence[str],
    known: Places,
) -> AnyOptions | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems.extend(sentences(model, error, prefix, extra_keys, known))
        return None
