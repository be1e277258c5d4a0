"""What people said of pairs: the lines of ``labels.jsonl``, which of them count, and how far people agree.

The file is only ever appended to, a line a verdict, each on the disk before it is acknowledged. A line that a
kill cut short is no verdict; the next one takes its place.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from robustcmr.errors import DataError, InUseError
from robustcmr.files import LARGEST_JSON, fitting, parse_json, reason, regular_file
from robustcmr.locks import sole_user

Verdict = Literal["right", "wrong", "partly", "unsure"]
VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "partly", "unsure")

LONGEST_NAME = 80
"""Letters of a reviewer's name."""

_TRIES = 40  # to take the lock, a quarter of a second each
_TEXT = Annotated[str, Len(1, 4096)]


class _Line(TypedDict):
    id: _TEXT
    verdict: Verdict
    by: Annotated[str, Len(1, LONGEST_NAME)]
    at: _TEXT
    stratum: Annotated[int, Ge(0)]
    probability: Annotated[float, Ge(0), Le(1)]
    undo: NotRequired[bool]
    key: NotRequired[Annotated[str, Len(0, 64)]]


@dataclass(frozen=True)
class Label:
    """A line of ``labels.jsonl``.

    Attributes:
        id: of the pair.
        verdict: ``right``, ``wrong``, ``partly`` or ``unsure``.
        by: name of the reviewer.
        at: when, ISO 8601 in UTC.
        stratum: that the pair was sampled from.
        probability: of the pair being sampled, in (0, 1].
        undo: whether the line takes back the verdict of the same ``key`` instead of giving one.
        key: of the verdict, so that one that is sent twice counts once; "" where none was given.
    """

    id: str
    verdict: Verdict
    by: str
    at: str
    stratum: int
    probability: float
    undo: bool = False
    key: str = ""


@dataclass(frozen=True)
class Agreement:
    """How far two reviewers agree, over the pairs that both are sure of.

    Attributes:
        reviewers: their names.
        pairs: that both judged.
        share: of equal verdicts, in [0, 1].
        kappa: Cohen's: agreement beyond that of chance; None where both gave one and the same verdict to all.
    """

    reviewers: tuple[str, str]
    pairs: int
    share: float
    kappa: float | None


def now() -> str:
    """Return the time as labels state it, such as ``2026-01-31T12:00:00.123+00:00``."""
    return datetime.now(UTC).isoformat("T", "milliseconds")


def read_labels(path: Path) -> list[Label]:
    """Read ``labels.jsonl``, every line of it; none where there is no file.

    Raises:
        DataError: the file cannot be read, or a line is damaged. The last one may be cut short.
    """
    return LabelFile(path).read()


