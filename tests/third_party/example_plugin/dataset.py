"""A data set: striped flags, and captions that name their colours."""

import hashlib

import numpy as np
from PIL import Image
from pydantic import Field

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.errors import DataError
from robustcmr.options import Options

COLOURS = {
    "red": (220, 30, 30),
    "orange": (240, 150, 20),
    "yellow": (240, 230, 40),
    "green": (30, 160, 60),
    "blue": (30, 60, 200),
    "violet": (140, 40, 180),
    "black": (15, 15, 15),
    "white": (245, 245, 245),
}
STRIPES = 3
SPLITS = ("train", "dev", "test")


class Colours(PairsData):
    """Flags of three stripes; two captions each."""

    class Config(Options):
        """How many flags there are."""

        n_train: int = Field(120, ge=1, description="Flags to train on.")
        n_test: int = Field(40, ge=1, description="Flags to choose on, and as many to test on.")
        seed: int = Field(0, ge=0, description="Seed of the flags.")

    def __init__(self, config):
        self.config = config

    def splits(self):
        return SPLITS

    def split(self, name):
        if name not in SPLITS:
            raise DataError(f"colours has no split {name!r}; expected one of {', '.join(SPLITS)}")
        n = self.config.n_train if name == "train" else self.config.n_test
        rng = np.random.default_rng([self.config.seed, SPLITS.index(name)])
        names = list(COLOURS)
        flags = np.array([rng.choice(len(names), STRIPES, replace=False) for _ in range(n)])
        paint = np.array(list(COLOURS.values()), dtype=np.float32) / 255
        features = paint[flags] + rng.normal(0, 0.03, (n, STRIPES, 3)).astype(np.float32)
        captions = []
        for flag in flags:
            top, middle, bottom = (names[colour] for colour in flag)
            captions += [f"a flag of {top}, {middle} and {bottom}", f"{bottom} below {middle} below {top}"]
        return PairsSplit(
            name,
            Memory(features),
            captions,
            np.repeat(np.arange(n), 2),
            picture=lambda i: Image.fromarray(
                np.repeat(np.clip(features[i][:, None] * 255, 0, 255).astype(np.uint8), 48, axis=1)
            ).resize((48, 36), Image.Resampling.NEAREST),
            image_names=[f"{name} flag {i}" for i in range(n)],
        )

    def fingerprint(self, split):
        opened = self.split(split)
        everything = repr(opened.captions).encode() + opened.features.array.tobytes()
        return hashlib.sha256(everything).hexdigest()[:16]


class Memory:
    """Features held in memory."""

    def __init__(self, array):
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    def take(self, images):
        return self.array[images]
