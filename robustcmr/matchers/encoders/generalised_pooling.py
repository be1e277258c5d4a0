"""Pool a set of fragments by learned weights of the sorted values of each channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def positional_encoding(length: int, width: int) -> Tensor:
    """Return the sinusoidal positional encoding (length, width), of even width; even columns hold sines.

    References:
        Vaswani et al., "Attention Is All You Need", 2017, section 3.5.
    """
    frequencies = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))  # (width / 2,)
    angles = torch.arange(length).unsqueeze(1) * frequencies  # (L, width / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class GeneralisedPooling(nn.Module):
    """Sort the values of each channel and sum them with learned weights of the ranks.

    The weights depend on the rank and on the number of fragments; mean and maximum are special cases. They
    are computed once for each number of fragments in a batch.

    Args:
        position_width: width of the positional encoding, even.
        hidden: width of the bidirectional GRU that reads it.
        temperature: of the softmax over the ranks.

    References:
        Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", CVPR 2021, section 3;
        sizes and temperature are those of its release.
    """

    def __init__(self, position_width: int = 32, hidden: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        self.position_width, self.temperature = position_width, temperature
        self.reader = nn.GRU(position_width, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(hidden, 1, bias=False)

    def coefficients(self, lengths: Tensor, ranks: int) -> Tensor:
        """Return the weights of the ranks for sets of given sizes.

        Args:
            lengths: (K,) int64 numbers of fragments, in 1..ranks.
            ranks: L, number of ranks.

        Returns:
            (K, L) float; each row sums to 1 and is zero beyond its length.
        """
        weight = self.linear.weight
        positions = positional_encoding(ranks, self.position_width).to(weight)  # (L, position_width)
        packed = pack_padded_sequence(
            positions.expand(len(lengths), -1, -1), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast(weight.device.type, enabled=False):  # a softmax at 0.1 needs exact logits
            states, _ = pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=ranks)
            states = states.view(*states.shape[:2], 2, -1).mean(-2)  # (K, L, hidden), over both directions
            logits = self.linear(states).squeeze(-1) / self.temperature  # (K, L)
        beyond = torch.arange(ranks, device=weight.device) >= lengths.to(weight.device).unsqueeze(1)
        weights: Tensor = logits.masked_fill(beyond, -math.inf).softmax(-1)
        return weights

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Pool N sets.

        Args:
            features: (N, L, D) float.
            mask: (N, L) bool, True for real fragments, at least one a set.

        Returns:
            (N, D).
        """
        count = mask.sum(1)
        lengths, size_of_set = torch.unique(count, return_inverse=True)
        weights = self.coefficients(lengths, features.shape[1])[size_of_set]  # (N, L)
        values = features.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
        ranks = torch.arange(mask.shape[1], device=mask.device)
        values = values.masked_fill((ranks >= count.unsqueeze(1)).unsqueeze(-1), 0.0)  # (N, L, D)
        return (values * weights.unsqueeze(-1)).sum(1)
