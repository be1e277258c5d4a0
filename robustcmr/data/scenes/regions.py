"""Region features from pixels: boxes around objects and distractors, cropped and shrunk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from robustcmr.data.scenes.layout import SIDE, Scene, thing_box
from robustcmr.types import FloatArray

N_REGIONS = 12
CROP = 12
FEATURE_WIDTH = CROP * CROP * 3 + 4

Box = tuple[int, int, int, int]
Boxes = npt.NDArray[np.int64]


def region_boxes(scene: Scene, rng: np.random.Generator, jitter: float) -> Boxes:
    """Return the boxes of a picture: each object, the whole picture, and distractors, in random order.

    ``jitter`` is the largest shift of each side of an object's box, as a share of the box.

    Returns:
        (N_REGIONS, 4) x0, y0, x1, y1 in pixels, inside the picture, at least 4 pixels wide and high.
    """
    boxes: list[Box] = []
    for thing in scene.things:
        x0, y0, x1, y1 = (SIDE * share for share in thing_box(thing))
        a, b, c, d = (2.0 * rng.random(4) - 1.0) * jitter
        wide, high = x1 - x0, y1 - y0
        boxes.append(_inside(x0 + a * wide, y0 + b * high, x1 + c * wide, y1 + d * high))
    boxes.append((0, 0, SIDE, SIDE))
    while len(boxes) < N_REGIONS:
        if float(rng.random()) < 0.4:
            two = np.array([boxes[int(rng.integers(len(scene.things)))] for _ in range(2)])
            (left, top), (right, bottom) = two[:, :2].min(axis=0).tolist(), two[:, 2:].max(axis=0).tolist()
            boxes.append((left, top, right, bottom))
        else:
            wide, high = (SIDE * (0.15 + 0.35 * float(rng.random())) for _ in range(2))
            x, y = float(rng.random()) * (SIDE - wide), float(rng.random()) * (SIDE - high)
            boxes.append(_inside(x, y, x + wide, y + high))
    order = np.argsort(rng.random(N_REGIONS), kind="stable")
    return np.array(boxes, dtype=np.int64)[order]


def _inside(x0: float, y0: float, x1: float, y1: float) -> Box:
    left, top = (min(SIDE - 4, max(0, round(low))) for low in (x0, y0))
    return left, top, min(SIDE, max(left + 4, round(x1))), min(SIDE, max(top + 4, round(y1)))


def region_features(picture: Image.Image, boxes: Boxes) -> FloatArray:
    """Crop and shrink regions (R, 4) of an RGB picture of (SIDE, SIDE) pixels.

    Returns:
        (R, 436) float32: the crop as 12 x 12 x 3 numbers in [-1, 1], then x0, y0, x1, y1 from -1, the left or
        top edge of the picture, to 1, the right or bottom edge.
    """
    crops = [
        np.asarray(picture.resize((CROP, CROP), Image.Resampling.BILINEAR, box=tuple(box)))
        for box in boxes.tolist()
    ]
    # (R, 12, 12, 3) bytes -> (R, 432)
    pixels = np.stack(crops).reshape(len(crops), -1).astype(np.float32) / np.float32(127.5) - np.float32(1)
    corners = boxes.astype(np.float32) * np.float32(2.0 / SIDE) - np.float32(1)
    return np.concatenate([pixels, corners], axis=1)
