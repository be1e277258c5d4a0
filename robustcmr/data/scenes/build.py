"""Build splits: scenes, pictures, regions and captions, each picture from seeds of its own."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from PIL import Image

from robustcmr.data.base import DataSet, LabelledSplit, PairsSplit
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that the content of a split depends on, except its size; see ``Scenes.Config``.

    Splits with different ``stream`` numbers share no random source.
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


Split = TypeVar("Split", PairsSplit, LabelledSplit)


@dataclass(frozen=True)
class Content(Generic[Split]):
    """A split as read from the cache, and the scene of each of its pictures."""

    split: Split
    scenes: Sequence[Scene]


class DrawnData(DataSet, Generic[Split]):
    """A data set that is drawn once and then kept in the user's cache.

    Args:
        config: sizes, seed and difficulty.
    """

    name: ClassVar[str]
    drawn: ClassVar[str]
    """Plural of what is drawn, for the log."""

    version: ClassVar[int] = 1
    """Increased whenever the same options would give other bytes."""

    unwritten: ClassVar[set[str]] = set()
    """Options that apply when vectors are read, so that the files do not depend on them."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self._opened: dict[str, Content[Split]] = {}

    @abstractmethod
    def recipe(self, split: str) -> Recipe:
        """Return the recipe of a split."""

    @abstractmethod
    def _write(self, folder: Path, sizes: Mapping[str, int]) -> None:
        """Write splits of these sizes to an empty folder."""

    @abstractmethod
    def _read(self, folder: Path, name: str) -> Content[Split]:
        """Read a split that was written."""

    def splits(self) -> tuple[str, ...]:
        """Return ``train``, ``dev`` and ``test``."""
        return SPLITS

    def split(self, name: str) -> Split:
        """Open a split; build the data set first if it is not in the cache.

        Raises:
            DataError: there is no such split.
            UserError: the cache folder cannot be written.
        """
        return self._open(name).split

    def scenes(self, split: str) -> Sequence[Scene]:
        """Return the scene of each picture of a split."""
        return self._open(split).scenes

    def folder(self) -> Path:
        """Return the folder in the cache, built if it is missing or damaged."""
        options = self.config.model_dump(mode="json", exclude=self.unwritten)
        key = hashlib.sha256(json.dumps(options, sort_keys=True).encode("utf-8")).hexdigest()[:16]
        return cached_folder(cache_root() / self.name / f"v{self.version}-{key}", self._build)

    def _build(self, folder: Path) -> None:
        sizes = {name: getattr(self.config, f"n_{name}") for name in SPLITS}
        total = sum(sizes.values())
        logger.info("drawing %d %s; later runs find them in %s", total, self.drawn, folder.parent)
        self._write(folder, sizes)
        options = self.config.model_dump_json(indent=2, exclude=self.unwritten)
        (folder / "options.json").write_text(options, encoding="utf-8")

    def _open(self, name: str) -> Content[Split]:
        if name not in SPLITS:
            raise DataError(f"{self.name} has no split {name!r}; expected one of {', '.join(SPLITS)}")
        if name not in self._opened:
            self._opened[name] = self._read(self.folder(), name)
        return self._opened[name]


def drawn_picture(recipe: Recipe, scenes: Sequence[Scene], numbers: Sequence[int], image: int) -> Image.Image:
    """Draw picture ``image`` of a split, given the scene and the number in the recipe of each picture."""
    if not 0 <= image < len(scenes):
        raise IndexError(f"image must lie in 0..{len(scenes) - 1}, got {image}")
    return recipe.picture(scenes[image], numbers[image])
