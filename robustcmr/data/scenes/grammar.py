"""Captions of scenes: each names a part of the scene, and its claims are kept in a checkable form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.data.scenes.phrases import Speaker
from robustcmr.data.scenes.truth import (
    CLEAR,
    KEYS,
    RELATIONS,
    Entity,
    Meaning,
    Relation,
    at_place,
    has_looks,
    holds,
)
from robustcmr.data.scenes.vocabulary import PLACE_WORDS

CAPTIONS_PER_PICTURE = 5
SHORTEST, LONGEST = 6, 22
"""Fewest and most words of a caption, counting commas."""

MOST_TRIES = 200

GROUP_ODDS = 0.3
THIRD_ODDS = 0.35
BETWEEN_ODDS = 0.5
PLACE_ODDS = 0.35
SINGLED_OUT_ODDS = 0.5

GROUPED_BY: tuple[tuple[str, ...], ...] = (
    *(("shape",), ("colour",), ("shape", "colour"), ("shape", "texture")),
    *(("colour", "size"), ("shape", "size"), ("colour", "texture")),
)
"""Attributes that the members of a group share."""

T = TypeVar("T")


@dataclass(frozen=True)
class GrammarOptions:
    """Options of captions; see ``Scenes.Config``."""

    attribute_dropout: float
    background_mentions: float
    synonyms: bool


@dataclass(frozen=True)
class Caption:
    """A sentence and its claims."""

    text: str
    meaning: Meaning


@dataclass
class _Unit:
    """A named thing or group in a caption that is being planned."""

    members: tuple[int, ...]
    looks: dict[str, str]
    some: dict[str, str] | None = None
    some_count: int = 0
    place: str | None = None

    def entity(self) -> Entity:
        looks = self.looks if self.place is None else {**self.looks, "place": self.place}
        return Entity(looks, len(self.members), self.some, self.some_count)


def write_captions(scene: Scene, rng: np.random.Generator, options: GrammarOptions) -> list[Caption]:
    """Write ``CAPTIONS_PER_PICTURE`` captions of a scene of at least two things.

    Each is true and omits at least one thing. They differ, unless the scene has too little to describe.
    """
    kept: list[Caption] = []
    tries = 0
    while len(kept) < CAPTIONS_PER_PICTURE:
        caption = _write(scene, rng, options)
        tries += 1
        fresh = all(caption.text != other.text for other in kept)
        if SHORTEST <= len(caption.text.split()) <= LONGEST and (fresh or tries > MOST_TRIES):
            kept.append(caption)
    return kept


def _write(scene: Scene, rng: np.random.Generator, options: GrammarOptions) -> Caption:
    units = _choose_units(scene, rng, options)
    relations, shown = _relate(scene, rng, units)
    units = [units[index] for index in shown]
    free = [i for i in range(len(units)) if all(i not in relation.parties for relation in relations)]
    for index in free:
        if len(units[index].members) == 1 and float(rng.random()) < PLACE_ODDS:
            units[index].place = _place(scene.things[units[index].members[0]], rng)
    background = scene.background if float(rng.random()) < options.background_mentions else None
    meaning = Meaning(tuple(unit.entity() for unit in units), tuple(relations), background)
    return Caption(Speaker(rng, options.synonyms).sentence(meaning), meaning)


def _choose_units(scene: Scene, rng: np.random.Generator, options: GrammarOptions) -> list[_Unit]:
    """Choose a group, at times, and single things, omitting at least one thing of the scene."""
    budget = len(scene.things) - 1
    units: list[_Unit] = []
    if float(rng.random()) < GROUP_ODDS:
        group = _group(scene, rng, budget - 1)
        if group is not None:
            units.append(group)
            budget -= len(group.members)
    taken = {index for unit in units for index in unit.members}
    others = _shuffled(rng, [index for index in range(len(scene.things)) if index not in taken])
    wanted = (2 if float(rng.random()) >= THIRD_ODDS else 3) - len(units)
    for index in others[: max(1, min(wanted, budget))]:
        units.append(_Unit((index,), _looks(scene.things[index], rng, options)))
    return _shuffled(rng, units)


def _group(scene: Scene, rng: np.random.Generator, most: int) -> _Unit | None:
    """Return two or more things that share looks which no other thing has, or None."""
    found: list[_Unit] = []
    for keys in GROUPED_BY:
        seen: set[tuple[str, ...]] = set()
        for thing in scene.things:
            values = tuple(getattr(thing, key) for key in keys)
            looks = dict(zip(keys, values, strict=True))
            members = tuple(i for i, other in enumerate(scene.things) if has_looks(other, looks))
            if values not in seen and 2 <= len(members) <= most:
                seen.add(values)
                found.append(_Unit(members, looks))
    if not found:
        return None
    unit = _pick(rng, found)
    if float(rng.random()) < SINGLED_OUT_ODDS:
        _single_out(scene, rng, unit)
    return unit


def _single_out(scene: Scene, rng: np.random.Generator, unit: _Unit) -> None:
    """Describe how one member of a group differs from all others."""
    ways: list[dict[str, str]] = []
    for key in KEYS:
        values = [getattr(scene.things[index], key) for index in unit.members]
        ways.extend({key: value} for value in values if values.count(value) == 1 and key not in unit.looks)
    if ways:
        unit.some, unit.some_count = _pick(rng, ways), 1


def _looks(thing: Thing, rng: np.random.Generator, options: GrammarOptions) -> dict[str, str]:
    """Choose the attributes of a thing to mention: nearly always its shape, and at least two."""
    left_out = options.attribute_dropout
    points = rng.random(4)
    looks = {}
    if points[0] >= 0.3 * left_out:
        looks["shape"] = thing.shape
    if points[1] >= left_out or not looks:
        looks["colour"] = thing.colour
    if points[2] >= (left_out if thing.size != "medium" else 1.0 - 0.3 * (1.0 - left_out)):
        looks["size"] = thing.size
    if points[3] >= (left_out if thing.texture != "plain" else 1.0 - 0.3 * (1.0 - left_out)):
        looks["texture"] = thing.texture
    if len(looks) == 1:
        key = "texture" if "colour" in looks or float(rng.random()) < 0.5 else "colour"
        looks[key] = getattr(thing, key)
    return looks


def _relate(scene: Scene, rng: np.random.Generator, units: list[_Unit]) -> tuple[list[Relation], list[int]]:
    """Return relations that clearly hold, and the order of the units, parties first."""
    order = list(range(len(units)))
    if len(units) == 3 and float(rng.random()) < BETWEEN_ODDS:
        for middle in order:
            a, b = (index for index in order if index != middle)
            if holds(scene, "between", [units[k].members for k in (middle, a, b)], CLEAR):
                return [Relation("between", (0, 1, 2))], [middle, a, b]
    pairs = [
        (name, a, b)
        for a in order
        for b in order
        if a != b
        for name in RELATIONS
        if holds(scene, name, [units[a].members, units[b].members], CLEAR)
    ]
    if not pairs or any(unit.some is not None for unit in units):
        return [], order
    name, a, b = _pick(rng, pairs)
    return [Relation(name, (0, 1))], [a, b, *(index for index in order if index not in (a, b))]


def _place(thing: Thing, rng: np.random.Generator) -> str | None:
    fitting = [place for place in PLACE_WORDS if at_place(thing, place, CLEAR)]
    corners = [place for place in fitting if " " in place]
    return _pick(rng, corners or fitting) if fitting else None


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _shuffled(rng: np.random.Generator, items: Sequence[T]) -> list[T]:
    return [items[index] for index in np.argsort(rng.random(len(items)), kind="stable")]
