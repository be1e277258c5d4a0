"""The page of one audit: the outcome first, then counts, problems, scores and a gallery by reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustcmr.reporting.audit_charts import score_chart
from robustcmr.reporting.audit_sentences import apply_command, outcome_sentences, reasons_of
from robustcmr.reporting.charts import Table
from robustcmr.reporting.pages import Section, render
from robustcmr.reporting.thumbnails import Thumbnail
from robustcmr.runs.audits import About, Curves, Summary

LARGEST = 9_500_000
"""Bytes of a page, beyond which its gallery is cut."""

FIRST = 12
"""Cards of a reason that are shown at once; more are folded away."""

_LISTS = {"drop": "drop", "review": "review", "keep": "keep", "aside": "set aside"}


@dataclass(frozen=True)
class Better:
    """A suggestion beside a pair.

    Attributes:
        image: the better picture for the caption, or its name alone; None for a better caption.
        caption: the better caption for the picture; "" for a better picture.
        probability: that it is right.
    """

    image: Thumbnail | None
    caption: str
    probability: float

    @property
    def title(self) -> str:
        """What it is and how sure."""
        kind = "caption" if self.image is None else "picture"
        return f"Suggested {kind}, {_percent(self.probability)} likely right"


@dataclass(frozen=True)
class AuditCard:
    """A pair in the gallery.

    Attributes:
        id: of the pair.
        image: its picture, or its name alone where there is none.
        link: address of the picture where only that is known; it is shown and never loaded. Else None.
        caption: as given.
        probability: that the pair is mismatched, with its interval (value, low, high); None where unknown.
        score: similarity; None where unknown.
        duplicate_of: id of the pair that it repeats, or None.
        caption_count: how many pairs have this caption.
        better: suggested partners.
    """

    id: str
    image: Thumbnail
    link: str | None
    caption: str
    probability: tuple[float, float, float] | None
    score: float | None
    duplicate_of: str | None
    caption_count: int
    better: Sequence[Better] = ()

    @property
    def chance(self) -> str:
        """The probability with its interval in words; "" where it is not known."""
        if self.probability is None:
            return ""
        value, low, high = map(_percent, self.probability)
        return f"{value} likely wrong ({low} to {high})"


@dataclass(frozen=True)
class ReasonGroup:
    """The pairs of one reason.

    Attributes:
        decision: drop, review, keep or aside.
        reason: in the words of the audit.
        total: how many pairs there are.
        cards: of the worst of them.
    """

    decision: str
    reason: str
    total: int
    cards: Sequence[AuditCard]

    @property
    def title(self) -> str:
        """Heading of the group."""
        return f"{self.reason[:1].upper()}{self.reason[1:]} ({_LISTS[self.decision]}, {self.total:,})"


def audit_page(
    audit: Path,
    summary: Summary,
    about: About,
    groups: Sequence[ReasonGroup],
    note: str = "",
    curves: Curves | None = None,
) -> str:
    """Return the page as HTML, at most :data:`LARGEST` bytes: of larger groups the worst are kept.

    Args:
        audit: folder of the audit, as commands on the page name it.
        summary: of the audit.
        about: of the audit.
        groups: the gallery.
        note: why the gallery shows no pictures, or less; "" where nothing is missing.
        curves: how the scores are distributed; None where no pair has one.
    """
    title = f"Audit {audit.absolute().name}"
    foot = f"Made by robustcmr report from an audit of robustcmr {about['robustcmr_version']}."
    while True:
        sections = list(_sections(audit, summary, about, groups, note, curves))
        page = render("audit.html.j2", title, _lead(summary, about), sections, foot)
        size, most = len(page.encode()), max((len(group.cards) for group in groups), default=0)
        if size <= LARGEST or not most:
            return page
        kept = int(0.95 * most * LARGEST / size)
        groups = [replace(group, cards=group.cards[:kept]) for group in groups]


def _lead(summary: Summary, about: About) -> str:
    paths = ["/".join(Path(path).parts[-2:]) for path in about["settings"]["sources"]]
    form = about["source"].get("format")
    named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    kind = "" if form is None else f", read as {form}"
    return f"{summary['pairs']:,} pairs of {named}{kind}."


def _sections(
    audit: Path,
    summary: Summary,
    about: About,
    groups: Sequence[ReasonGroup],
    note: str,
    curves: Curves | None,
) -> Iterator[Section]:
    outcome = {
        "rate": summary["noise_rate"],
        "drop": summary["decisions"].get("drop", 0),
        "review": summary["decisions"].get("review", 0),
        "judged": summary["pairs"] - summary["decisions"].get("aside", 0),
        "text": outcome_sentences(summary, problems=False),
        "dry_run": apply_command(audit, dry_run=True),
        "apply": apply_command(audit),
    }
    yield Section("outcome", "Outcome", (), "outcome", outcome)
    yield Section("decisions", "Decisions", (), tables=_counts(summary))
    if summary["problems"]:
        yield Section("problems", "Problems", (), "problems", tables=[_problems(summary)])
    chart = None if curves is None else score_chart(curves)
    why = [] if chart is not None else ["No pair has a score."]
    yield Section("scores", "Scores", why, charts=[chart])
    gallery = {"groups": groups, "note": note, "first": FIRST}
    yield Section("gallery", "Gallery", (), "gallery", gallery)
    yield Section(
        "details",
        "Details",
        (),
        "details",
        {"about": about, "says": summary["says"]},
        _facts(about),
        folded=True,
    )


def _counts(summary: Summary) -> list[Table]:
    every = summary["pairs"] or 1
    lists = [
        (_LISTS[decision], count, f"{100 * count / every:.1f}")
        for decision in _LISTS
        if (count := summary["decisions"].get(decision, 0)) or decision in ("drop", "keep")
    ]
    reasons = [
        (reason, _LISTS[decision], count, f"{100 * count / every:.1f}")
        for decision, reason, count in reasons_of(summary)
        if decision != "keep"
    ]
    tables = [Table("Pairs by decision", ("decision", "pairs", "%"), lists)]
    if reasons:
        tables.append(Table("Pairs by reason", ("reason", "decision", "pairs", "%"), reasons))
    return tables


def _problems(summary: Summary) -> Table:
    found = sorted(summary["problems"], key=lambda problem: -problem["pairs"])
    rows = [(each["problem"], each["pairs"], each.get("first")) for each in found]
    return Table("Pairs set aside", ("problem", "pairs", "first"), rows)


def _facts(about: About) -> list[Table]:
    groups = {"The audit": {"robustcmr": about["robustcmr_version"]}}
    for name, value in about.items():
        if isinstance(value, Mapping):
            groups[name.capitalize()] = {str(key): _plain(entry) for key, entry in value.items()}
        elif name not in ("robustcmr_version", "command"):
            groups["The audit"][name.replace("_", " ")] = _plain(value)
    return [Table(caption, (), list(values.items())) for caption, values in groups.items() if values]


def _percent(share: float) -> str:
    """A probability in percent, which is never none or all."""
    if share >= 0.9995:
        return "over 99.9%"
    return "below 0.1%" if share < 0.0005 else f"{100 * share:.1f}%"


def _plain(value: Any) -> Any:
    """A value in one cell: lists and mappings as text, shortened."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    elif isinstance(value, Sequence):
        text = ", ".join(str(_plain(entry)) for entry in value)
    else:
        text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
