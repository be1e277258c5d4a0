"""``robustcmr train``: start a run, or go on with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(  # the options describe themselves
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise", help="Share of the pairs to mismatch, or of the labels to make wrong, in [0, 1)."
        ),
    ] = None,
    noise_kind: Annotated[
        str | None,
        typer.Option(help="mismatch for pairs; symmetric, asymmetric or instance for labels."),
    ] = None,
    noise_protocol: Annotated[
        str | None, typer.Option(help="caption or image for pairs; shared or per_modality for labels.")
    ] = None,
    noise_file: Annotated[Path | None, typer.Option(help="Use a published or saved noise file.")] = None,
    noise_seed: Annotated[int | None, typer.Option(help="Seed of the noise; --seed by default.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set; see 'robustcmr list data'.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data set's files.")] = None,
    matcher: Annotated[str | None, typer.Option(help="Matcher, or package.module:Class.")] = None,
    method: Annotated[str | None, typer.Option(help="Method, or package.module:Class.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, batches and noise.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pairs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a batch.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    config: Annotated[
        str | None, typer.Option(help="A YAML recipe: a path, or the name of a shipped one.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key, such as optim.lr=1e-4."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; a new one in runs by default.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is already there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print ranks, all diagnoses and the cost.")
    ] = False,
) -> None:
    """Train a matcher and measure its retrieval.

    Without options: OMIT on the embedded scenes, all pairs right. With --noise 0.4: 40% of them mismatched.
    With --data scenes-labels --noise 0.4: embedded pairs with a class each, of which 40% are wrong.
    """
    flags: dict[str, Any] = {
        "noise.ratio": noise,
        "noise.kind": noise_kind,
        "noise.protocol": noise_protocol,
        "noise.file": None if noise_file is None else str(noise_file),
        "noise.seed": noise_seed,
        "data.name": data,
        "data.root": None if data_root is None else str(data_root),
        "matcher.name": matcher,
        "method.name": method,
        "seed": seed,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.device": device,
        "training.precision": precision,
    }
    flags = {key: value for key, value in flags.items() if value is not None}

    from robustcmr.cli.output import report_run, running
    from robustcmr.errors import ConfigError
    from robustcmr.training import processes

    if resume is not None:
        if flags or config is not None or overrides or output is not None or overwrite:
            raise ConfigError(
                "--resume goes on with a run as it was configured and takes no other options but --json; "
                "leave them out, or start a new run without --resume"
            )
        from robustcmr.jobs.train import resume as resume_run

        with running(resume) as console:
            run = resume_run(resume, console)
    else:
        from robustcmr.config.resolve import compose
        from robustcmr.jobs.train import planned_folder
        from robustcmr.jobs.train import train as train_run

        chosen = compose(config, flags, overrides or [])
        folder = planned_folder(chosen, output)
        with running(folder) as console:
            run = train_run(chosen, folder, overwrite, console)
    if processes.is_writer():
        report_run(run, as_json, verbose)
