"""Captions as word pieces, by a tokenizer of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.pretrained import TOKENIZER, longest_text, read, read_config, text_part

AT_ONCE = 4096
"""Captions per call of the tokenizer, which uses several threads."""

_RESERVED = re.compile(r"\[unused\d+\]")  # places in BERT's vocabularies that no text uses


class PretrainedTokenizer:
    """Turns captions into the indices that a pretrained text encoder reads, at most ``longest`` each.

    Raises:
        DataError: the tokenizer has no mask, unknown or end mark to use for masked words.
    """

    words: tuple[str, ...] = ()
    """Empty, as word pieces cannot be looked up as words."""

    def __init__(self, tokenizer: Any, longest: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._longest = min(int(tokenizer.model_max_length), longest or _NO_LIMIT)
        self.is_word = _ordinary(tokenizer)  # (V,) bool, False for every mark
        padding, end = tokenizer.pad_token_id, tokenizer.eos_token_id
        hidden = [i for i in (tokenizer.mask_token_id, tokenizer.unk_token_id, end) if i is not None]
        if not hidden:
            raise DataError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no mask, unknown or end token; name one in "
                "tokenizer_config.json"
            )
        self.unknown_index = int(hidden[0])
        missing = tokenizer.unk_token_id  # tokenizers of bytes know everything, and reuse a mark
        others = (padding, end, tokenizer.bos_token_id, tokenizer.mask_token_id)
        self.missing_index = None if missing is None or missing in others else int(missing)
        self.padding_index = int(next(i for i in (padding, end, hidden[0]) if i is not None))

    def __len__(self) -> int:
        """Return the number of indices."""
        return len(self.is_word)

    @property
    def longest(self) -> int | None:
        """Most indices of a caption; None if unlimited."""
        return self._longest if self._longest < _NO_LIMIT else None

    @property
    def pads_left(self) -> bool:
        """Whether padding goes before a caption."""
        return bool(self._tokenizer.padding_side == "left")

    def is_cut(self, caption: str) -> bool:
        """Return whether a caption has more indices than are read."""
        indices = self._tokenizer(normalize("NFC", caption), return_attention_mask=False, verbose=False)
        return len(indices["input_ids"]) > self._longest

    def encode_many(self, captions: Iterable[str]) -> Iterator[list[int]]:
        """Yield the indices of each caption, with the marks of the model, cut to its length, never empty.

        Captions are brought to Unicode's composed form (NFC) first.
        """
        rest, cut = iter(captions), self._longest < _NO_LIMIT
        while batch := list(islice(rest, AT_ONCE)):
            encoded = self._tokenizer(
                [normalize("NFC", caption) for caption in batch],
                truncation=cut,
                max_length=self._longest if cut else None,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
            yield from (indices or [self.unknown_index] for indices in encoded)


_NO_LIMIT = 1_000_000
"""Tokenizers without a limit have an astronomical ``model_max_length``."""


def open_tokenizer(name: str) -> PretrainedTokenizer:
    """Open the tokenizer of a model, a local folder or hub name.

    Captions are cut to the shorter limit of the tokenizer and the text encoder.

    Raises:
        DataError: the files are missing or damaged, or the tokenizer is not that of the model.
    """
    config = read_config(name)
    part = config.text_config if config.model_type in ("siglip", "siglip2") else text_part(config)
    from transformers import AutoTokenizer  # takes seconds

    def opening(*arguments: Any, **keywords: Any) -> PretrainedTokenizer:
        opened = PretrainedTokenizer(
            AutoTokenizer.from_pretrained(*arguments, **keywords), longest_text(part)
        )
        next(opened.encode_many(["a"]))  # some damage appears only in use
        return opened

    opened: PretrainedTokenizer = read(TOKENIZER, name, opening)
    known = part.vocab_size
    if len(opened) > known:
        raise DataError(
            f"the tokenizer of {name!r} has {len(opened)} indices but its model has {known}; put the "
            "tokenizer that the model was trained with beside its config.json"
        )
    return opened


def _ordinary(tokenizer: Any) -> npt.NDArray[np.bool_]:
    """Return which indices are pieces of text and not marks, (V,) bool."""
    vocabulary = tokenizer.get_vocab()
    is_word = np.zeros(max(len(tokenizer), max(vocabulary.values()) + 1), dtype=np.bool_)
    is_word[[index for piece, index in vocabulary.items() if _RESERVED.fullmatch(piece) is None]] = True
    marks = [index for index, mark in tokenizer.added_tokens_decoder.items() if mark.special]
    is_word[[*tokenizer.all_special_ids, *marks]] = False
    return is_word
