"""``robustcmr eval``: measure finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, Device, Trust, say


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are measured as an ensemble.")],
    split: Annotated[str, typer.Option(help="Split to measure.")] = "test",
    fold5: Annotated[
        bool, typer.Option("--fold5", help="Average over five consecutive fifths (COCO's 1K).")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    device: Device = None,
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure a split with the best checkpoint of a run, or with several runs as an ensemble.

    Examples:
      robustcmr eval runs/a --split test
      robustcmr eval runs/sgr runs/saf --fold5 --json
    """
    from robustcmr.cli.output import print_json, print_measures
    from robustcmr.errors import ConfigError
    from robustcmr.jobs.evaluate import evaluate as evaluate_runs
    from robustcmr.terminal import Console

    if checkpoint not in ("best", "last"):
        raise ConfigError(f"--checkpoint is '{checkpoint}', expected best or last")
    result = evaluate_runs(runs, split, 5 if fold5 else None, checkpoint, device, trusted)
    if as_json:
        print_json(result)
        return
    print_measures(Console(), {f"{split} ({result['protocol_name']})": result["metrics"]})
    count = result["n_models"]
    who = "one model" if count == 1 else f"ENSEMBLE of {count} models, scores averaged"
    epochs = ["" if epoch is None else f", epoch {epoch}" for epoch in result["epochs"]]
    measured = [f"{run} ({checkpoint}{epoch})" for run, epoch in zip(result["runs"], epochs, strict=True)]
    say(f"{who}: {', '.join(measured)}")
