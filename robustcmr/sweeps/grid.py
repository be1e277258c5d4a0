"""From the grid of a sweep to its cells: the values that each trial sets, without excluded combinations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from robustcmr.plugins import did_you_mean
from robustcmr.sweeps.options import SweepOptions

LABEL = "label"
LONGEST_PART = 40


@dataclass(frozen=True)
class Axis:
    """One key of the grid with its choices."""

    name: str  # the key, or a name for choices of several keys
    choices: tuple[tuple[Any, Mapping[str, Any]], ...]  # (label, values by dotted key) each

    @property
    def keys(self) -> set[str]:
        """Every dotted key that a choice sets."""
        return {key for _, values in self.choices for key in values}


@dataclass(frozen=True)
class Cell:
    """One trial of the grid."""

    choices: Mapping[str, Any]  # the label chosen on each axis
    values: Mapping[str, Any]  # the values it sets, by dotted key
    seed: int

    def matches(self, partial: Mapping[str, Any]) -> bool:
        """Whether all values of an exclude, or one of each list of values, are those of the cell."""
        known = {**self.values, **self.choices, "seed": self.seed}
        return all(
            key in known and (known[key] == value or (isinstance(value, list) and known[key] in value))
            for key, value in partial.items()
        )


def grid_axes(grid: Mapping[str, Sequence[Any]], problems: list[str]) -> list[Axis]:
    """Return the valid axes of a grid, and add a sentence to ``problems`` for everything wrong with it."""
    axes = []
    for name, given in grid.items():
        if faults := list(_bad_list(name, given)):
            problems.extend(faults)
            continue
        axes.append(Axis(name, tuple(_choice(name, value) for value in given)))
        if "seed" in axes[-1].keys:
            problems.append(f"grid.{name}: it sets the seed; use the list 'seeds' instead")
    for first, second in combinations(axes, 2):
        for key, other in product(sorted(first.keys), sorted(second.keys)):
            if overlap(key, other):
                problems.append(
                    f"grid.{first.name} sets {key} and grid.{second.name} sets {other}; one of them would be "
                    "lost, so leave one out"
                )
    return axes


def overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are the same, or one contains the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _choice(name: str, value: Any) -> tuple[Any, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return value, {name: value}
    return value[LABEL], {str(key): part for key, part in value.items() if key != LABEL}


def _bad_list(name: str, given: Sequence[Any]) -> Iterator[str]:
    mappings = [value for value in given if isinstance(value, Mapping)]
    if not given:
        yield f"grid.{name}: the list is empty, expected at least one value; fill it or leave the key out"
    elif not mappings:
        yield from _repeated(f"grid.{name}", given)
    elif len(mappings) < len(given):
        yield f"grid.{name}: some choices are mappings and some are not; expected all of one kind"
    else:
        for number, value in enumerate(mappings, start=1):
            if not isinstance(value.get(LABEL), (str, int, float)):
                yield (
                    f"grid.{name}: choice {number} sets several keys and has no label; "
                    f"add '{LABEL}: NAME' to distinguish it"
                )
            if not value.keys() - {LABEL}:
                yield f"grid.{name}: choice {number} sets nothing; expected dotted keys such as method.name"
        yield from _repeated(f"grid.{name}", [value[LABEL] for value in mappings if LABEL in value])


def _repeated(where: str, values: Sequence[Any]) -> Iterator[str]:
    texts = [json.dumps(value, default=str) for value in values]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        yield f"{where}: {', '.join(twice)} is given twice; leave one of them out"


def grid_cells(options: SweepOptions, problems: list[str]) -> list[Cell]:
    """Return all cells of a sweep: every combination, seed by seed, except those excluded.

    Everything wrong with the grid is added to ``problems`` as a sentence; the cells are then useless.
    """
    before = len(problems)
    axes = grid_axes(options.grid, problems)
    if not options.seeds:
        problems.append("seeds: the list is empty, expected at least one seed")
    problems.extend(_repeated("seeds", options.seeds))
    if len(problems) > before:
        return []
    cells = []
    for seed, *chosen in product(options.seeds, *(axis.choices for axis in axes)):
        labels = {axis.name: label for axis, (label, _) in zip(axes, chosen, strict=True)}
        cells.append(Cell(labels, {key: value for _, part in chosen for key, value in part.items()}, seed))
    return _without_excluded(cells, axes, options.exclude, problems)


def _without_excluded(
    cells: list[Cell], axes: Sequence[Axis], exclude: Sequence[Mapping[str, Any]], problems: list[str]
) -> list[Cell]:
    known = sorted({"seed", *(axis.name for axis in axes), *(key for axis in axes for key in axis.keys)})
    for number, partial in enumerate(exclude, start=1):
        if not partial:
            problems.append(f"exclude {number}: it is empty and would exclude everything; leave it out")
            continue
        unknown = [key for key in partial if key not in known]
        problems.extend(
            f"exclude {number}: '{key}' is no key of the grid{did_you_mean(key, known)} "
            f"(known: {', '.join(known)})"
            for key in unknown
        )
        if not unknown and not any(cell.matches(partial) for cell in cells):
            problems.append(f"exclude {number}: no combination matches {dict(partial)}; check its values")
    left = [cell for cell in cells if not any(partial and cell.matches(partial) for partial in exclude)]
    if cells and not left:
        problems.append(f"exclude leaves none of the {len(cells)} combinations; exclude less")
    return left


def cell_name(cell: Cell) -> str:
    """Return a folder name that describes the trial, such as ``l2rm-ratio0.4-seed0``."""
    parts = [_part(name, label) for name, label in cell.choices.items()]
    return "-".join([*(part for part in parts if part), f"seed{cell.seed}"])


def _part(name: str, label: Any) -> str:
    """Return a label as a part of a file name; a value that is not text follows the last part of its key."""
    key = name.rpartition(".")[2]
    written = label if isinstance(label, str) else json.dumps(label, default=str)
    slug = re.sub(r"[^\w.+]+", "-", written).strip("-.")[:LONGEST_PART]
    if isinstance(label, str):
        return slug
    return f"{key}{slug}" if type(label) in (int, float) else f"{key}-{slug}"
