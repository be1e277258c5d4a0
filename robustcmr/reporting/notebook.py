"""Tables that a notebook shows, and the lists behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from robustcmr.errors import UserError
from robustcmr.reporting.numbers import as_text
from robustcmr.reporting.pages import environment
from robustcmr.reporting.suspects import SuspectedPairs, Suspects
from robustcmr.reporting.tables import render
from robustcmr.reporting.thumbnails import SMALL, Thumbnail, thumbnail
from robustcmr.runs import frames
from robustcmr.types import IntArray

MOST_ROWS = 50
"""Rows with pictures that are shown; more would make a notebook slow."""

Picture = Callable[[int], Any]


def notebook_html(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[str] = ()
) -> str:
    """Return a table as HTML for a notebook.

    Args:
        title: a line above it.
        columns: headings.
        rows: cells: text, numbers, a :class:`Thumbnail`, or a tuple of texts, one below the other.
        notes: lines below it.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    template = environment().get_template("notebook.html.j2")
    return template.render(title=title, columns=columns, rows=cells, notes=notes)


def _cell(value: Any) -> dict[str, Any]:
    if isinstance(value, Thumbnail):
        return {
            "picture": value if value.uri else None,
            "lines": () if value.uri else (value.name,),
            "number": False,
        }
    lines = value if isinstance(value, tuple) else (as_text(value),)
    return {"picture": None, "lines": lines, "number": isinstance(value, int | float)}


def small_picture(name: str, picture: Picture | None, row: int) -> Thumbnail:
    """Return an image as a thumbnail; its name alone where there is no picture, or it cannot be read."""
    try:
        return Thumbnail(name) if picture is None else thumbnail(name, picture(row), SMALL)
    except (OSError, ValueError, UserError):
        return Thumbnail(name)


class SuspectList(Sequence[Mapping[str, Any]]):
    """The worst suspects of a run: a sequence of mappings, shown with pictures in a notebook.

    Args:
        found: the suspects of the run.
        rows: (k,) which of them, worst first.
        total: how many there are.
        split: opens the training split for its pictures, when the list is shown.
    """

    def __init__(self, found: Suspects, rows: IntArray, total: int, split: Callable[[], Any]) -> None:
        self._found, self._rows, self._split = found, rows, split
        self.total = total
        self._values: list[Mapping[str, Any]] = [*found.values(rows)]

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | list[Mapping[str, Any]]:
        return self._values[index]

    def __repr__(self) -> str:
        return render(self._found.drawn(self._rows)) if self._values else "no suspects"

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; raise UserError without pandas."""
        return frames.to_pandas(frames.columns_of(self._values))

    def _repr_html_(self) -> str:
        title = f"The worst {len(self):,} of {self.total:,} suspects"
        picture = self._picture()
        if isinstance(self._found, SuspectedPairs):
            return notebook_html(
                title,
                ("pair", "right %", "caption", "given", "suggested", "margin"),
                [self._pair(row, picture) for row in self._values[:MOST_ROWS]],
            )
        names = [name for name in (self[0] if self else ()) if not name.endswith("_name")]
        shown = [[row[name] for name in names] for row in self._values[:MOST_ROWS]]
        if picture is None:
            return notebook_html(title, names, shown)
        pictures = [small_picture("", picture, int(row["pair"])) for row in self._values[:MOST_ROWS]]
        return notebook_html(
            title, ["image", *names], [[image, *row] for image, row in zip(pictures, shown, strict=True)]
        )

    def _picture(self) -> Picture | None:
        """The loader of training pictures; None where there are none, or the data is gone or has changed."""
        try:
            split = self._split()
            self._found.check(self._rows, split)
        except UserError:
            return None
        picture: Picture | None = split.picture
        return picture

    @staticmethod
    def _pair(row: Mapping[str, Any], picture: Picture | None) -> list[Any]:
        images = [
            ""
            if row[key] is None
            else small_picture(row[f"{key}_name"] or f"image {row[key]}", picture, row[key])
            for key in ("image", "rematch")
        ]
        right = as_text(float(row["clean_probability"]), "share")
        margin = "" if row["margin"] is None else as_text(float(row["margin"]), "margin")
        return [row["pair"], right, row["caption"], *images, margin]
