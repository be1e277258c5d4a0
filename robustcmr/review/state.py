"""A review in progress: the sample, its labels, and what the page shows of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from typing_extensions import TypedDict

from robustcmr.audit.labels import (
    Label,
    LabelFile,
    Verdict,
    agreements,
    by_pair,
    counted,
    differ,
    now,
    settled,
    tally,
)
from robustcmr.errors import UserError
from robustcmr.review.items import Item, Place, Suggestion, key_of, link_of, turns
from robustcmr.review.names import reviewer_name

AHEAD = 4
"""Pairs sent to the page ahead of time, so that their pictures are loaded when they are shown."""

POINTS = 60
"""Points of the curve of the interval."""


class RequestError(UserError):
    """A request of the page that cannot be met."""


class Given(TypedDict):
    """A verdict as the page sends it: ``pair`` is the key of the pair, ``mark`` that of the verdict."""

    pair: str
    verdict: Verdict
    by: str
    mark: str


class Undone(TypedDict):
    """A verdict that the page takes back."""

    pair: str
    by: str
    mark: str


@dataclass(frozen=True)
class Interval:
    """A share of wrong pairs with its 95% interval, all in [0, 1]."""

    value: float
    low: float
    high: float


Estimate = Callable[[Sequence[Label]], Interval | None]
"""The share of wrong pairs by one label a pair; None where there are too few of them."""


class Review:
    """The sample and its labels, shared by all requests.

    Args:
        items: of the sample, in the order they are judged in.
        file: that labels are appended to.
        estimate: of the share of wrong pairs.
        title: of the page.
        load_urls: whether the browser may load pictures by address.
        reviewer: that the page takes for granted; None to ask.
    """

    def __init__(
        self,
        items: Sequence[Item],
        file: LabelFile,
        estimate: Estimate,
        title: str = "",
        load_urls: bool = False,
        reviewer: str | None = None,
    ) -> None:
        self.items = list(items)
        self._by_key = {item.key: item for item in items}
        self._by_id = {item.id: item for item in items}
        self._file = file
        self._estimate = estimate
        self._shows = {"title": title, "load_urls": load_urls, "reviewer": reviewer}
        self._lock = threading.Lock()
        self._curve: list[tuple[int, Interval]] = []
        self._drawn = -1  # labels that the curve knows
        self._places = {key_of(_spelled(place)): place for place in self.places()}

    def places(self) -> list[Place]:
        """Return where all pictures are, in the order they are needed in."""
        found = []
        for item in self.items:
            found += [] if item.place is None else [item.place]
            found += [one.place for one in item.suggestions if one.place is not None]
        return list(dict.fromkeys(found))

    def waiting(self) -> list[Place]:
        """Return where the pictures are of the pairs that nobody has judged yet, in order."""
        judged = by_pair(self._file.read())
        items = [item for item in self.items if item.id not in judged]
        return [item.place for item in items if item.place is not None]

    def place(self, key: str) -> Place | None:
        """Return where the picture is that the page calls ``key``; None where the sample has no such one."""
        return self._places.get(key)

    def state(self, by: str | None, second: bool = False, first: str | None = None) -> dict[str, Any]:
        """Return what the page shows to a reviewer.

        Args:
            by: the reviewer; None while the page has no name yet.
            second: whether to hand out second opinions too.
            first: id of the pair to show before all others, if any.
        """
        with self._lock:
            return self._state(by, second, first)

    def give(self, given: Given, second: bool = False) -> dict[str, Any]:
        """Add a verdict, and return the state after it; one that is sent twice counts once.

        Raises:
            RequestError: there is no such pair.
            UserError: the verdict cannot be written.
        """
        item, by = self._item(given["pair"]), reviewer_name(given["by"])
        label = _label(item, given["verdict"], by, given["mark"])
        with self._lock:
            self._file.append([label])
            return self._state(by, second, None)

    def take_back(self, undone: Undone, second: bool = False) -> dict[str, Any]:
        """Take a verdict back, and return the state after it, with its pair first.

        Raises:
            RequestError: there is no such pair, or no such verdict.
            UserError: the file cannot be written.
        """
        item, by = self._item(undone["pair"]), reviewer_name(undone["by"])
        with self._lock:
            given = [
                label
                for label in self._file.read()
                if (label.id, label.by, label.key) == (item.id, by, undone["mark"]) and not label.undo
            ]
            if not given:
                raise RequestError("there is no such verdict to take back; load the page again")
            self._file.append([_label(item, given[-1].verdict, by, undone["mark"], undo=True)])
            return self._state(by, second, item.id)

    def _item(self, key: str) -> Item:
        if key not in self._by_key:
            raise RequestError("this sample has no such pair; load the page again")
        return self._by_key[key]

    def _state(self, by: str | None, second: bool, first: str | None) -> dict[str, Any]:
        labels = [label for label in self._file.read() if label.id in self._by_id]
        outcome = settled(labels)
        self._extend_curve(labels, outcome)
        state: dict[str, Any] = {
            **self._shows,
            "total": len(self.items),
            "judged": len(outcome),
            "reviewers": tally(labels),
            "agreements": [asdict(one) for one in agreements(labels)],
            "estimate": None if not self._curve else asdict(self._curve[-1][1]),
            "curve": [(count, one.value, one.low, one.high) for count, one in self._curve],
            "queue": [],
        }
        if by is None:
            return state
        by = reviewer_name(by)
        every = turns([item.id for item in self.items], labels, by, second=True)
        waiting = [turn for turn in every if second or turn.why != "second"]
        if first is not None:
            waiting.sort(key=lambda turn: turn.id != first)
        given = by_pair(labels)
        mine = [label for label in counted(labels) if label.by == by]
        last = _last(labels, by)
        return {
            **state,
            "by": by,
            "mine": len(mine),
            "left": len(waiting),
            "others": len(every) - len(waiting),
            "queue": [
                self._card(self._by_id[turn.id], turn.why, given.get(turn.id, [])) for turn in waiting[:AHEAD]
            ],
            "last": None if last is None else {"pair": key_of(last.id), "mark": last.key},
        }

    def _card(self, item: Item, why: str, given: Sequence[Label]) -> dict[str, Any]:
        said = given if why == "again" and differ(given) else ()  # else nobody is swayed by others
        return {
            "pair": item.key,
            "id": item.id,
            "why": why,
            "caption": item.caption,
            **_picture(item.image, item.place, item.link),
            "said": [{"by": label.by, "verdict": label.verdict} for label in said],
            "suggestions": [_suggested(one) for one in item.suggestions],
        }

    def _extend_curve(self, labels: Sequence[Label], outcome: Sequence[Label]) -> None:
        """Add the estimate after the latest labels; of earlier ones where the curve is still empty."""
        if len(labels) == self._drawn:
            return
        self._drawn = len(labels)
        if not self._curve:
            step = max(1, len(labels) // POINTS)
            for end in range(step, len(labels), step):
                self._add_point(settled(labels[:end]))
        self._add_point(outcome)
        if len(self._curve) > 2 * POINTS:
            self._curve = [*self._curve[:-1:2], self._curve[-1]]

    def _add_point(self, outcome: Sequence[Label]) -> None:
        # the same number of pairs comes again after a second opinion, a smaller one after an undo
        self._curve = [point for point in self._curve if point[0] < len(outcome)]
        if (found := self._estimate(outcome)) is not None:
            self._curve.append((len(outcome), found))


def _label(item: Item, verdict: Verdict, by: str, mark: str, undo: bool = False) -> Label:
    if not mark or len(mark) > 64 or not mark.isascii() or not mark.isalnum():
        raise UserError("the verdict has no mark of its own; load the page again")
    return Label(item.id, verdict, by, now(), item.stratum, item.probability, undo, mark)


def _last(labels: Sequence[Label], by: str) -> Label | None:
    """The latest verdict of a reviewer that counts and can be taken back."""
    mine = {(label.id, label.key) for label in counted(labels) if label.by == by and label.key}
    latest = [label for label in labels if not label.undo and (label.id, label.key) in mine]
    return latest[-1] if latest else None


def _spelled(place: Place) -> str:
    return f"{place.row}\0{place.file}"


def _picture(name: str, place: Place | None, link: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "link": link,
        "picture": None if place is None or link is not None else key_of(_spelled(place)),
    }


def _suggested(one: Suggestion) -> dict[str, Any]:
    values: dict[str, Any] = {"kind": one.kind, "probability": one.probability}
    if one.kind == "caption":
        return {**values, "caption": one.text}
    return {**values, **_picture(one.text, one.place, link_of(one.text))}
