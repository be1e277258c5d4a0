"""From YAML and overrides to a resolved run configuration, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from robustcmr import plugins
from robustcmr.config.recipes import recipe_path
from robustcmr.config.schema import Settings
from robustcmr.errors import ConfigError, PluginError
from robustcmr.options import Options

# section -> (registry, default plug-in)
COMPONENTS: Mapping[str, tuple[plugins.Registry, str]] = MappingProxyType(
    {
        "data": (plugins.datasets, "scenes"),
        "matcher": (plugins.matchers, "omit"),
        "method": (plugins.methods, "hinge"),
    }
)


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
    """A fully resolved run: the plug-ins with their options, and the settings."""

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

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def resolve(tree: Mapping[str, Any]) -> RunConfig:
    """Validate a nested mapping against the schema and the chosen plug-ins' options.

    Args:
        tree: sections as in a YAML recipe; what is left out takes its default.

    Returns:
        The resolved configuration.

    Raises:
        ConfigError: unknown keys, unknown plug-ins or bad values; all of them are listed.
    """
    problems: list[str] = []
    components: dict[str, Component] = {}
    for section in COMPONENTS:
        component = _resolve_component(section, tree.get(section, {}), problems)
        if component is not None:
            components[section] = component
    rest = {key: value for key, value in tree.items() if key not in COMPONENTS}
    settings = _validate(Settings, rest, "", problems, extra_keys=tuple(COMPONENTS))
    if settings is not None:
        problems.extend(_contradictions(settings, tree))
    if problems or settings is None:
        raise ConfigError(_listing(problems))
    return RunConfig(settings=settings, **components)


def resolve_component(section: str, given: Mapping[str, Any]) -> Component:
    """Choose and configure a single plug-in.

    Args:
        section: ``data``, ``matcher`` or ``method``.
        given: its name and options.

    Raises:
        ConfigError: the name or an option is unknown or bad; all problems are listed.
    """
    problems: list[str] = []
    component = _resolve_component(section, given, problems)
    if component is None:
        raise ConfigError(_listing(problems))
    return component


def compose(recipe: str | None, flags: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """A run from a recipe, then command-line flags, then overrides, each winning over what came before.

    Args:
        recipe: path or name of a recipe; None starts from the defaults.
        flags: values by dotted key. A flag that chooses another plug-in drops the recipe's options of the old one.
        overrides: ``key.key=value`` each.

    Raises:
        ConfigError: the recipe cannot be read, or the result does not fit the schema; all problems are listed.
    """
    tree = {} if recipe is None else read_config(recipe_path(recipe))
    for section in COMPONENTS:
        name, given = flags.get(f"{section}.name"), tree.get(section)
        if name is not None and isinstance(given, Mapping) and given.get("name") != name:
            tree[section] = {}
    for key, value in flags.items():
        _set_value(tree, key, value)
    return resolve(apply_overrides(tree, overrides))


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML recipe.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}, column {place.column + 1}" if place is not None else ""
        raise ConfigError(f"{path} is not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} holds a {type(tree).__name__}, expected sections such as 'training:' and 'optim:'"
        )
    return {str(key): value for key, value in tree.items()}


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set values in a nested mapping from texts such as ``optim.lr=1e-4``.

    Args:
        tree: the mapping to start from; it is not changed.
        overrides: ``key.key=value`` each, the value read as YAML.

    Raises:
        ConfigError: an override has no ``=``, an empty key, or goes below a value that is no section.
    """
    result = _copy(tree)
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
    """A command-line value read as YAML, with ``1e-4`` taken as a number."""
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        return raw
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 wants a dot in 1.0e-4, people do not
        except ValueError:
            return value
    return value


def field_rows(options: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """(key, type, default, description) of every field, for help pages."""
    rows: list[tuple[str, str, str, str]] = []
    for name, info in options.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            rows.extend(field_rows(annotation, f"{prefix}{name}."))
            continue
        kind = (
            " | ".join(str(v) for v in get_args(annotation))
            if _is_literal(annotation)
            else _type_name(annotation)
        )
        default = "required" if info.is_required() else yaml_scalar(info.default)
        rows.append((prefix + name, kind, default, info.description or ""))
    return rows


def yaml_scalar(value: Any) -> str:
    """A default as it would be written in a recipe."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True).replace("\n...", "").strip()


def _is_literal(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None).__class__.__name__ == "_LiteralSpecialForm" or (
        str(annotation).startswith("typing.Literal")
    )


def _type_name(annotation: Any) -> str:
    return (
        annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    )


def _resolve_component(section: str, given: Any, problems: list[str]) -> Component | None:
    registry, default = COMPONENTS[section]
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping):
        problems.append(f"{section}: got {given!r}, expected a section with a 'name'")
        return None
    options = {str(key): value for key, value in given.items()}
    name = options.pop("name", default)
    if not isinstance(name, str):
        problems.append(f"{section}.name: got {name!r}, expected the name of a {registry.kind}")
        return None
    try:
        cls = registry.load(name)
    except PluginError as error:
        problems.append(f"{section}.name: {error}")
        return None
    config_class: type[Options] = cls.Config  # type: ignore[attr-defined]  # the registry checked it
    validated = _validate(config_class, options, f"{section}.", problems, extra_keys=("name",))
    return None if validated is None else Component(name, cls, validated)


def _validate(
    model: type[Options],
    values: Mapping[str, Any],
    prefix: str,
    problems: list[str],
    extra_keys: tuple[str, ...] = (),
) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            problems.append(_sentence(model, item, prefix, extra_keys))
        return None


def _sentence(model: type[BaseModel], item: Any, prefix: str, extra_keys: tuple[str, ...]) -> str:
    location = [str(part) for part in item["loc"]]
    path = prefix + ".".join(location)
    if item["type"] == "extra_forbidden":
        siblings = _fields_at(model, location[:-1])
        known = [*siblings, *extra_keys] if len(location) == 1 else siblings
        parent = prefix + "".join(part + "." for part in location[:-1])
        suggestion = plugins.did_you_mean(location[-1], known)
        hint = (
            suggestion.replace("'", f"'{parent}", 1)
            if suggestion
            else f" (known: {', '.join(sorted(known))})"
        )
        return f"{path}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{path}: missing, set it with --set {path}=VALUE" + (
            " or --data-root DIR" if path == "data.root" else ""
        )
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message[0].lower() + message[1:]}, got {item['input']!r}"


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        info = model.model_fields.get(part)
        if info is None or not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            return []
        model = info.annotation
    return list(model.model_fields)


def _contradictions(settings: Settings, tree: Mapping[str, Any]) -> list[str]:
    noise = tree.get("noise", {})
    if settings.noise.file is not None and isinstance(noise, Mapping):
        both = [key for key in ("ratio", "derange") if noise.get(key)]
        if both:
            return [f"noise.file: a noise file decides the noise, so noise.{both[0]} cannot be given with it"]
    return []


def _listing(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems in the configuration:\n" + "\n".join(
        f"  {problem}" for problem in problems
    )


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
