"""Write the page of an audit: counts from its small files, the gallery from its pairs and its source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from robustcmr.errors import DataError, RunFolderError, UserError
from robustcmr.files import write_text
from robustcmr.jobs.audit_pictures import read_thumbnails
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.suggested import suggestions_of
from robustcmr.reporting.audit_page import AuditCard, Better, ReasonGroup, audit_page
from robustcmr.reporting.audit_sentences import reasons_of
from robustcmr.reporting.thumbnails import Thumbnail
from robustcmr.runs.audits import AuditFolder, Curves, Summary
from robustcmr.types import FloatArray

logger = logging.getLogger("robustcmr")

GALLERY = 96
"""Pairs shown unless another number is requested."""

MOST_REASONS = 12
"""Reasons with a gallery, those with most pairs of each list first."""

_BINS = 60
_LINKED = ("http://", "https://")  # other addresses are shown as text: some would run code

_COLUMNS = (
    *("id", "image", "caption", "file", "row", "score", "p_mismatch", "p_low", "p_high"),
    *("reason", "duplicate_of", "caption_count"),
)


@dataclass(frozen=True)
class Group:
    """The worst pairs of a reason, as rows of ``pairs.parquet``."""

    decision: str
    reason: str
    total: int
    rows: Sequence[Mapping[str, Any]]


def write_audit_report(
    path: Path, output: Path | None = None, gallery: int = GALLERY, pictures: bool = True
) -> Path:
    """Write an audit's page, at most 10 MB.

    Args:
        path: folder of the audit.
        output: the file; ``report.html`` in that folder by default.
        gallery: most pairs to show; 0 for none. Fewer are shown where the page would grow too large.
        pictures: whether to open the source for pictures; otherwise they go by name.

    Returns:
        The file.

    Raises:
        UserError: there is no finished audit, a file of it is damaged, or the page cannot be written. A
            source that is gone or has changed is reported on the page instead.
    """
    folder = AuditFolder(path)
    folder.require()
    if output is not None and output.is_dir():
        raise RunFolderError(f"{output} is a folder, expected a file for the page; add a name to it")
    summary, about = folder.read_summary(), folder.read_about()
    curves = score_counts(folder)
    groups = list(worst_pairs(folder, summary, gallery))
    better = suggestions_of(folder, [row["id"] for group in groups for row in group.rows])
    found, note = _thumbnails(folder, groups, better) if pictures and groups else ({}, "")
    if not gallery:
        note = "A page without a gallery was requested."
    shown = [
        ReasonGroup(
            group.decision, group.reason, group.total, [_card(row, found, better) for row in group.rows]
        )
        for group in groups
    ]
    target = folder.page if output is None else output
    write_text(target, audit_page(path, summary, about, shown, note, curves))
    return target


def worst_pairs(folder: AuditFolder, summary: Summary, most: int) -> Iterator[Group]:
    """Yield the pairs of each reason that are most likely wrong; ``most`` of all reasons together.

    Raises:
        DataError: ``pairs.parquet`` is missing or damaged.
    """
    reasons = [found for found in reasons_of(summary) if found[0] != "keep"][:MOST_REASONS]
    if not reasons or not most:
        return
    columns, each = ", ".join(_COLUMNS), max(1, most // len(reasons))
    query = (
        f"SELECT {columns} FROM read_parquet(?) WHERE decision = ? AND reason = ? "
        "ORDER BY p_mismatch DESC NULLS LAST, file, row, id LIMIT ?"
    )
    for decision, reason, total in reasons:
        try:
            with duckdb.connect() as connection:
                found = connection.sql(query, params=[str(folder.pairs), decision, reason, each])
                rows = found.to_arrow_table().to_pylist()
        except duckdb.Error as error:
            raise _unreadable(folder, error) from error
        yield Group(decision, reason, total, rows)


def score_counts(folder: AuditFolder) -> Curves | None:
    """Count scores in bins of equal width, of the given pairs and of those mismatched on purpose.

    None where no pair has a score. The outermost thousandth of the given pairs and hundredth of the others is
    left out, so that a few far scores do not squeeze the rest.

    Raises:
        DataError: ``pairs.parquet`` is missing or damaged.
    """
    ends = "SELECT approx_quantile(score, 0.001), approx_quantile(score, 0.999) FROM read_parquet(?)"
    counts = (
        "SELECT floor((score - ?) / ?)::INTEGER AS bin, count(*), sum(coalesce(p_mismatch, 0)) "
        "FROM read_parquet(?) WHERE score BETWEEN ? AND ? GROUP BY bin"
    )
    nulls = _nulls(folder)
    try:
        with duckdb.connect() as connection:
            ((least, most),) = connection.execute(ends, [str(folder.pairs)]).fetchall()
            if least is None:
                return None
            low = min([float(least), *(float(np.quantile(values, 0.01)) for values in nulls.values())])
            high = max([float(most), *(float(np.quantile(values, 0.99)) for values in nulls.values())])
            width = max(high - low, 1e-6) / _BINS
            rows = connection.execute(counts, [low, width, str(folder.pairs), low, high]).fetchall()
    except duckdb.Error as error:
        raise _unreadable(folder, error) from error
    given, mismatched = [0.0] * _BINS, [0.0] * _BINS
    for place, count, wrong in rows:
        place = min(place, _BINS - 1)  # the highest score is the end of the last bin
        given[place] += count
        mismatched[place] += wrong
    edges = [low + place * width for place in range(_BINS + 1)]
    found: Curves = {"edges": edges, "given": given, "mismatched": mismatched}
    if "random" in nulls:
        found["random"] = _counted(nulls["random"], edges)
    if "near" in nulls:
        found["near"] = _counted(nulls["near"], edges)
    return found


def _nulls(folder: AuditFolder) -> dict[str, FloatArray]:
    """Scores of pairs mismatched on purpose, by kind of their partners; none where they cannot be read."""
    from robustcmr.audit.saved import read_calibration

    try:
        calibration = read_calibration(folder.calibration)
    except DataError as error:
        logger.warning("the page is without the scores of pairs mismatched on purpose: %s", error)
        return {}
    scores = {"random": calibration.random, "near": calibration.near}
    return {name: values.astype(np.float32) for name, values in scores.items() if len(values)}


def _counted(values: FloatArray, edges: list[float]) -> list[float]:
    """Counts of values between the edges."""
    return [float(count) for count in np.histogram(values, edges)[0]]


def _unreadable(folder: AuditFolder, error: Exception) -> DataError:
    return DataError(f"cannot read {folder.pairs}: {str(error).splitlines()[0]}; audit the pairs again")


def _card(
    row: Mapping[str, Any],
    pictures: Mapping[tuple[str, int], Thumbnail],
    better: Mapping[str, Sequence[Mapping[str, Any]]],
) -> AuditCard:
    name = row["image"] or ""
    chance = row["p_mismatch"], row["p_low"], row["p_high"]
    known = all(value is not None and np.isfinite(value) for value in chance)
    score = row["score"]
    return AuditCard(
        id=row["id"] or "",
        image=pictures.get((row["file"], row["row"]), Thumbnail(name)),
        link=name if name.lower().startswith(_LINKED) else None,
        caption=row["caption"] or "",
        probability=tuple(map(float, chance)) if known else None,  # type: ignore[arg-type]  # three of them
        score=float(score) if score is not None and np.isfinite(score) else None,
        duplicate_of=row["duplicate_of"],
        caption_count=row["caption_count"] or 0,
        better=[_better(one, pictures) for one in better.get(row["id"], ())],
    )


def _better(one: Mapping[str, Any], pictures: Mapping[tuple[str, int], Thumbnail]) -> Better:
    if one["kind"] == "caption":
        return Better(None, one["suggested"] or "", one["probability"])
    name = one["image"] or ""
    return Better(pictures.get((one["file"], one["row"]), Thumbnail(name)), "", one["probability"])


def _thumbnails(
    folder: AuditFolder, groups: Sequence[Group], better: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[tuple[str, int], Thumbnail], str]:
    """Small pictures of all rows by file and row, and why there are none, or fewer."""
    try:
        source = reopened(folder)
    except UserError as error:
        logger.warning("the page is without pictures: %s", error)
        return {}, f"Pictures go by name: {error}."
    suggested = [one for each in better.values() for one in each if one["kind"] == "image"]
    return read_thumbnails(source, [*(row for group in groups for row in group.rows), *suggested])
