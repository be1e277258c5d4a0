"""Scenes and meanings as JSON values, and back."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.data.scenes.truth import Entity, Meaning, Relation


def scene_to_json(scene: Scene) -> list[Any]:
    """A scene as nested lists."""
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
    """A meaning as a JSON object; what is not claimed is left out."""
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
