from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from robustcmr.data.scenes.layout import (
    LEAST_CONTRAST,
    LayoutOptions,
    Thing,
    contrast,
    draw_index,
    sample_scene,
    thing_box,
    thing_mask,
)
from robustcmr.data.scenes.shapes import OUTLINES, placed
from robustcmr.data.scenes.vocabulary import COLOURS, SHAPES, SIZES, TEXTURES


def fine_mask(thing, side=480):
    """The area of a thing, drawn five times finer, holes cut out."""
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    place = (thing.x * side, thing.y * side, thing.half * side, thing.angle)
    pen.polygon([tuple(point) for point in placed(OUTLINES[thing.shape].rim, *place)], fill=1)
    if OUTLINES[thing.shape].hole is not None:
        pen.polygon([tuple(point) for point in placed(OUTLINES[thing.shape].hole, *place)], fill=0)
    return np.asarray(image) > 0


def test_there_are_enough_shapes_colours_sizes_and_textures():
    assert len(SHAPES) >= 12
    assert len(COLOURS) >= 10
    assert len(SIZES) == 3
    assert len(TEXTURES) == 4
    assert set(OUTLINES) == set(SHAPES)


def test_number_of_things_spans_the_range(many):
    counts = {len(scene.things) for scene, _ in many}
    assert counts == {3, 4, 5, 6, 7}


def test_every_attribute_value_occurs(many):
    things = [thing for scene, _ in many for thing in scene.things]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.size for thing in things} == set(SIZES)
    assert {thing.texture for thing in things} == set(TEXTURES)


def test_at_least_half_of_every_thing_is_visible_and_some_are_covered(many):
    covered = 0
    for scene, _ in many[:60]:
        masks = [fine_mask(thing) for thing in scene.things]
        for index, mask in enumerate(masks):
            front = np.zeros_like(mask)
            for other in masks[index + 1 :]:
                front |= other
            hidden = (mask & front).sum() / mask.sum()
            covered += hidden > 0.05
            assert hidden <= 0.45
    assert covered > 20


def test_covers_are_the_overlaps(many):
    for scene, _ in many[:60]:
        masks = [fine_mask(thing) for thing in scene.things]
        told = {(front, behind): share for front, behind, share in scene.covers}
        for behind, front in combinations(range(len(masks)), 2):
            share = (masks[front] & masks[behind]).sum() / min(masks[front].sum(), masks[behind].sum())
            assert told.get((front, behind), 0.0) == pytest.approx(share, abs=0.09)
        assert all(front > behind for front, behind in told)


def test_things_lie_inside_and_stand_out_from_the_background(many):
    for scene, _ in many:
        for thing in scene.things:
            assert thing.half <= thing.x <= 1 - thing.half
            assert thing.half <= thing.y <= 1 - thing.half
            assert contrast(thing.colour, scene.background) >= LEAST_CONTRAST


def test_sizes_do_not_overlap(many):
    halves = {name: [] for name in SIZES}
    for scene, _ in many:
        for thing in scene.things:
            halves[thing.size].append(thing.half)
    assert max(halves["small"]) * 1.25 < min(halves["medium"])
    assert max(halves["medium"]) * 1.25 < min(halves["big"])


def test_box_is_tight_around_the_mask():
    for shape in SHAPES:
        thing = Thing(shape, "red", "big", "plain", 0.45, 0.55, 0.2, 7.0)
        rows, columns = np.nonzero(thing_mask(thing, 500))
        x0, y0, x1, y1 = (500 * share for share in thing_box(thing))
        assert [columns.min(), rows.min(), columns.max(), rows.max()] == pytest.approx(
            [x0, y0, x1, y1], abs=2.5
        )


def test_the_ring_has_a_hole():
    mask = thing_mask(Thing("ring", "red", "big", "plain", 0.5, 0.5, 0.2, 0.0))
    assert not mask[48, 48]
    assert mask[48, 48 - 15]


def test_outlines_fill_the_unit_box_and_differ():
    masks = {}
    for shape, outline in OUTLINES.items():
        assert 0.85 <= np.abs(outline.rim).max() <= 1.01
        masks[shape] = thing_mask(Thing(shape, "red", "big", "plain", 0.5, 0.5, 0.4, 0.0))
    for first, second in combinations(masks, 2):
        union = (masks[first] | masks[second]).sum()
        assert (masks[first] & masks[second]).sum() / union < 0.87, (first, second)


def test_placed_turns_clockwise_scales_and_moves():
    moved = placed(np.array([[1.0, 0.0]]), 10.0, 20.0, 2.0, 90.0)
    np.testing.assert_allclose(moved, [[10.0, 22.0]], atol=1e-12)  # from the right to the bottom, y downwards


def test_repeats_make_things_alike():
    def share_alike(repeats):
        rng = np.random.Generator(np.random.PCG64(0))
        options = LayoutOptions(min_objects=5, max_objects=5, repeats=repeats, rotation=0.0, occlusion=0.4)
        scenes = [sample_scene(rng, options) for _ in range(60)]
        return np.mean([len({thing.shape for thing in scene.things}) for scene in scenes])

    assert share_alike(0.9) < share_alike(0.0) - 1.0


def test_crowded_scenes_with_little_occlusion_are_found():
    rng = np.random.Generator(np.random.PCG64(1))
    options = LayoutOptions(min_objects=9, max_objects=9, repeats=0.0, rotation=20.0, occlusion=0.05)
    assert len(sample_scene(rng, options).things) == 9


def test_draw_index_follows_the_odds():
    rng = np.random.Generator(np.random.PCG64(2))
    drawn = np.bincount([draw_index(rng, (0.2, 0.5, 0.3)) for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(drawn, [0.2, 0.5, 0.3], atol=0.03)


def test_draw_index_gives_the_last_where_odds_fall_short_by_rounding():
    class Top:
        def random(self):
            return 0.9999999999999999

    assert draw_index(Top(), (0.5, 0.4999)) == 1
