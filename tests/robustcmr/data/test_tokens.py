from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from nltk.tokenize import word_tokenize

from robustcmr.data import tokens
from robustcmr.data.tokens import tokenize

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def by_nltk(caption: str) -> list[str]:
    return word_tokenize(caption.lower(), preserve_line=True)


PIECES = st.sampled_from(
    [
        *"abzé7 ,.-'\"`()&$!?:;\t\u2019\u201c\u2013\xa0",
        *("cannot", "gonna", "wanna", "gimme", "gotta", "lemme", "whatcha", "d'ye", "'tis", "more'n"),
        *(" dog", "n't", "--", "...", ", ", " .", ". ", "U.S.", "3,000", "Mr."),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_equal_to_nltk_on_made_up_text(caption):
    assert tokenize(caption) == by_nltk(caption)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab0 ,.-", max_size=14))
def test_equal_to_nltk_on_text_close_to_plain(caption):
    assert tokenize(caption) == by_nltk(caption)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", []),
        ("  ", []),
        ("A dog, running.", ["a", "dog", ",", "running", "."]),
        ("Two wind - driven fires .", ["two", "wind", "-", "driven", "fires", "."]),
        ("a well-known man can't move", ["a", "well-known", "man", "ca", "n't", "move"]),
        ("I cannot", ["i", "can", "not"]),
        ('the "big" one', ["the", "``", "big", "''", "one"]),
        ("a u.s. flag. here", ["a", "u.s.", "flag.", "here"]),
        ("Café, 3,000 people", ["café", ",", "3,000", "people"]),
    ],
)
def test_words_known_beforehand(caption, words):
    assert tokenize(caption) == words


def test_plain_captions_do_without_nltk(monkeypatch):
    def refuse():
        raise RuntimeError("NLTK was called")

    monkeypatch.setattr(tokens, "_nltk", refuse)
    assert tokenize("Two men, one woman .") == ["two", "men", ",", "one", "woman", "."]
    with pytest.raises(RuntimeError):
        tokenize("it isn't")


def test_equal_to_nltk_on_real_captions():
    captions: list[str] = []
    for path in sorted((SHARED / "f8k_precomp").glob("*_caps.txt")):
        captions.extend(path.read_text(encoding="utf-8").split("\n")[::4])
    for path in sorted((SHARED / "cc152k_urls").glob("*.csv")):
        captions.extend(line.split("\t")[1] for line in path.read_text(encoding="utf-8").split("\n") if line)
    if not captions:
        pytest.skip("the real captions are not here")
    assert [caption for caption in captions if tokenize(caption) != by_nltk(caption)] == []
