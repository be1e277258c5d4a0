import numpy as np
import pytest

from robustcmr.data.scenes.drawing import TONE_JITTER, draw_scene, mix, pattern, pattern_tone
from robustcmr.data.scenes.layout import SIDE, Scene, Thing, thing_mask
from robustcmr.data.scenes.vocabulary import BACKGROUNDS, COLOURS, SHAPES


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def one(texture="plain", colour="red", shape="square", **place):
    where = {"x": 0.5, "y": 0.5, "half": 0.2, "angle": 0.0} | place
    return Scene("white", (Thing(shape, colour, "big", texture, **where),), ())


def test_picture_has_the_tones_of_its_scene():
    pixels = np.asarray(draw_scene(one(), rng(), 0.0)).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels[SIDE // 2, SIDE // 2] - COLOURS["red"]).max() <= TONE_JITTER
    assert np.abs(pixels[3, 3] - BACKGROUNDS["white"]).max() <= TONE_JITTER


def test_thing_is_drawn_where_it_stands():
    pixels = np.asarray(draw_scene(one(x=0.3, y=0.7), rng(), 0.0)).astype(int)
    changed = np.abs(pixels - pixels[0, 0]).sum(axis=-1) > 60
    rows, columns = np.nonzero(changed)
    # the square is 0.9 of its box
    assert columns.min() == pytest.approx((0.3 - 0.18) * SIDE, abs=1.5)
    assert columns.max() == pytest.approx((0.3 + 0.18) * SIDE, abs=1.5)
    assert rows.mean() == pytest.approx(0.7 * SIDE, abs=1.0)


def test_later_things_cover_earlier_ones():
    back, front = one(colour="red").things[0], one(colour="blue", shape="circle").things[0]
    pixels = np.asarray(draw_scene(Scene("white", (back, front), ()), rng(), 0.0)).astype(int)
    assert np.abs(pixels[SIDE // 2, SIDE // 2] - COLOURS["blue"]).max() <= TONE_JITTER


@pytest.mark.parametrize("colour", list(COLOURS))
@pytest.mark.parametrize("texture", ["striped", "dotted", "checked"])
def test_patterns_show_two_tones_of_which_one_is_the_colour(texture, colour):
    pixels = (
        np.asarray(draw_scene(one(texture, colour), rng(), 0.0)).astype(float)[34:62, 34:62].reshape(-1, 3)
    )
    to_tone = np.linalg.norm(pixels - COLOURS[colour], axis=1)
    to_second = np.linalg.norm(pixels - pattern_tone(COLOURS[colour]), axis=1)
    assert (to_tone < 40).mean() > 0.2
    assert (to_second < 40).mean() > 0.12
    assert np.linalg.norm(np.subtract(COLOURS[colour], pattern_tone(COLOURS[colour]))) > 100


def test_ring_shows_the_background_through_its_hole():
    pixels = np.asarray(draw_scene(one("striped", shape="ring"), rng(), 0.0)).astype(int)
    assert np.abs(pixels[SIDE // 2, SIDE // 2] - pixels[0, 0]).max() == 0


@pytest.mark.parametrize("width", [12, 50])
def test_patterns_by_definition(width):
    striped, checked, dotted, plain = (
        np.asarray(pattern(t, width)) for t in ("striped", "checked", "dotted", "plain")
    )
    assert (striped == striped[:, :1]).all()
    assert np.count_nonzero(np.diff(striped[:, 0].astype(int))) == 8
    quarter = width // 8
    assert checked[quarter, quarter] != checked[quarter, 3 * quarter]
    assert checked[quarter, quarter] == checked[3 * quarter, 3 * quarter]
    assert dotted[width // 2, width // 2] == 255
    assert dotted[0, 0] == 0
    assert not plain.any()
    assert {int(v) for v in np.unique(striped)} == {0, 255}


def test_noise_is_light_and_seeded():
    clean = np.asarray(draw_scene(one(), rng(), 0.0)).astype(float)
    noisy = np.asarray(draw_scene(one(), rng(), 0.04)).astype(float)
    again = np.asarray(draw_scene(one(), rng(), 0.04)).astype(float)
    other = np.asarray(draw_scene(one(), rng(1), 0.04)).astype(float)
    np.testing.assert_array_equal(noisy, again)
    assert (noisy != other).any()
    middle = clean[40:56, 40:56], noisy[40:56, 40:56]
    # green and blue of red are far from both ends, so nothing is clipped
    assert (middle[1] - middle[0])[..., 1:].std() == pytest.approx(0.04 * 255, rel=0.15)


def test_mix_goes_from_one_tone_to_the_other():
    assert mix((0, 100, 200), (100, 0, 200), 0.0) == (0, 100, 200)
    assert mix((0, 100, 200), (100, 0, 200), 1.0) == (100, 0, 200)
    assert mix((0, 100, 200), (100, 0, 200), 0.5) == (50, 50, 200)


def test_side_can_be_chosen():
    assert draw_scene(one(), rng(), 0.0, side=64).size == (64, 64)


@pytest.mark.parametrize("shape", SHAPES)
def test_drawn_area_is_the_area_the_layout_reckons_with(shape):
    scene = one(shape=shape, x=0.4, y=0.6, angle=18.0)
    pixels = np.asarray(draw_scene(scene, rng(), 0.0)).astype(int)
    drawn = np.abs(pixels - pixels[0, 0]).sum(axis=-1) > 200
    reckoned = thing_mask(scene.things[0])
    assert (drawn & reckoned).sum() / (drawn | reckoned).sum() > 0.9


def test_tones_vary_from_picture_to_picture():
    tones = {draw_scene(one(), rng(seed), 0.0).getpixel((SIDE // 2, SIDE // 2)) for seed in range(8)}
    grounds = {draw_scene(one(), rng(seed), 0.0).getpixel((2, 2)) for seed in range(8)}
    assert len(tones) > 6
    assert len(grounds) > 6
