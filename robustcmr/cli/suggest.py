"""``robustcmr suggest``: better partners for the pairs that an audit suspects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, note, say


def suggest(
    audit: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    least: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability below which nothing is suggested.")
    ] = 0.5,
    most: Annotated[
        int, typer.Option(min=1_000, help="Pairs to compare, at most; the most suspected come first.")
    ] = 200_000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the right pairs that are taken apart.")] = 0,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not write report.html again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Seek a better image for each suspected caption, and a better caption for each suspected image.

    Writes suggestions.parquet in the folder of the audit, each with the probability that it is right; a pair
    without a likely partner gets none. No labels are needed: right pairs are taken apart and sought again.

    Examples:
      robustcmr suggest audits/web
      robustcmr suggest audits/web --least 0.8 --json
    """
    from robustcmr.cli.output import print_json
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.audit_report import write_audit_report
    from robustcmr.jobs.notes import shown_notes
    from robustcmr.jobs.suggest import suggest_partners
    from robustcmr.terminal import Console

    console = Console(stderr=True)
    with shown_notes(console):
        found = suggest_partners(audit, console, least, most, device, seed)
    page = None if no_report else write_audit_report(audit)
    if as_json:
        print_json({**asdict(found), "path": str(found.path), "page": None if page is None else str(page)})
        return
    say(
        f"an image for {found.images:,} of {found.images_of:,} suspected captions, and a caption for "
        f"{found.captions:,} of {found.captions_of:,} suspected images"
    )
    if found.expected_right is not None:
        say(
            f"{100 * found.expected_right:.0f}% of them are expected to be right, as told by "
            f"{found.hidden:,} pairs that were taken apart and sought again"
        )
    if found.left_out:
        note(f"{found.left_out:,} suspected pairs were left out; give --most to compare more pairs")
    say(f"wrote {found.path}")
    if page is not None:
        say(f"Look at {page}")
