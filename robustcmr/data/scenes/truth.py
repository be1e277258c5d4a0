"""The claims of captions, and whether scenes satisfy them: the truth of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.types import IntArray

KEYS = ("shape", "colour", "size", "texture")

Looks = Mapping[str, str]
"""Required attributes of a thing: some of ``KEYS`` and ``place``."""


@dataclass(frozen=True)
class Entity:
    """A thing, or a counted group of things, that a caption names.

    Attributes:
        looks: attributes every member has.
        count: number of members; 1 claims at least one such thing, more claims exactly so many.
        some: attributes that exactly ``some_count`` members of a group have; None for no claim.
        some_count: see ``some``.
    """

    looks: Looks
    count: int = 1
    some: Looks | None = None
    some_count: int = 0


@dataclass(frozen=True)
class Relation:
    """A relation, or ``between`` with the middle first, of entities given by their positions."""

    name: str
    parties: tuple[int, ...]


@dataclass(frozen=True)
class Meaning:
    """All claims of a caption: entities, relations that all members of a group fulfil, and a background."""

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...] = ()
    background: str | None = None


@dataclass(frozen=True)
class Margins:
    """Thresholds at which a spatial word becomes true; lengths are shares of the picture's width."""

    step: float = 0.10
    """Least offset along the axis of a direction word."""
    slant: float = 1.2
    """Largest offset across that axis, as a multiple of the offset along it."""
    gap: float = 0.10
    """Largest free space between two neighbours."""
    touch: float = 0.7
    """Least distance of their centres, as a share of the distance at which they just touch."""
    overlap: float = 0.05
    """Least covered share for "in front of" and "behind"."""
    off_line: float = 0.13
    """Largest distance from the line for "between"."""
    span: float = 0.30
    """Least length of that line."""
    end: float = 0.25
    """Share of that line at either end that is not between."""
    edge: float = 0.40
    """Largest distance of a centre from the edge for "top", "left" and so on."""
    centre: float = 0.18
    """Largest distance from the middle, along each axis, for "middle"."""


TRUTH = Margins()
"""Thresholds of the truth."""

CLEAR = Margins(
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
"""Stricter thresholds: captions only claim what is clearly true."""


def at_place(thing: Thing, place: str, margins: Margins) -> bool:
    """Return whether a thing is at a place, such as ``top left`` or ``middle``."""
    near = {
        "top": thing.y <= margins.edge,
        "bottom": thing.y >= 1 - margins.edge,
        "left": thing.x <= margins.edge,
        "right": thing.x >= 1 - margins.edge,
        "middle": max(abs(thing.x - 0.5), abs(thing.y - 0.5)) <= margins.centre,
    }
    return all(near[part] for part in place.split())


def _left_of(scene: Scene, a: int, b: int, margins: Margins, upright: bool = False) -> bool:
    first, second = scene.things[a], scene.things[b]
    right, down = second.x - first.x, second.y - first.y
    along, across = (down, right) if upright else (right, down)
    return along >= margins.step and abs(across) <= margins.slant * along


def _above(scene: Scene, a: int, b: int, margins: Margins) -> bool:
    return _left_of(scene, a, b, margins, upright=True)


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
    """Return whether a thing is near the middle of the line that joins two others."""
    mid, first, second = (scene.things[index] for index in (middle, a, b))
    dx, dy = second.x - first.x, second.y - first.y
    length = math.hypot(dx, dy)
    if length < margins.span:
        return False
    along = ((mid.x - first.x) * dx + (mid.y - first.y) * dy) / length**2
    across = abs((mid.x - first.x) * dy - (mid.y - first.y) * dx) / length
    return margins.end <= along <= 1 - margins.end and across <= margins.off_line


def has_looks(thing: Thing, looks: Looks, margins: Margins = TRUTH) -> bool:
    """Return whether a thing has all required attributes."""
    return all(
        at_place(thing, value, margins) if key == "place" else getattr(thing, key) == value
        for key, value in looks.items()
    )


def holds(scene: Scene, name: str, parties: Sequence[Sequence[int]], margins: Margins = TRUTH) -> bool:
    """Return whether a relation holds between all members of the parties.

    ``name`` is a key of ``RELATIONS``, or ``between``; a party is indices of things; between takes three.
    """
    if name == "between":
        return all(is_between(scene, middle, a, b, margins) for middle, a, b in product(*parties))
    return all(RELATIONS[name](scene, a, b, margins) for a, b in product(*parties))


def _candidates(scene: Scene, entity: Entity) -> Iterator[tuple[int, ...]]:
    fitting = [index for index, thing in enumerate(scene.things) if has_looks(thing, entity.looks)]
    if entity.count > 1 and len(fitting) != entity.count:
        return
    for members in combinations(fitting, entity.count):
        some = entity.some
        if some is None or sum(has_looks(scene.things[i], some) for i in members) == entity.some_count:
            yield members


def satisfies(scene: Scene, meaning: Meaning) -> bool:
    """Return whether a scene satisfies all claims of a caption, with different things for each entity."""
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


class SceneTable:
    """Attributes of all things of N scenes, to find quickly which scenes satisfy a caption."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        most = max(len(scene.things) for scene in scenes)
        # (N, most) text each, empty beyond a scene's things
        self._looks = {
            key: np.array(
                [[getattr(t, key) for t in s.things] + [""] * (most - len(s.things)) for s in scenes]
            )
            for key in KEYS
        }
        self._backgrounds = np.array([scene.background for scene in scenes])

    def satisfies(self, meaning: Meaning, images: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether some scenes (k,) satisfy the claims of a caption, (k,) bool.

        The result is that of :func:`satisfies`; most scenes are excluded all at once.
        """
        wanted = np.asarray(images, dtype=np.int64)
        possible = np.ones(len(wanted), dtype=np.bool_)
        if meaning.background is not None:
            possible &= self._backgrounds[wanted] == meaning.background
        for entity in meaning.entities:
            fits = self._looks["shape"][wanted] != ""  # (k, most)
            for key in KEYS:
                if key in entity.looks:
                    fits &= self._looks[key][wanted] == entity.looks[key]
            possible &= fits.sum(axis=1) >= entity.count
        for position in np.flatnonzero(possible):
            possible[position] = satisfies(self._scenes[int(wanted[position])], meaning)
        return possible


def scene_to_json(scene: Scene) -> list[Any]:
    """Return a scene as nested lists."""
    return [
        scene.background,
        [list(astuple(thing)) for thing in scene.things],
        [list(c) for c in scene.covers],
    ]


def scene_from_json(value: list[Any]) -> Scene:
    """Undo ``scene_to_json``."""
    background, things, covers = value
    return Scene(background, tuple(Thing(*thing) for thing in things), tuple((f, b, s) for f, b, s in covers))


def meaning_to_json(meaning: Meaning) -> dict[str, Any]:
    """Return the claims of a caption as a JSON object."""
    entities = []
    for entity in meaning.entities:
        value: dict[str, Any] = {"looks": dict(entity.looks), "count": entity.count}
        if entity.some is not None:
            value["some"] = dict(entity.some)
            value["some_count"] = entity.some_count
        entities.append(value)
    relations = [[relation.name, list(relation.parties)] for relation in meaning.relations]
    return {"entities": entities, "relations": relations, "background": meaning.background}


def meaning_from_json(value: dict[str, Any]) -> Meaning:
    """Undo ``meaning_to_json``."""
    return Meaning(
        tuple(Entity(**entity) for entity in value["entities"]),
        tuple(Relation(name, tuple(parties)) for name, parties in value["relations"]),
        value["background"],
    )
