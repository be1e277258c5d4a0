"""Captions to fragments: word embeddings and a bidirectional GRU."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.types import Fragments, TextBatch


class BiGRU(nn.Module):
    """Read a caption in both directions and average the two states at each word.

    Args:
        vocabulary_size: number of word indices.
        padding_index: index of the padding word.
        word_dim: width of a word embedding.
        dim: D, width of a fragment.
    """

    def __init__(self, vocabulary_size: int, padding_index: int, word_dim: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, word_dim, padding_idx=padding_index)
        self.gru = nn.GRU(word_dim, dim, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        with torch.no_grad():
            self.embedding.weight[padding_index].zero_()

    def forward(self, texts: TextBatch) -> Fragments:
        """Encode N captions.

        Args:
            texts: N captions of at most W words.

        Returns:
            Fragments (N, W, D), not normalised and zero where padded, and their mean (N, D).
        """
        n, longest = texts.tokens.shape
        lengths = texts.mask.sum(1).cpu()
        words = self.embedding(texts.tokens)  # (N, W, word_dim)
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=longest)
        features = states.view(n, longest, 2, -1).mean(2)  # (N, W, D) from (N, W, 2 D)
        return Fragments(features, texts.mask, masked_mean(features, texts.mask))
