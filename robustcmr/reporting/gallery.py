"""What a gallery shows: pictures small enough to lie inside a page, and the cards made of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

CARD, THUMB = 224, 112
"""Largest width and height of a picture on a card, and of one in a row of five, in pixels."""

_QUALITY = 78


@dataclass(frozen=True)
class Embedded:
    """A picture as part of a page.

    Attributes:
        uri: the whole picture, WebP.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Shot:
    """An image of the data set.

    Attributes:
        name: what it is called.
        picture: what it looks like; None where the data has no pictures.
    """

    name: str
    picture: Embedded | None


@dataclass(frozen=True)
class Moved:
    """A share of a caption's rematched mass.

    Attributes:
        shot: the image it came from.
        share: of the mass moved to the caption, 0..1.
        fits: whether the caption is true of it; None where that is not known.
    """

    shot: Shot
    share: float
    fits: bool | None


@dataclass(frozen=True)
class SuspectCard:
    """A training pair that is believed to be wrong.

    Attributes:
        pair: the caption row in the training set.
        caption: what was written.
        given: the given image.
        suggested: the best other image, or None.
        clean_probability: 0..1.
        evidence: what speaks against the pair.
        score: of the given image.
        suggested_score: of the suggested image, or None.
        mismatched: the truth; None where it is not known.
        plan: the images its caption was rematched with in its batch, most mass first; None where the batch
            had no plan for it.
    """

    pair: int
    caption: str
    given: Shot
    suggested: Shot | None
    clean_probability: float
    evidence: float
    score: float
    suggested_score: float | None
    mismatched: bool | None
    plan: tuple[Moved, ...] | None

    @property
    def margin(self) -> float | None:
        """By how much the suggested image fits better."""
        return None if self.suggested_score is None else self.suggested_score - self.score


@dataclass(frozen=True)
class Answer:
    """One of the five best answers to a query.

    Attributes:
        caption: the answer, or None where it is an image.
        shot: the answer, or None where it is a caption.
        score: its similarity.
        right: whether it belongs to the query.
    """

    caption: str | None
    shot: Shot | None
    score: float
    right: bool


@dataclass(frozen=True)
class QueryCard:
    """A query with its five best answers.

    Attributes:
        caption: the query, or None where it is an image.
        shot: the query, or None where it is a caption.
        rank: of the best right answer, from 1.
        lead: score of the best right answer less that of the best wrong one.
        answers: best first.
        missed: the best right answer where it is not among them, or None.
    """

    caption: str | None
    shot: Shot | None
    rank: int
    lead: float
    answers: tuple[Answer, ...]
    missed: Answer | None = None


@dataclass(frozen=True)
class Alignment:
    """How a matcher moves the regions of a picture to the words of a caption.

    Attributes:
        caption: what was written.
        words: W of them.
        plan: (R, W) mass moved.
        boxes: (R, 4) left, top, right, bottom of the regions as shares of the picture, or None where unknown.
        shot: the picture.
    """

    caption: str
    words: tuple[str, ...]
    plan: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64] | None
    shot: Shot


@dataclass(frozen=True)
class DoubtCard:
    """A training pair whose class was corrected.

    Attributes:
        pair: in the training set.
        given: the class it came with.
        corrected: the class it is taken for.
        confidence: 0..1.
        evidence: against the given class, or None.
        caption: what was written, or None.
        shot: its image.
    """

    pair: int
    given: str
    corrected: str
    confidence: float
    evidence: float | None
    caption: str | None
    shot: Shot


class Album:
    """The pictures of a split, each made small once.

    Args:
        picture: draws or loads an image by number; None where the data has no pictures.
        names: of the images; None where they are known by number alone.
    """

    def __init__(self, picture: Callable[[int], Image.Image] | None, names: Sequence[str] | None) -> None:
        self._picture = picture
        self._names = names
        self._made: dict[tuple[int, int], Embedded] = {}

    @property
    def has_pictures(self) -> bool:
        """Whether there is anything to see."""
        return self._picture is not None

    def shot(self, image: int, side: int = CARD) -> Shot:
        """An image, at most ``side`` pixels wide and high."""
        name = f"image {image}" if self._names is None else str(self._names[image])
        if self._picture is None:
            return Shot(name, None)
        if (image, side) not in self._made:
            self._made[image, side] = embedded(self._picture(image), side)
        return Shot(name, self._made[image, side])


def embedded(picture: Image.Image, side: int) -> Embedded:
    """A picture as text for a page.

    Args:
        picture: of any mode and size.
        side: largest width and height in pixels; a smaller picture keeps its size.
    """
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=4)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Embedded(f"data:image/webp;base64,{text}", small.width, small.height)
