"""From a scene to pixels with Pillow: drawn large, shrunk for smooth edges, with a little noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from robustcmr.data.scenes.layout import SIDE, Scene, Thing, thing_edges
from robustcmr.data.scenes.vocabulary import BACKGROUNDS, COLOURS, Rgb

FACTOR = 3
"""Size of the drawing board relative to the picture."""

TONE_JITTER = 10
"""Largest shift of a tone, of 255."""


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Return the tone at ``share`` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pattern_tone(tone: Rgb) -> Rgb:
    """Return the second tone of a patterned object: much darker if that is light, else lighter."""
    luma = 0.299 * tone[0] + 0.587 * tone[1] + 0.114 * tone[2]
    return mix(tone, (0, 0, 0), 0.62) if luma > 135 else mix(tone, (255, 255, 255), 0.72)


@lru_cache(maxsize=1024)
def pattern(texture: str, width: int) -> Image.Image:
    """Return the places of the second tone in a box of ``width`` pixels, an image of 0 and 255.

    The pattern scales with the object: a small one shows as many stripes as a big one.
    """
    steps = (np.arange(width) + 0.5) / width
    if texture == "striped":
        marked = np.broadcast_to(((steps * 4.0 + 0.25) % 1.0 < 0.5)[:, None], (width, width))
    elif texture == "checked":
        cell = np.floor(steps * 4.0).astype(np.int64)
        marked = (cell[:, None] + cell[None, :]) % 2 == 0
    elif texture == "dotted":
        wave = (steps * 3.0) % 1.0 - 0.5
        marked = wave[:, None] ** 2 + wave[None, :] ** 2 < 0.3**2
    else:
        marked = np.zeros((width, width), dtype=np.bool_)
    return Image.fromarray(np.where(marked, 255, 0).astype(np.uint8))


def _shifted(rng: np.random.Generator, tone: Rgb) -> Rgb:
    shift = rng.integers(-TONE_JITTER, TONE_JITTER + 1, size=3)
    red, green, blue = (min(255, max(0, part + int(move))) for part, move in zip(tone, shift, strict=True))
    return red, green, blue


def _draw_thing(board: Image.Image, thing: Thing, tone: Rgb) -> None:
    scale = board.width
    half = thing.half * scale
    # a rotated outline exceeds its upright box by at most a quarter
    reach = int(half * 1.25) + 2
    left, top = int(thing.x * scale) - reach, int(thing.y * scale) - reach
    edges = thing_edges(thing, scale, left, top)
    mask = Image.new("L", (2 * reach, 2 * reach))
    pen = ImageDraw.Draw(mask)
    for edge, fill in zip(edges, (255, 0), strict=False):
        pen.polygon(edge, fill=fill)
    stamp = Image.new("RGB", mask.size, tone)
    if thing.texture != "plain":
        width = max(1, round(2 * half))
        marks = Image.new("L", mask.size)
        marks.paste(pattern(thing.texture, width), (reach - width // 2, reach - width // 2))
        stamp.paste(pattern_tone(tone), (0, 0), ImageChops.multiply(mask, marks))
    pen = ImageDraw.Draw(stamp)
    for edge in edges:
        pen.line([*edge, *edge[:4]], fill=mix(tone, (0, 0, 0), 0.45), width=FACTOR, joint="curve")
    board.paste(stamp, (left, top), mask)


def draw_scene(scene: Scene, rng: np.random.Generator, noise: float, side: int = SIDE) -> Image.Image:
    """Draw a scene as an RGB image of (side, side) pixels.

    The random source shifts tones and adds pixel noise of a standard deviation, as a share of the range.
    """
    ground = _shifted(rng, BACKGROUNDS[scene.background])
    board = Image.new("RGB", (side * FACTOR, side * FACTOR), ground)
    for thing in scene.things:
        _draw_thing(board, thing, _shifted(rng, COLOURS[thing.colour]))
    pixels = np.asarray(board.reduce(FACTOR), dtype=np.float32)
    if noise > 0:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(255.0 * noise)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
