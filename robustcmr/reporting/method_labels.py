"""What runs are called when they are compared: the method, and whatever else was set differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from robustcmr.errors import PluginError
from robustcmr.options import Options
from robustcmr.plugins import methods
from robustcmr.runs.read import SavedRun

_ELSEWHERE = ("seed", "data.", "noise.")  # these tell settings and seeds apart, not methods
_WITHOUT_EFFECT = (
    *("training.device", "training.workers", "training.store", "training.checkpoint_minutes"),
    *("tracking.", "evaluation.", "matcher.backend"),
)
_METHOD = "method."


def method_labels(runs: Sequence[SavedRun]) -> list[str]:
    """A name for the method of each run; runs that were set in the same way share it.

    Args:
        runs: of one or more methods, matchers and settings.

    Returns:
        Such as ``l2rm``; ``omit + l2rm`` where matchers differ; ``l2rm optim.lr=0.001`` where a setting
        differs among runs of the same matcher and method. Options of the method that follow from the others,
        as a preset has it, are left out. Seeds, noise, data, places and trackers do not count, nor does a
        key that only one version of the package knew.
    """
    several = len({run.results["matcher"] for run in runs}) > 1
    groups: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault((run.results["matcher"], run.results["method"]), []).append(place)
    labels = [""] * len(runs)
    for (matcher, method), places in groups.items():
        plain = f"{_plain(matcher)} + {_plain(method)}" if several else _plain(method)
        settings = [dict(_settings(runs[place].config)) for place in places]
        known: dict[str, set[str]] = {}
        for values in settings:
            for key, value in values.items():
                known.setdefault(key, set()).add(value)
        differing = [key for key, values in known.items() if len(values) > 1]
        differing = _without_implied(method, [runs[place].config for place in places], differing)
        for place, values in zip(places, settings, strict=True):
            extras = [f"{key}={values[key]}" for key in differing if key in values]
            labels[place] = " ".join([plain, *extras])
    return labels


def _without_implied(method: str, configs: Sequence[Mapping[str, Any]], differing: list[str]) -> list[str]:
    """The keys without those options of the method that in every run have the value the others give them."""
    own = [key for key in differing if key.startswith(_METHOD)]
    if len(own) < 2:
        return differing
    try:
        options: type[Options] = methods.load(method).Config  # type: ignore[attr-defined]
    except PluginError:
        return differing  # of a package that is not here
    kept = [key.removeprefix(_METHOD) for key in own]
    for name in reversed(kept.copy()):
        rest = [other for other in kept if other != name]
        if all(_follows(options, config["method"], name, rest) for config in configs):
            kept = rest
    return [key for key in differing if not key.startswith(_METHOD) or key.removeprefix(_METHOD) in kept]


def _follows(options: type[Options], given: Mapping[str, Any], name: str, others: Sequence[str]) -> bool:
    """Whether an option has the value it takes where only the others are set."""
    if name not in given:
        return False
    try:
        found = options(**{other: given[other] for other in others if other in given})
    except ValidationError:
        return False
    return bool(getattr(found, name, None) == given[name])


def _settings(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _settings(value, f"{name}.")
        elif not name.startswith((*_ELSEWHERE, *_WITHOUT_EFFECT)):
            yield name, str(value)


def _plain(name: str) -> str:
    """``Class`` of a plug-in given as ``package.module:Class``."""
    return str(name).rpartition(":")[2]
