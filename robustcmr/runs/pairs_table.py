"""``pairs.csv``: a method's estimate of every training pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.runs.table import (
    OPTIONAL_REAL,
    REAL,
    SHARE,
    TEXT,
    WHOLE,
    Column,
    Table,
    choice,
    optional_whole,
)
from robustcmr.types import IntArray

CLEAN, SUSPECT = "clean", "suspect"


@dataclass(frozen=True, repr=False)
class PairsTable(Table):
    """All N training pairs with the method's estimate at the end of a run.

    Attributes:
        pair: (N,) int64, the caption row in the training set.
        caption: N captions as they were written.
        image: (N,) int64, the given image.
        image_name: N names of the given images; "" if unknown.
        evidence: (N,) finite, evidence against each pair; larger is worse.
        clean_probability: (N,) in 0..1.
        is_clean: (N,) bool, the decision.
        rematch: (N,) int64, the best other image; -1 if there is none.
        rematch_name: N names of the best other images; "" if unknown.
        score: (N,) finite, similarity of caption and given image.
        rematch_score: (N,) similarity of caption and best other image; NaN if there is none.
        id: N ids of the pairs, as the user's data has them; None without.

    Example:
        >>> table = PairsTable.read(Path("runs/my-run/pairs.csv"))  # doctest: +SKIP
        >>> table.pair[~table.is_clean]  # doctest: +SKIP
    """

    pair: IntArray
    caption: Sequence[str]
    image: IntArray
    image_name: Sequence[str]
    evidence: npt.NDArray[np.float64]
    clean_probability: npt.NDArray[np.float64]
    is_clean: npt.NDArray[np.bool_]
    rematch: IntArray
    rematch_name: Sequence[str]
    score: npt.NDArray[np.float64]
    rematch_score: npt.NDArray[np.float64]
    id: Sequence[str] | None = None

    file = "pairs.csv"
    columns = (
        Column("pair", WHOLE),
        Column("id", TEXT, optional="id"),
        Column("caption", TEXT),
        Column("image", WHOLE),
        Column("image_name", TEXT),
        Column("evidence", REAL),
        Column("clean_probability", SHARE),
        Column("decision", choice(CLEAN, SUSPECT), "is_clean"),
        Column("rematch", optional_whole(-1)),
        Column("rematch_name", TEXT),
        Column("score", REAL),
        Column("rematch_score", OPTIONAL_REAL),
        Column("margin", OPTIONAL_REAL, derived=True),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("evidence", "clean_probability", "score"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds NaN or infinite numbers; every pair needs a finite one")
        if not np.array_equal(np.isfinite(self.rematch_score), self.rematch >= 0):
            raise ValueError("rematch_score must be finite where there is a rematch, and NaN where it is -1")

    @property
    def margin(self) -> npt.NDArray[np.float64]:
        """(N,) ``rematch_score - score``; NaN if there is no other image."""
        return np.asarray(self.rematch_score, dtype=np.float64) - np.asarray(self.score, dtype=np.float64)

    @classmethod
    def check_row(cls, cells: Mapping[str, str], values: Mapping[str, Any], seen: dict[Any, Any]) -> None:
        """Refuse a score without a rematch, or a rematch without a score."""
        del values, seen
        if bool(cells["rematch"]) != bool(cells["rematch_score"]):
            raise ValueError(
                f"rematch_score is '{cells['rematch_score']}' and rematch '{cells['rematch']}', expected "
                "both or neither"
            )
