"""What a search found: images for a caption, or captions for an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from rich.table import Table
from rich.text import Text

from robustcmr.reporting.notebook import MOST_ROWS, Picture, notebook_html, small_picture
from robustcmr.reporting.numbers import as_text
from robustcmr.reporting.suspects import printable
from robustcmr.reporting.tables import plain_table, render
from robustcmr.runs import frames

_CAPTIONS_SHOWN = 5


@dataclass(frozen=True)
class Hit:
    """An answer.

    Attributes:
        rank: from 1.
        score: of the query with it; larger is closer.
        index: its row among all that were searched.
        name: file name of the image; "" for a caption of no known image.
        captions: of the image, as far as known; or the caption itself.
    """

    rank: int
    score: float
    index: int
    name: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The answers to a query, best first.

    Attributes:
        query: the caption, or the name of the image.
        kind: what was searched: ``images`` or ``texts``.
        hits: the answers.
        searched: how many items were searched.
        search: how: ``vectors``: all products of vectors; ``faiss``: those of an index, which may miss some;
            ``all``: every item scored by the matcher; ``shortlist``: the items with the nearest vectors
            scored by the matcher.
        unknown_words: words of the query that the run's vocabulary lacks.
    """

    query: str
    kind: str
    hits: tuple[Hit, ...]
    searched: int
    search: str
    unknown_words: tuple[str, ...] = ()
    _pictures: tuple[Picture | None, Callable[[], Any] | None] = field(default=(None, None), repr=False)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __repr__(self) -> str:
        return "".join(f"{line}\n" for line in [self.title, *self.notes]) + render(self.table())

    @property
    def title(self) -> str:
        """What was searched for."""
        return f"The best {len(self):,} of {self.searched:,} {self.kind} for {printable(self.query)!r}"

    @property
    def notes(self) -> list[str]:
        """Sentences a reader must know."""
        notes = []
        if self.unknown_words:
            words = ", ".join(map(repr, self.unknown_words))
            notes.append(f"The run has never seen the words {words}, so it ignores what they mean.")
        if self.search == "faiss":
            notes.append("Found by an index of faiss, which may miss some.")
        return notes

    def table(self) -> Table:
        """Return the answers as a table for the terminal."""
        drawn = plain_table({"": "number", "score": "number", "image": "fold", "captions": "ellipsis"})
        for hit in self.hits:
            captions = Text(printable("; ".join(hit.captions)), no_wrap=True, overflow="ellipsis")
            drawn.add_row(str(hit.rank), as_text(hit.score, "score"), Text(printable(hit.name)), captions)
        return drawn

    def values(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "query": self.query,
            "kind": self.kind,
            "searched": self.searched,
            "search": self.search,
            "unknown_words": list(self.unknown_words),
            "hits": [asdict(hit) for hit in self.hits],
        }

    def to_pandas(self) -> Any:
        """Return the answers as a ``pandas.DataFrame``; raise UserError without pandas."""
        names = ("rank", "score", "index", "name", "captions")
        return frames.to_pandas({name: [getattr(hit, name) for hit in self.hits] for name in names})

    def _repr_html_(self) -> str:
        picture, query = self._pictures
        rows = [
            (
                hit.rank,
                as_text(hit.score, "score"),
                small_picture(hit.name, picture, hit.index),
                hit.captions[:_CAPTIONS_SHOWN],
            )
            for hit in self.hits[:MOST_ROWS]
        ]
        asked = [] if query is None else [("query", "", small_picture(self.query, lambda _: query(), 0), ())]
        return notebook_html(self.title, ("", "score", "image", "captions"), [*asked, *rows], self.notes)
