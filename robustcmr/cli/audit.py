"""``robustcmr audit``: which of one's own pairs look wrong, without labels and without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli import complete
from robustcmr.cli.options import AsJson, Trust, output, say
from robustcmr.cli.source_options import IdColumn, ImageColumn, SourceFormat, TextColumn, Where

ENGINES = ("local", "ray")


def audit(
    source: Annotated[
        list[str],
        typer.Argument(help="Files, folders or patterns of pairs, all of one format; or a name of the hub."),
    ],
    target: Annotated[
        Path | None, output("Folder of the audit; audits/NAME after the first source by default.")
    ] = None,
    image: ImageColumn = None,
    text: TextColumn = None,
    id: IdColumn = None,
    where: Where = None,
    format: SourceFormat = None,
    image_vectors: Annotated[
        str | None,
        typer.Option(
            help="Vectors of the images: a .npy file, a folder, an array of the .npz beside each file, or a "
            "column. Those that come with the source by default."
        ),
    ] = None,
    text_vectors: Annotated[str | None, typer.Option(help="Vectors of the captions, likewise.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="CLIP or SigLIP that makes the vectors: a local folder, or a name of the hub."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run of 'robustcmr train' whose model makes the vectors.")
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Train a head on the vectors, so that no pair is judged by a model that saw it."
        ),
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="Judge by the calibration of an earlier audit: its folder or file.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pairs that a calibration is fitted on.")] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of what is fitted.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray for the processes of a Ray cluster.",
            autocompletion=complete.words(ENGINES),
        ),
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster; one is started here by default.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="GiB that joins may take; a quarter of the memory, at most 4, by default."
        ),
    ] = None,
    no_near_duplicates: Annotated[
        bool,
        typer.Option(
            "--no-near-duplicates",
            help="Do not look for pairs near an earlier one, which takes about as long as all else.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop if any pair cannot be judged, instead of setting it aside.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Remove the audit in the folder and begin again.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html.")] = False,
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Say which pairs look wrong, how sure that is, and which to keep; the same command resumes it.

    Writes pairs.parquet, lists/, summary.json, audit.json and report.html. The source is only read.

    Examples:
      robustcmr audit web/*.parquet --image-vectors clip_out --text-vectors clip_out -o audits/web
      robustcmr audit shop --model clip-vit-base-patch32
      robustcmr audit tars/*.tar --run runs/a --where "width > 200"
    """
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.audit_api import audit_pairs

    found = audit_pairs(
        source,
        vectors=None if image_vectors is None and text_vectors is None else (image_vectors, text_vectors),
        image=image,
        text=text,
        id=id,
        where=where,
        format=format,
        output=target,
        model=model,
        run=run,
        deep=deep,
        calibration=calibration,
        sample=sample,
        seed=seed,
        device=device,
        engine=engine,
        address=address,
        memory=memory,
        near_duplicates=not no_near_duplicates,
        strict=strict,
        restart=restart,
        trusted=trusted,
    )
    page = None if no_report else found.report()
    print_audit(found.path, page, as_json)


def print_audit(folder: Path, page: Path | None, as_json: bool) -> None:
    """Print the outcome of a finished audit, where it is, and what to do next; or its summary as JSON."""
    from robustcmr.cli.output import print_json
    from robustcmr.reporting.audit_sentences import apply_command, outcome_sentences
    from robustcmr.runs.audits import AuditFolder

    summary = AuditFolder(folder).read_summary()
    if as_json:
        print_json({"audit": str(folder), "page": None if page is None else str(page), **summary})
        return
    say(*outcome_sentences(summary), f"The audit is in {folder}.")
    if page is not None:
        say(f"Look at {page}")
    say(f"Write the pairs to keep: {apply_command(folder)}")
