"""What readers of a run folder rely on in its JSON and YAML files; other keys are let through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Len, MinLen
from pydantic import AfterValidator
from typing_extensions import TypedDict

HEADLINES: Mapping[str, str] = {"pairs": "rsum", "labels": "map"}
"""The headline measure of a split, by track."""

MEASURES: Mapping[str, tuple[str, ...]] = {
    "pairs": ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum"),
    "labels": ("map_i2t", "map_t2i", "map"),
}
"""The measures that every split has, by track; the headline is the last."""

CURVES = ("scopes", "precision_i2t", "precision_t2i")
"""The measures of a split that are lists: lengths of a ranking, and the precision of each."""

NEEDED = ("data", "matcher", "method", "seed", "n_models", "track", "splits", "best_epoch", "epochs")
"""What every ``results.json`` has."""


def _is_number(value: Any, finite: bool = True) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (not finite or math.isfinite(value))


def _numbers(group: dict[str, Any], finite: bool = True) -> dict[str, Any]:
    """Refuse values other than numbers."""
    for key, value in group.items():
        if not _is_number(value, finite):
            raise ValueError(f"{key} is {ascii(value)[:40]}, expected a {'finite ' if finite else ''}number")
    return group


def _measures(measures: dict[str, Any], finite: bool = True) -> dict[str, Any]:
    """Refuse measures other than numbers, and curves of unequal length."""
    curves = {key: measures[key] for key in CURVES if isinstance(measures.get(key), list)}
    _numbers({key: value for key, value in measures.items() if key not in curves}, finite)
    for key, curve in curves.items():
        if not all(map(_is_number, curve)):
            raise ValueError(f"{key} holds values other than finite numbers")
    scopes = len(curves.get("scopes", ()))
    if scopes and any(len(curves.get(f"precision_{way}", ())) != scopes for way in ("i2t", "t2i")):
        raise ValueError(f"expected precision_i2t and precision_t2i for each of its {scopes} scopes")
    for key in measures:
        if key.startswith("map_at_") and not key.removeprefix("map_at_").isdecimal():
            raise ValueError(f"{key} names no length of a ranking, such as map_at_50")
    return measures


def _group(group: dict[str, Any]) -> None:
    """Refuse words in a group of an epoch; lists, such as confusion matrices, are drawn by no chart."""
    for name in HEADLINES.values():
        _numbers({name: group.get(name, 0.0)}, finite=False)  # a method may log NaN
    _numbers({key: value for key, value in group.items() if not isinstance(value, list)}, finite=False)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Refuse an epoch without a number, and values that are neither numbers nor groups of measures."""
    if not isinstance(row.get("epoch"), int) or row["epoch"] < 1:
        raise ValueError("epoch is no whole number from 1")
    for key, value in row.items():
        if isinstance(value, dict):
            _group(value)
        elif value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"{key} is {ascii(value)[:40]}, expected a number or a group of numbers")
    for key in ("seconds", "pairs_seen"):
        _numbers({key: row.get(key, 0)})
    return row


def _headlines(results: dict[str, Any]) -> dict[str, Any]:
    """Refuse splits without the measures of the track; another version may know other tracks."""
    for split, measures in results["splits"].items():
        alone = results.get("by_model", {}).get(split, [])
        if len(alone) not in (0, results["n_models"]):
            raise ValueError(f"by_model.{split} is of {len(alone)} models, expected {results['n_models']}")
        places = [(f"splits.{split}", measures), *((f"by_model.{split}", each) for each in alone)]
        for place, found in places:
            for key in MEASURES.get(results["track"], ()):
                if key not in found:
                    raise ValueError(f"{place} has no {key}")
    if results.get("noise_ratio_realised") and not results.get("noise_hash"):
        raise ValueError("noise_hash is missing")
    return results


def _divided_or_corrected(found: dict[str, Any]) -> dict[str, Any]:
    """Refuse findings that neither correct labels nor divide pairs."""
    needed = ("changed",) if "changed" in found else ("reason", "noise_rate", "suspected")
    for key in needed if found else ():
        if key not in found:
            raise ValueError(f"{key} is missing")
    return found


Count = Annotated[int, Ge(0)]
Numbers = Annotated[dict[str, Any], AfterValidator(_numbers)]
Measures = Annotated[dict[str, Any], AfterValidator(_measures)]


class _Findings(TypedDict, total=False):
    reason: Annotated[str, MinLen(1)]
    suspected: float
    noise_rate: float | None
    noise_interval: Annotated[list[float], Len(2, 2)] | None
    changed: float
    confidence: float | None
    division: Numbers
    rematch: Numbers
    correction: Numbers


class _Results(TypedDict):
    data: str
    matcher: str
    method: str
    seed: int
    n_models: Annotated[int, Ge(1)]
    track: str
    splits: dict[str, Measures]
    by_model: NotRequired[dict[str, list[Measures]]]
    best_epoch: int | None
    epochs: Count
    selection_split: NotRequired[str]
    training_pairs: NotRequired[Count]
    parameters: NotRequired[Count]
    seconds: NotRequired[float]
    peak_memory_bytes: NotRequired[Numbers]
    noise: NotRequired[dict[str, Any] | None]
    noise_kind: NotRequired[str | None]
    noise_hash: NotRequired[str | None]
    noise_ratio: NotRequired[float | None]
    noise_ratio_realised: NotRequired[float]
    findings: NotRequired[Annotated[_Findings, AfterValidator(_divided_or_corrected)]]


class _Named(TypedDict):
    name: str


class _Selection(TypedDict, total=False):
    select: str


class _Origin(TypedDict):
    file: str


RESULTS: Any = Annotated[_Results, AfterValidator(_headlines)]
"""``results.json``."""

EPOCH: Any = Annotated[dict[str, Any], AfterValidator(_row)]
"""A line of ``metrics.jsonl``."""


class Config(TypedDict):
    """``config.yaml``, before its plug-ins check their options."""

    data: _Named
    matcher: _Named
    method: _Named
    noise: NotRequired[dict[str, Any] | None]
    optim: NotRequired[dict[str, Any] | None]
    training: NotRequired[dict[str, Any] | None]
    evaluation: NotRequired[_Selection | None]


class Environment(TypedDict, total=False):
    """``environment.json``."""

    command: list[str] | str
    packages: dict[str, Any]
    converted_from: _Origin | None


class _WarmStart(TypedDict):
    run: Annotated[str, MinLen(1)]
    data: str
    method: str
    best_epoch: int | None
    sha256: list[str]


class History(TypedDict, total=False):
    """``history.json``."""

    epochs: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)]
    warm_start: _WarmStart
