"""From a sweep to its trials: names, resolved configurations, and all problems with them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import robustcmr
from robustcmr.config import trust
from robustcmr.config.resolve import RunConfig, apply_overrides, resolve
from robustcmr.config.switching import without_replaced
from robustcmr.config.tracks import known_track
from robustcmr.errors import ConfigError, SweepError
from robustcmr.sweeps.grid import Cell, cell_name, grid_axes, grid_cells, overlap
from robustcmr.sweeps.options import SweepOptions, listed

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, as its folder stores it."""

    name: str  # of its run folder
    choices: Mapping[str, Any]  # the label chosen on each axis of the grid
    seed: int
    config_hash: str  # SHA-256 of its resolved configuration
    epochs: int
    track: str  # ``pairs`` or ``labels``
    select: str  # the split that chooses its best epoch
    version: str  # of the package that planned it


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with its resolved configuration."""

    trial: Trial
    config: RunConfig


def with_overrides(options: SweepOptions, overrides: Sequence[str]) -> SweepOptions:
    """Return a sweep, its base given as sections, with ``key.key=value`` overrides of the base.

    Raises:
        SweepError: an override cannot be read, or sets a key that the grid or the seeds vary; all are listed.
    """
    problems: list[str] = []
    base: Mapping[str, Any] = options.base if isinstance(options.base, Mapping) else {}
    varied = {key for axis in grid_axes(options.grid, []) for key in axis.keys} | {"seed"}
    given: list[str] = []
    for text in overrides:
        key = text.partition("=")[0].strip()
        clash = next((other for other in sorted(varied) if overlap(key, other)), None)
        if clash is not None:
            problems.append(
                f"'{text}' sets a key that the sweep varies ({clash}); change the sweep file instead"
            )
            continue
        try:
            apply_overrides(base, [*given, text])
            given.append(text)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise listed(problems, "--set")
    typed = apply_overrides({}, given)
    unread = set(trust.places(base).values()) - set(trust.places(typed).values())
    base, left_out = without_replaced(base, typed, unknown=unread)
    if left_out:
        logger.info("left out of the base: %s", left_out)
    base = apply_overrides(base, given)
    return options.model_copy(update={"base": dict(base)})


def plan_trials(
    options: SweepOptions, where: str, typed: Collection[str] = (), trusted: bool = False
) -> list[PlannedTrial]:
    """Return every trial of a sweep, its base given as sections, in the order to run them.

    Args:
        options: the sweep.
        where: names it in messages.
        typed: each ``package.module:Class`` that the user typed; these are imported.
        trusted: also import those that only the sweep file names.

    Raises:
        TrustError: a trial names code without consent.
        SweepError: the grid or a trial is invalid; all problems are listed.
    """
    problems: list[str] = []
    cells = grid_cells(options, problems)
    if problems:
        raise listed(problems, where)
    base: Mapping[str, Any] = options.base if isinstance(options.base, Mapping) else {}
    faults: dict[str, list[str]] = {}
    planned: list[PlannedTrial] = []
    left_out: dict[str, list[str]] = {}
    for name, cell in zip(_names(cells), cells, strict=True):
        # JSON is YAML, so values can be parsed and checked like overrides of the command line
        values = {**cell.values, "seed": cell.seed}
        texts = [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]
        named = trust.places(apply_overrides(base, texts))
        if not trusted:
            trust.refuse(where, {key: name for key, name in named.items() if name not in typed})
        unread = set(trust.places(base).values()) - set(named.values())
        tree, sentence = without_replaced(base, apply_overrides({}, texts), unknown=unread)
        tree = apply_overrides(tree, texts)
        if sentence:
            left_out.setdefault(sentence, []).append(name)
        try:
            config = resolve(tree)
        except ConfigError as error:
            for sentence in _single_problems(error):
                faults.setdefault(sentence, []).append(name)
            continue
        settings, track = config.settings, known_track(config.data.cls) or ""
        planned.append(
            PlannedTrial(
                Trial(
                    name=name,
                    choices=dict(cell.choices),
                    seed=cell.seed,
                    config_hash=config_hash(config),
                    epochs=settings.training.epochs,
                    track=track,
                    select=settings.evaluation.select,
                    version=robustcmr.__version__,
                ),
                config,
            )
        )
        device = settings.training.device
        if re.fullmatch(r"cuda:\d+", device):
            sentence = (
                f"training.device: '{device}' names one GPU, but a sweep gives each trial its share of them; "
                "use auto or cuda"
            )
            faults.setdefault(sentence, []).append(name)
    problems = [f"{text}{_in_which(names, len(cells))}" for text, names in faults.items()]
    first: dict[str, str] = {}
    for trial in (entry.trial for entry in planned):
        known = first.setdefault(trial.config_hash, trial.name)
        if known != trial.name:
            problems.append(f"{trial.name} has the same configuration as {known}; leave one of them out")
    if problems:
        raise listed(problems, where)
    if left_out:
        each = [f"{text}{_in_which(names, len(cells))}" for text, names in left_out.items()]
        logger.info("left out of the base: %s", " | ".join(each))
    return planned


def config_hash(config: RunConfig) -> str:
    """Return the SHA-256 of a resolved configuration, independent of the order of its keys."""
    return _digest(config.to_dict())


def _names(cells: Sequence[Cell]) -> list[str]:
    """Return a name for each cell, with a digest of its values where two names would be the same."""
    plain = [cell_name(cell) for cell in cells]
    count = Counter(name.lower() for name in plain)  # some file systems ignore case
    return [
        f"{name}-{_digest(cell.values)[:8]}" if count[name.lower()] > 1 else name
        for name, cell in zip(plain, cells, strict=True)
    ]


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _single_problems(error: ConfigError) -> list[str]:
    head, *rest = str(error).split("\n  ")
    return rest or [head]


def _in_which(names: Sequence[str], total: int) -> str:
    if len(names) == total:
        return "" if total == 1 else f" (in all {total} trials)"
    return (
        f" (in {names[0]})" if len(names) == 1 else f" (in {len(names)} of {total} trials, first {names[0]})"
    )


def same_or_refuse(stored: Mapping[str, Any], planned: PlannedTrial, folder: str) -> None:
    """Raise SweepError if a trial differs from the configuration stored under its name, naming the first key.

    ``folder`` names the sweep folder in the message.
    """
    now = planned.config.to_dict()
    try:  # nothing is imported for the comparison
        foreign = trust.places(stored).items() - trust.places(now).items()
        before = stored if foreign else resolve(stored).to_dict()
    except ConfigError as error:
        raise SweepError(
            f"{planned.trial.name} is in {folder} with a configuration that robustcmr "
            f"{robustcmr.__version__} refuses ({_single_problems(error)[0]}); choose another --output"
        ) from error
    difference = _first_difference(before, now)
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
