"""Sample scenes: objects with places, sizes and bounded occlusion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from robustcmr.data.scenes.shapes import OUTLINES, placed
from robustcmr.data.scenes.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

SIDE = 96
"""Width and height of a picture in pixels."""

TEXTURE_ODDS = (0.4, 0.2, 0.2, 0.2)
SIZE_ODDS = (0.35, 0.35, 0.3)
SIZE_JITTER = 0.08
LEAST_CONTRAST = 90.0
PLACE_TRIES = 40

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Thing:
    """One object, by the keys of its looks.

    Attributes:
        shape: of ``SHAPES``.
        colour: of ``COLOURS``.
        size: of ``SIZES``.
        texture: of ``TEXTURES``.
        x: centre, 0 (left) to 1 (right).
        y: centre, 0 (top) to 1 (bottom).
        half: half the width, as a share of the picture's width.
        angle: degrees, clockwise.
    """

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float
    half: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """The content of a picture.

    Attributes:
        background: key of ``BACKGROUNDS``.
        things: from the back to the front.
        covers: (front, behind, share) for each overlapping pair: indices into ``things``, and the overlap as
            a share of the smaller area.
    """

    background: str
    things: tuple[Thing, ...]
    covers: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class LayoutOptions:
    """Options of sampling; see ``Scenes.Config``."""

    min_objects: int
    max_objects: int
    repeats: float
    rotation: float
    occlusion: float


def thing_edges(thing: Thing, side: int, left: int = 0, top: int = 0) -> list[list[float]]:
    """Return the rim of a thing and the edge of its hole, if any: x0, y0, x1, y1, ... from (left, top)."""
    outline = OUTLINES[thing.shape]
    place = (thing.x * side - left, thing.y * side - top, thing.half * side, thing.angle)
    return [placed(e, *place).ravel().tolist() for e in (outline.rim, outline.hole) if e is not None]


def thing_mask(thing: Thing, side: int = SIDE) -> Mask:
    """Return the pixels of an unoccluded thing, (side, side) bool."""
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    for edge, fill in zip(thing_edges(thing, side), (1, 0), strict=False):
        pen.polygon(edge, fill=fill)
    return np.asarray(image, dtype=np.bool_)


def thing_box(thing: Thing) -> tuple[float, float, float, float]:
    """Return the tight box (x0, y0, x1, y1) of a thing, as shares of the picture's width."""
    rim = placed(OUTLINES[thing.shape].rim, thing.x, thing.y, thing.half, thing.angle)
    (x0, y0), (x1, y1) = rim.min(axis=0), rim.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def contrast(colour: str, background: str) -> float:
    """Return the Euclidean RGB distance of an object colour from a background, 0 to about 441."""
    return math.dist(COLOURS[colour], BACKGROUNDS[background])


def draw_index(rng: np.random.Generator, odds: tuple[float, ...]) -> int:
    """Draw an index with the given probabilities, which sum to 1."""
    point, total = float(rng.random()), 0.0
    for index, share in enumerate(odds):
        total += share
        if point < total:
            return index
    return len(odds) - 1


def sample_scene(rng: np.random.Generator, options: LayoutOptions) -> Scene:
    """Sample a scene of ``min_objects`` to ``max_objects`` things, each at least ``1 - occlusion`` visible.

    It depends only on the random source and the options.
    """
    while True:
        background = list(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
        count = int(rng.integers(options.min_objects, options.max_objects + 1))
        scene = _fill(rng, options, background, count)
        if scene is not None:
            return scene


def _fill(rng: np.random.Generator, options: LayoutOptions, background: str, count: int) -> Scene | None:
    colours = [name for name in COLOURS if contrast(name, background) >= LEAST_CONTRAST]
    things: list[Thing] = []
    whole: list[Mask] = []
    areas: list[int] = []
    visible: list[Mask] = []
    for _ in range(count):
        look = _look(rng, options, colours, things)
        for _ in range(PLACE_TRIES):
            thing = _place(rng, options, look)
            mask = thing_mask(thing)
            remaining = [seen & ~mask for seen in visible]
            least = 1.0 - options.occlusion
            if all(int(seen.sum()) >= least * area for seen, area in zip(remaining, areas, strict=True)):
                break
        else:
            return None
        things.append(thing)
        whole.append(mask)
        areas.append(int(mask.sum()))
        visible = [*remaining, mask]
    covers = []
    for front in range(count):
        for behind in range(front):
            shared = int((whole[front] & whole[behind]).sum())
            if shared:
                covers.append((front, behind, round(shared / min(areas[front], areas[behind]), 4)))
    return Scene(background, tuple(things), tuple(covers))


def _look(
    rng: np.random.Generator, options: LayoutOptions, colours: list[str], earlier: list[Thing]
) -> tuple[str, str, str, str]:
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    colour = colours[int(rng.integers(len(colours)))]
    size = list(SIZES)[draw_index(rng, SIZE_ODDS)]
    texture = TEXTURES[draw_index(rng, TEXTURE_ODDS)]
    if earlier and float(rng.random()) < options.repeats:
        model = earlier[int(rng.integers(len(earlier)))]
        kind = draw_index(rng, (0.5, 0.3, 0.2))
        shape = model.shape if kind in (0, 2) else shape
        colour = model.colour if kind in (1, 2) else colour
    return shape, colour, size, texture


def _place(rng: np.random.Generator, options: LayoutOptions, look: tuple[str, str, str, str]) -> Thing:
    shape, colour, size, texture = look
    half = SIZES[size] * (1.0 + SIZE_JITTER * (2.0 * float(rng.random()) - 1.0))
    free = 1.0 - 2.0 * half
    x, y = (half + free * float(rng.random()) for _ in range(2))
    angle = options.rotation * (2.0 * float(rng.random()) - 1.0)
    return Thing(shape, colour, size, texture, round(x, 4), round(y, 4), round(half, 4), round(angle, 2))
