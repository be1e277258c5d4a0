"""The pairs that are to be judged, and in which order one reviewer gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustcmr.audit.labels import Label, by_pair, differ, disagreements
from robustcmr.sources.tables import is_address

SHARED = 5
"""Of every so many pairs one goes to each reviewer, so that their agreement can be measured."""

ADDRESS = ("http://", "https://")
"""What addresses that a browser opens begin with."""


@dataclass(frozen=True)
class Place:
    """Where a picture is: row ``row`` of ``file``, as ``pairs.parquet`` names them."""

    file: str
    row: int


@dataclass(frozen=True)
class Suggestion:
    """A partner that may fit better.

    Attributes:
        kind: ``image`` for another picture to the caption, ``caption`` for another caption to the picture.
        text: the caption, or the name of the picture.
        place: of the picture; None for captions, and for pictures known by address alone.
        probability: that it fits, in [0, 1]; None where unknown.
    """

    kind: str
    text: str
    place: Place | None
    probability: float | None


@dataclass(frozen=True)
class Item:
    """A pair to judge.

    Attributes:
        id: of the pair.
        image: what names its picture.
        caption: as given.
        place: of its picture; None where there is no file of it.
        stratum: that it was sampled from.
        probability: of its being sampled.
        suggestions: better partners, if any.
    """

    id: str
    image: str
    caption: str
    place: Place | None
    stratum: int
    probability: float
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def key(self) -> str:
        """What addresses of the page call the pair: no character of the id gets into them."""
        return key_of(self.id)

    @property
    def link(self) -> str | None:
        """Address of the picture that a browser can open; None where there is none."""
        return link_of(self.image)


@dataclass(frozen=True)
class Turn:
    """A pair whose turn it is, and why: it is ``new``, comes ``again``, or needs a ``second`` opinion."""

    id: str
    why: str


def link_of(image: str) -> str | None:
    """Return what names a picture where that is an address that a browser opens; else None."""
    return image if image.lower().startswith(ADDRESS) else None


def place_of(image: str | None, file: str | None, row: int | None) -> Place | None:
    """Return where a picture is read from; None where it is known by address alone."""
    if file is None or row is None or is_address(image or ""):
        return None
    return Place(file, row)


def key_of(text: str) -> str:
    """Return 24 hexadecimal digits for an id."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def turns(ids: Sequence[str], labels: Sequence[Label], by: str, second: bool = False) -> list[Turn]:
    """Return which pairs a reviewer is to judge, in order.

    First come pairs that nobody has judged and those that all reviewers share, then those on which others
    disagree with the reviewer, then, if wanted, all that only others have judged.

    Args:
        ids: of the sample, in its order.
        labels: all lines, in order.
        by: the reviewer.
        second: whether to give second opinions too.
    """
    given = by_pair(labels)
    judged = {key: {label.by for label in verdicts} for key, verdicts in given.items()}
    mine = {key for key, names in judged.items() if by in names}
    new = [
        key
        for place, key in enumerate(ids)
        if key not in mine and (place % SHARED == 0 or not judged.get(key))
    ]
    again = at_odds(labels, by)
    found = [Turn(key, "new") for key in new] + [Turn(key, "again") for key in ids if key in again]
    if second:
        known = {turn.id for turn in found} | mine
        found += [Turn(key, "second") for key in ids if key not in known]
    return found


def at_odds(labels: Iterable[Label], by: str) -> set[str]:
    """Return the pairs on which others disagree with a reviewer who has not looked at them since.

    A pair comes back once, and again only if somebody else changes a verdict on it and still disagrees.
    """
    lines = list(labels)
    open_ = {key for key, given in disagreements(lines).items() if any(by == label.by for label in given)}
    history: dict[str, list[Label]] = {key: [] for key in open_}
    seen: set[str] = set()
    for label in lines:
        if label.id not in open_:
            continue
        before = {one.by: one.verdict for one in by_pair(history[label.id]).get(label.id, [])}
        odd = differ(by_pair(history[label.id]).get(label.id, []))
        history[label.id].append(label)
        if label.by == by:
            if label.undo:
                seen.discard(label.id)
            elif odd and by in before:
                seen.add(label.id)
        elif label.undo or before.get(label.by) != label.verdict:
            seen.discard(label.id)
    return open_ - seen
