"""Verdicts on their way to other programs and back: what is exchanged, and what is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from robustcmr.audit.labels import VERDICTS, Label, Verdict, counted, now
from robustcmr.errors import DataError, UserError
from robustcmr.plugins import did_you_mean
from robustcmr.review.items import Item, key_of
from robustcmr.review.names import reviewer_name
from robustcmr.review.sample import Drawn


@dataclass(frozen=True)
class Sent:
    """A pair of the sample on its way out.

    Attributes:
        item: the pair.
        labels: verdicts on it that count, one a reviewer.
        picture: as JPEG; None where there is none, or none was wanted.
    """

    item: Item
    labels: Sequence[Label]
    picture: bytes | None


@dataclass(frozen=True)
class Came:
    """A verdict that came from another program.

    Attributes:
        pair: id of the pair, or the key that stands for it in names of files.
        verdict: as written there.
        by: reviewer; None where unknown.
        at: time, ISO 8601; None where unknown.
        where: the place in the file, such as ``row 3``.
        stratum: as it went out; None where it was lost.
        probability: likewise.
    """

    pair: str
    verdict: str
    by: str | None
    at: str | None
    where: str
    stratum: int | None = None
    probability: float | None = None


def accepted(
    came: Iterable[Came],
    sample: Sequence[Drawn],
    known: Sequence[Label],
    by: str | None,
    file: Path,
) -> list[Label]:
    """Return what to append to the labels: all verdicts that say something new.

    The stratum and the probability are those of the sample. A verdict that its reviewer has since replaced is
    left out.

    Args:
        came: from the file.
        sample: of the audit.
        known: all labels that are there already.
        by: reviewer of the verdicts that name none; None to refuse those.
        file: named in messages.

    Raises:
        UserError: a verdict is none, has no reviewer or no readable time, or its pair is not in the sample.
    """
    pairs: Mapping[str, Drawn] = {
        **{key_of(pair.id): pair for pair in sample},
        **{pair.id: pair for pair in sample},
    }
    latest = {(label.id, label.by): label for label in counted(known)}
    found = []
    for one in came:
        pair = pairs.get(one.pair)
        if pair is None:
            raise DataError(
                f"{file}, {one.where}: the pair {one.pair!r} is not in the sample of this audit; import "
                "verdicts that were exported from it"
            )
        if one.probability is not None and abs(one.probability - pair.probability) > 1e-9:
            raise DataError(
                f"{file}, {one.where}: the pair {one.pair!r} was sampled with probability {one.probability}, "
                f"and this audit's sample has {pair.probability}; export the sample again"
            )
        label = _label(one, pair, by, file)
        before = latest.get((label.id, label.by))
        if before is not None and not one.at and before.verdict == label.verdict:
            continue  # without a time it says nothing new
        if before is None or datetime.fromisoformat(before.at) < datetime.fromisoformat(label.at):
            found.append(label)
    return sorted(found, key=lambda label: datetime.fromisoformat(label.at))


def _label(one: Came, pair: Drawn, by: str | None, file: Path) -> Label:
    place = f"{file}, {one.where}"
    reviewer = (one.by or "").strip() or by
    if reviewer is None:
        raise UserError(f"{place}: the verdict names no reviewer; say who it was with --by NAME")
    try:
        reviewer = reviewer_name(reviewer)
    except UserError as error:
        raise DataError(f"{place}: {error}") from error
    verdict, at = _verdict(one.verdict, place), now() if not one.at else _time(one.at, place)
    text = "\0".join((pair.id, reviewer, verdict, at))
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Label(pair.id, verdict, reviewer, at, pair.stratum, pair.probability, key=mark)


def _verdict(text: str, place: str) -> Verdict:
    for verdict in VERDICTS:
        if text.strip().lower() == verdict:
            return verdict
    raise DataError(
        f"{place}: the verdict is {text!r}{did_you_mean(text, VERDICTS)}; expected {', '.join(VERDICTS)}"
    )


def _time(text: str, place: str) -> str:
    """A time in UTC; one without a zone is taken for UTC."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise DataError(f"{place}: the time is {text!r}; expected such as 2026-01-31T12:00:00Z") from error
    return (
        (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat("T", "milliseconds")
    )
