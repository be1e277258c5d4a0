"""Captions to fragments: word embeddings and a bidirectional GRU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from robustcmr.matchers.base import Pretrained
from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.matchers.encoders.word_vectors import load_word_vectors
from robustcmr.types import Fragments, TextBatch

WASTE = 300_000_000
"""Multiplications spent on padding, words times squared width, from which on captions are read by length."""

_GROUPS, _LEAST_GROUP = 4, 32  # captions of like length that are read together where gradients are wanted


class BiGRU(Pretrained, nn.Module):
    """Read a caption in both directions and average the two states at each word.

    Args:
        vocabulary_size: number of word indices.
        padding_index: index of the padding word.
        word_dim: width of a word vector.
        dim: D, width of a fragment.
        dropout: chance that a number of a word vector is dropped in training.
        words: the words by index, for ``word_vectors``.
        word_vectors: GloVe-style text file that word vectors start from; words it lacks start at random.
    """

    def __init__(
        self,
        vocabulary_size: int,
        padding_index: int,
        word_dim: int,
        dim: int,
        dropout: float = 0.0,
        words: tuple[str, ...] = (),
        word_vectors: Path | None = None,
    ) -> None:
        super().__init__()
        self._words, self._word_vectors = words, word_vectors
        self.embedding = nn.Embedding(vocabulary_size, word_dim, padding_idx=padding_index)
        self.dropout = nn.Dropout(dropout)
        self.reader = nn.GRU(word_dim, dim, batch_first=True)
        self.reverse_reader = nn.GRU(word_dim, dim, batch_first=True)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        with torch.no_grad():
            self.embedding.weight[padding_index].zero_()

    def load_pretrained(self) -> None:
        """Start from the word vectors of a file, and log how many words it knows.

        Raises:
            DataError: the file is missing or damaged, or its vectors are of another width.
        """
        if self._word_vectors is not None:
            load_word_vectors(self.embedding, self._word_vectors, self._words)

    def forward(self, texts: TextBatch) -> Fragments:
        """Encode N captions.

        Args:
            texts: N captions of at most W words.

        Returns:
            Fragments (N, W, D), not normalised and zero where padded, and their mean (N, D).
        """
        words = self.dropout(self.embedding(texts.tokens))  # (N, W, word_dim)
        lengths = _lengths_to_read_by(texts.mask, self.reader.hidden_size)
        states = _read(self.reader, words, lengths)
        backwards = _reversed_order(texts.mask)
        reverse_states = _read(self.reverse_reader, _rearranged(words, backwards), lengths)
        features = (states + _rearranged(reverse_states, backwards)) / 2  # (N, W, D)
        features = features * texts.mask.unsqueeze(-1)
        return Fragments(features, texts.mask, masked_mean(features, texts.mask))


def _lengths_to_read_by(mask: Tensor, dim: int) -> Tensor | None:
    """Lengths (N,) of captions that are worth reading by length; None where a whole rectangle is as quick.

    A GPU reads a rectangle in one kernel and would have to wait for the lengths.
    """
    if mask.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    lengths = mask.sum(1)
    waste = (mask.numel() - int(lengths.sum())) * dim**2
    return lengths if waste > WASTE and int(lengths.min()) > 0 else None


def _read(reader: nn.GRU, words: Tensor, lengths: Tensor | None) -> Tensor:
    """States (N, W, D) of a reader at the words (N, W, word_dim); what stands at padding means nothing.

    What follows the last word of a caption cannot change what came before, so a whole rectangle may be read.
    Where padding costs more than sorting, it is left out: by packing, whose way back is slow, and else by
    reading captions of like length together.
    """
    if lengths is None:
        states, _ = reader(words)
        return states  # type: ignore[no-any-return]
    W = words.shape[1]
    if not torch.is_grad_enabled():
        packed, _ = reader(pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(packed, batch_first=True, total_length=W)[0]
    order = lengths.argsort()
    groups = max(1, min(_GROUPS, len(lengths) // _LEAST_GROUP))
    parts = []
    for some in order.tensor_split(groups):
        longest = int(lengths[some[-1]])
        states, _ = reader(words[some, :longest])
        parts.append(nn.functional.pad(states, (0, 0, 0, W - longest)))
    return torch.cat(parts)[order.argsort()]


def _reversed_order(mask: Tensor) -> Tensor:
    """(N, W) positions that turn every caption around in its own length; its own inverse on real words."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask.sum(1, keepdim=True) - 1 - positions).clamp(min=0)


def _rearranged(features: Tensor, positions: Tensor) -> Tensor:
    """Features (N, W, D) in another order of words (N, W)."""
    return features.gather(1, positions.unsqueeze(-1).expand(-1, -1, features.shape[2]))
