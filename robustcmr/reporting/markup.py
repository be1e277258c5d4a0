"""Text in Markdown and LaTeX: whatever comes from a run is shown as it is and never becomes markup."""

from __future__ import annotations

import re
import shlex

from markupsafe import Markup

from noise_injection.printing import one_line, visible

_MARKDOWN = dict.fromkeys("\\`*_[]<>|~&$#", "\\")
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"},
    **{"<": r"$<$", ">": r"$>$"},
}


def markdown(text: object) -> Markup:
    r"""Return text for a line or a cell of Markdown; what is a ``Markup`` stays as it is.

    Example:
        >>> print(markdown("a_b <script> | `c`"))
        a\_b \<script\> \| \`c\`
    """
    if isinstance(text, Markup):
        return text
    line = visible(str(text)).replace("\n", " ")
    return Markup("".join(_MARKDOWN.get(letter, "") + letter for letter in line))


def code(text: object) -> Markup:
    """Return a code span of Markdown.

    Example:
        >>> print(code("seed=3"), code("a`b"))
        `seed=3` ``a`b``
    """
    line = one_line(str(text))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    blank = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{blank}{line}{blank}{fence}")


def shell(text: object) -> Markup:
    """Return a word of a shell command, in a block of code."""
    return Markup(one_line(shlex.quote(str(text))))


def python(text: object) -> Markup:
    """Return a string of Python, in a block of code."""
    return Markup(repr(str(text)))


def latex(text: str) -> str:
    r"""Return text for a line or a cell of LaTeX.

    Example:
        >>> latex("50% & a_b")
        '50\\% \\& a\\_b'
    """
    return "".join(_LATEX.get(letter, letter) for letter in visible(text).replace("\n", " "))
