"""Consent to run code that a configuration file names.

A file may come from anybody, and importing a module runs it. Announced names (built in, installed) need no
consent. A ``package.module:Class`` does, unless the user typed it, or a command of this user wrote the file:
such a command leaves a record in the user's state folder, outside of anything that is handed over. A record
holds the path of the file, a digest of its content, and the folders in which the modules were found. Each
file has its own, replaced as a whole, so killed and concurrent commands leave no half.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robustcmr import plugins
from robustcmr.environment import user_folder
from robustcmr.errors import TrustError, UserError
from robustcmr.files import write_text

VARIABLE = "ROBUSTCMR_STATE"
LONGEST_RECORD = 64 * 1024

logger = logging.getLogger("robustcmr")


def state_folder() -> Path:
    """Return the folder of records: ``$ROBUSTCMR_STATE``, or ``robustcmr`` in the user's state folder.

    Raises:
        UserError: the variable is not set and the user has no home folder.
    """
    return user_folder(VARIABLE, "XDG_STATE_HOME", Path(".local") / "state")


def places(tree: Mapping[str, Any], unless: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return what a configuration names as ``package.module:Class``, by key such as ``matcher.name``.

    Args:
        tree: sections, as in a recipe.
        unless: sections whose names replace those of ``tree``.
    """
    found = {}
    for section, registry in plugins.BY_SECTION.items():
        name = _name(tree.get(section))
        replaced = unless is not None and _name(unless.get(section)) is not None
        if name is not None and not replaced and registry.is_place(name):
            found[f"{section}.name"] = name
    return found


def consent(
    file: Path, tree: Mapping[str, Any], named: Mapping[str, str], trusted: bool, what: str = "code to import"
) -> list[Path]:
    """Return the folders in which to search modules that a file names; none if it names none.

    Args:
        file: a configuration file.
        tree: its content.
        named: what needs consent, by key; see :func:`places`.
        trusted: whether the user typed ``--trust``; the current folder is then searched.
        what: what the values are, for the message.

    Raises:
        TrustError: there is no consent.
    """
    if not named:
        return []
    record = _read_record(file)
    if record is not None and record.get("sha256") == digest(tree):
        return [*map(Path, record["folders"]), *([Path.cwd()] if trusted else [])]
    if trusted:
        return [Path.cwd()]
    refuse(str(file), named, what, changed=record is not None)
    return []


def refuse(where: str, named: Mapping[str, str], what: str = "code to import", changed: bool = False) -> None:
    """Raise TrustError if anything is named; ``changed`` says that a record exists for other content."""
    if not named:
        return
    listed = ", ".join(f"{key}: {value}" for key, value in named.items())
    why = "has changed since a command here wrote it" if changed else "no command here wrote it"
    raise TrustError(
        f"{where} names {what} ({listed}) and {why}; look at that first, and if you trust it repeat the "
        "command with --trust (in Python, trusted=True)"
    )


def remember(file: Path, tree: Mapping[str, Any], classes: Iterable[str] = ()) -> None:
    """Record that a command of this user wrote a file that names code; warn where that cannot be recorded.

    Args:
        file: a configuration file.
        tree: its content.
        classes: each ``package.module:Class`` that it names, imported.
    """
    homes = [plugins.home(place) for place in classes]
    folders = list(dict.fromkeys(str(folder.resolve()) for folder in homes if folder is not None))
    try:
        record = {"file": str(file.resolve()), "sha256": digest(tree), "folders": folders}
        write_text(_record(file), json.dumps(record, indent=2) + "\n")
    except UserError as error:
        logger.warning("%s; commands on %s will ask for --trust", error, file.parent)


def digest(tree: Any) -> str:
    """Return the SHA-256 of a configuration as read from its file."""
    return hashlib.sha256(repr(tree).encode("utf-8", "surrogatepass")).hexdigest()


def _name(given: Any) -> str | None:
    """The name in a section, in its long or short form."""
    name = given.get("name") if isinstance(given, Mapping) else given
    return name if isinstance(name, str) else None


def _record(file: Path) -> Path:
    place = os.fsencode(file.resolve())
    return state_folder() / "written" / f"{hashlib.sha256(place).hexdigest()[:32]}.json"


def _read_record(file: Path) -> dict[str, Any] | None:
    """The record of a file; None if there is none, or it is damaged or of another file."""
    try:
        with _record(file).open("rb") as opened:
            record = json.loads(opened.read(LONGEST_RECORD))
    except (OSError, ValueError, RecursionError, UserError):
        return None
    folders = record.get("folders") if isinstance(record, dict) else None
    whole = isinstance(folders, list) and all(isinstance(folder, str) for folder in folders)
    return record if whole and record.get("file") == str(file.resolve()) else None
