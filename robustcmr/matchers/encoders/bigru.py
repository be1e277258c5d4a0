"""Captions to fragments: word embeddings and a bidirectional GRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from robustcmr.matchers.encoders.layers import masked_fragments
from robustcmr.matchers.encoders.word_vectors import WordEmbedding
from robustcmr.types import Fragments, TextBatch

PADDING_COST = 300_000_000
"""Padding cost (padded words times squared width) above which captions are batched by length."""

_GROUPS, _MIN_GROUP = 4, 32  # groups by length when gradients are needed, and their smallest size


class BiGRU(nn.Module):
    """Read a caption in both directions and average the two states at each word.

    Args:
        embedding: word vectors, drawn here.
        dim: D, width of a fragment.
        dropout: dropout probability of word vectors in training.
    """

    def __init__(self, embedding: WordEmbedding, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        self.reader = nn.GRU(embedding.embedding_dim, dim, batch_first=True)
        self.reverse_reader = nn.GRU(embedding.embedding_dim, dim, batch_first=True)
        embedding.draw()

    def forward(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D), not normalised, zero where padded, and their means."""
        words = self.dropout(self.embedding(texts.tokens))  # (N, W, word_dim)
        lengths = _lengths_to_batch_by(texts.mask, self.reader.hidden_size)
        states = _read(self.reader, words, lengths)
        backwards = _reversed_order(texts.mask)
        reverse_states = _read(self.reverse_reader, _reordered(words, backwards), lengths)
        return masked_fragments((states + _reordered(reverse_states, backwards)) / 2, texts.mask)


def _lengths_to_batch_by(mask: Tensor, dim: int) -> Tensor | None:
    """Return caption lengths (N,) where batching by length pays; None where one padded batch is as fast.

    A GPU reads a padded batch in one kernel and would have to wait for the lengths.
    """
    if mask.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    lengths = mask.sum(1)
    padding_cost = (mask.numel() - int(lengths.sum())) * dim**2
    return lengths if padding_cost > PADDING_COST and int(lengths.min()) > 0 else None


def _read(reader: nn.GRU, words: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the states (N, W, D) of a reader at the words (N, W, word_dim); undefined at padding.

    Padding follows the last word, so it cannot change earlier states and one padded batch is correct. Where
    padding costs more than sorting, captions are packed, or, when gradients are needed, grouped by length,
    because the backward pass of packed sequences is slow.
    """
    if lengths is None:
        states, _ = reader(words)
        return states  # type: ignore[no-any-return]
    W = words.shape[1]
    if not torch.is_grad_enabled():
        packed, _ = reader(pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(packed, batch_first=True, total_length=W)[0]
    order = lengths.argsort()
    groups = max(1, min(_GROUPS, len(lengths) // _MIN_GROUP))
    parts = []
    for group in order.tensor_split(groups):
        longest = int(lengths[group[-1]])
        states, _ = reader(words[group, :longest])
        parts.append(nn.functional.pad(states, (0, 0, 0, W - longest)))
    return torch.cat(parts)[order.argsort()]


def _reversed_order(mask: Tensor) -> Tensor:
    """Return positions (N, W) that reverse each caption within its length; an involution on real words."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask.sum(1, keepdim=True) - 1 - positions).clamp(min=0)


def _reordered(features: Tensor, positions: Tensor) -> Tensor:
    """Reorder features (N, W, D) by word positions (N, W)."""
    return features.gather(1, positions.unsqueeze(-1).expand(-1, -1, features.shape[2]))
