"""The section on corrected classes: how many are right, by epoch, and which are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.heat_map import heat_map
from robustcmr.reporting.page.html import Html, joined, shown, tag
from robustcmr.reporting.page.parts import facts, folded, grid, line_figure, table
from robustcmr.reporting.page.training_section import MASSES, by_epoch, solver_figures
from robustcmr.reporting.plots import CORRECTION
from robustcmr.runs.read import SavedRun

_QUALITY = {
    "repaired": "repaired",
    "broken": "broken",
    "changed": "changed",
    "AUROC": "auroc",
    "average precision": "average_precision",
}
_NAMES = {
    "given labels that are right": "given_accuracy",
    "corrected labels that are right": "corrected_accuracy",
    **_QUALITY,
    "calibration error": "calibration_error",
    "pairs with a wrong label": "wrong_pairs",
}


def correction_section(
    record: SavedRun,
    confusion: Mapping[str, Sequence[Sequence[int]]] | None,
    class_names: Sequence[str],
    note: str | None,
) -> Section:
    """What became of the labels.

    Args:
        record: of the run.
        confusion: counts ``given_to_truth`` and ``corrected_to_truth``, (K, K), or None.
        class_names: K names.
        note: why there is no confusion, or None where the method does not correct labels.
    """
    key, title, rows = "correction", "Corrected labels", record.rows
    beliefs = record.results.get("findings")
    judged = any("correction" in row for row in rows)
    if beliefs is None and not judged:
        why = (
            "No label has been corrected yet."
            if not record.finished
            else f"The method {record.config['method']['name']} does not correct labels."
        )
        return Section(key, title, sentence(why))
    parts: list[Html | None] = []
    if beliefs is not None:
        parts.append(_outcome(beliefs))
    figures = []
    if judged:
        defined = {name for row in rows for name in row.get("correction", {})}
        right = by_epoch(rows, CORRECTION, "share", "correction", floor=0, ceiling=1)
        lines = {name: at for name, at in _QUALITY.items() if at in defined}
        figures.append(line_figure("Right labels among the training pairs", right))
        figures.append(
            line_figure("Corrections", by_epoch(rows, lines, "share", "correction", floor=0, ceiling=1))
        )
        if "calibration_error" in defined:
            error = {"expected calibration error": "calibration_error"}
            chart = by_epoch(rows, error, "error", "correction", floor=0)
            figures.append(line_figure("Calibration of the confidence", chart))
    else:
        parts.append(sentence("How right the labels are is not shown: the truth is not known here."))
    logged = {name: at for at, name in MASSES.items() if any(at in row for row in rows)}
    if logged:
        figures.append(line_figure("Transported mass", by_epoch(rows, logged, "mass", floor=0)))
    parts.append(grid(*figures, *solver_figures(rows)))
    if confusion is not None:
        parts.append(_confusions(confusion, class_names))
    elif note is not None:
        parts.append(sentence(note))
    return Section(key, title, joined(*parts))


def _outcome(beliefs: Mapping[str, Any]) -> Html:
    known = {"share of pairs changed": beliefs.get("changed"), "mean confidence": beliefs.get("confidence")}
    told = facts("Beliefs with the best epoch", known)
    found = beliefs.get("correction")
    if not found:
        return told
    rows = [[name, shown(found[at])] for name, at in _NAMES.items() if at in found]
    return grid(told, table("Held against the truth, with the best epoch", ["measure", "value"], rows))


def _confusions(confusion: Mapping[str, Sequence[Sequence[int]]], names: Sequence[str]) -> Html:
    parts = [
        tag("h3", "Which class is labelled as which"),
        tag("p", "With the best epoch; rows sum to 100%."),
    ]
    for key, title in (("given_to_truth", "Given labels"), ("corrected_to_truth", "Corrected labels")):
        counts = [list(column) for column in zip(*confusion[key], strict=True)]  # a row a true class
        shares = [[cell / max(1, sum(line)) for cell in line] for line in counts]
        parts.append(
            heat_map(
                f"{title}: percent of each true class (row) that is labelled as each class (column)",
                "truth",
                names,
                names,
                shares,
                lambda share: share**0.5,
                lambda share: tag("data", f"{100 * share:.0f}", value=repr(share)),
            )
        )
        whole = [[name, *(shown(cell) for cell in line)] for name, line in zip(names, counts, strict=True)]
        parts.append(folded(f"{title}: counts", table(title, ["truth", *names], whole)))
    return joined(*parts)
