"""What is left out of a recipe where another data set, matcher or method is chosen than it was made for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcmr import plugins
from robustcmr.config import tracks
from robustcmr.errors import PluginError

DEFAULT_DATA = "scenes"


def default_name(section: str, track: str | None) -> str | None:
    """Name of the default plug-in; None where it depends on unknown data."""
    if section == "data":
        return DEFAULT_DATA
    return None if track is None else str(getattr(tracks.TRACKS[track], section))


def without_replaced(
    tree: Mapping[str, Any],
    typed: Mapping[str, Any],
    folders: Sequence[Path] | None = None,
    unknown: Collection[str] = (),
) -> tuple[dict[str, Any], str]:
    """Return a recipe without the options of plug-ins that the user replaces, and a sentence that lists them.

    All options of a replaced data set, matcher or method are left out, also those that the new one has under
    the same name: the recipe chose their values for the old one. So the new one has its own defaults. Data of
    another track also leave out the optimiser and the noise's kind and protocol.

    Args:
        tree: sections of the recipe.
        typed: sections that the user gives beside it; they are not added.
        folders: where modules that are not installed are searched.
        unknown: names that must not be imported.

    Returns:
        The sections, and the sentence; empty if nothing was left out.
    """
    before, old_track = _names(tree, {}, folders, unknown)
    after, track = _names(tree, typed, folders, unknown)
    kept, lost = dict(tree), []
    for section in plugins.BY_SECTION:
        given = tree.get(section)
        changed = None not in (before[section], after[section]) and before[section] != after[section]
        if changed and isinstance(given, Mapping):
            kept[section] = {}
            lost.append((str(before[section]), _written(section, given, typed)))
    if None not in (old_track, track) and track != old_track:
        for section, keys in _of_track(str(old_track)).items():
            if isinstance(given := tree.get(section), Mapping):
                dropped = {key: value for key, value in given.items() if keys is None or key in keys}
                kept[section] = {key: value for key, value in given.items() if key not in dropped}
                lost.append((f"the {old_track} track", _written(section, dropped, typed)))
    groups: dict[str, list[str]] = {}
    for owner, texts in lost:
        groups.setdefault(owner, []).extend(texts)
    parts = [f"{', '.join(texts)} (chosen for {owner})" for owner, texts in groups.items() if texts]
    return kept, f"{'; '.join(parts)}; set one again to keep it" if parts else ""


def _of_track(track: str) -> dict[str, tuple[str, ...] | None]:
    """Keys by section that were written for a track; None for all of a section."""
    keys: dict[str, tuple[str, ...] | None] = dict(tracks.TRACKS[track].own)
    return {**keys, "noise": (*tracks.TRACKS[track].own["noise"], "kind", "protocol"), "optim": None}


def _written(section: str, given: Mapping[str, Any], typed: Mapping[str, Any]) -> list[str]:
    """``key=value`` of each option but the name that the user does not set again."""
    again = typed.get(section)
    others = again if isinstance(again, Mapping) else {}
    return [f"{section}.{key}={value}" for key, value in given.items() if key != "name" and key not in others]


def _names(
    tree: Mapping[str, Any],
    typed: Mapping[str, Any],
    folders: Sequence[Path] | None,
    unknown: Collection[str],
) -> tuple[dict[str, Any], str | None]:
    """The plug-in of each section, None where it depends on data not known yet; and the track likewise."""
    names = {}
    for section in plugins.BY_SECTION:
        chosen = [
            given.get("name") if isinstance(given, Mapping) else given
            for given in (typed.get(section), tree.get(section))
        ]
        names[section] = next((name for name in chosen if name is not None), None)
    data = names["data"] = DEFAULT_DATA if names["data"] is None else names["data"]
    cls: type | None = None
    try:
        if isinstance(data, str) and data not in unknown:
            cls = plugins.datasets.load(data, folders)
    except PluginError:  # reported when the configuration is resolved
        pass
    track = None if cls is None else tracks.known_track(cls)
    found = {
        section: default_name(section, track) if name is None else name for section, name in names.items()
    }
    if names["matcher"] is None and getattr(cls, "chooses_matcher", False):
        found["matcher"] = None  # known when the data is opened
    return found, track
