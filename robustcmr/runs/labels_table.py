"""``labels.csv``: a method's estimate of the class of every training pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from robustcmr.runs.table import REAL, SHARE, TEXT, WHOLE, Cell, Column, Table, choice
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]

CHANGED, KEPT = "changed", "kept"

_CLASSES = ("given", "given_text", "corrected")  # columns of class numbers, each with one of names
_MOST_CLASSES = 10**6  # a larger number is damage, and would allocate names for all classes below it


def _class_number(text: str) -> int:
    number: int = WHOLE.parse(text)
    if number >= _MOST_CLASSES:
        raise ValueError(f"{text}, expected a class number below {_MOST_CLASSES}")
    return number


CLASS = Cell("q", _class_number, WHOLE.format)


@dataclass(frozen=True, repr=False)
class LabelsTable(Table):
    """All N training pairs with their given and corrected classes at the end of a run.

    Attributes:
        pair: (N,) int64, the pair in the training set.
        given: (N,) int64 in 0..K-1, the given class; the image's, if the text has its own.
        corrected: (N,) int64 in 0..K-1, the estimated class.
        confidence: (N,) in 0..1, its probability.
        class_names: K names; "" for classes that do not occur in a file that was read.
        given_text: (N,) int64 in 0..K-1, the text's given class, or None if both have the same.
        evidence: (N,) finite, evidence against the given class, or None.
        caption: N captions as they were written, or None if unknown.
    """

    pair: IntArray
    given: IntArray
    corrected: IntArray
    confidence: Values
    class_names: tuple[str, ...]
    given_text: IntArray | None = None
    evidence: Values | None = None
    caption: Sequence[str] | None = None

    file = "labels.csv"
    lists = ("class_names",)
    columns = (
        Column("pair", WHOLE),
        Column("given", CLASS),
        Column("given_name", TEXT, derived=True),
        Column("given_text", CLASS, optional="given_text"),
        Column("given_text_name", TEXT, optional="given_text", derived=True),
        Column("corrected", CLASS),
        Column("corrected_name", TEXT, derived=True),
        Column("confidence", SHARE),
        Column("decision", choice(CHANGED, KEPT), "changed", derived=True),
        Column("evidence", REAL, optional="evidence"),
        Column("caption", TEXT, optional="caption"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        k = len(self.class_names)
        for name in _CLASSES:
            labels = getattr(self, name)
            if labels is not None and len(self) > 0 and (labels.min() < 0 or labels.max() >= k):
                raise ValueError(
                    f"{name} must lie in 0..{k - 1} for {k} class names, got {labels.min()}..{labels.max()}"
                )
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise ValueError("confidence must lie in 0..1 for every pair")
        if self.evidence is not None and not np.isfinite(self.evidence).all():
            raise ValueError("evidence holds NaN or infinite numbers; every pair needs a finite one")

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, True where the corrected class differs from a given one."""
        changed = np.not_equal(self.corrected, self.given)
        return changed if self.given_text is None else changed | (self.corrected != self.given_text)

    @property
    def given_name(self) -> list[str]:
        """N names of the given classes."""
        return self._names(self.given)

    @property
    def given_text_name(self) -> list[str] | None:
        """N names of the texts' given classes, or None."""
        return None if self.given_text is None else self._names(self.given_text)

    @property
    def corrected_name(self) -> list[str]:
        """N names of the corrected classes."""
        return self._names(self.corrected)

    def _names(self, labels: IntArray) -> list[str]:
        return [self.class_names[number] for number in labels.tolist()]

    @classmethod
    def check_row(cls, cells: Mapping[str, str], values: Mapping[str, Any], seen: dict[Any, Any]) -> None:
        """Refuse a second name of a class, or a decision that the classes contradict."""
        labels = {name: values[name] for name in _CLASSES if name in values}
        for column, number in labels.items():
            name = cells[f"{column}_name"]
            if seen.setdefault(number, name) != name:
                raise ValueError(f"class {number} is named '{name}' here and '{seen[number]}' before")
        decision = KEPT if len(set(labels.values())) == 1 else CHANGED
        if cells["decision"] != decision:
            raise ValueError(f"decision is '{cells['decision']}', expected '{decision}' of these classes")

    @classmethod
    def from_columns(cls, columns: dict[str, Any], seen: dict[Any, Any]) -> Self:
        """Return the table with the names of the classes that occur."""
        names = tuple(seen.get(number, "") for number in range(max(seen, default=-1) + 1))
        return cls(**columns, class_names=names)
