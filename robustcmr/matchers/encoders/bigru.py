"""Captions to fragments: word embeddings and a bidirectional GRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        self.reader = nn.GRU(word_dim, dim, batch_first=True)
        self.reverse_reader = nn.GRU(word_dim, dim, batch_first=True)
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
        words = self.embedding(texts.tokens)  # (N, W, word_dim)
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
