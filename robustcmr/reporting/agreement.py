"""The conditions that runs must share to be compared, and the error that names where they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from robustcmr.errors import ComparisonError
from robustcmr.runs.read import SavedRun

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "track": "track",
        "data": "data set",
        "fingerprint": "data fingerprint",
        "selection": "selection split",
        "queries": "number of queries",
        "kind": "noise kind",
        "protocol": "protocol",
        "noise_file": "noise file",
    }
)
"""What each field of a setting is called."""


@dataclass(frozen=True)
class Setting:
    """Under which conditions a run was measured, but for how much noise there was.

    Attributes:
        track: ``pairs`` or ``labels``.
        data: name of the data set.
        fingerprint: of the training pairs, the first characters.
        selection: split that chose the epoch.
        queries: how many there were, both ways.
        kind: of the noise; None where all pairs were left as they were written.
        protocol: of the noise; None likewise.
        noise_file: the first characters of its hash where runs of the same seed and ratio differ in it.
    """

    track: str
    data: str
    fingerprint: str
    selection: str
    queries: str
    kind: str | None
    protocol: str | None
    noise_file: str | None = None

    @property
    def clean(self) -> Setting:
        """The same without noise."""
        return dataclasses.replace(self, kind=None, protocol=None, noise_file=None)


def noise_level(results: Mapping[str, Any]) -> float:
    """Return the share of wrong pairs or labels: as requested, or as realised to a percent."""
    asked = results.get("noise_ratio")
    return round(float(results.get("noise_ratio_realised", 0.0)), 2) if asked is None else float(asked)


def settings(runs: Sequence[SavedRun], split: str) -> list[Setting]:
    """Return the setting of each run on a split.

    Raises:
        ComparisonError: a run has not measured that split.
    """
    recorded = {str(run.results.get("data_fingerprint")) for run in runs}
    found = [_setting(run, split, recorded) for run in runs]
    files: dict[tuple[Setting, float, int], set[str]] = {}
    keys = []
    for run, setting in zip(runs, found, strict=True):
        key = (setting, noise_level(run.results), run.results["seed"])
        files.setdefault(key, set()).add(str(run.results.get("noise_hash")))
        keys.append(key)
    return [
        setting
        if len(files[key]) == 1
        else dataclasses.replace(setting, noise_file=str(run.results.get("noise_hash"))[:8])
        for run, setting, key in zip(runs, found, keys, strict=True)
    ]


def _setting(run: SavedRun, split: str, recorded: Set[str]) -> Setting:
    results = run.results
    measures = results["splits"].get(split)
    if measures is None:
        raise ComparisonError(
            f"{run.path} has no measures of the {split} split, only of {', '.join(results['splits'])}; "
            "choose another --split, or leave the run out"
        )
    clean = results.get("noise_ratio_realised", 0.0) == 0
    counts = (measures.get("n_images"), measures.get("n_captions", measures.get("n_texts")))
    given = results.get("older_fingerprints")
    older = [str(mark) for mark in given if str(mark) in recorded] if isinstance(given, list) else []
    return Setting(
        track=str(results["track"]),
        data=str(results["data"]),
        # beside runs of an earlier version, as these recorded it
        fingerprint=str(older[0] if older else results.get("data_fingerprint"))[:8],
        selection=str(results.get("selection_split")),
        queries=" + ".join(map(str, counts)),
        kind=None if clean else str(results.get("noise_kind")),
        protocol=None if clean else str(results.get("protocol")),
    )


def differing(found: Sequence[Setting]) -> list[str]:
    """Fields in which settings differ; runs without noise fit every kind and protocol."""
    fields = []
    for name in NAMES:
        values = {getattr(setting, name) for setting in found}
        if name in ("kind", "protocol"):
            values.discard(None)
        if len(values) > 1:
            fields.append(name)
    return fields


def refuse_mixtures(runs: Sequence[SavedRun], found: Sequence[Setting]) -> None:
    """Refuse runs that are not of one setting.

    Raises:
        ComparisonError: something differs; all of it is named, with a run of each kind.
    """
    problems = []
    for name in differing(found):
        folders: dict[Any, list[SavedRun]] = {}
        for run, setting in zip(runs, found, strict=True):
            value = getattr(setting, name)
            if value is not None:
                folders.setdefault(value, []).append(run)
        each = [
            f"{value} in {some[0].path}{f' and {len(some) - 1} more' if len(some) > 1 else ''}"
            for value, some in folders.items()
        ]
        at = " at the same seed and ratio" if name == "noise_file" else ""
        problems.append(f"the {NAMES[name]}{at} ({'; '.join(each[:4])}{'; …' if len(each) > 4 else ''})")
    if problems:
        raise ComparisonError(
            f"these runs do not answer the same question, for they differ in {', '.join(problems)}; compare "
            "them apart, or add --mixed to see them in one table with every row marked"
        )


def marks(setting: Setting, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the marks of a row where settings are mixed."""
    return tuple(
        f"{NAMES[name]} {getattr(setting, name)}" for name in fields if getattr(setting, name) is not None
    )
