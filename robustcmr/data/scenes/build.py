"""Building a split: scenes, pictures, regions and captions, each picture from seeds of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robustcmr.data.scenes.drawing import draw_scene
from robustcmr.data.scenes.grammar import GrammarOptions, write_captions
from robustcmr.data.scenes.layout import LayoutOptions, Scene, sample_scene
from robustcmr.data.scenes.records import meaning_to_json, scene_to_json
from robustcmr.data.scenes.regions import FEATURE_WIDTH, N_REGIONS, region_boxes, region_features

LAYOUT, DRAWING, BOXES, CAPTIONS = range(4)
"""The sources of chance of a picture."""


@dataclass(frozen=True)
class Recipe:
    """Everything a split's content depends on, but its size.

    Attributes:
        seed: seed of the data set.
        stream: number of the split: splits with other numbers share nothing.
        layout: how scenes are sampled.
        grammar: how captions are made.
        pixel_noise: standard deviation of the pixel noise, 1 being the whole range.
        box_jitter: largest shift of each side of an object's box, as a share of the box.
    """

    seed: int
    stream: int
    layout: LayoutOptions
    grammar: GrammarOptions
    pixel_noise: float
    box_jitter: float

    def chance(self, image: int, source: int) -> np.random.Generator:
        """The generator for one picture and one purpose."""
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, self.stream, image, source]))
        )

    def picture(self, scene: Scene, image: int) -> Image.Image:
        """Draw picture ``image``, which shows ``scene``; the same pixels each time."""
        return draw_scene(scene, self.chance(image, DRAWING), self.pixel_noise)


def build_split(folder: Path, name: str, n_images: int, recipe: Recipe) -> None:
    """Write a split as two files.

    Args:
        folder: where to; it must exist.
        name: of the split: ``<name>_ims.npy`` holds the features, (n_images, 12, 436) float32, and
            ``<name>.json`` the captions, the scenes and the captions' meanings.
        n_images: how many pictures.
        recipe: everything else the content depends on.
    """
    features = np.empty((n_images, N_REGIONS, FEATURE_WIDTH), dtype=np.float32)
    scenes: list[Any] = []
    captions: list[str] = []
    meanings: list[Any] = []
    for image in range(n_images):
        scene = sample_scene(recipe.chance(image, LAYOUT), recipe.layout)
        boxes = region_boxes(scene, recipe.chance(image, BOXES), recipe.box_jitter)
        features[image] = region_features(recipe.picture(scene, image), boxes)
        written = write_captions(scene, recipe.chance(image, CAPTIONS), recipe.grammar)
        scenes.append(scene_to_json(scene))
        captions.extend(caption.text for caption in written)
        meanings.extend(meaning_to_json(caption.meaning) for caption in written)
    np.save(folder / f"{name}_ims.npy", features)
    content = {"captions": captions, "scenes": scenes, "meanings": meanings}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
