"""The report of a run: one page from its folder, its model and its data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.errors import RunFolderError, UserError
from robustcmr.files import write_text
from robustcmr.jobs.gallery import aligned, divided, rematched, scored
from robustcmr.jobs.open import OpenRun, open_data, open_run
from robustcmr.reporting.doubted_labels import given_class, most_doubted
from robustcmr.reporting.gallery import Album, DoubtCard, Moved, SuspectCard
from robustcmr.reporting.gallery_queries import query_groups
from robustcmr.reporting.page.beliefs_section import EvidenceView
from robustcmr.reporting.page.run_page import Extras, run_page
from robustcmr.reporting.suspects_sheet import worst_suspects
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.read import SavedRun, read_run
from robustcmr.tracks.base import Track
from robustcmr.types import Division, EpochPlan, IntArray, LabelEstimate

logger = logging.getLogger("robustcmr")

GALLERY = 96
"""Suspects shown unless asked otherwise."""

_MOST_QUERIES, _ALIGNMENTS = 24, 8


def write_run_report(
    path: Path, output: Path | None = None, gallery: int = GALLERY, model: bool = True
) -> Path:
    """Write a run's page.

    Args:
        path: the run folder.
        output: the file; ``report.html`` in the run folder by default.
        gallery: most suspects to show; 0 for no gallery.
        model: whether to open data and model for pictures, fitted curves and plans; False makes the page
            from the files of the run alone.

    Returns:
        The file.

    Raises:
        UserError: there is no run, a file of it is damaged, or the page cannot be written. Data or a
            checkpoint that cannot be opened are told on the page and in the log instead.
    """
    if output is not None and output.is_dir():
        raise RunFolderError(f"{output} is a folder, expected a file for the page; add a name to it")
    record = read_run(path, finished=False)
    page = run_page(record, run_extras(record, gallery, model))
    target = output if output is not None else path / "report.html"
    write_text(target, page)
    return target


def run_extras(record: SavedRun, gallery: int, model: bool) -> Extras:
    """What a page shows beyond the small files of a run; see :func:`write_run_report`."""
    if not record.finished:
        why = "It is shown once the run has finished."
        return _without(record, why)
    if not model:
        return _without(record, "It is left out, as this page was made from the files of the run alone.")
    try:
        _, track = data = open_data(record.path)
        if track.pairing is None:
            return _labels_extras(record, track, gallery)
        return _pairs_extras(record, open_run(record.path, method=True, data=data), gallery)
    except UserError as error:
        logger.warning("the page is without pictures, plans and fitted curves: %s", error)
        return _without(record, f"It is left out: {error}.")


def _without(record: SavedRun, why: str) -> Extras:
    """What the files alone give, and why there is no more."""
    notes = dict.fromkeys(("suspects", "queries", "alignment", "correction"), why)
    if record.folder.pairs.is_file():
        table = PairsTable.read(record.folder.pairs)
        note = "The fitted curves and the truth are not shown without the data and the model."
        view = EvidenceView(table.evidence, table.is_clean, None, None, note)
        return Extras(evidence=view, suspected=int((~table.is_clean).sum()), notes=notes)
    if record.folder.labels.is_file():
        return Extras(suspected=int(LabelsTable.read(record.folder.labels).changed.sum()), notes=notes)
    return Extras(notes=notes)


def _pairs_extras(record: SavedRun, run: OpenRun, gallery: int) -> Extras:
    config, track = run.config, run.track
    notes: dict[str, str] = {}
    found: dict[str, Any] = {}
    if record.folder.pairs.is_file():
        plan, division = divided(run)
        table = PairsTable.read(record.folder.pairs)
        found["evidence"] = _evidence(table, division, track)
        found["suspected"] = int((~table.is_clean).sum())
        found["suspects"] = _suspects(run, table, plan, worst_suspects(table, gallery))
        if not found["suspected"]:
            notes["suspects"] = "No pair is suspected."
    else:
        notes["suspects"] = f"The method {config.method.name} does not say which pairs it believes wrong."
    if gallery == 0:
        notes.update(
            dict.fromkeys(("suspects", "queries", "alignment"), "A page without a gallery was asked for.")
        )
        return Extras(**found, notes=notes)
    split = _measured_split(record, track)
    opened = track.retrieval_split(split)
    if opened is None:
        return Extras(**found, notes=notes)
    album = Album(opened.picture, opened.image_names)
    seen = scored(run, split)
    count = min(_MOST_QUERIES, max(1, gallery // 4))
    groups, captions = query_groups(seen.scores, opened.image_of_caption, opened.captions, album, count)
    alignments = aligned(run, opened, seen, captions[:_ALIGNMENTS], album)
    if not alignments:
        notes["alignment"] = f"The matcher {config.matcher.name} moves no mass between regions and words."
    elif alignments[0].boxes is None:
        notes["alignment"] = (
            "Where the regions lie in the picture is not known, so the plans stand as tables."
        )
    if not album.has_pictures:
        notes["queries"] = f"{config.data.name} holds features without pictures, so images go by name."
        notes.setdefault("suspects", notes["queries"])
    return Extras(**found, queries=groups, queried=split, alignments=alignments, notes=notes)


def _measured_split(record: SavedRun, track: Track) -> str:
    """The test split, or the one that chose the best epoch where there is none."""
    splits: list[str] = [split for split in record.results["splits"] if split in track.splits()]
    return next((split for split in splits if split != record.select), record.select)


def _evidence(table: PairsTable, division: Division | None, track: Track) -> EvidenceView:
    same = division is not None and np.allclose(division.evidence, table.evidence, rtol=1e-3, atol=1e-4)
    note = None
    if not same:
        note = (
            "The fitted curves are left out: asked again, the method does not say the same of the pairs as "
            "when the run ended."
        )
    density = division.density if division is not None and same else None
    return EvidenceView(table.evidence, table.is_clean, track.mismatched(), density, note)


def _suspects(run: OpenRun, table: PairsTable, plan: EpochPlan, rows: IntArray) -> list[SuspectCard]:
    track = run.track
    split = track.data.split("train")
    album = Album(split.picture, split.image_names)
    mismatched = track.mismatched()
    pairs = table.pair[rows].tolist()
    plans: dict[int, tuple[Moved, ...]] = rematched(run, plan, pairs, album) if pairs else {}
    cards = []
    for row, pair in zip(rows.tolist(), pairs, strict=True):
        other = int(table.rematch[row])
        cards.append(
            SuspectCard(
                pair=pair,
                caption=table.caption[row],
                given=album.shot(int(table.image[row])),
                suggested=album.shot(other) if other >= 0 else None,
                clean_probability=float(table.clean_probability[row]),
                evidence=float(table.evidence[row]),
                score=float(table.score[row]),
                suggested_score=float(table.rematch_score[row]) if other >= 0 else None,
                mismatched=None if mismatched is None else bool(mismatched[pair]),
                plan=plans.get(pair),
            )
        )
    return cards


def _labels_extras(record: SavedRun, track: Track, gallery: int) -> Extras:
    if not record.folder.labels.is_file():
        why = f"The method {record.config['method']['name']} does not correct labels."
        return Extras(notes={"suspects": why})
    table, notes = LabelsTable.read(record.folder.labels), {}
    split = track.data.split("train")
    confusion = None
    if table.evidence is not None and len(table) == len(split):
        belief = LabelEstimate(table.corrected, table.confidence, table.evidence)
        confusion = track.diagnose(belief).get("confusion")
    if confusion is None:
        notes["correction"] = (
            "Which class is taken for which is not shown: the truth is not known, or classes are too many."
        )
    if gallery == 0:
        notes["suspects"] = "A page without a gallery was asked for."
    elif not table.changed.any():
        notes["suspects"] = "No label was corrected."
    elif split.picture is None:
        notes["suspects"] = f"{record.config['data']['name']} holds vectors without pictures."
    cards = _doubts(table, track, most_doubted(table, gallery))
    return Extras(
        doubts=cards,
        suspected=int(table.changed.sum()),
        confusion=confusion,
        class_names=track.class_names,
        notes=notes,
    )


def _doubts(table: LabelsTable, track: Track, rows: IntArray) -> list[DoubtCard]:
    album = Album(track.data.split("train").picture, None)
    return [
        DoubtCard(
            pair=int(table.pair[row]),
            given=given_class(table, row),
            corrected=table.class_names[table.corrected[row]] or f"class {table.corrected[row]}",
            confidence=float(table.confidence[row]),
            evidence=None if table.evidence is None else float(table.evidence[row]),
            caption=None if table.caption is None else table.caption[row],
            shot=album.shot(int(table.pair[row])),
        )
        for row in rows.tolist()
    ]
