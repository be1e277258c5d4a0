"""From the grid of a sweep to its cells: which values each trial sets, without those excluded."""

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
class Choice:
    """One element of an axis.

    Attributes:
        label: what it is called: the value itself, or the label of a choice of several keys.
        values: what it sets, by dotted key.
    """

    label: Any
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One key of the grid with all its choices."""

    name: str
    choices: tuple[Choice, ...]

    @property
    def keys(self) -> set[str]:
        """Every dotted key that some choice sets."""
        return {key for choice in self.choices for key in choice.values}


@dataclass(frozen=True)
class Cell:
    """One trial as the grid has it.

    Attributes:
        choices: the label chosen on each axis.
        values: what that sets, by dotted key.
        seed: of the run.
    """

    choices: Mapping[str, Any]
    values: Mapping[str, Any]
    seed: int

    def matches(self, partial: Mapping[str, Any]) -> bool:
        """Whether all that an exclude says is so here; it may give a list of values."""
        known = {**self.values, **self.choices, "seed": self.seed}
        return all(
            key in known and (known[key] == value or (isinstance(value, list) and known[key] in value))
            for key, value in partial.items()
        )


def grid_axes(grid: Mapping[str, Sequence[Any]], problems: list[str]) -> list[Axis]:
    """Read the grid.

    Args:
        grid: choices by key, as a sweep file has them.
        problems: a sentence for everything that is wrong is added.

    Returns:
        The axes that can be read.
    """
    axes = []
    for name, given in grid.items():
        told = len(problems)
        problems.extend(_bad_list(name, given))
        if len(problems) > told:
            continue
        if any(isinstance(value, Mapping) for value in given):
            axis = Axis(name, tuple(_several_keys(value) for value in given))
        else:
            axis = Axis(name, tuple(Choice(value, {name: value}) for value in given))
        axes.append(axis)
        if "seed" in axis.keys:
            problems.append(
                f"grid.{name}: it sets the seed, which the list 'seeds' is for; leave it out here"
            )
    for first, second in combinations(axes, 2):
        for key, other in product(sorted(first.keys), sorted(second.keys)):
            if overlap(key, other):
                problems.append(
                    f"grid.{first.name} sets {key} and grid.{second.name} sets {other}; one of them would be "
                    "lost, so leave one out"
                )
    return axes


def overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are the same, or one lies below the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _bad_list(name: str, given: Sequence[Any]) -> Iterator[str]:
    if not given:
        yield f"grid.{name}: the list is empty, expected at least one value; fill it or leave the key out"
        return
    mappings = [value for value in given if isinstance(value, Mapping)]
    if not mappings:
        yield from _repeated(name, given)
        return
    if len(mappings) < len(given):
        yield f"grid.{name}: some choices are mappings and some are not; expected all of one kind"
        return
    for number, value in enumerate(mappings, start=1):
        if not isinstance(value.get(LABEL), (str, int, float)):
            yield (
                f"grid.{name}: choice {number} sets several keys and has no label; "
                f"add '{LABEL}: NAME' to tell it from the others"
            )
        if not value.keys() - {LABEL}:
            yield f"grid.{name}: choice {number} sets nothing; expected dotted keys such as method.name"
    yield from _repeated(name, [value[LABEL] for value in mappings if LABEL in value])


def _repeated(name: str, values: Sequence[Any]) -> Iterator[str]:
    texts = [json.dumps(value, default=str) for value in values]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        yield f"grid.{name}: {', '.join(twice)} is given twice; leave one of them out"


def _several_keys(value: Mapping[Any, Any]) -> Choice:
    return Choice(value.get(LABEL), {str(key): part for key, part in value.items() if key != LABEL})


def grid_cells(options: SweepOptions, problems: list[str]) -> list[Cell]:
    """All cells of a sweep: every combination, seed by seed, but for the excluded ones.

    Args:
        options: the sweep.
        problems: a sentence for everything that is wrong is added; the cells then mean little.
    """
    told = len(problems)
    axes = grid_axes(options.grid, problems)
    if not options.seeds:
        problems.append("seeds: the list is empty, expected at least one seed")
    problems.extend(_repeated_seeds(options.seeds))
    if len(problems) > told:
        return []
    cells = []
    tuples = list(product(*(axis.choices for axis in axes)))
    for seed, chosen in product(options.seeds, tuples):
        labels = {axis.name: choice.label for axis, choice in zip(axes, chosen, strict=True)}
        cells.append(Cell(labels, {k: v for choice in chosen for k, v in choice.values.items()}, seed))
    return _without_excluded(cells, axes, options.exclude, problems)


def _repeated_seeds(seeds: Sequence[int]) -> Iterator[str]:
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        yield f"seeds: {', '.join(map(str, twice))} is given twice; leave one of them out"


def _without_excluded(
    cells: list[Cell], axes: Sequence[Axis], exclude: Sequence[Mapping[str, Any]], problems: list[str]
) -> list[Cell]:
    known = sorted({"seed", *(axis.name for axis in axes), *(key for axis in axes for key in axis.keys)})
    for number, partial in enumerate(exclude, start=1):
        if not partial:
            problems.append(f"exclude {number}: it says nothing and would exclude all; leave it out")
            continue
        unknown = [key for key in partial if key not in known]
        problems.extend(
            f"exclude {number}: '{key}' is no key of the grid{did_you_mean(key, known)} "
            f"(known: {', '.join(known)})"
            for key in unknown
        )
        if not unknown and not any(cell.matches(partial) for cell in cells):
            problems.append(f"exclude {number}: no combination is like {dict(partial)}; check its values")
    left = [cell for cell in cells if not any(partial and cell.matches(partial) for partial in exclude)]
    if cells and not left:
        problems.append(f"exclude leaves none of the {len(cells)} combinations; exclude less")
    return left


def cell_name(cell: Cell) -> str:
    """A folder's name that says what the trial is, such as ``l2rm-ratio0.4-seed0``."""
    parts = [_part(name, label) for name, label in cell.choices.items()]
    return "-".join([*(part for part in parts if part), f"seed{cell.seed}"])


def _part(name: str, label: Any) -> str:
    """A label as a part of a file name; values that say little alone get the last part of their key."""
    key = name.rpartition(".")[2]
    written = label if isinstance(label, str) else json.dumps(label, default=str)
    slug = re.sub(r"[^\w.+]+", "-", written).strip("-.")[:LONGEST_PART]
    if isinstance(label, str):
        return slug
    return f"{key}{slug}" if type(label) in (int, float) else f"{key}-{slug}"
