"""What a caption claims, and whether a scene fulfils it: the data's own truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from robustcmr.data.scenes.layout import Scene, Thing

Looks = Mapping[str, str]
"""Wanted attributes of a thing: some of ``shape``, ``colour``, ``size``, ``texture`` and ``place``."""


@dataclass(frozen=True)
class Entity:
    """One thing, or a counted group of things, that a caption names.

    Attributes:
        looks: attributes every member has.
        count: number of members; 1 says "at least one such thing", more says "exactly so many".
        some: for a group, attributes exactly ``some_count`` of its members have; None where nothing is said.
        some_count: see ``some``.
    """

    looks: Looks
    count: int = 1
    some: Looks | None = None
    some_count: int = 0


@dataclass(frozen=True)
class Relation:
    """A relation between entities, by their positions in the caption's list.

    Attributes:
        name: a key of ``RELATIONS``, or ``between``.
        parties: two positions, or three for ``between``: the one in between first.
    """

    name: str
    parties: tuple[int, ...]


@dataclass(frozen=True)
class Meaning:
    """Everything a caption claims.

    Attributes:
        entities: what is named.
        relations: how it stands; a group stands so with all its members.
        background: the background named, or None.
    """

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...] = ()
    background: str | None = None


@dataclass(frozen=True)
class Margins:
    """From where on a spatial word is true; lengths are shares of the picture's width.

    Attributes:
        step: least offset along the axis of a direction word.
        slant: largest offset across that axis, as a multiple of the offset along it.
        gap: largest free space between two neighbours.
        touch: least distance of their centres, as a share of the distance at which they just touch.
        overlap: least covered share for "in front of" and "behind".
        off_line: largest distance from the line for "between".
        span: least length of that line.
        end: share of that line at either end that is not between.
        edge: largest distance of a centre from the edge for "top", "left" and so on.
        centre: largest distance from the middle, along each axis, for "middle".
    """

    step: float
    slant: float
    gap: float
    touch: float
    overlap: float
    off_line: float
    span: float
    end: float
    edge: float
    centre: float


JUDGE = Margins(
    step=0.10,
    slant=1.2,
    gap=0.10,
    touch=0.7,
    overlap=0.05,
    off_line=0.13,
    span=0.30,
    end=0.25,
    edge=0.40,
    centre=0.18,
)
"""What counts as true."""

SPEAKER = Margins(
    step=0.16,
    slant=0.8,
    gap=0.05,
    touch=0.85,
    overlap=0.12,
    off_line=0.08,
    span=0.36,
    end=0.30,
    edge=0.30,
    centre=0.10,
)
"""What is true clearly enough to be said: within ``JUDGE`` by a margin."""


def at_place(thing: Thing, place: str, margins: Margins) -> bool:
    """Whether a thing stands at a place, such as ``top left`` or ``middle``."""
    near = {
        "top": thing.y <= margins.edge,
        "bottom": thing.y >= 1 - margins.edge,
        "left": thing.x <= margins.edge,
        "right": thing.x >= 1 - margins.edge,
        "middle": max(abs(thing.x - 0.5), abs(thing.y - 0.5)) <= margins.centre,
    }
    return all(near[part] for part in place.split())


def _toward(along: float, across: float, margins: Margins) -> bool:
    return along >= margins.step and abs(across) <= margins.slant * along


def _above(scene: Scene, a: int, b: int, margins: Margins) -> bool:
    first, second = scene.things[a], scene.things[b]
    return _toward(second.y - first.y, second.x - first.x, margins)


def _left_of(scene: Scene, a: int, b: int, margins: Margins) -> bool:
    first, second = scene.things[a], scene.things[b]
    return _toward(second.x - first.x, second.y - first.y, margins)


def _next_to(scene: Scene, a: int, b: int, margins: Margins) -> bool:
    first, second = scene.things[a], scene.things[b]
    reach = first.half + second.half
    distance = math.dist((first.x, first.y), (second.x, second.y))
    return margins.touch * reach <= distance <= reach + margins.gap


def _in_front_of(scene: Scene, a: int, b: int, margins: Margins) -> bool:
    return any(
        front == a and behind == b and share >= margins.overlap for front, behind, share in scene.covers
    )


RELATIONS: Mapping[str, Callable[[Scene, int, int, Margins], bool]] = {
    "left_of": _left_of,
    "right_of": lambda scene, a, b, margins: _left_of(scene, b, a, margins),
    "above": _above,
    "below": lambda scene, a, b, margins: _above(scene, b, a, margins),
    "next_to": _next_to,
    "in_front_of": _in_front_of,
    "behind": lambda scene, a, b, margins: _in_front_of(scene, b, a, margins),
}
"""Each binary relation as a test of (scene, first thing, second thing, margins)."""


def is_between(scene: Scene, middle: int, a: int, b: int, margins: Margins) -> bool:
    """Whether a thing stands between two others: near the line that joins them, in its middle half."""
    mid, first, second = (scene.things[index] for index in (middle, a, b))
    dx, dy = second.x - first.x, second.y - first.y
    length = math.hypot(dx, dy)
    if length < margins.span:
        return False
    along = ((mid.x - first.x) * dx + (mid.y - first.y) * dy) / length**2
    across = abs((mid.x - first.x) * dy - (mid.y - first.y) * dx) / length
    return margins.end <= along <= 1 - margins.end and across <= margins.off_line


def has_looks(thing: Thing, looks: Looks, margins: Margins = JUDGE) -> bool:
    """Whether a thing has all wanted attributes."""
    return all(
        at_place(thing, value, margins) if key == "place" else getattr(thing, key) == value
        for key, value in looks.items()
    )


def holds(scene: Scene, name: str, parties: Sequence[Sequence[int]], margins: Margins = JUDGE) -> bool:
    """Whether a relation holds between all members of the parties.

    Args:
        scene: the scene.
        name: a key of ``RELATIONS``, or ``between``.
        parties: indices of the things of each party: two parties, or three for ``between``.
        margins: from where on it counts as true.
    """
    if name == "between":
        return all(
            is_between(scene, middle, a, b, margins)
            for middle in parties[0]
            for a in parties[1]
            for b in parties[2]
        )
    test = RELATIONS[name]
    return all(test(scene, a, b, margins) for a in parties[0] for b in parties[1])


def _candidates(scene: Scene, entity: Entity) -> Iterator[tuple[int, ...]]:
    fitting = [index for index, thing in enumerate(scene.things) if has_looks(thing, entity.looks)]
    if entity.count > 1 and len(fitting) != entity.count:
        return
    for members in combinations(fitting, entity.count):
        some = entity.some
        if some is None or sum(has_looks(scene.things[i], some) for i in members) == entity.some_count:
            yield members


def satisfies(scene: Scene, meaning: Meaning) -> bool:
    """Whether a scene fulfils all a caption claims.

    Args:
        scene: the scene.
        meaning: the claims.

    Returns:
        True where each entity can be given things of its own such that all of it fits.
    """
    if meaning.background is not None and meaning.background != scene.background:
        return False
    options = [list(_candidates(scene, entity)) for entity in meaning.entities]
    return all(options) and _assign(scene, meaning, options, [])


def _assign(
    scene: Scene, meaning: Meaning, options: list[list[tuple[int, ...]]], chosen: list[tuple[int, ...]]
) -> bool:
    position = len(chosen)
    if position == len(options):
        return True
    taken = {index for members in chosen for index in members}
    due = [relation for relation in meaning.relations if max(relation.parties) == position]
    for members in options[position]:
        if taken.isdisjoint(members):
            attempt = [*chosen, members]
            if all(holds(scene, each.name, [attempt[p] for p in each.parties]) for each in due) and _assign(
                scene, meaning, options, attempt
            ):
                return True
    return False
