import math
from itertools import permutations

import numpy as np
import pytest

from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.data.scenes.truth import (
    CLEAR,
    RELATIONS,
    TRUTH,
    Entity,
    Meaning,
    Relation,
    SceneTable,
    at_place,
    holds,
    is_between,
    meaning_from_json,
    meaning_to_json,
    satisfies,
    scene_from_json,
    scene_to_json,
)


def thing(shape="circle", colour="red", size="small", texture="plain", x=0.5, y=0.5, half=0.085):
    return Thing(shape, colour, size, texture, x, y, half, 0.0)


def scene(*things, covers=(), background="white"):
    return Scene(background, things, covers)


PAIR = scene(thing(x=0.2, y=0.5), thing("star", x=0.7, y=0.5), covers=((1, 0, 0.3),))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("left_of", True),
        ("right_of", False),
        ("above", False),
        ("below", False),
        ("next_to", False),
        ("in_front_of", False),
        ("behind", True),
    ],
)
def test_relations_of_a_circle_left_of_and_behind_a_star(name, expected):
    meaning = Meaning((Entity({"shape": "circle"}), Entity({"shape": "star"})), (Relation(name, (0, 1)),))
    assert satisfies(PAIR, meaning) is expected


@pytest.mark.parametrize(
    ("dx", "dy", "name", "expected"),
    [
        (0.0, 0.11, "above", True),
        (0.0, 0.09, "above", False),
        (0.12, 0.11, "above", True),
        (0.2, 0.11, "above", False),
        (0.0, -0.11, "below", True),
        (0.17, 0.0, "next_to", True),
        (0.26, 0.0, "next_to", True),
        (0.28, 0.0, "next_to", False),
        (0.10, 0.0, "next_to", False),
    ],
)
def test_where_relations_begin_and_end(dx, dy, name, expected):
    pair = scene(thing(x=0.4, y=0.4), thing(x=0.4 + dx, y=0.4 + dy))
    assert holds(pair, name, [[0], [1]]) is expected


def test_between_needs_the_middle_of_the_line():
    line = scene(
        thing(x=0.5, y=0.55),
        thing(x=0.2, y=0.5),
        thing(x=0.8, y=0.5),
        thing(x=0.25, y=0.5),
        thing(x=0.5, y=0.8),
    )
    assert is_between(line, 0, 1, 2, TRUTH)
    assert is_between(line, 0, 2, 1, TRUTH)
    assert not is_between(line, 3, 1, 2, TRUTH)  # too near one end
    assert not is_between(line, 4, 1, 2, TRUTH)  # off the line
    assert not is_between(line, 3, 3, 1, TRUTH)  # no line to speak of
    assert holds(line, "between", [[0], [1], [2]])


@pytest.mark.parametrize(
    ("x", "y", "places"),
    [
        (0.1, 0.1, {"top", "left", "top left"}),
        (0.5, 0.5, {"middle"}),
        (0.5, 0.9, {"bottom"}),
        (0.9, 0.9, {"bottom", "right", "bottom right"}),
    ],
)
def test_places(x, y, places):
    every = (
        "top",
        "bottom",
        "left",
        "right",
        "middle",
        "top left",
        "top right",
        "bottom left",
        "bottom right",
    )
    assert {place for place in every if at_place(thing(x=x, y=y), place, CLEAR)} == places


def test_one_thing_cannot_be_two():
    twice = Meaning((Entity({"colour": "red"}), Entity({"shape": "circle"})))
    assert not satisfies(scene(thing(), thing("star", "blue")), twice)
    assert satisfies(scene(thing(), thing("circle", "blue")), twice)
    assert satisfies(scene(thing("circle", "blue"), thing()), twice)


def test_search_goes_back_on_a_wrong_first_choice():
    # The first red thing is the only circle; only the second red thing may be "the red one".
    meaning = Meaning(
        (Entity({"colour": "red"}), Entity({"shape": "circle"})), (Relation("right_of", (0, 1)),)
    )
    assert satisfies(scene(thing(x=0.2), thing("star", x=0.7)), meaning)
    assert not satisfies(scene(thing(x=0.7), thing("star", x=0.2)), meaning)


def test_counts_are_exact_but_one_is_at_least_one():
    stars = scene(thing("star"), thing("star", "blue"), thing("star", "green"))
    assert satisfies(stars, Meaning((Entity({"shape": "star"}),)))
    assert satisfies(stars, Meaning((Entity({"shape": "star"}, 3),)))
    assert not satisfies(stars, Meaning((Entity({"shape": "star"}, 2),)))
    assert not satisfies(stars, Meaning((Entity({"shape": "star"}, 4),)))


def test_one_of_them_means_exactly_one():
    one_blue = Meaning((Entity({"shape": "star"}, 2, {"colour": "blue"}, 1),))
    assert satisfies(scene(thing("star"), thing("star", "blue")), one_blue)
    assert not satisfies(scene(thing("star", "blue"), thing("star", "blue")), one_blue)
    assert not satisfies(scene(thing("star"), thing("star")), one_blue)


def test_groups_stand_as_a_whole():
    meaning = Meaning(
        (Entity({"shape": "star"}, 2), Entity({"shape": "circle"})), (Relation("above", (0, 1)),)
    )
    low = thing(y=0.8)
    assert satisfies(scene(low, thing("star", x=0.45, y=0.2), thing("star", x=0.55, y=0.3)), meaning)
    assert not satisfies(scene(low, thing("star", x=0.45, y=0.2), thing("star", x=0.1, y=0.8)), meaning)