class LabelFile:
    """``labels.jsonl``, to which several processes may append.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._labels: list[Label] = []
        self._end = 0  # bytes that were read
        self._keys: set[str] = set()

    def read(self) -> list[Label]:
        """Return all labels, reading what was appended since the last call."""
        try:
            with regular_file(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._end:  # somebody wrote it anew
                    self._labels, self._end, self._keys = [], 0, set()
                if size - self._end > LARGEST_JSON:
                    raise ValueError(f"it has {size:,} bytes, expected at most {LARGEST_JSON:,}")
                file.seek(self._end)
                self._take(file.read(size - self._end))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise DataError(
                f"cannot read {self.path}: {why}; expected a verdict a line as 'robustcmr review' writes it"
            ) from error
        return list(self._labels)

    def append(self, labels: Sequence[Label]) -> list[Label]:
        """Append labels that are not there yet by their keys, and wait until the disk has them.

        Returns:
            Those that were appended.

        Raises:
            DataError: the file cannot be written, or is damaged.
        """
        try:
            return self._append(labels)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {reason(error)}; nothing was added") from error

    def _append(self, labels: Sequence[Label]) -> list[Label]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        for last in (*(False,) * (_TRIES - 1), True):
            try:
                with sole_user(lock, f"{self.path}", required=False):
                    return self._write(labels)
            except InUseError:  # another reviewer's server writes a line at this moment
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    def _write(self, labels: Sequence[Label]) -> list[Label]:
        self.read()  # by other processes
        new: list[Label] = []
        for label in labels:
            if not self._knows(label):
                new.append(label)
                self._keys.add(_mark(label))
        if not new:
            return []
        text = b"".join(_line(label) for label in new)
        fresh = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if size > self._end:  # a line that a kill cut short
                os.ftruncate(descriptor, self._end)
            elif size and _last_byte(descriptor) != b"\n":
                text = b"\n" + text
            os.lseek(descriptor, 0, os.SEEK_END)
            try:
                _write_all(descriptor, text)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, min(size, self._end))  # all of them or none
                self._keys -= {_mark(label) for label in new}
                raise
        finally:
            os.close(descriptor)
        if fresh:
            _sync_folder(self.path.parent)
        self._labels += new
        self._end = min(size, self._end) + len(text)
        return new

    def _knows(self, label: Label) -> bool:
        return bool(label.key) and _mark(label) in self._keys

    def _take(self, data: bytes) -> None:
        """Read the lines of what was appended; the last may be cut short."""
        lines = data.split(b"\n")
        for number, line in enumerate(lines):
            last = number == len(lines) - 1
            if line.strip():
                try:
                    label = _label(line)
                except ValueError as error:
                    if last:
                        return
                    raise ValueError(f"line {len(self._labels) + 1}: {error}") from error
                self._labels.append(label)
                self._keys.add(_mark(label))
            self._end += len(line) + (not last)


def _mark(label: Label) -> str:
    return f"{'-' if label.undo else '+'}{label.key}"


def _line(label: Label) -> bytes:
    values = asdict(label)
    if not label.key:
        del values["key"]
    return json.dumps(values, ensure_ascii=True).encode("ascii") + b"\n"


def _label(line: bytes) -> Label:
    found: dict[str, Any] = fitting(parse_json(line.decode("utf-8")), _Line)
    if not _is_time(found["at"]):
        raise ValueError(
            f"at: {found['at'][:60]!a} is no time with its zone, such as 2026-01-31T12:00:00+00:00"
        )
    return Label(**{name: found[name] for name in Label.__dataclass_fields__ if name in found})


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _last_byte(descriptor: int) -> bytes:
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Wait until the disk knows a new file by its name; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def counted(labels: Iterable[Label]) -> list[Label]:
    """Return the verdicts that count: of each reviewer and pair the last that was not taken back."""
    given: dict[tuple[str, str], list[Label]] = {}
    for label in labels:
        stack = given.setdefault((label.id, label.by), [])
        if not label.undo:
            stack.append(label)
        elif stack:
            stack[:] = [one for one in stack if one.key != label.key] if label.key else stack[:-1]
    return [stack[-1] for stack in given.values() if stack]


def settled(labels: Iterable[Label]) -> list[Label]:
    """Return one verdict a pair: what most reviewers who are sure said.

    A pair is ``unsure`` where nobody is sure, or where as many say one thing as another.

    Returns:
        The last label of each pair that agrees with the outcome, or that label with ``unsure``.
    """
    found = []
    for given in by_pair(labels).values():
        if len(given) == 1:
            found.append(given[0])
            continue
        votes = Counter(label.verdict for label in given if label.verdict != "unsure").most_common(2)
        tied = not votes or (len(votes) == 2 and votes[0][1] == votes[1][1])
        if tied:
            found.append(replace(given[-1], verdict="unsure"))
        else:
            found.append([label for label in given if label.verdict == votes[0][0]][-1])
    return found


def by_pair(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """Return the verdicts that count by the id of their pair."""
    found: dict[str, list[Label]] = defaultdict(list)
    for label in counted(labels):
        found[label.id].append(label)
    return dict(found)


def disagreements(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """Return the pairs of which sure reviewers say different things, with all verdicts on them."""
    return {key: given for key, given in by_pair(labels).items() if differ(given)}


def differ(given: Iterable[Label]) -> bool:
    """Return whether those who are sure say different things."""
    return len({label.verdict for label in given if label.verdict != "unsure"}) > 1


def agreements(labels: Iterable[Label]) -> list[Agreement]:
    """Return how far every two reviewers agree who judged a pair both, in the order of their names."""
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)
    for label in counted(labels):
        if label.verdict != "unsure":
            verdicts[label.by][label.id] = label.verdict
    found = []
    for one, other in combinations(sorted(verdicts), 2):
        both = sorted(verdicts[one].keys() & verdicts[other].keys())
        if both:
            first, second = ([verdicts[name][key] for key in both] for name in (one, other))
            share, kappa = cohen(first, second)
            found.append(Agreement((one, other), len(both), share, kappa))
    return found


def cohen(first: Sequence[str], second: Sequence[str]) -> tuple[float, float | None]:
    """Return the share of equal verdicts of two reviewers, and Cohen's kappa (1960).

    With p the share of equal verdicts and q what it would be if both gave their verdicts in the same numbers
    but at random, kappa = (p - q) / (1 - q).

    Args:
        first: (n,) verdicts of one, n >= 1.
        second: (n,) those of the other on the same pairs.

    Returns:
        The share, and kappa; None for kappa where q = 1.

    Example:
        >>> cohen(["right", "right", "wrong", "wrong"], ["right", "right", "wrong", "right"])
        (0.75, 0.5)
    """
    count = len(first)
    equal = sum(a == b for a, b in zip(first, second, strict=True)) / count
    here, there = Counter(first), Counter(second)
    chance = sum(here[name] * there[name] for name in here) / count**2
    return equal, None if chance == 1 else (equal - chance) / (1 - chance)


def tally(labels: Iterable[Label]) -> Mapping[str, Mapping[str, int]]:
    """Return the verdicts that count by reviewer, and of each the number by verdict."""
    found: dict[str, Counter[str]] = {}
    for label in counted(labels):
        found.setdefault(label.by, Counter())[label.verdict] += 1
    return {name: {verdict: found[name][verdict] for verdict in VERDICTS} for name in sorted(found)}
