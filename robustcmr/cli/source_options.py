"""Options that say how a source of pairs is read, shared by the commands that open one."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcmr.cli import complete

ImageColumn = Annotated[
    str | None,
    typer.Option("--image", help="Column with the picture, or what names it; guessed by default."),
]
TextColumn = Annotated[
    str | None,
    typer.Option("--text", help="Column with the caption, or a list of captions; guessed by default."),
]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="Column with the id of the pair; guessed, or made, by default.")
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help='Condition on the columns, such as "width > 200".'),
]
SourceFormat = Annotated[
    str | None,
    typer.Option(
        "--format", help="Format of the source; guessed by default.", autocompletion=complete.source_formats
    ),
]
