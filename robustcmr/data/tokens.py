"""Captions into words: lower case, NLTK's word tokeniser, nothing to download."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import cast

# Words, numbers, hyphens, commas before a space and one full stop at the end: of such text the tokeniser only
# separates commas and the full stop, which string methods do five times as fast.
_PLAIN = re.compile(r"(?:[a-z0-9 ]|-(?!-)|,(?= ))*\.? *")
# Words that it splits although they contain no punctuation.
_CONTRACTED = re.compile(r"cannot|gimme|gonna|gotta|lemme|wanna")


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words and punctuation marks.

    Equal to NLTK's ``word_tokenize(caption.lower(), preserve_line=True)``: the caption is one sentence, so
    only a full stop at its end is separated. The published vocabularies were made by splitting into
    sentences first, which needs a downloaded model and differs only at a full stop within a caption.

    Example:
        >>> tokenize("A dog, running.")
        ['a', 'dog', ',', 'running', '.']
    """
    text = caption.lower()
    if _PLAIN.fullmatch(text) is not None and _CONTRACTED.search(text) is None:
        return text.replace(",", " , ").replace(".", " . ").split()
    return _nltk()(text)


@cache
def _nltk() -> Callable[[str], list[str]]:
    # imported only when needed: loading NLTK takes about a second
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return cast(Callable[[str], list[str]], NLTKWordTokenizer().tokenize)
