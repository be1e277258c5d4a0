"""All scenes of a split side by side, to find quickly which of them fit a caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from robustcmr.data.scenes.layout import Scene
from robustcmr.data.scenes.truth import Meaning, satisfies
from robustcmr.types import IntArray

KEYS = ("shape", "colour", "size", "texture")


class SceneTable:
    """Attributes of all things of many scenes.

    Args:
        scenes: the scenes, N of them.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        most = max(len(scene.things) for scene in scenes)
        # (N, most) text each, empty where a scene has fewer things
        self._looks = {
            key: np.array(
                [
                    [getattr(t, key) for t in scene.things] + [""] * (most - len(scene.things))
                    for scene in scenes
                ]
            )
            for key in KEYS
        }
        self._backgrounds = np.array([scene.background for scene in scenes])

    def satisfies(self, meaning: Meaning, images: IntArray) -> npt.NDArray[np.bool_]:
        """Which scenes fulfil what a caption claims.

        Args:
            meaning: the claims.
            images: (k,) scenes to ask about.

        Returns:
            (k,) bool, the same as ``truth.satisfies`` one by one, but most scenes are ruled out all at once.
        """
        wanted = np.asarray(images, dtype=np.int64)
        possible = np.ones(len(wanted), dtype=np.bool_)
        if meaning.background is not None:
            possible &= self._backgrounds[wanted] == meaning.background
        for entity in meaning.entities:
            fits = self._looks["shape"][wanted] != ""  # (k, most)
            for key in KEYS:
                if key in entity.looks:
                    fits &= self._looks[key][wanted] == entity.looks[key]
            possible &= fits.sum(axis=1) >= entity.count
        for position in np.flatnonzero(possible):
            possible[position] = satisfies(self._scenes[int(wanted[position])], meaning)
        return possible
