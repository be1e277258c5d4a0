"""Write the report of a run: one page from its folder, its model and its data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.errors import RunFolderError, UserError
from robustcmr.files import write_text
from robustcmr.jobs.gallery import aligned, divided, rematched, scored
from robustcmr.jobs.open import OpenRun, open_data, open_run
from robustcmr.reporting.cards import SuspectCard, SuspectedLabelCard
from robustcmr.reporting.charts import Chart
from robustcmr.reporting.queries import query_groups
from robustcmr.reporting.run_charts import evidence_chart, labels_chart
from robustcmr.reporting.run_page import LARGEST, Extras, run_page
from robustcmr.reporting.suspects import SuspectedLabels, SuspectedPairs
from robustcmr.reporting.thumbnails import CARD, Thumbnails
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.read import SavedRun, read_run
from robustcmr.tracks.base import Track
from robustcmr.types import Division, EpochPlan, IntArray, LabelEstimate

logger = logging.getLogger("robustcmr")

GALLERY = 96
"""Suspects shown unless another number is requested."""

_MOST_QUERIES, _ALIGNMENTS = 24, 8
_NO_GALLERY = "A page without a gallery was requested."


def write_run_report(
    path: Path,
    output: Path | None = None,
    gallery: int = GALLERY,
    model: bool = True,
    trusted: bool = False,
) -> Path:
    """Write a run's page, at most 10 MB.

    Args:
        path: the run folder.
        output: the file; ``report.html`` in the run folder by default.
        gallery: most suspects to show; 0 for no gallery. Fewer are shown where the page would grow too large.
        model: whether to open data and model for pictures, fitted curves and plans; False makes the page
            from the files of the run alone.
        trusted: import the ``package.module:Class`` that the run names, even if it was not trained here.

    Returns:
        The file.

    Raises:
        UserError: there is no run, a file of it is damaged, or the page cannot be written. Data or a
            checkpoint that cannot be opened is reported on the page and in the log instead.
    """
    if output is not None and output.is_dir():
        raise RunFolderError(f"{output} is a folder, expected a file for the page; add a name to it")
    with RunFolder(path).unreplaced():
        saved = read_run(path, finished=False)
        page = run_page(saved, run_extras(saved, gallery, model, trusted))
    target = output if output is not None else path / "report.html"
    write_text(target, page)
    return target


def run_extras(saved: SavedRun, gallery: int, model: bool, trusted: bool = False) -> Extras:
    """Return what a page shows beyond the small files of a run; see :func:`write_run_report`."""
    if not saved.finished:
        return _without(saved, "Shown once the run has finished.")
    if not model:
        return _without(saved, "Left out, as this page was made from the files of the run alone.")
    try:
        _, track = data = open_data(saved.path, trusted)
        if track.pairing is None:
            return _labels_extras(saved, track, gallery)
        return _pairs_extras(saved, open_run(saved.path, method=True, data=data), gallery)
    except UserError as error:
        logger.warning("the page is without pictures, plans and fitted curves: %s", error)
        return _without(saved, f"Left out: {error}.")


def _without(saved: SavedRun, why: str) -> Extras:
    """Return what the files alone give, and the reason for what is missing."""
    notes = dict.fromkeys(("suspects", "queries", "alignment", "correction"), why)
    if saved.folder.pairs.exists():
        table = PairsTable.read(saved.folder.pairs)
        note = "The fitted curves and the truth are not shown without the data and the model."
        chart = evidence_chart(table.evidence, table.is_clean, note=note) if len(table) else None
        return Extras(evidence=chart, suspected=int((~table.is_clean).sum()), notes=notes)
    if saved.folder.labels.exists():
        return Extras(suspected=int(LabelsTable.read(saved.folder.labels).changed.sum()), notes=notes)
    return Extras(notes=notes)


def _pairs_extras(saved: SavedRun, run: OpenRun, gallery: int) -> Extras:
    config, track = run.config, run.track
    notes: dict[str, str] = {}
    found: dict[str, Any] = {"requested": gallery}
    if saved.folder.pairs.exists():
        table = PairsTable.read(saved.folder.pairs)
        track.suspects(table)  # refuses a table of other pairs
        plan, division = divided(run)
        found["evidence"] = _evidence(table, division, track)
        found["suspected"] = int((~table.is_clean).sum())
        worst = SuspectedPairs(table).worst()[:gallery]
        SuspectedPairs(table).check(worst, run.track.data.split("train"))
        found["suspects"] = list(_suspects(run, table, plan, worst))
        if not found["suspected"]:
            notes["suspects"] = "No pair is suspected."
    else:
        notes["suspects"] = f"The method {config.method.name} does not say which pairs look wrong."
    if gallery == 0:
        notes.update(dict.fromkeys(("suspects", "queries", "alignment"), _NO_GALLERY))
        return Extras(**found, notes=notes)
    splits = [split for split in saved.results["splits"] if split in track.splits()]
    split = next((name for name in splits if name != saved.select), saved.select)
    opened = track.retrieval_split(split)
    if opened is None:
        return Extras(**found, notes=notes)
    thumbnails = Thumbnails(opened.picture, opened.image_names)
    seen = scored(run, split)
    count = min(_MOST_QUERIES, max(1, gallery // 4))
    groups, captions = query_groups(seen.scores, opened.image_of_caption, opened.captions, thumbnails, count)
    alignments = aligned(run, opened, seen, captions[:_ALIGNMENTS], thumbnails)
    if not alignments:
        notes["alignment"] = f"The matcher {config.matcher.name} moves no mass between regions and words."
    elif alignments[0].boxes is None:
        notes["alignment"] = "Where the regions lie in the picture is not known, so the plans are tables."
    if opened.picture is None:
        notes["queries"] = f"{config.data.name} holds features without pictures, so images go by name."
        notes.setdefault("suspects", notes["queries"])
    return Extras(**found, queries=groups, queried=split, alignments=alignments, notes=notes)


def _evidence(table: PairsTable, division: Division | None, track: Track) -> Chart | None:
    if not len(table):
        return None
    same = division is not None and np.allclose(division.evidence, table.evidence, rtol=1e-3, atol=1e-4)
    density = division.density if division is not None and same else None
    note = "The fitted curves are left out: the evidence computed now differs from that of pairs.csv."
    return evidence_chart(
        table.evidence, table.is_clean, track.mismatched(), density, note="" if same else note
    )


def _suspects(run: OpenRun, table: PairsTable, plan: EpochPlan, rows: IntArray) -> Iterator[SuspectCard]:
    """Cards of the suspects, until their pictures fill a page."""
    split = run.track.data.split("train")
    thumbnails = Thumbnails(split.picture, split.image_names)
    side = _side(len(rows))
    mismatched = run.track.mismatched()
    pairs = table.pair[rows].tolist()
    plans = rematched(run, plan, pairs, thumbnails) if pairs else {}
    for row, pair in zip(rows.tolist(), pairs, strict=True):
        if thumbnails.size > LARGEST:
            return
        other = int(table.rematch[row])
        yield SuspectCard(
            pair=pair,
            caption=table.caption[row],
            given=thumbnails.get(int(table.image[row]), side),
            suggested=thumbnails.get(other, side) if other >= 0 else None,
            clean_probability=float(table.clean_probability[row]),
            evidence=float(table.evidence[row]),
            score=float(table.score[row]),
            suggested_score=float(table.rematch_score[row]) if other >= 0 else None,
            mismatched=None if mismatched is None else bool(mismatched[pair]),
            plan=plans.get(pair),
            id=None if table.id is None else table.id[row],
        )


def _side(cards: int) -> int:
    """Size of the pictures: smaller on a page of many cards."""
    return CARD if cards <= 2 * GALLERY else CARD * 2 // 3


def _labels_extras(saved: SavedRun, track: Track, gallery: int) -> Extras:
    if not saved.folder.labels.exists():
        why = f"The method {saved.config['method']['name']} does not correct labels."
        return Extras(notes={"suspects": why})
    table, notes = LabelsTable.read(saved.folder.labels), {}
    split, suspected = track.data.split("train"), SuspectedLabels(table)
    suspected.check(suspected.worst()[:gallery], split)
    chart = None
    if table.evidence is not None and len(table) == len(split):
        estimate = LabelEstimate(table.corrected, table.confidence, table.evidence)
        confusion = track.diagnose(estimate).get("confusion")
        if confusion is not None:
            chart = labels_chart(confusion, track.class_names)
    if chart is None:
        notes["correction"] = (
            "Labels by true class are not shown: the truth is not known, or there are too many classes."
        )
    if gallery == 0:
        notes["suspects"] = _NO_GALLERY
    elif not table.changed.any():
        notes["suspects"] = "No label was corrected."
    elif split.picture is None:
        notes["suspects"] = f"{saved.config['data']['name']} holds vectors without pictures."
    cards = list(_suspected_labels(suspected, track, gallery))
    return Extras(
        labels=cards, suspected=int(table.changed.sum()), requested=gallery, confusion=chart, notes=notes
    )


def _suspected_labels(found: SuspectedLabels, track: Track, gallery: int) -> Iterator[SuspectedLabelCard]:
    """Cards of the labels, until their pictures fill a page."""
    table, rows = found.table, found.worst()[:gallery]
    thumbnails = Thumbnails(track.data.split("train").picture)
    side = _side(len(rows))
    for row in rows.tolist():
        if thumbnails.size > LARGEST:
            return
        yield SuspectedLabelCard(
            pair=int(table.pair[row]),
            given=found.given(row),
            corrected=found.corrected(row),
            confidence=float(table.confidence[row]),
            evidence=None if table.evidence is None else float(table.evidence[row]),
            caption=None if table.caption is None else table.caption[row],
            image=thumbnails.get(int(table.pair[row]), side),
        )
