"""The embedded data set: small drawn scenes with captions, built once and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.fingerprint import sampled_fingerprint
from robustcmr.data.scenes.build import (
    SPLITS,
    Content,
    DrawnData,
    Recipe,
    build_split,
    drawn_picture,
)
from robustcmr.data.scenes.grammar import CAPTIONS_PER_PICTURE, GrammarOptions
from robustcmr.data.scenes.layout import LayoutOptions
from robustcmr.data.scenes.truth import Meaning, SceneTable, meaning_from_json, scene_from_json
from robustcmr.data.store import NpyFeatures
from robustcmr.files import LARGEST_TEXT, read_json
from robustcmr.options import Options
from robustcmr.types import IntArray


@dataclass(frozen=True)
class _Content(Content[PairsSplit]):
    meanings: Sequence[Meaning]
    table: SceneTable


class Scenes(DrawnData[PairsSplit], PairsData):
    """Drawn scenes of a few coloured shapes, five captions each; no download, built in seconds.

    Each picture has 12 regions of 436 numbers, its pixels, so a model must learn to see. Each caption names a
    part of the scene, and its claims are kept, so that one can ask which other pictures it is true of.

    Args:
        config: sizes, seed and difficulty.
    """

    name = "scenes"
    drawn = "scenes"

    class Config(Options):
        """Sizes, seed and difficulty of the scenes."""

        seed: int = Field(
            0, ge=0, le=2**63 - 1, description="seed of everything; another seed gives other pictures"
        )
        n_train: int = Field(1500, ge=1, le=1_000_000, description="pictures to train on, five captions each")
        n_dev: int = Field(300, ge=1, le=1_000_000, description="pictures to choose the best epoch on")
        n_test: int = Field(500, ge=1, le=1_000_000, description="pictures to test on")
        min_objects: int = Field(3, ge=3, le=9, description="fewest objects in a picture")
        max_objects: int = Field(7, ge=3, le=9, description="most objects in a picture")
        repeats: float = Field(
            0.45,
            ge=0,
            le=1,
            description="probability that an object copies the shape or colour of an earlier one",
        )
        occlusion: float = Field(
            0.3, ge=0.05, le=0.5, description="largest share of an object that others may hide"
        )
        rotation: float = Field(
            8.0, ge=0, le=20, description="largest rotation of an object, in degrees either way"
        )
        pixel_noise: float = Field(
            0.02,
            ge=0,
            le=0.5,
            description="standard deviation of the pixel noise; 1 is the range from black to white",
        )
        box_jitter: float = Field(
            0.08,
            ge=0,
            le=0.25,
            description="largest shift of each side of an object's box, as a share of the box",
        )
        attribute_dropout: float = Field(
            0.2, ge=0, le=1, description="probability of omitting an attribute of a named object"
        )
        background_mentions: float = Field(
            0.2, ge=0, le=1, description="probability of naming the background"
        )
        synonyms: bool = Field(True, description="vary the words; false always uses the same word")

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.min_objects > self.max_objects:
                raise ValueError(
                    f"min_objects is {self.min_objects} but max_objects is {self.max_objects}; "
                    "expected min_objects to be no larger"
                )
            return self

    def fingerprint(self, split: str) -> str:
        """Return a hash of a split's captions and some features, 16 hexadecimal digits.

        The configuration decides the rest, and the cache verifies its files.
        """
        content = self._open(split)
        return sampled_fingerprint(content.split.captions, cast(NpyFeatures, content.split.features))

    def meanings(self, split: str) -> Sequence[Meaning]:
        """Return the claims of each caption of a split."""
        return self._contents(split).meanings

    def fits(self, split: str, caption_row: int, images: IntArray) -> npt.NDArray[np.bool_]:
        """Return which pictures (k,) a caption is true of, (k,) bool; see :meth:`PairsData.fits`."""
        content = self._contents(split)
        return content.table.satisfies(content.meanings[caption_row], images)

    def _contents(self, split: str) -> _Content:
        return cast(_Content, self._open(split))

    def _write(self, folder: Path, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            build_split(folder, name, size, self.recipe(name))

    def recipe(self, split: str) -> Recipe:
        """Return the recipe of a split."""
        c = self.config
        return Recipe(
            seed=c.seed,
            stream=SPLITS.index(split),
            layout=LayoutOptions(c.min_objects, c.max_objects, c.repeats, c.rotation, c.occlusion),
            grammar=GrammarOptions(c.attribute_dropout, c.background_mentions, c.synonyms),
            pixel_noise=c.pixel_noise,
            box_jitter=c.box_jitter,
        )

    def _read(self, folder: Path, name: str) -> _Content:
        value: dict[str, Any] = read_json(folder / f"{name}.json", largest=LARGEST_TEXT)
        scenes = tuple(scene_from_json(scene) for scene in value["scenes"])
        split = PairsSplit(
            name=name,
            features=NpyFeatures(folder / f"{name}_ims.npy"),
            captions=tuple(value["captions"]),
            image_of_caption=np.repeat(np.arange(len(scenes), dtype=np.int64), CAPTIONS_PER_PICTURE),
            picture=partial(drawn_picture, self.recipe(name), scenes, range(len(scenes))),
            image_names=tuple(f"{name}-{index:04d}" for index in range(len(scenes))),
        )
        meanings = tuple(meaning_from_json(meaning) for meaning in value["meanings"])
        return _Content(split, scenes, meanings, SceneTable(scenes))
