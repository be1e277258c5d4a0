"""A finished audit in Python: its pairs as a table, what it found, its page, and its lists applied."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.errors import ArgumentError, UserError
from robustcmr.jobs.audit_pictures import read_thumbnails
from robustcmr.jobs.audit_report import GALLERY, worst_pairs, write_audit_report
from robustcmr.jobs.audit_source import reopened
from robustcmr.jobs.audit_table import AuditTable, as_numpy
from robustcmr.jobs.results import Values
from robustcmr.jobs.trained import AnyPath, checked_count, checked_path
from robustcmr.reporting.audit_sentences import outcome_sentences, reasons_of
from robustcmr.reporting.notebook import notebook_html
from robustcmr.reporting.numbers import as_text
from robustcmr.reporting.sentences import percent
from robustcmr.reporting.thumbnails import SMALL, Thumbnail
from robustcmr.runs.audits import LISTS, About, AuditFolder, Problem
from robustcmr.sources.records import Written

_SHOWN = 8  # pairs that a notebook shows


@dataclass(frozen=True)
class NoiseRate:
    """The share of mismatched pairs among those that were judged.

    Attributes:
        value: in [0, 1]; None where it could not be estimated.
        low: end of the 95% interval.
        high: end of the 95% interval.
        says: what it means and does not mean, in a sentence.
    """

    value: float | None
    low: float | None
    high: float | None
    says: str


class AuditedPairs:
    """The folder of a finished audit.

    Args:
        path: the folder.

    Attributes:
        path: the folder.

    Raises:
        UserError: there is no finished audit.

    Example:
        >>> found = robustcmr.load_audit("audits/web")  # doctest: +SKIP
        >>> found.noise_rate.value, len(found.dropped)  # doctest: +SKIP
        (0.213, 21042)
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = checked_path(path, "the folder of the audit")
        self._folder = AuditFolder(self.path)
        self._folder.require()

    @cached_property
    def summary(self) -> Values:
        """``summary.json`` with attribute access."""
        return Values(self._folder.read_summary())

    @cached_property
    def about(self) -> About:
        """``audit.json``: where the audit came from."""
        return self._folder.read_about()

    @cached_property
    def pairs(self) -> AuditTable:
        """All pairs with their scores, probabilities, decisions and reasons."""
        return AuditTable(self._folder.pairs)

    @property
    def noise_rate(self) -> NoiseRate:
        """How many of the judged pairs are mismatched, with a 95% interval."""
        rate = self._folder.read_summary()["noise_rate"]
        if rate is None:
            return NoiseRate(None, None, None, "the share of mismatched pairs could not be estimated")
        return NoiseRate(rate["value"], rate["low"], rate["high"], rate["says"])

    @property
    def problems(self) -> list[Problem]:
        """Why pairs were set aside: ``problem``, ``pairs`` and ``first``, most pairs first."""
        return sorted(self._folder.read_summary()["problems"], key=lambda problem: -problem["pairs"])

    @cached_property
    def kept(self) -> npt.NDArray[np.object_]:
        """Ids of the pairs to keep."""
        return self._ids("keep")

    @cached_property
    def dropped(self) -> npt.NDArray[np.object_]:
        """Ids of the pairs to drop."""
        return self._ids("drop")

    @cached_property
    def review(self) -> npt.NDArray[np.object_]:
        """Ids of the pairs that need a look."""
        return self._ids("review")

    def report(self, output: AnyPath | None = None, gallery: int = GALLERY, pictures: bool = True) -> Path:
        """Write the page of the audit and return its file; see ``robustcmr report``.

        Args:
            output: the file; ``report.html`` in the folder by default.
            gallery: most pairs to show, >= 0.
            pictures: whether to open the source for pictures.

        Raises:
            UserError: a file of the audit is damaged, or the page cannot be written.
        """
        target = None if output is None else checked_path(output, "output")
        return write_audit_report(self.path, target, checked_count(gallery, "gallery", 0), pictures)

    def apply(
        self,
        to: AnyPath,
        list: str = "keep",
        format: str | None = None,
        dry_run: bool = False,
        repair: float | None = None,
    ) -> Written:
        """Write the pairs of a list from the source; see ``robustcmr apply``.

        Args:
            to: folder to write to, new or empty.
            list: ``keep``, ``drop`` or ``review``.
            format: of what is written; that of the source by default.
            dry_run: only say what would be written.
            repair: write pairs that have a better caption of at least this probability too, with that
                caption; see :meth:`suggest`.

        Returns:
            Files and numbers of pairs.

        Raises:
            UserError: the source is gone or has changed, or the pairs cannot be written.
        """
        if list not in LISTS:
            raise ArgumentError(f"list is {list!r}, expected one of {', '.join(LISTS)}")
        from robustcmr.jobs.apply import apply_audit

        return apply_audit(self.path, checked_path(to, "to"), list, format, dry_run, repair)

    def suggest(self, least: float = 0.5, device: str = "auto", seed: int = 0) -> pa.Table:
        """Seek better partners for suspected pairs, write them to ``suggestions.parquet``, and return them.

        Args:
            least: probability below which nothing is suggested.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            seed: of the right pairs that are taken apart to tell the probabilities.

        Returns:
            Columns ``id`` of the suspected pair, ``kind`` (``image`` or ``caption``), ``partner`` (id of a
            pair that has it), ``suggested`` and ``probability``.

        Raises:
            UserError: source or vectors are gone or have changed, or there are too few pairs.
        """
        from robustcmr.jobs.suggest import suggest_partners
        from robustcmr.terminal import Console

        console = Console(stderr=True, quiet=True)
        found = suggest_partners(
            self.path, console, least, device=device, seed=checked_count(seed, "seed", 0)
        )
        return pq.read_table(found.path)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        lines = [f"<AuditedPairs {self.path}>", *outcome_sentences(self._folder.read_summary())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        summary = self._folder.read_summary()
        every = summary["pairs"] or 1
        counts = [
            (decision, why, count, percent(count / every)) for decision, why, count in reasons_of(summary)
        ]
        title = f"Audit of {summary['pairs']:,} pairs: {self.path}"
        columns = ("decision", "reason", "pairs", "share")
        table = notebook_html(title, columns, counts, outcome_sentences(summary))
        return table + self._worst_html()

    def _worst_html(self) -> str:
        """The pairs to drop that are most likely wrong, with pictures where they can be read."""
        groups = worst_pairs(self._folder, self._folder.read_summary(), 4 * _SHOWN)
        rows = [row for group in groups if group.decision == "drop" for row in group.rows]
        rows = sorted(rows, key=lambda row: -(row["p_mismatch"] or 0.0))[:_SHOWN]
        if not rows:
            return ""
        try:
            pictures, _ = read_thumbnails(reopened(self._folder), rows, SMALL)
        except UserError:  # the source is gone or has changed
            pictures = {}
        shown = [
            (
                row["id"],
                pictures.get((row["file"], row["row"]), Thumbnail(row["image"] or "")),
                row["caption"] or "",
                row["reason"],
                "" if row["p_mismatch"] is None else as_text(row["p_mismatch"], "share"),
            )
            for row in rows
        ]
        return notebook_html(
            "To drop, most likely wrong", ("id", "image", "caption", "reason", "wrong %"), shown
        )

    def _ids(self, decision: str) -> npt.NDArray[np.object_]:
        return as_numpy(self.pairs.where(decision).column("id"))
