"""Captions to fragments: word embeddings and a bidirectional GRU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from robustcmr.matchers.base import Pretrained
from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.matchers.encoders.word_vectors import load_word_vectors
from robustcmr.types import Fragments, TextBatch


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
        states, _ = self.reader(words)  # what follows the last word cannot change what came before
        backwards = _reversed_order(texts.mask)
        reverse_states, _ = self.reverse_reader(_rearranged(words, backwards))
        features = (states + _rearranged(reverse_states, backwards)) / 2  # (N, W, D)
        features = features * texts.mask.unsqueeze(-1)
        return Fragments(features, texts.mask, masked_mean(features, texts.mask))


def _reversed_order(mask: Tensor) -> Tensor:
    """(N, W) positions that turn every caption around within its own length; its own inverse on real words.

    Two plain readers over whole rectangles are faster on a CPU than one over packed sequences, and equal.
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask.sum(1, keepdim=True) - 1 - positions).clamp(min=0)


def _rearranged(features: Tensor, positions: Tensor) -> Tensor:
    """Features (N, W, D) in another order of words (N, W)."""
    return features.gather(1, positions.unsqueeze(-1).expand(-1, -1, features.shape[2]))
