"""Score pairs from their similarity vectors, by graph reasoning or by attention filtration.

A tile has P pairs of N = 1 + W nodes of width K; the first node is the global one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.matchers.encoders.layers import wide
from robustcmr.matchers.similarity.vectors import unit


class Head(ABC):
    """Score pairs from their nodes."""

    needs_moments: ClassVar[bool] = False
    """Whether scoring needs sums over the nodes of all pairs first."""

    def moments(self, nodes: Tensor, mask: Tensor | None, weights: Sequence[Tensor]) -> Tensor:
        """Return sums (s,) float64 over the real nodes, none by default; ``scores`` takes their means.

        Arguments are those of ``scores``.
        """
        del mask, weights
        return nodes.new_zeros(0, dtype=torch.float64)

    @abstractmethod
    def scores(
        self, nodes: Tensor, mask: Tensor | None, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """Return scores (P,) in 0..1.

        Args:
            nodes: (P, N, K), zero where padded.
            mask: (P, N) bool, True at the first node; None where all nodes are real.
            moments: (s,) means over all real nodes; None for a head without moments.
            weights: weights of the head.
        """


class GraphHead(Head):
    """Reasoning on the fully connected graph of a pair's nodes; the first node gives the score.

    A step maps each node to ``relu(linear(sum of nodes * softmax(query . key)))``. Keys occur only in
    products with queries, so both maps are merged into one. The last step computes the first node only.

    ``weights`` holds for each step the merged map (K, K) and bias (K,), the linear map (K, K) and bias (K,);
    then the map to the score (1, K) and its bias (1,).
    """

    def scores(
        self, nodes: Tensor, mask: Tensor | None, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """See :meth:`Head.scores`."""
        del moments
        steps = (len(weights) - 2) // 4
        absent = None if mask is None else torch.where(mask, 0.0, -torch.inf).unsqueeze(1)  # (P, 1, N)
        for step in range(steps):
            merged, merged_bias, linear, bias = weights[4 * step : 4 * step + 4]
            readers = nodes if step < steps - 1 else nodes[:, :1]
            logits = wide(torch.bmm(F.linear(readers, merged, merged_bias), nodes.transpose(1, 2)))
            if absent is not None:
                logits = logits + absent
            edges = _softmax(logits).to(nodes.dtype)  # (P, N, N)
            nodes = F.relu(F.linear(torch.bmm(edges, nodes), linear, bias))
        return torch.sigmoid(wide(F.linear(nodes[:, 0], weights[-2], weights[-1])).squeeze(-1))


class AttentionHead(Head):
    """Filtration: nodes are summed with gates in 0..1, and the sum is normalised.

    A gate is the sigmoid of a batch-normalised linear map; the statistics cover all real nodes of all pairs.

    ``weights`` holds the linear map (1, K), scale and shift of the batch norm (1,) each, and the map to the
    score (1, K) with its bias (1,).

    Args:
        eps: added to the variance.
    """

    needs_moments: ClassVar[bool] = True

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def moments(self, nodes: Tensor, mask: Tensor | None, weights: Sequence[Tensor]) -> Tensor:
        """Return the sums (2,) of the gate logits and of their squares; padded nodes add zero."""
        del mask
        gates = self._gates(nodes, weights).double()
        return torch.stack([gates.sum(), (gates * gates).sum()])

    def scores(
        self, nodes: Tensor, mask: Tensor | None, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """See :meth:`Head.scores`; needs moments."""
        if moments is None:
            raise ValueError("attention filtration needs the moments of its gates; pass those of all nodes")
        del mask
        _, scale, shift, final, bias = weights
        gates = self._gates(nodes, weights)
        mean = moments[0]
        spread = torch.sqrt((moments[1] - mean * mean).clamp(min=0.0) + self.eps)
        open_gates = torch.sigmoid((gates - mean.to(gates.dtype)) / spread.to(gates.dtype) * scale + shift)
        # the sum is normalised below, so no division; padded nodes are zero
        whole = torch.bmm(open_gates.unsqueeze(1).to(nodes.dtype), nodes).squeeze(1)  # (P, K)
        return torch.sigmoid(wide(F.linear(unit(wide(whole)), final, bias)).squeeze(-1))

    @staticmethod
    def _gates(nodes: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the gate logits (P, N)."""
        return wide(F.linear(nodes, weights[0])).squeeze(-1)


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, several times faster than torch's on a CPU if it is short."""
    positive = torch.exp(logits - logits.detach().amax(-1, keepdim=True))
    return positive / positive.sum(-1, keepdim=True)
