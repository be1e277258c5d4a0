"""The folder of a finished audit: its files, and what ``summary.json`` and ``audit.json`` hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge
from typing_extensions import TypedDict

from robustcmr.errors import DataError
from robustcmr.files import read_json, reason

Decision = Literal["keep", "drop", "review", "aside"]

DECISIONS: tuple[Decision, ...] = ("keep", "drop", "review", "aside")
LISTS: tuple[Decision, ...] = ("keep", "drop", "review")
"""Decisions that can be applied; pairs set aside were not judged."""

Count = Annotated[int, Ge(0)]


class Rate(TypedDict):
    """A share with its 95% interval, and the sentence that claims no more than was measured."""

    value: float
    low: float
    high: float
    says: str


class Problem(TypedDict):
    """Pairs set aside for one reason; ``first`` names the first of them, such as ``web/0.parquet row 3``."""

    problem: str
    pairs: Count
    first: NotRequired[str]


class Curves(TypedDict):
    """How scores are distributed: numbers of pairs between ``edges`` (b + 1), (b,) each.

    ``given`` are the pairs of the audit, of which ``mismatched`` are expected to be mismatched by their
    probabilities; ``random`` and ``near`` are pairs made of random and of near partners.
    """

    edges: list[float]
    given: list[float]
    mismatched: NotRequired[list[float] | None]
    random: NotRequired[list[float] | None]
    near: NotRequired[list[float] | None]


class Summary(TypedDict):
    """``summary.json``: the outcome in numbers.

    Attributes:
        pairs: judged and set aside.
        decisions: pairs by decision.
        reasons: pairs by reason, by decision.
        noise_rate: of the judged pairs; None where it cannot be estimated, as ``says`` then tells.
        problems: why pairs were set aside.
        says: what was guessed, made or left out, one sentence each.
        certified: what labels prove, one sentence each; absent without labels.
    """

    pairs: Count
    decisions: dict[str, Count]
    reasons: dict[str, dict[str, Count]]
    noise_rate: Rate | None
    problems: list[Problem]
    says: list[str]
    certified: NotRequired[list[str]]


class Settings(TypedDict):
    """What of the settings opens the source again."""

    sources: list[str]
    image: NotRequired[str | None]
    text: NotRequired[str | None]
    id: NotRequired[str | None]


class About(TypedDict):
    """``audit.json``: where an audit came from.

    Attributes:
        robustcmr_version: that made it.
        command: that the user gave.
        source: its format, root, number of files and columns.
        fingerprint: of the source.
        vectors: of each side, where they came from.
        settings: all that the outcome depends on.
    """

    robustcmr_version: str
    command: str
    source: dict[str, Any]
    fingerprint: dict[str, Any]
    vectors: NotRequired[dict[str, Any]]
    settings: Settings


class AuditFolder:
    """Paths and small files of an audit.

    Args:
        path: the folder; it need not exist.

    Attributes:
        about: where the audit came from, JSON; written last, so that it marks a finished audit.
        summary: the outcome in numbers, JSON.
        calibration: what the pairs were judged by, NumPy arrays.
        pairs: a row for each pair, parquet.
        lists: folder of the ids by decision.
        suggestions: better partners of mismatched pairs, parquet; there once they were sought.
        page: the page.
        work: folder of unfinished work; absent from a finished audit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about = path / "audit.json"
        self.summary = path / "summary.json"
        self.calibration = path / "calibration.npz"
        self.pairs = path / "pairs.parquet"
        self.lists = path / "lists"
        self.suggestions = path / "suggestions.parquet"
        self.page = path / "report.html"
        self.work = path / "work"

    @property
    def holds_audit(self) -> bool:
        """Whether a finished audit is here."""
        return self.about.is_file()

    @property
    def begun(self) -> bool:
        """Whether an audit is here, finished or not."""
        return any(path.exists() for path in (self.about, self.work, self.summary, self.calibration))

    def require(self) -> None:
        """Raise DataError unless a finished audit is here."""
        if self.holds_audit:
            return
        if not self.path.is_dir():
            raise DataError(f"there is no audit in {self.path}; expected the folder of a 'robustcmr audit'")
        if self.work.is_dir():
            raise DataError(f"the audit in {self.path} has not finished; give its command again to resume it")
        raise DataError(f"{self.path} has no audit.json; expected the folder that 'robustcmr audit -o' wrote")

    def read_summary(self) -> Summary:
        """Read ``summary.json``.

        Raises:
            DataError: it is missing or damaged.
        """
        found: Summary = _read(self.summary, Summary)
        return found

    def read_about(self) -> About:
        """Read ``audit.json``.

        Raises:
            DataError: it is missing or damaged.
        """
        found: About = _read(self.about, About)
        return found


def _read(path: Path, schema: Any) -> Any:
    try:
        return read_json(path, schema)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"cannot read {path}: {error}; expected that of a finished audit") from error
