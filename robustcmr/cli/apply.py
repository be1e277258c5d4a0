"""``robustcmr apply``: write the pairs of a list of an audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli import complete
from robustcmr.cli.options import AsJson, note, say

LISTS = ("keep", "drop", "review")


def apply(
    audit: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write to, new or empty.")],
    chosen: Annotated[
        str,
        typer.Option(
            "--list", help="Pairs to write: keep, drop or review.", autocompletion=complete.words(LISTS)
        ),
    ] = "keep",
    format: Annotated[
        str | None,
        typer.Option(
            help="Format to write: parquet, csv, jsonl, webdataset, hf or datacomp; that of the source by "
            "default.",
            autocompletion=complete.words(complete.WRITTEN_FORMATS),
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write repaired pairs too: those with a sure better caption.")
    ] = False,
    sure: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability from which --repair takes a caption.")
    ] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Write the pairs to keep, or those of another list, from the source that was audited.

    In the format of the source, rows keep their bytes, columns, types and metadata. It is refused if the
    source has changed since the audit. With --repair, rows have the columns original_caption and
    repair_probability, and are written one a pair.

    Examples:
      robustcmr apply audits/web --to clean
      robustcmr apply audits/web --list review --to look --format csv --dry-run
      robustcmr apply audits/web --repair --to clean
    """
    from robustcmr.cli.output import print_json
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.audited import AuditedPairs

    done = AuditedPairs(audit).apply(to, chosen, format, dry_run, sure if repair else None)
    if as_json:
        files = [str(path) for path in done.files]
        print_json({"to": str(to), "dry_run": dry_run, "files": files, "rows": done.rows, "of": done.of})
        return
    would = "would write" if dry_run else "wrote"
    named = [path for path in done.files if path != to]  # other formats name the folder before it is there
    for path in named[:_SHOWN]:
        say(f"{would} {path}")
    if len(named) > _SHOWN:
        say(f"{would} {len(named) - _SHOWN:,} more files")
    if repair:
        from robustcmr.jobs.suggested import sure_captions
        from robustcmr.runs.audits import AuditFolder

        say(f"{would} {len(sure_captions(AuditFolder(audit), sure)):,} pairs with a better caption")
    say(f"{would} {done.rows:,} of {done.of:,} rows to {to}")
    doubtful = AuditedPairs(audit).summary.decisions.review
    if chosen == "keep" and doubtful:
        say(f"{doubtful:,} pairs to review are left out; --list review writes them")
    if dry_run:
        note("nothing was written; leave out --dry-run to write it")


_SHOWN = 10  # files that are named
