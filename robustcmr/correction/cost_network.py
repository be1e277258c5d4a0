"""A learned cost of matching: monotone in the score, aware of row and column, for any matrix size.

    C_ij = 1 - exp(a(h_ij)) s_ij - b(h_ij, x_ij) + lift,    h = tanh(W x),  x_ij the context of cell (i, j)

Raising s_ij alone never raises C_ij, whatever the weights. Before training a = b = lift = 0, so C = 1 - S.

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustcmr.arrays import takes_arrays
from robustcmr.correction.context import N_STATISTICS, cell_context
from robustcmr.losses.checks import allowed_mask

FLOOR = 1e-10
_HIDDEN = 8
_REACH = 1.2  # range of the initial weights; scores of a row differ by tenths
_STEEPEST = 3.0  # bound of the log slope


class CostNetwork(nn.Module):
    """Cost of every cell from its score and the six statistics of ``cell_context``; 79 weights.

    A small perceptron shared by all cells and a linear shortcut to the offset, so rows and columns may come
    in any number and order. The last layer and the shortcut start at zero, which still gives them gradients.

    Scores are expected within -1..1, as cosines are; divide others first, as the cost of scores above 1 may
    be cut off. ``lift`` keeps all costs above the floor, so the best cells keep their order; it shifts all
    cells alike, which affects neither transport of a fixed mass nor ``synthetic_loss``.

    Everything is computed in the type and on the device of the weights, whatever autocast says; NumPy arrays
    are taken, too. Gradients reach the weights and the scores.

    Args:
        temperature: of the log-mean-exp in the context, > 0, in units of the score.

    Example:
        >>> import torch
        >>> CostNetwork()(torch.tensor([[0.9, 0.2], [0.1, 0.5]])).detach()
        tensor([[0.1000, 0.8000],
                [0.9000, 0.5000]])

    References:
        Han et al., L2RM, CVPR 2024, whose network is a linear layer over caption positions. This one shares
        only its purpose and its initial cost.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(
                f"the temperature of a cost network must be positive and finite, got {temperature}"
            )
        self.temperature = temperature
        self.hidden = nn.Linear(N_STATISTICS, _HIDDEN)
        self.slope = nn.Linear(_HIDDEN, 1)
        self.offset = nn.Linear(_HIDDEN, 1, bias=False)
        self.shortcut = nn.Linear(N_STATISTICS, 1, bias=False)
        nn.init.uniform_(self.hidden.weight, -_REACH, _REACH)
        for layer in (self.slope, self.offset, self.shortcut):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def lift(self) -> Tensor:
        """Scalar >= 0: the most that slope and offset can subtract for scores and context within -1..1."""
        steepest = _bounded(self.slope.weight.abs().sum() + self.slope.bias.sum()).exp()
        highest = self.offset.weight.abs().sum() + self.shortcut.weight.abs().sum()
        return (steepest - 1.0 + highest).clamp(min=0.0)

    @takes_arrays()
    def forward(self, scores: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the cost of every cell.

        Args:
            scores: (n, m) finite similarity, larger is closer; n, m >= 1.
            allowed: (n, m) bool, cells that may be matched and serve as context; None for everywhere.

        Returns:
            (n, m) >= 1e-10.
        """
        if scores.numel() == 0:
            raise ValueError(f"scores must be (n, m) with at least one cell, got {tuple(scores.shape)}")
        allowed = allowed_mask(scores, allowed)
        with torch.autocast(scores.device.type, enabled=False):
            S, allowed = scores.to(self.hidden.weight), allowed.to(self.hidden.weight.device)
            context = cell_context(S, allowed, self.temperature).flatten(1)  # (6, n m)
            hidden = torch.addmm(
                self.hidden.bias.unsqueeze(1), self.hidden.weight, context
            ).tanh()  # (8, n m)
            slope = _bounded(self.slope.weight @ hidden + self.slope.bias).exp()
            offset = self.offset.weight @ hidden + self.shortcut.weight @ context
            cost = 1.0 - (S * slope.view_as(S) + offset.view_as(S))
            return (cost + self.lift()).clamp(min=FLOOR)


def _bounded(log_slope: Tensor) -> Tensor:
    """The log slope, bounded so that no slope vanishes or overflows."""
    return _STEEPEST * (log_slope / _STEEPEST).tanh()
