"""Recipes shipped with the package: found by name, described by their opening comment."""

from __future__ import annotations

from pathlib import Path

from robustcmr.errors import ConfigError
from robustcmr.files import LARGEST_YAML, read_bytes, reason
from robustcmr.plugins import did_you_mean


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes, in the installed package or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def recipe_path(given: str) -> Path:
    """Return the file of a recipe given as a path or as the name of a shipped one.

    Raises:
        ConfigError: there is neither such a file nor such a recipe.
    """
    found = file_or_shipped(given, recipe_folder())
    if found is not None:
        return found
    names = recipe_names()
    meant = did_you_mean(Path(given).stem, names)
    raise ConfigError(
        f"no configuration file {given} and no shipped recipe of that name{meant} "
        f"(shipped: {', '.join(names)})"
    )


def file_or_shipped(given: str, folder: Path) -> Path | None:
    """Return a file given as a path or by its name in a folder of shipped ones; None if there is neither."""
    path = Path(given)
    if path.exists() and not path.is_dir():
        return path
    shipped = folder / f"{given.removesuffix('.yaml')}.yaml"
    return shipped if "/" not in given and "\\" not in given and shipped.is_file() else None


def recipe_text(path: Path) -> str:
    """Return the text of a recipe or sweep; raise ConfigError if it cannot be read."""
    try:
        return read_bytes(path, LARGEST_YAML).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {reason(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not UTF-8 text; expected a YAML file") from error


def opening_comment(path: Path) -> str:
    """Return the comment lines at the top of a recipe, without ``#``."""
    lines = []
    for line in recipe_text(path).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines)
