"""What comes from a run is text in Markdown and LaTeX, whatever it looks like."""

import ast
import shlex

import pytest
from hypothesis import given, strategies as st
from markupsafe import Markup

from robustcmr.reporting.markup import code, latex, markdown, python, shell

SIGNS = st.text(st.sampled_from("`ab \n<&|*_[]$~#\\\x1b"), min_size=1)


def test_markdown_shows_every_sign():
    text = "<script>a</script> | *b* _c_ [d](e) `f` ~g~ &lt; $h$ # \\ \x1b\u202e\ni"
    assert markdown(text) == (
        r"\<script\>a\</script\> \| \*b\* \_c\_ \[d\](e) \`f\` \~g\~ \&lt; \$h\$ \# \\ \\x1b\\u202e i"
    )
    assert markdown(Markup("<b>")) == "<b>"
    assert markdown(3.5) == "3.5"


@given(SIGNS)
def test_a_code_span_ends_where_it_should(text):
    span = code(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert not inside.startswith("`")
    assert not inside.endswith("`")
    assert fence not in inside.replace(fence + "`", "")
    assert "\n" not in span


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_words_of_programs_are_read_as_they_were(text):
    assert shlex.split(shell(text)) == [text]
    assert ast.literal_eval(python(text)) == text


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\x85"])
def test_nothing_leaves_a_line(end):
    for write in (markdown, code, shell, python, latex):
        assert not set(write(f"a{end}```\n\\input{{b}}")) & set("\n\r\u2028\x85")


def test_latex_shows_every_sign():
    assert latex("a_b & 5% \\input{c} ~^<±>\x1b") == (
        r"a\_b \& 5\% \textbackslash{}input\{c\} \textasciitilde{}\textasciicircum{}$<$$\pm$$>$"
        r"\textbackslash{}x1b"
    )
