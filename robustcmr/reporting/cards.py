"""The cards of a run's page: a suspected pair, a suspected label, a query with its answers, an alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from robustcmr.reporting.charts import Table
from robustcmr.reporting.thumbnails import Thumbnail

_FAINTEST = 0.04  # share of a word's mass, below which its region is not drawn


@dataclass(frozen=True)
class Moved:
    """An image with its share of a caption's rematched mass.

    Attributes:
        image: the image the mass came from.
        share: of the mass moved to the caption, 0..1.
        fits: whether the caption is true of the image; None if unknown.
    """

    image: Thumbnail
    share: float
    fits: bool | None


@dataclass(frozen=True)
class SuspectCard:
    """A training pair that looks wrong.

    Attributes:
        pair: the caption row in the training set.
        caption: as written.
        given: the given image.
        suggested: the best other image, or None.
        clean_probability: 0..1.
        evidence: against the pair; larger is worse.
        score: of the given image.
        suggested_score: of the suggested image, or None.
        mismatched: the truth; None where it is not known.
        plan: the images its caption was rematched with in its batch, most mass first; None where the batch
            had no plan for it.
        id: of the pair in the user's data; None without.
    """

    pair: int
    caption: str
    given: Thumbnail
    suggested: Thumbnail | None
    clean_probability: float
    evidence: float
    score: float
    suggested_score: float | None
    mismatched: bool | None
    plan: tuple[Moved, ...] | None
    id: str | None = None

    @property
    def margin(self) -> float | None:
        """By how much the suggested image scores higher than the given one."""
        return None if self.suggested_score is None else self.suggested_score - self.score


@dataclass(frozen=True)
class SuspectedLabelCard:
    """A training pair whose class was corrected.

    Attributes:
        pair: in the training set.
        given: the class it came with.
        corrected: the class it was corrected to.
        confidence: in the corrected class, 0..1.
        evidence: against the given class, or None.
        caption: as written, or None.
        image: its image.
    """

    pair: int
    given: str
    corrected: str
    confidence: float
    evidence: float | None
    caption: str | None
    image: Thumbnail


@dataclass(frozen=True)
class Answer:
    """One of the five best answers to a query: an image, or a caption where ``image`` is None.

    Attributes:
        caption: the answer, or None where it is an image.
        image: the answer, or None where it is a caption.
        score: its similarity.
        right: whether it belongs to the query.
    """

    caption: str | None
    image: Thumbnail | None
    score: float
    right: bool


@dataclass(frozen=True)
class QueryCard:
    """A query with its five best answers.

    Attributes:
        caption: the query, or None where it is an image.
        image: the query, or None where it is a caption.
        rank: of the best right answer, from 1.
        lead: score of the best right answer less that of the best wrong one.
        answers: best first.
        missed: the best right answer where it is not among them, or None.
    """

    caption: str | None
    image: Thumbnail | None
    rank: int
    lead: float
    answers: tuple[Answer, ...]
    missed: Answer | None = None


@dataclass(frozen=True)
class Alignment:
    """How a matcher moves the regions of a picture to the words of a caption.

    Attributes:
        caption: as written.
        words: W of them.
        plan: (R, W) mass moved.
        boxes: (R, 4) left, top, right, bottom of the regions as shares of the picture, or None where unknown.
        image: the picture.
    """

    caption: str
    words: tuple[str, ...]
    plan: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64] | None
    image: Thumbnail

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(R, W) share of each word's mass that comes from each region; columns sum to 1."""
        shares: npt.NDArray[np.float64] = self.plan / self.plan.sum(axis=0).clip(min=1e-30)
        return shares

    @property
    def table(self) -> Table:
        """The shares as a table, a row a region."""
        rows = [(str(number), *shares) for number, shares in enumerate(self.shares.tolist(), 1)]
        caption = "Percent of each word's mass (column) that comes from each region (row)"
        return Table(caption, ("region", *self.words), rows, "share")

    @property
    def words_drawn(self) -> list[dict[str, Any]]:
        """For each word the boxes to draw on the picture, faintest first; empty without boxes or picture."""
        if self.boxes is None or not self.image.uri:
            return []
        drawn = []
        for word, shares in zip(self.words, self.shares.T.tolist(), strict=True):
            best = int(np.argmax(shares))
            order = sorted(range(len(shares)), key=shares.__getitem__)
            boxes = [
                {
                    "place": _place(self.boxes[region].tolist(), self.image.width, self.image.height),
                    "tint": round(0.5 * shares[region], 3),
                    "line": round(min(1.0, 2 * shares[region]), 3),
                    "best": region == best,
                }
                for region in order
                if shares[region] >= _FAINTEST or region == best
            ]
            share = f"{100 * shares[best]:.1f}%"
            drawn.append({"name": word, "share": share, "region": best + 1, "boxes": boxes})
        return drawn


def _place(box: list[float], width: int, height: int) -> Markup:
    """Attributes of the SVG rectangle of a box."""
    left, top, right, bottom = box
    text = Markup('x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"')
    return text.format(left * width, top * height, (right - left) * width, (bottom - top) * height)
