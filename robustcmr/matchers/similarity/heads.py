"""From the similarity vectors of pairs to their scores: by graph reasoning or by attention filtration.

Both are plain functions of one tile of pairs: P pairs, N = 1 + W nodes a pair of K numbers, the first node
for image and caption as wholes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.matchers.similarity.vectors import unit


class Head(ABC):
    """Scores of pairs from their nodes."""

    needs_moments: ClassVar[bool] = False
    """Whether sums over the nodes of all pairs must be known before any is scored."""

    def moments(self, nodes: Tensor, mask: Tensor | None, weights: Sequence[Tensor]) -> Tensor:
        """Sums over the real nodes of some pairs; their mean over all pairs goes to ``scores``.

        Args:
            nodes: (P, N, K), zero where padded.
            mask: (P, N) bool, or None where all are real.
            weights: the head's own.

        Returns:
            (s,) sums, float64; by default none, s = 0.
        """
        del mask, weights
        return nodes.new_zeros(0, dtype=torch.float64)

    @abstractmethod
    def scores(
        self, nodes: Tensor, mask: Tensor | None, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """Scores (P,) in 0..1.

        Args:
            nodes: (P, N, K), zero where padded.
            mask: (P, N) bool, or None where all are real; the first node of a pair is.
            moments: (s,) mean of what ``moments`` sums, over all real nodes; None where it sums nothing.
            weights: the head's own.
        """


class GraphHead(Head):
    """Reasoning on the fully connected graph of a pair's nodes, read at the first node.

    A step makes each node ``relu(linear(sum of nodes * softmax(query . key)))``. The key of a node enters
    its products with queries alone, so query and key maps are merged into one; and in the last step only
    the first node is worked out, for no other is read.

    ``weights`` holds, for every step, the merged map (K, K) with its bias (K,) and the linear map (K, K) with
    its bias (K,); then the map to the score (1, K) with its bias (1,).
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
            logits = _wide(torch.bmm(F.linear(readers, merged, merged_bias), nodes.transpose(1, 2)))
            if absent is not None:
                logits = logits + absent
            edges = _short_softmax(logits).to(nodes.dtype)  # (P, N, N)
            nodes = F.relu(F.linear(torch.bmm(edges, nodes), linear, bias))
        return torch.sigmoid(_wide(F.linear(nodes[:, 0], weights[-2], weights[-1])).squeeze(-1))


class AttentionHead(Head):
    """Filtration: nodes are summed with weights between 0 and 1, one each, and normalised.

    The weights are a sigmoid of a batch-normalised linear map; the statistics are those of all real nodes
    of all pairs.

    ``weights`` holds the linear map (1, K), scale and shift of the normalisation (1,) each, and the map to
    the score (1, K) with its bias (1,).

    Args:
        eps: what is added to the variance.
    """

    needs_moments: ClassVar[bool] = True

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def moments(self, nodes: Tensor, mask: Tensor | None, weights: Sequence[Tensor]) -> Tensor:
        """Sums (2,) of the linear map over the nodes and of its square; padded nodes add nothing."""
        del mask
        gates = self._gates(nodes, weights).double()
        return torch.stack([gates.sum(), (gates * gates).sum()])

    def scores(
        self, nodes: Tensor, mask: Tensor | None, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """See :meth:`Head.scores`; needs moments."""
        if moments is None:
            raise ValueError("attention filtration needs the moments of its gates; give those of all nodes")
        del mask
        _, scale, shift, final, bias = weights
        gates = self._gates(nodes, weights)
        mean = moments[0]
        spread = torch.sqrt((moments[1] - mean * mean).clamp(min=0.0) + self.eps)
        open_gates = torch.sigmoid((gates - mean.to(gates.dtype)) / spread.to(gates.dtype) * scale + shift)
        # No sum to divide by: the vector gets length 1 anyway, and padded nodes are zero.
        whole = torch.bmm(open_gates.unsqueeze(1).to(nodes.dtype), nodes).squeeze(1)  # (P, K)
        return torch.sigmoid(_wide(F.linear(unit(_wide(whole)), final, bias)).squeeze(-1))

    @staticmethod
    def _gates(nodes: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """The linear map of every node, (P, N)."""
        return _wide(F.linear(nodes, weights[0])).squeeze(-1)


def _wide(values: Tensor) -> Tensor:
    """The same in float32 or wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _short_softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, several times as fast on a CPU as torch's where that is short."""
    positive = torch.exp(logits - logits.detach().amax(-1, keepdim=True))
    return positive / positive.sum(-1, keepdim=True)
