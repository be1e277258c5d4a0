"""Build splits: scenes, pictures, regions and captions, each picture from seeds of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robustcmr.data.cache import cache_root, cached_folder
from robustcmr.data.scenes.drawing import draw_scene
from robustcmr.data.scenes.grammar import GrammarOptions, write_captions
from robustcmr.data.scenes.layout import LayoutOptions, Scene, sample_scene
from robustcmr.data.scenes.regions import FEATURE_WIDTH, N_REGIONS, region_boxes, region_features
from robustcmr.data.scenes.truth import meaning_to_json, scene_to_json
from robustcmr.errors import DataError

LAYOUT, DRAWING, BOXES, CAPTIONS = range(4)
"""The random sources of a picture."""

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Recipe:
    """Everything that the content of a split depends on, except its size.

    Attributes:
        seed: of the data set.
        stream: number of the split; splits with different numbers share no random source.
        layout: options of scenes.
        grammar: options of captions.
        pixel_noise: standard deviation of the pixel noise; 1 is the whole range.
        box_jitter: largest shift of each side of an object's box, as a share of the box.
    """

    seed: int
    stream: int
    layout: LayoutOptions
    grammar: GrammarOptions
    pixel_noise: float
    box_jitter: float

    def chance(self, image: int, source: int) -> np.random.Generator:
        """Return the random source of one picture for one purpose."""
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, self.stream, image, source]))
        )

    def picture(self, scene: Scene, image: int) -> Image.Image:
        """Draw picture ``image``, which shows ``scene``; the pixels are the same each time."""
        return draw_scene(scene, self.chance(image, DRAWING), self.pixel_noise)


def build_split(folder: Path, name: str, n_images: int, recipe: Recipe) -> None:
    """Write a split of some pictures as two files of an existing folder.

    ``<name>_ims.npy`` holds the features, (n_images, 12, 436) float32, and ``<name>.json`` the captions, the
    scenes and the claims of the captions.
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


def drawn_folder(name: str, version: int, options: dict[str, Any], build: Callable[[Path], None]) -> Path:
    """Return the folder of a drawn data set in the user's cache, built if it is missing or damaged.

    ``options`` is everything that the files depend on; ``version`` is increased whenever the same options
    would give other bytes.
    """
    key = hashlib.sha256(json.dumps(options, sort_keys=True).encode("utf-8")).hexdigest()[:16]
    return cached_folder(cache_root() / name / f"v{version}-{key}", build)


def drawn_picture(recipe: Recipe, scenes: Sequence[Scene], numbers: Sequence[int], image: int) -> Image.Image:
    """Draw picture ``image`` of a split, given the scene and the number in the recipe of each picture."""
    if not 0 <= image < len(scenes):
        raise IndexError(f"image must lie in 0..{len(scenes) - 1}, got {image}")
    return recipe.picture(scenes[image], numbers[image])


def require_split(data: str, name: str) -> None:
    """Raise a :class:`DataError` unless a split of a drawn data set exists."""
    if name not in SPLITS:
        raise DataError(f"{data} has no split {name!r}; expected one of {', '.join(SPLITS)}")