def test_background_and_place_count():
    dark = scene(thing(x=0.1, y=0.1), background="dark")
    assert satisfies(dark, Meaning((Entity({"place": "top left"}),), (), "dark"))
    assert not satisfies(dark, Meaning((Entity({"place": "top left"}),), (), "sky"))
    assert not satisfies(dark, Meaning((Entity({"place": "bottom"}),), (), "dark"))


def test_what_a_speaker_says_a_judge_believes(many):
    said = 0
    for scene_, _ in many:
        n = len(scene_.things)
        for a, b in permutations(range(n), 2):
            for name in RELATIONS:
                if holds(scene_, name, [[a], [b]], CLEAR):
                    said += 1
                    assert holds(scene_, name, [[a], [b]], TRUTH)
        for a, b, c in permutations(range(n), 3):
            if is_between(scene_, a, b, c, CLEAR):
                said += 1
                assert is_between(scene_, a, b, c, TRUTH)
    assert said > 2000


def slow_relation(scene_, name, a, b):
    """A second opinion, by angles and distances instead of offsets."""
    p, q = scene_.things[a], scene_.things[b]
    dx, dy = q.x - p.x, q.y - p.y
    angle = math.degrees(math.atan2(dy, dx))  # 0 right, 90 down
    spread = math.degrees(math.atan(1.2)) + 1e-9
    headings = {"left_of": 0, "above": 90, "right_of": 180, "below": 270}
    if name in headings:
        off = abs((angle - headings[name] + 180) % 360 - 180)
        along = math.hypot(dx, dy) * math.cos(math.radians(off))
        return off <= spread and along >= 0.10 - 1e-9
    if name == "next_to":
        free = math.hypot(dx, dy) - p.half - q.half
        return -0.3 * (p.half + q.half) - 1e-9 <= free <= 0.10 + 1e-9
    covers = {(front, behind) for front, behind, share in scene_.covers if share >= 0.05}
    return ((a, b) if name == "in_front_of" else (b, a)) in covers


def slow_satisfies(scene_, meaning):
    """Try every way of giving things to entities, one flat permutation at a time."""

    def fits(index, looks):
        t = scene_.things[index]
        own = {"shape": t.shape, "colour": t.colour, "size": t.size, "texture": t.texture}
        for key, value in looks.items():
            if key == "place":
                edges = {"top": t.y <= 0.4, "bottom": t.y >= 0.6, "left": t.x <= 0.4, "right": t.x >= 0.6}
                edges["middle"] = abs(t.x - 0.5) <= 0.18 and abs(t.y - 0.5) <= 0.18
                if not all(edges[word] for word in value.split(" ")):
                    return False
            elif own[key] != value:
                return False
        return True

    if meaning.background not in (None, scene_.background):
        return False
    n = len(scene_.things)
    for entity in meaning.entities:
        total = sum(fits(i, entity.looks) for i in range(n))
        if total < 1 or (entity.count > 1 and total != entity.count):
            return False
    sizes = [entity.count for entity in meaning.entities]
    for order in permutations(range(n), sum(sizes)):
        groups, start = [], 0
        for size in sizes:
            groups.append(order[start : start + size])
            start += size
        good = all(fits(i, e.looks) for e, g in zip(meaning.entities, groups, strict=True) for i in g)
        for entity, group in zip(meaning.entities, groups, strict=True):
            if entity.some is not None:
                good = good and sum(fits(i, entity.some) for i in group) == entity.some_count
        for relation in meaning.relations:
            parties = [groups[p] for p in relation.parties]
            if relation.name == "between":
                good = good and all(
                    is_between(scene_, m, a, b, TRUTH)
                    for m in parties[0]
                    for a in parties[1]
                    for b in parties[2]
                )
            else:
                good = good and all(
                    slow_relation(scene_, relation.name, a, b) for a in parties[0] for b in parties[1]
                )
        if good:
            return True
    return False


def test_truth_agrees_with_trying_everything(many):
    agreed = {True: 0, False: 0}
    for index, (scene_, captions) in enumerate(many[:120]):
        for caption in captions:
            for other in (scene_, many[(index + 1) % 120][0], many[(index + 7) % 120][0]):
                expected = slow_satisfies(other, caption.meaning)
                assert satisfies(other, caption.meaning) is expected, caption.text
                agreed[expected] += 1
    assert agreed[True] >= 600
    assert agreed[False] >= 1000


def test_relations_agree_with_a_second_opinion(many):
    for scene_, _ in many[:150]:
        for a, b in permutations(range(len(scene_.things)), 2):
            for name in RELATIONS:
                assert holds(scene_, name, [[a], [b]]) is slow_relation(scene_, name, a, b), (name, a, b)


def test_table_agrees_with_one_by_one(many):
    scenes = [scene_ for scene_, _ in many]
    table = SceneTable(scenes)
    images = np.array([5, 3, 3, *range(100, 160)])
    hits = 0
    for index in range(100, 145):
        for caption in many[index][1]:
            got = table.satisfies(caption.meaning, images)
            expected = [satisfies(scenes[i], caption.meaning) for i in images]
            assert got.tolist() == expected
            hits += got.sum() - 1
    assert hits > 0  # some fit by chance


def test_json_gives_back_what_went_in(many):
    for scene_, captions in many[:50]:
        assert scene_from_json(scene_to_json(scene_)) == scene_
        for caption in captions:
            assert meaning_from_json(meaning_to_json(caption.meaning)) == caption.meaning
