r"""What is printed, verbatim: no markup in it is obeyed, and control characters are shown as escapes.

Tables and progress go through :class:`Console`, log records through :class:`LineFormatter`, and all else
through the streams of ``noise_injection.printing``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from noise_injection.printing import one_line, visible


class LineFormatter(logging.Formatter):
    """Formats the message of a log record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return one_line(super().format(record))


class Console(rich.console.Console):
    """A console that prints strings and cells of tables as one line each, verbatim."""

    def __init__(self, **options: Any) -> None:
        stream = sys.stderr if options.get("stderr") else sys.stdout
        file = getattr(stream, "rich_proxied_file", stream)  # that takes the console's own escape sequences
        super().__init__(**{"file": file, "markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text without style."""
        return super().render_str(one_line(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments to print; those of ready-made texts are made visible too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
