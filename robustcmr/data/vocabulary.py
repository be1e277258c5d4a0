"""Words and their indices, in the JSON form of the published vocabularies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from robustcmr.data.tokens import is_joined, split_at_spaces, tokenize
from robustcmr.errors import DataError
from robustcmr.files import read_json, reason, write_text

PADDING, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL_WORDS = (PADDING, START, END, UNKNOWN)


class Vocabulary:
    """A fixed list of different words; the first four are padding, start, end and unknown.

    Words are looked up in Unicode's composed form (NFC); of words that differ only in form the first counts.
    A vocabulary with words of several Chinese or other characters that :func:`tokenize` separates was made
    from text that was already cut into words: captions are then split at spaces alone.

    Args:
        words: all words by index.
    """

    padding_index = 0
    start_index = 1
    end_index = 2
    unknown_index = 3
    missing_index: int | None = unknown_index

    def __init__(self, words: Sequence[str]) -> None:
        if tuple(words[:4]) != SPECIAL_WORDS:
            raise ValueError(f"a vocabulary starts with {', '.join(SPECIAL_WORDS)}, got {tuple(words[:4])}")
        self.words = tuple(words)
        if len(set(self.words)) != len(self.words):
            raise ValueError("a vocabulary holds each word once")
        self._index: dict[str, int] = {}
        for index, word in enumerate(self.words):
            self._index.setdefault(normalize("NFC", word), index)
        self.words_of = split_at_spaces if any(map(is_joined, self.words)) else tokenize
        """Splits a caption into the words to look up."""
        self.is_word = np.arange(len(self.words)) >= self.unknown_index  # (V,) bool

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1) -> Vocabulary:
        """Collect the words of raw captions that occur at least ``min_count`` times.

        The most frequent come first, ties in alphabetical order.
        """
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        counts = Counter(chain.from_iterable(tokenize(caption) for caption in captions))
        kept = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_WORDS]
        return cls([*SPECIAL_WORDS, *sorted(kept, key=lambda word: (-counts[word], word))])

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary in the published form ``{"word2idx": ..., "idx2word": ..., "idx": ...}``.

        Raises:
            DataError: the file is missing or not JSON, lacks a part or a special word, or its parts disagree.
        """
        word2idx, idx2word, count = _read_parts(path)
        _check_special_words(path, word2idx)
        if sorted(word2idx.values()) != list(range(len(word2idx))):
            raise DataError(
                f"{path}: the indices of its {len(word2idx)} words are not 0..{len(word2idx) - 1}, each once"
            )
        wrong = [word for word, index in word2idx.items() if idx2word.get(str(index)) != word]
        if wrong:
            raise DataError(
                f"{path}: idx2word disagrees with word2idx on {len(wrong)} of {len(word2idx)} words, "
                f"such as {wrong[0]!r}; build the vocabulary anew"
            )
        if not len(idx2word) == count == len(word2idx):
            raise DataError(
                f"{path}: word2idx has {len(word2idx)} words, idx2word {len(idx2word)} and idx says {count}; "
                "expected the same number three times"
            )
        return cls(sorted(word2idx, key=word2idx.__getitem__))

    def save(self, path: Path) -> None:
        """Write the vocabulary in the published form, atomically."""
        parts = {
            "word2idx": {word: index for index, word in enumerate(self.words)},
            "idx2word": {str(index): word for index, word in enumerate(self.words)},
            "idx": len(self),
        }
        write_text(path, json.dumps(parts, ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and normalize("NFC", word) in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode_many(self, captions: Iterable[str]) -> Iterator[list[int]]:
        """Yield the indices of each caption's words, between the start and the end mark."""
        known, unknown = self._index, self.unknown_index
        for caption in captions:
            yield [
                self.start_index,
                *(known.get(word, unknown) for word in self.words_of(caption)),
                self.end_index,
            ]


def _read_parts(path: Path) -> tuple[dict[str, int], Mapping[str, Any], Any]:
    """Return the three parts of a vocabulary file, with checked types."""
    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"there is no vocabulary file {path}") from error
    except OSError as error:
        raise DataError(f"cannot read the vocabulary {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a JSON file of words: {error}") from error
    expected = 'expected {"word2idx": {...}, "idx2word": {...}, "idx": n}'
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a JSON {type(document).__name__}; {expected}")
    missing = [key for key in ("word2idx", "idx2word", "idx") if key not in document]
    if missing:
        raise DataError(f"{path} has no {' and no '.join(missing)}; {expected}")
    word2idx, idx2word, count = (document[key] for key in ("word2idx", "idx2word", "idx"))
    if not isinstance(word2idx, dict) or not isinstance(idx2word, dict):
        raise DataError(f"{path}: word2idx and idx2word must be JSON objects; {expected}")
    for word, index in word2idx.items():
        if type(index) is not int:
            raise DataError(f"{path}: the index of {word!r} is {index!r}; expected a whole number")
    return word2idx, idx2word, count


def _check_special_words(path: Path, word2idx: Mapping[str, int]) -> None:
    expected = f"expected {', '.join(SPECIAL_WORDS)} at 0..3"
    missing = [word for word in SPECIAL_WORDS if word not in word2idx]
    if missing:
        raise DataError(f"{path} has no {' and no '.join(missing)} word; {expected}")
    for index, word in enumerate(SPECIAL_WORDS):
        if word2idx[word] != index:
            raise DataError(f"{path} has {word} at index {word2idx[word]}; {expected}")
