"""Captions into words: Unicode NFC, lower case, NLTK's word tokeniser; nothing to download."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import cast
from unicodedata import category, normalize

# Words, numbers, hyphens, commas before a space and one full stop at the end: of such text the tokeniser only
# separates commas and the full stop, which string methods do five times as fast.
_PLAIN = re.compile(r"(?:[a-z0-9 ]|-(?!-)|,(?= ))*\.? *")
# Words that it splits although they contain no punctuation.
_CONTRACTED = re.compile(r"cannot|gimme|gonna|gotta|lemme|wanna")

# Scripts written without spaces whose characters Unicode's default word boundaries (UAX #29) separate: Han,
# Hiragana, Yi, and the South East Asian scripts of line-break class SA.
_SINGLE = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003fffd"  # Han
    "\u3041-\u3096\u309d-\u309f\U0001b001-\U0001b11f\U0001b132-\U0001b152\U0001f200"  # Hiragana
    "\ua000-\ua4cf"  # Yi
    "\u0e01-\u0e3a\u0e40-\u0e4f\u0e5a\u0e5b\u0e80-\u0ecf\u0edc-\u0edf"  # Thai, Lao without their digits
    "\u1000-\u103f\u104a-\u108f\u109a-\u109f\uaa60-\uaa7f\ua9e0-\ua9ef\ua9fa-\ua9fe"  # Myanmar
    "\u1780-\u17df\u17f0-\u17f9"  # Khmer
    "\u1950-\u197f\u1980-\u19cf\u19da\u19de-\u19ff\u1a20-\u1a7f\u1aa0-\u1aaf\uaa80-\uaadf"  # Tai
)
_KATAKANA = "\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff\uff66-\uff9d"  # runs of it are words
_TIBETAN = "\u0f0b"  # ends a syllable
_UNSPACED = re.compile(f"[{_SINGLE}{_KATAKANA}{_TIBETAN}]")
_APART = re.compile(
    f"[{_SINGLE}\u3001-\u3003\u3008-\u3020\u3030\u30a0\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)
_BETWEEN = re.compile(f"[{_TIBETAN}\u200b\u2060]")  # separate words, and are none
_MARKS = ("Mn", "Mc", "Me")


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words and punctuation marks.

    Equal to NLTK's ``word_tokenize(caption.lower(), preserve_line=True)``: the caption is one sentence, so
    only a full stop at its end is separated. The published vocabularies were made by splitting into
    sentences first, which needs a downloaded model and differs only at a full stop within a caption.

    Text is brought to Unicode's composed form (NFC), before and after. Scripts without spaces are split by
    Unicode's default word boundaries (UAX #29): each Chinese character, Hiragana, Thai, Lao, Khmer or Burmese
    letter with its marks is a word, and each run of Katakana.

    Example:
        >>> tokenize("A dog, running.")
        ['a', 'dog', ',', 'running', '.']
        >>> tokenize("两只狗 run")
        ['两', '只', '狗', 'run']
    """
    return split_at_spaces(caption if caption.isascii() else _separate(normalize("NFC", caption)))


def split_at_spaces(caption: str) -> list[str]:
    """Split a caption as :func:`tokenize`, but keep what is written without spaces together."""
    text = caption.lower()
    if _PLAIN.fullmatch(text) is not None and _CONTRACTED.search(text) is None:
        return text.replace(",", " , ").replace(".", " . ").split()
    if not caption.isascii():
        text = normalize("NFC", normalize("NFC", caption).lower())
    return _nltk()(text)


def is_joined(word: str) -> bool:
    """Return whether a word has several characters that :func:`tokenize` separates."""
    return len(_separate(word).split()) > 1


def _separate(text: str) -> str:
    """Put spaces around the characters of scripts without spaces, and around wide punctuation among them."""
    if _UNSPACED.search(text) is None:
        return text
    parts: list[str] = []
    apart = False  # whether the last character, with its marks, is a word of its own
    for character in _BETWEEN.sub(" ", text):
        if category(character) in _MARKS:
            parts.append(character)
            continue
        alone = _APART.match(character) is not None
        parts.append(f" {character}" if alone or apart else character)
        apart = alone
    return "".join(parts)


@cache
def _nltk() -> Callable[[str], list[str]]:
    # imported only when needed: loading NLTK takes about a second
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return cast(Callable[[str], list[str]], NLTKWordTokenizer().tokenize)
