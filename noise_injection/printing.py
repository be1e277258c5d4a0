r"""Text for a terminal: nothing in it can move the cursor, hide or reverse other text, or fail to be encoded.

A terminal obeys ESC and other control characters, wherever they come from: a file name, a caption, a key. The
commands therefore print through :func:`plain_streams`, which writes such characters as escapes (``\x1b``).
"""

from __future__ import annotations

import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of controls, formats such as bidi marks and zero-width letters, surrogates, and line ends."""


class _Escapes(dict[int, str]):
    """What to print for a character, by its code."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        hidden = letter != "\n" and unicodedata.category(letter) in _HIDDEN
        self[code] = repr(letter)[1:-1] if hidden else letter
        return self[code]


_ESCAPES = _Escapes()


def visible(text: str) -> str:
    r"""Return the text with control characters as escapes; line feeds stay.

    Escaped are ESC and all of C0 and C1, bidi marks, overrides and isolates, zero-width letters, line and
    paragraph separators, and the surrogates that stand for bytes of a file name that are not UTF-8.

    Example:
        >>> print(visible("\x1b[31mred\u202e"))
        \x1b[31mred\u202e
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def one_line(text: str) -> str:
    r"""Return the text as :func:`visible` does, with line feeds as ``\n``."""
    return visible(text).replace("\n", "\\n")


def message(text: str) -> str:
    """Return an error message as :func:`visible` does, its second and further lines indented.

    What follows a line feed in the name of a file must not look like a message of its own.
    """
    return re.sub("\n(?! )", "\n  ", visible(text))


class _VisibleStream:
    """A text stream that shows control characters as escapes."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # to which rich writes its colours; its text is made visible before
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Make stdout and stderr safe to print any text to: control characters and unknown letters as escapes.

    A closed stream swallows what is printed.

    Raises:
        OSError: what was printed cannot be written, such as to a full disk or a closed pipe.
    """
    with _plain(sys.stdout) as out, _plain(sys.stderr) as err, redirect_stdout(out), redirect_stderr(err):
        yield


@contextmanager
def _plain(stream: TextIO | None) -> Iterator[TextIO]:
    if isinstance(stream, _VisibleStream):
        yield stream
        return
    if stream is None:  # the process was started without it
        yield io.StringIO()
        return
    try:
        yield cast(TextIO, _VisibleStream(stream))
    except BaseException:
        with suppress(OSError):  # the first error counts
            _flush(stream)
        raise
    _flush(stream)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):  # so that the interpreter does not try it again as it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise
