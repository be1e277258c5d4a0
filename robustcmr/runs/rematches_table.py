"""``rematches.csv``: the image that a whole-set rematching suggests for every suspected pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.runs.table import OPTIONAL_REAL, REAL, SHARE, TEXT, WHOLE, Column, Table, optional_whole
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class RematchesTable(Table):
    """All n suspected pairs with the image that the plan suggests.

    Attributes:
        pair: (n,) int64, the caption row in the training set.
        caption: n captions as they were written.
        image: (n,) int64, the given image.
        image_name: n names of the given images; "" if unknown.
        clean_probability: (n,) in 0..1.
        rematch: (n,) int64, the suggested image; -1 if there is none.
        rematch_name: n names of the suggested images; "" if unknown.
        score: (n,) similarity of caption and given image.
        rematch_score: (n,) similarity of caption and suggested image; NaN if there is none.
        rank: (n,) int64, place of the suggestion among the candidates by score, from 1; 0 if there is none.
        share: (n,) share of the caption's moved mass that goes to the suggestion; NaN if there is none.
        share_margin: (n,) lead of that share over the next image's; NaN if there is none.
        id: n ids of the pairs, as the user's data has them; None without.
        moved: (n,) share of the caption's mass that the plan moves; a dense plan may move more than 1.
    """

    pair: IntArray
    caption: Sequence[str]
    image: IntArray
    image_name: Sequence[str]
    clean_probability: Values
    rematch: IntArray
    rematch_name: Sequence[str]
    score: Values
    rematch_score: Values
    rank: IntArray
    share: Values
    share_margin: Values
    moved: Values
    id: Sequence[str] | None = None

    file = "rematches.csv"
    columns = (
        Column("pair", WHOLE),
        Column("id", TEXT, optional="id"),
        Column("caption", TEXT),
        Column("image", WHOLE),
        Column("image_name", TEXT),
        Column("clean_probability", SHARE),
        Column("rematch", optional_whole(-1)),
        Column("rematch_name", TEXT),
        Column("score", REAL),
        Column("rematch_score", OPTIONAL_REAL),
        Column("margin", OPTIONAL_REAL, derived=True),
        Column("rank", optional_whole(0)),
        Column("share", OPTIONAL_REAL),
        Column("share_margin", OPTIONAL_REAL),
        Column("moved", REAL),
    )

    @property
    def margin(self) -> Values:
        """(n,) ``rematch_score - score``; NaN if nothing is suggested."""
        return self.rematch_score - self.score
