import numpy as np
import pytest
from PIL import Image

from robustcmr.data.scenes.layout import SIDE, thing_box
from robustcmr.data.scenes.regions import FEATURE_WIDTH, N_REGIONS, region_boxes, region_features


def iou(first, second):
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return wide * high / (area - wide * high)


def test_boxes_lie_inside_and_one_fits_every_object(many):
    rng = np.random.Generator(np.random.PCG64(0))
    for scene, _ in many[:100]:
        boxes = region_boxes(scene, rng, 0.08)
        assert boxes.shape == (N_REGIONS, 4)
        assert boxes.min() >= 0
        assert boxes.max() <= SIDE
        assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()
        for thing in scene.things:
            wanted = [SIDE * share for share in thing_box(thing)]
            assert max(iou(box, wanted) for box in boxes.tolist()) > 0.55
        assert [0, 0, SIDE, SIDE] in boxes.tolist()


def test_without_jitter_object_boxes_are_exact_to_the_pixel(many):
    scene = many[0][0]
    boxes = region_boxes(scene, np.random.Generator(np.random.PCG64(0)), 0.0)
    for thing in scene.things:
        x0, y0, x1, y1 = (min(SIDE, max(0, round(SIDE * share))) for share in thing_box(thing))
        assert [x0, y0, x1, y1] in boxes.tolist()


def test_boxes_stand_in_random_order(many):
    rng = np.random.Generator(np.random.PCG64(0))
    places = {region_boxes(many[0][0], rng, 0.0).tolist().index([0, 0, SIDE, SIDE]) for _ in range(60)}
    assert len(places) > 6


def test_features_are_pixels_then_corners():
    shades = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    shades[:, : SIDE // 2] = (255, 0, 51)
    features = region_features(Image.fromarray(shades), np.array([[0, 0, 48, 96], [48, 24, 96, 72]]))
    assert features.shape == (2, FEATURE_WIDTH)
    assert features.dtype == np.float32
    pixels = features[:, :-4].reshape(2, 12, 12, 3)
    # smoothing lets the column at the border see a little beyond it
    np.testing.assert_allclose(
        pixels[0, :, :-1], np.broadcast_to([1.0, -1.0, 51 / 127.5 - 1], (12, 11, 3)), atol=1e-6
    )
    np.testing.assert_allclose(pixels[1, :, 1:], -1.0)
    np.testing.assert_allclose(features[:, -4:], [[-1, -1, 0, 1], [0, -0.5, 1, 0.5]], atol=1e-6)


def test_shrinking_averages_whole_cells():
    rng = np.random.Generator(np.random.PCG64(3))
    low = rng.integers(0, 255, size=(12, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(np.kron(low, np.ones((8, 8, 1), dtype=np.uint8)))
    features = region_features(picture, np.array([[0, 0, SIDE, SIDE]]))[0, :-4].reshape(12, 12, 3)
    correlation = np.corrcoef(features.ravel(), low.ravel())[0, 1]
    assert correlation > 0.9
    assert features.mean() == pytest.approx(low.mean() / 127.5 - 1, abs=0.02)
