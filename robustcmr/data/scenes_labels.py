"""The embedded labelled data set: drawn scenes of nine classes, each an image vector and a text vector."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from robustcmr.data.bag_of_words import BagOfWords
from robustcmr.data.base import FeatureStore, LabelledData, LabelledSplit
from robustcmr.data.prepared_features import PreparedFeatures, Scale, measured_scale
from robustcmr.data.scenes.build import (
    BOXES,
    CAPTIONS,
    LAYOUT,
    SPLITS,
    Content,
    DrawnData,
    Recipe,
    drawn_picture,
)
from robustcmr.data.scenes.grammar import GrammarOptions, write_captions
from robustcmr.data.scenes.layout import LayoutOptions, Scene, sample_scene
from robustcmr.data.scenes.regions import region_boxes, region_features
from robustcmr.data.scenes.truth import scene_from_json, scene_to_json
from robustcmr.data.store import NpyFeatures
from robustcmr.files import LARGEST_TEXT, read_json
from robustcmr.options import Options
from robustcmr.types import FloatArray

FIRST_STREAM = 100
"""Makes the pictures different from those of ``scenes`` with the same seed."""

SHAPE_FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "round": ("circle", "ring", "moon", "flower"),
        "pointed": ("triangle", "star", "arrow", "diamond"),
        "blocky": ("square", "cross", "house", "heart"),
    }
)
COLOUR_FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "warm": ("red", "orange", "yellow", "pink"),
        "cool": ("green", "turquoise", "blue"),
        "deep": ("purple", "brown", "black"),
    }
)
KINDS = tuple(f"{colour} and {shape}" for shape in SHAPE_FAMILIES for colour in COLOUR_FAMILIES)
"""Names of the nine classes, such as ``warm and round``."""

ORDER = 4
"""The random source of a split's order, beside those of a picture."""

PIXELS = 432
"""Numbers of a region that are pixels; the four corners after them do not depend on the class."""

LAYOUT_OPTIONS = LayoutOptions(min_objects=3, max_objects=7, repeats=0.85, rotation=8.0, occlusion=0.3)
GRAMMAR = GrammarOptions(attribute_dropout=0.2, background_mentions=0.2, synonyms=True)

_SHAPE_FAMILY = {shape: i for i, family in enumerate(SHAPE_FAMILIES.values()) for shape in family}
_COLOUR_FAMILY = {colour: i for i, family in enumerate(COLOUR_FAMILIES.values()) for colour in family}


def kind_of_scene(scene: Scene, purity: float) -> int | None:
    """Return the class of a scene: the family of shapes and colours that most of its objects belong to.

    Returns:
        Index into ``KINDS``; None if two families are equally frequent, or none has the share ``purity``.
    """
    families = Counter(3 * _SHAPE_FAMILY[t.shape] + _COLOUR_FAMILY[t.colour] for t in scene.things)
    (kind, most), *others = families.most_common(2)
    if (others and others[0][1] == most) or most < purity * len(scene.things):
        return None
    return kind


