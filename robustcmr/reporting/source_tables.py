"""A checked source of pairs for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from noise_injection.printing import one_line
from robustcmr.reporting.audit_sentences import pairs

if TYPE_CHECKING:
    from robustcmr.sources.check import SourceReport

_LONGEST = 100  # letters of a caption or name that are shown


def columns_table(report: SourceReport) -> Table:
    """Return the columns of the source, and what each is used as."""
    table = Table("column", "type", "used as")
    for name, kind, role in report.columns:
        table.add_row(_short(name), _short(kind), role)
    return table


def samples_table(report: SourceReport) -> Table:
    """Return the first pairs as they are read."""
    table = Table("id", "image", "caption")
    for sample in report.samples:
        table.add_row(_short(sample.id), _short(sample.image), _short(sample.caption))
    return table


def report_lines(report: SourceReport) -> Iterator[str]:
    """Yield what was guessed, the counts, and every problem."""
    yield from report.says
    files = f"{report.files:,} file{'' if report.files == 1 else 's'}"
    yield (
        f"{pairs(report.pairs)} of {report.images:,} different images and {report.captions:,} different "
        f"captions in {files}, {report.bytes / 2**20:,.1f} MiB, read as {report.format}"
    )
    if report.addresses:
        yield (
            f"{pairs(report.addresses)} name the image by its address alone; nothing is fetched, so give "
            "vectors to audit them"
        )
    if report.names:
        yield (
            f"no picture file was found ({pairs(report.names)} name one); give vectors to audit the pairs, "
            "or check the folder"
        )
    for problem in report.problems:
        if problem.pairs:
            yield f"PROBLEM: {pairs(problem.pairs)}: {problem.problem}, first {problem.first}"
        else:
            yield f"PROBLEM: {problem.problem}"
    if report.ok:
        yield "no problem found"


def _short(text: str) -> Text:
    line = one_line(text)
    return Text(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…", overflow="fold")
