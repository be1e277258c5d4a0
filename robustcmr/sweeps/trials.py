"""From a sweep to its trials: names, resolved configurations, and all that is wrong with any of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import robustcmr
from robustcmr.config.resolve import COMPONENTS, RunConfig, apply_overrides, resolve
from robustcmr.config.tracks import known_track
from robustcmr.errors import ConfigError
from robustcmr.sweeps.errors import SweepError, listed
from robustcmr.sweeps.grid import Cell, cell_name, grid_axes, grid_cells, overlap
from robustcmr.sweeps.options import SweepOptions


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, as its folder remembers it.

    Attributes:
        name: of its run folder.
        choices: the label chosen on each axis of the grid.
        seed: of the run.
        config_hash: SHA-256 of its resolved configuration.
        epochs: how many it trains.
        track: ``pairs`` or ``labels``.
        select: the split that chooses its best epoch.
        version: of the package that planned it.
    """

    name: str
    choices: Mapping[str, Any]
    seed: int
    config_hash: str
    epochs: int
    track: str
    select: str
    version: str


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with the configuration it will be trained by."""

    trial: Trial
    config: RunConfig


def with_overrides(options: SweepOptions, overrides: Sequence[str]) -> SweepOptions:
    """The sweep with values set in the base of every trial.

    Args:
        options: the sweep, its base as sections.
        overrides: ``key.key=value`` each.

    Raises:
        SweepError: an override cannot be read, or sets what the grid or the seeds vary; all are listed.
    """
    problems: list[str] = []
    base: Mapping[str, Any] = options.base if isinstance(options.base, Mapping) else {}
    varied = {key for axis in grid_axes(options.grid, []) for key in axis.keys} | {"seed"}
    for text in overrides:
        key = text.partition("=")[0].strip()
        clash = next((other for other in sorted(varied) if overlap(key, other)), None)
        if clash is not None:
            problems.append(f"'{text}' sets what the sweep varies ({clash}); change the sweep file instead")
            continue
        try:
            base = apply_overrides(base, [text])
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise listed(problems, "--set")
    return options.model_copy(update={"base": dict(base)})


def plan_trials(options: SweepOptions, where: str) -> list[PlannedTrial]:
    """Every trial of a sweep with its configuration resolved.

    Args:
        options: the sweep, its base as sections.
        where: how messages call it.

    Returns:
        The trials in the order they shall run.

    Raises:
        SweepError: anything is wrong with the grid or with any trial; all problems are listed.
    """
    problems: list[str] = []
    cells = grid_cells(options, problems)
    if problems:
        raise listed(problems, where)
    base: Mapping[str, Any] = options.base if isinstance(options.base, Mapping) else {}
    faults: dict[str, list[str]] = {}
    planned: list[PlannedTrial] = []
    for name, cell in zip(_names(cells), cells, strict=True):
        try:
            config = resolve(_tree(base, cell))
            planned.append(PlannedTrial(_trial(name, cell, config), config))
        except ConfigError as error:
            for sentence in _single_problems(error):
                faults.setdefault(sentence, []).append(name)
            continue
        for sentence in _unfit(config):
            faults.setdefault(sentence, []).append(name)
    problems = [f"{text}{_in_which(names, len(cells))}" for text, names in faults.items()]
    problems.extend(_alike(planned))
    if problems:
        raise listed(problems, where)
    return planned


def config_hash(config: RunConfig) -> str:
    """SHA-256 of a resolved configuration, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()


def _tree(base: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """The base as the cell has it; options of a plug-in that the cell replaces are dropped."""
    tree = dict(base)
    for section in COMPONENTS:
        given, chosen = tree.get(section), cell.values.get(f"{section}.name")
        if chosen is not None and isinstance(given, Mapping) and given.get("name", chosen) != chosen:
            tree[section] = {}
    values = {**cell.values, "seed": cell.seed}
    # JSON is read as the YAML it is, so that every value passes the door of the command line's overrides
    return apply_overrides(tree, [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()])


def _trial(name: str, cell: Cell, config: RunConfig) -> Trial:
    settings = config.settings
    return Trial(
        name=name,
        choices=dict(cell.choices),
        seed=cell.seed,
        config_hash=config_hash(config),
        epochs=settings.training.epochs,
        track=known_track(config.data.cls) or "",
        select=settings.evaluation.select,
        version=robustcmr.__version__,
    )


def _names(cells: Sequence[Cell]) -> list[str]:
    """A name each; where two would be alike, all of these get a part that tells them apart."""
    plain = [cell_name(cell) for cell in cells]
    taken = [name.lower() for name in plain]  # some file systems do not tell letters apart by case
    alike = {name for name, count in Counter(taken).items() if count > 1}
    return [
        f"{name}-{_digest(cell)}" if low in alike else name
        for name, low, cell in zip(plain, taken, cells, strict=True)
    ]


def _digest(cell: Cell) -> str:
    return hashlib.sha256(json.dumps(cell.values, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _single_problems(error: ConfigError) -> list[str]:
    head, *rest = str(error).split("\n  ")
    return rest or [head]


def _unfit(config: RunConfig) -> Iterator[str]:
    device = config.settings.training.device
    if re.fullmatch(r"cuda:\d+", device):
        yield (
            f"training.device: '{device}' names one GPU, but a sweep gives each trial its share of them; "
            "use auto or cuda"
        )


def _in_which(names: Sequence[str], total: int) -> str:
    if len(names) == total:
        return "" if total == 1 else f" (in all {total} trials)"
    return (
        f" (in {names[0]})" if len(names) == 1 else f" (in {len(names)} of {total} trials, first {names[0]})"
    )


def _alike(planned: Sequence[PlannedTrial]) -> Iterator[str]:
    first: dict[str, str] = {}
    for entry in planned:
        known = first.setdefault(entry.trial.config_hash, entry.trial.name)
        if known != entry.trial.name:
            yield f"{entry.trial.name} is configured exactly as {known}; leave one of them out"


def same_or_refuse(stored: Mapping[str, Any], planned: PlannedTrial, folder: str) -> None:
    """Refuse a trial whose name is taken in a sweep folder by one of another configuration.

    Args:
        stored: the configuration that the folder keeps for that name.
        planned: the trial as it is now.
        folder: how messages call the sweep folder.

    Raises:
        SweepError: they differ; the first difference is named.
    """
    try:
        before = resolve(stored).to_dict()
    except ConfigError as error:
        raise SweepError(
            f"{planned.trial.name} is in {folder} with a configuration that this version, robustcmr "
            f"{robustcmr.__version__}, does not take ({_single_problems(error)[0]}); choose another --output"
        ) from error
    difference = _first_difference(before, planned.config.to_dict())
    if difference is not None:
        raise SweepError(
            f"{planned.trial.name} is already in {folder} with another configuration ({difference}); choose "
            "another --output, or another name for the sweep"
        )


def _first_difference(before: Any, now: Any, key: str = "") -> str | None:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*before, *now]):
            found = _first_difference(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
            if found is not None:
                return found
        return None
    return None if before == now else f"{key} is {json.dumps(before)} there and {json.dumps(now)} now"
