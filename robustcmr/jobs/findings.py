"""Write down a method's final estimate of the training pairs: table, charts and figures."""

from __future__ import annotations

from typing import Any

from robustcmr.reporting.run_charts import evidence_chart, labels_chart
from robustcmr.runs.folder import RunFolder
from robustcmr.training import processes
from robustcmr.training.loop import Trainer


def report_findings(trainer: Trainer, run: RunFolder) -> dict[str, Any]:
    """Ask the method for its estimate with the best epoch's weights, and write it into the run folder.

    The run folder receives ``pairs.csv`` or ``labels.csv`` and charts.

    Returns:
        Figures of the estimate, with its agreement with the hidden truth if that is known; empty if the
        method makes no estimate.

    Raises:
        PluginError: the estimate is of another track.
        UserError: a file cannot be written.
    """
    track, scorer = trainer.track, trainer.scorer(trainer.settings.training.epochs)
    estimate = trainer.method.estimate(scorer)
    if estimate is None:
        return {}
    track.check_estimate(estimate, type(trainer.method).__name__)
    found = track.findings(estimate, trainer.matchers[0], scorer, trainer.accelerator.device)
    if not processes.is_writer():
        return {}
    found.table.write(run.path / found.table.file)
    if found.division is not None:
        division = found.division
        note = "" if division.bimodal else f"Not divided: {division.reason}."
        chart = evidence_chart(
            division.evidence, division.is_clean, track.mismatched(), division.density, note
        )
        chart.save(run.plots / "evidence.png")
    if found.confusion is not None:
        labels_chart(found.confusion, track.class_names).save(run.plots / "confusion.png")
    rematch = trainer.best_row.get("rematch")
    epoch = {"epoch": trainer.best_row.get("epoch")}  # the estimate is of the weights at its end
    return {**epoch, **found.summary, **({"rematch": rematch} if rematch else {})}