class ScenesLabels(DrawnData[LabelledSplit], LabelledData):
    """Drawn scenes of nine classes, a vector per picture and per text; no download, built in seconds.

    A class is a family of shapes in a family of colours that most objects of the scene belong to. The image
    vector is the mean and maximum of each pixel over 12 regions, 864 numbers. The text is some captions of
    the picture, each about a part of it, as TF-IDF weights of the training words, projected to
    ``text_width`` numbers. All classes are equally frequent, up to one pair.

    Args:
        config: sizes, seed and difficulty.
    """

    name = "scenes-labels"
    drawn = "labelled scenes"
    unwritten: ClassVar[set[str]] = {"standardise"}

    class Config(Options):
        """Sizes, seed and difficulty of the labelled scenes."""

        seed: int = Field(
            0, ge=0, le=2**63 - 1, description="seed of everything; another seed gives other pictures"
        )
        n_train: int = Field(2000, ge=9, le=1_000_000, description="pairs to train on, of nine classes")
        n_dev: int = Field(400, ge=9, le=1_000_000, description="pairs to choose the best epoch on")
        n_test: int = Field(600, ge=9, le=1_000_000, description="pairs to test on")
        purity: float = Field(
            0.6,
            ge=0.0,
            le=0.8,
            description="least share of the objects that belong to the scene's class; less is harder",
        )
        captions: int = Field(3, ge=1, le=5, description="captions in a text; fewer is harder")
        text_width: int = Field(128, ge=8, le=4096, description="numbers of a text vector")
        standardise: Literal["none", "train"] = Field(
            "train", description="train: shift and scale each number to mean 0 and variance 1 over train"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._scales: dict[str, Scale] = {}

    def fingerprint(self, split: str) -> str:
        """Return a hash of a split's scenes, texts and labels, 16 hexadecimal digits."""
        content = self._open(split)
        opened = content.split
        prepared = f"{opened.images.shape} {opened.texts.shape} {self.config.standardise}"
        digest = hashlib.sha256(f"{self.version} {prepared}\n".encode())
        digest.update(opened.labels.astype("<i8").tobytes())
        # the last bit of pooled pixels may differ between machines; scenes and texts may not
        shown = [scene_to_json(scene) for scene in content.scenes]
        digest.update(json.dumps([shown, list(opened.captions or ())]).encode("utf-8"))
        return digest.hexdigest()[:16]

    def _write(self, folder: Path, sizes: Mapping[str, int]) -> None:
        config = self.config
        bag: BagOfWords | None = None
        for name, size in sizes.items():
            images, content = draw_split(self.recipe(name), size, config.purity, config.captions)
            if bag is None:  # the training split comes first
                bag = BagOfWords(content["captions"], config.text_width, config.seed)
            np.save(folder / f"{name}_ims.npy", images)
            np.save(folder / f"{name}_txts.npy", bag.vectors(content["captions"]))
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    def recipe(self, split: str) -> Recipe:
        """Return the recipe of a split."""
        stream = FIRST_STREAM + SPLITS.index(split)
        return Recipe(self.config.seed, stream, LAYOUT_OPTIONS, GRAMMAR, pixel_noise=0.02, box_jitter=0.08)

    def _read(self, folder: Path, name: str) -> Content[LabelledSplit]:
        value: dict[str, Any] = read_json(folder / f"{name}.json", largest=LARGEST_TEXT)
        scenes = tuple(scene_from_json(scene) for scene in value["scenes"])
        split = LabelledSplit(
            name=name,
            images=self._prepared(folder, name, "ims"),
            texts=self._prepared(folder, name, "txts"),
            labels=np.array(value["labels"], dtype=np.int64),
            class_names=KINDS,
            captions=tuple(value["captions"]),
            picture=partial(drawn_picture, self.recipe(name), scenes, tuple(value["candidates"])),
        )
        return Content(split, scenes)

    def _prepared(self, folder: Path, name: str, side: str) -> FeatureStore:
        """Return the vectors of a split's ``ims`` or ``txts``, standardised if configured."""
        store = NpyFeatures(folder / f"{name}_{side}.npy")
        if self.config.standardise == "none":
            return store
        if side not in self._scales:
            self._scales[side] = measured_scale(NpyFeatures(folder / f"train_{side}.npy"))
        return PreparedFeatures(store, self._scales[side])


def draw_split(
    recipe: Recipe, n_pairs: int, purity: float, n_captions: int
) -> tuple[FloatArray, dict[str, list[Any]]]:
    """Draw scenes until every class has its share; a text is the first ``n_captions`` captions of its scene.

    Returns:
        The image vectors, (n_pairs, 864) float32; and lists of ``n_pairs``: ``labels``, ``captions`` (one
        text each), ``scenes`` and ``candidates``, the numbers of the pictures in the recipe.
    """
    chosen = list(_balanced(recipe, n_pairs, purity))
    # rare classes fill up last, so the order is shuffled
    order = np.argsort(recipe.chance(0, ORDER).random(n_pairs), kind="stable")
    images = np.empty((n_pairs, 2 * PIXELS), dtype=np.float32)
    content: dict[str, list[Any]] = {"labels": [], "captions": [], "scenes": [], "candidates": []}
    for row, position in enumerate(order.tolist()):
        candidate, kind, scene = chosen[position]
        boxes = region_boxes(scene, recipe.chance(candidate, BOXES), recipe.box_jitter)
        images[row] = pooled(region_features(recipe.picture(scene, candidate), boxes))
        written = write_captions(scene, recipe.chance(candidate, CAPTIONS), recipe.grammar)
        content["labels"].append(kind)
        content["captions"].append(" . ".join(caption.text for caption in written[:n_captions]))
        content["scenes"].append(scene_to_json(scene))
        content["candidates"].append(candidate)
    return images, content


def pooled(regions: FloatArray) -> FloatArray:
    """Return the mean and maximum of each pixel over the regions, (R, 436) to (864,)."""
    pixels = regions[:, :PIXELS]
    return np.concatenate([pixels.mean(axis=0), pixels.max(axis=0)])


def _balanced(recipe: Recipe, n_pairs: int, purity: float) -> Iterator[tuple[int, int, Scene]]:
    """Yield (candidate, class, scene) of the first scenes of each class, equally many of each."""
    places = [n_pairs // len(KINDS) + (kind < n_pairs % len(KINDS)) for kind in range(len(KINDS))]
    candidate = 0
    while any(places):
        scene = sample_scene(recipe.chance(candidate, LAYOUT), recipe.layout)
        kind = kind_of_scene(scene, purity)
        if kind is not None and places[kind]:
            places[kind] -= 1
            yield candidate, kind, scene
        candidate += 1
