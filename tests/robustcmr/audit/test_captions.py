from __future__ import annotations

import sys
import unicodedata

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies

from robustcmr.audit import captions as forms

ASSIGNED = [
    chr(code)
    for code in range(1, sys.maxunicode + 1)
    if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"
]
"""Letters that this Python knows; a database may know newer ones."""


def by_sql(texts: list[str]) -> list[tuple[str, str, str | None]]:
    table = pa.table({"place": range(len(texts)), "caption": pa.array(texts, pa.string())})
    with duckdb.connect() as connection:
        connection.register("given", table)
        return connection.execute(
            f"SELECT plain, {forms.template_sql('plain')}, {forms.saying_nothing_sql('caption', 'plain')} "
            f"FROM (SELECT *, {forms.plain_sql('caption')} AS plain FROM given) ORDER BY place"
        ).fetchall()


def by_python(texts: list[str]) -> list[tuple[str, str, str | None]]:
    return [(forms.plain(text), forms.template(text), forms.saying_nothing(text)) for text in texts]


@pytest.mark.parametrize(
    ("caption", "plain", "template"),
    [
        ("A dog, running!", "a dog running", "a dog running"),
        ("  IMG_0012.jpg\n", "img 0012 jpg", "img # jpg"),
        ("Lot 7A of 31", "lot 7a of 31", "lot # of #"),
        ("dsc0012 / 3f9", "dsc0012 3f9", "# #"),
        ("照片12张", "照片12张", "照片#张"),
        ("ΟΔΟΣ", "οδοσ", "οδοσ"),
        ("Cafe\u0301", "caf\u00e9", "caf\u00e9"),
        ("?!", "?!", "?!"),
        ("a" * 200_000, "a" * 200_000, "a" * 200_000),
    ],
)
def test_forms(caption: str, plain: str, template: str) -> None:
    assert (forms.plain(caption), forms.template(caption)) == (plain, template)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("IMG_0012.JPG", forms.FILE_NAME),
        ("my holiday photo.jpeg ", forms.FILE_NAME),
        ("a picture of photo.jpg on a screen", None),
        ("https://shop.example/a?b=1", forms.ADDRESS),
        ("www.example.org has more", None),
        ("2019-03-01 12:30", forms.NO_WORDS),
        ("☃", forms.NO_WORDS),
        ("Click to enlarge!", forms.PLACEHOLDER),
        ("Image", forms.PLACEHOLDER),
        ("image of a dog", None),
        ("犬", None),
    ],
)
def test_captions_that_say_nothing(caption: str, reason: str | None) -> None:
    assert forms.saying_nothing(caption) == reason


def test_placeholders_are_plain_and_have_no_quote() -> None:
    assert [forms.plain(word) for word in forms.PLACEHOLDERS] == list(forms.PLACEHOLDERS)
    assert not any("'" in word for word in forms.PLACEHOLDERS)


def test_sql_and_python_agree_on_every_letter() -> None:
    texts = [f"x{letter}y 7{letter}" for letter in ASSIGNED]
    differ = [text for text, a, b in zip(texts, by_sql(texts), by_python(texts), strict=True) if a != b]
    assert differ == []


@given(
    strategies.lists(
        strategies.text(
            strategies.sampled_from([*"aZ09 _-./#'\n\t\u00a0éÉΣİßǅ犬٣\u0301", *ASSIGNED[::97]]), max_size=30
        )
        | strategies.sampled_from(
            ["a.jpg", "x/b.PNG", "HTTP://a.b", " www.a ", "Photo", "no image", "a\nb.gif"]
        ),
        min_size=1,
        max_size=200,
    )
)
@settings(max_examples=60, deadline=None)
def test_sql_and_python_agree_on_texts(texts: list[str]) -> None:
    assert by_sql(texts) == by_python(texts)
