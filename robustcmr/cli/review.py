"""``robustcmr review``: judge pairs of an audit by eye, on a page of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from robustcmr.cli import complete
from robustcmr.cli.options import AsJson, Command, Group, note, output, print_json, say, typed

FORMATS = ("label-studio", "csv", "fiftyone")


class _Review(Group):
    """A group whose first word may be the folder of an audit, which is then what ``page`` is for."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words; without the name of a command they are those of ``page``."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["page", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Review,
    no_args_is_help=True,
    help="Judge pairs of an audit by eye: robustcmr review AUDIT opens the page.\n\n"
    "Examples:\n  robustcmr review audits/web --labels 400\n  robustcmr review status audits/web\n"
    "  robustcmr review page --help",
)

Audit = Annotated[Path, typer.Argument(help="Folder of a finished audit.")]
Labels = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Pairs to judge; 400, or those of the sample that is there."),
]
PerStratum = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Pairs of each stratum of probabilities, at least.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the sample; 0 by default.")]
FormatOf = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="label-studio, csv or fiftyone; told by the name of the file by default.",
        autocompletion=complete.words(FORMATS),
    ),
]


@app.command("page", cls=Command)
def page(
    audit: Audit,
    labels: Labels = None,
    per_stratum: PerStratum = None,
    seed: Seed = None,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of this machine; 0 for any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Your name; the page asks by default.")] = None,
    load_urls: Annotated[
        bool,
        typer.Option(
            "--load-urls",
            help="Let the browser load pictures that are known by address; their servers then see it.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open a page of this machine that shows one pair at a time: right, wrong, partly or unsure.

    The pairs are a sample by design: of each stratum of the probability, more where it is less certain.
    Verdicts are appended to labels.jsonl in the folder of the audit. Ctrl-C ends the page; the same command
    goes on.

    Examples:
      robustcmr review audits/web --labels 400
      robustcmr review audits/web --by Ada --port 8000 --no-browser
    """
    from robustcmr.jobs.audit_packages import require_packages

    require_packages("starlette", "uvicorn")
    from robustcmr.jobs.notes import shown_notes
    from robustcmr.jobs.review import serve_review
    from robustcmr.terminal import Console

    def announce(where: str) -> None:
        note(f"the page is at {where}", "Ctrl-C ends it; verdicts are saved one by one")

    with shown_notes(Console(stderr=True)):
        found = serve_review(
            audit,
            announce,
            labels=labels,
            per_stratum=per_stratum,
            seed=seed,
            port=port,
            browser=not no_browser,
            by=by,
            load_urls=load_urls,
        )
    if as_json:
        print_json(found)
        return
    _print_status(found)
    if found["judged"] < found["pairs"]:
        say(f"Go on: robustcmr review {typed(audit)}")
    if found["estimate"] is not None:
        say(f"Say what they prove: robustcmr certify {typed(audit)} --precision 0.95")


@app.command("status", cls=Command)
def status(audit: Audit, as_json: AsJson = False) -> None:
    """Say how far a review is: verdicts, reviewers, their agreement, and the share of wrong pairs.

    Examples:
      robustcmr review status audits/web
      robustcmr review status audits/web --json
    """
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.review import review_status

    found = review_status(audit)
    if as_json:
        print_json(found)
    else:
        _print_status(found)


@app.command("export", cls=Command)
def export(
    audit: Audit,
    target: Annotated[Path, output("File to write, or folder for fiftyone.")],
    format: FormatOf = None,
    labels: Labels = None,
    per_stratum: PerStratum = None,
    seed: Seed = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Give Label Studio the names of pictures alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the sample and its verdicts for Label Studio, FiftyOne or a table.

    Examples:
      robustcmr review export audits/web -o tasks.json
      robustcmr review export audits/web -o verdicts.csv
      robustcmr review export audits/web -o look --format fiftyone
    """
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.review_exchange import export_review

    files, pairs = export_review(audit, target, format, labels, per_stratum, seed, pictures=not no_pictures)
    if as_json:
        print_json({"audit": str(audit), "files": [str(file) for file in files], "pairs": pairs})
        return
    say(*(f"wrote {file}" for file in files), f"{pairs:,} pairs")


@app.command("import", cls=Command)
def import_(
    audit: Audit,
    source: Annotated[Path, typer.Argument(help="File of verdicts, or folder of FiftyOne.")],
    format: FormatOf = None,
    by: Annotated[str | None, typer.Option(help="Reviewer of verdicts that name none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add verdicts that were given in Label Studio, FiftyOne or a table; all of a file, or none.

    Examples:
      robustcmr review import audits/web project-1.json
      robustcmr review import audits/web verdicts.csv --by Ada
    """
    from robustcmr.jobs.audit_packages import require_packages

    require_packages()
    from robustcmr.jobs.review_exchange import import_review

    added, of = import_review(audit, source, format, by)
    if as_json:
        print_json({"audit": str(audit), "added": added, "of": of})
    else:
        others = "" if added == of else "; the others were known already or replaced since"
        say(f"added {added:,} of {of:,} verdicts{others}")


def _print_status(found: Mapping[str, Any]) -> None:
    """Print what :func:`robustcmr.jobs.review.review_status` returned."""
    say(f"{found['judged']:,} of {found['pairs']:,} pairs are judged.")
    if found["judged"]:
        say(", ".join(f"{count:,} {verdict}" for verdict, count in found["verdicts"].items() if count) + ".")
    for name, verdicts in found["reviewers"].items():
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items() if count)
        say(f"{name}: {counts}.")
    for one in found["agreement"]:
        kappa = "" if one["kappa"] is None else f", kappa {one['kappa']:.2f}"
        say(
            f"{' and '.join(one['reviewers'])} agree on {100 * one['share']:.1f}% of {one['pairs']:,}{kappa}."
        )
    if found["disagreements"]:
        say(f"On {found['disagreements']:,} pairs they disagree.")
    if (rate := found["estimate"]) is not None:
        low, high = (f"{100 * rate[end]:.1f}%" for end in ("low", "high"))
        say(f"Wrong pairs: {100 * rate['value']:.1f}% (95% interval {low} to {high}).")
