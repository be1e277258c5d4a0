"""What runs are called when they are compared: the method, and whatever else was set differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustcmr.runs.read import SavedRun

_ELSEWHERE = ("seed", "data.", "noise.")  # these tell settings and seeds apart, not methods
_WITHOUT_EFFECT = (
    *("training.device", "training.workers", "training.store", "training.checkpoint_minutes"),
    *("tracking.", "evaluation.", "matcher.backend"),
)


def method_labels(runs: Sequence[SavedRun]) -> list[str]:
    """Return a name for the method of each run; runs with the same settings share it.

    Such as ``robust``; ``omit + robust`` where matchers differ; ``robust optim.lr=0.001`` where a setting
    differs among runs of the same matcher and method. Seeds, noise, data, devices and trackers do not count,
    nor does a key that only one version of the package knew.
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
        for place, values in zip(places, settings, strict=True):
            extras = [f"{key}={values[key]}" for key in differing if key in values]
            labels[place] = " ".join([plain, *extras])
    return labels


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
