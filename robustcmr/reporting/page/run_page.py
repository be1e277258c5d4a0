"""The page of one run, from its small files and whatever could be made with its model and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from robustcmr.reporting.gallery import Alignment, DoubtCard, QueryCard, SuspectCard
from robustcmr.reporting.page.alignment_section import alignment_section
from robustcmr.reporting.page.beliefs_section import EvidenceView, beliefs_section, rematch_section
from robustcmr.reporting.page.document import document
from robustcmr.reporting.page.gallery_section import doubts_section, queries_section, suspects_section
from robustcmr.reporting.page.labels_section import correction_section
from robustcmr.reporting.page.overview import cost_section, results_section, run_section
from robustcmr.reporting.page.training_section import training_section
from robustcmr.runs.read import SavedRun


@dataclass(frozen=True)
class Extras:
    """What a page shows beyond the small files of a run.

    Attributes:
        evidence: against the training pairs, or None.
        suspects: worst first.
        suspected: how many pairs are suspected, or labels corrected, in all; None where that is not known.
        queries: best and worst queries under a heading each.
        queried: the split they are of.
        alignments: plans between regions and words.
        doubts: most doubted labels first.
        confusion: counts of classes given and corrected against the truth, or None.
        class_names: of the classes.
        notes: sentences by section, ``suspects``, ``queries``, ``alignment`` or ``correction``: why it shows
            nothing, or less.
    """

    evidence: EvidenceView | None = None
    suspects: Sequence[SuspectCard] = ()
    suspected: int | None = None
    queries: Sequence[tuple[str, Sequence[QueryCard]]] = ()
    queried: str = "test"
    alignments: Sequence[Alignment] = ()
    doubts: Sequence[DoubtCard] = ()
    confusion: Mapping[str, Sequence[Sequence[int]]] | None = None
    class_names: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def run_page(record: SavedRun, extras: Extras) -> str:
    """The whole page.

    Args:
        record: the small files of the run.
        extras: what the model and the data gave.

    Returns:
        HTML text.
    """
    notes = extras.notes
    sections = [results_section(record), training_section(record)]
    if record.track == "labels":
        sections += [
            correction_section(record, extras.confusion, extras.class_names, notes.get("correction")),
            cost_section(record),
            doubts_section(extras.doubts, extras.suspected, notes.get("suspects")),
        ]
    else:
        sections += [
            beliefs_section(record, extras.evidence),
            rematch_section(record),
            cost_section(record),
            suspects_section(extras.suspects, extras.suspected, notes.get("suspects")),
            queries_section(extras.queries, extras.queried, notes.get("queries")),
            alignment_section(extras.alignments, notes.get("alignment")),
        ]
    sections.append(run_section(record))
    return document(f"Run {record.folder.path.absolute().name}", _lead(record), sections, _foot(record))


def _lead(record: SavedRun) -> str:
    config, results = record.config, record.results
    made = config.get("noise", {})
    protocol = results.get("protocol", made.get("protocol"))
    noise = f"noise {results.get('noise_ratio', made.get('ratio'))}"
    noise += f" ({results.get('noise_kind', made.get('kind'))}" + (
        f", {protocol} level)" if protocol else ")"
    )
    return (
        f"{config['method']['name']} with {config['matcher']['name']} on {config['data']['name']}, {noise}, "
        f"seed {config.get('seed')}."
    )


def _foot(record: SavedRun) -> str:
    version = (record.results).get("robustcmr_version")
    made = "Made by robustcmr report"
    return f"{made} of a run of robustcmr {version}." if version is not None else f"{made}."
