"""A learned cost of matching: monotone in the score, aware of row and column, of any size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustcmr.correction.context import N_STATISTICS, cell_context

FLOOR = 1e-10
_HIDDEN = 8
_REACH = 1.2  # of the first weights: scores of a row differ by tenths
_STEEPEST = 3.0  # logarithm of the largest slope, and minus that of the smallest


class CostNetwork(nn.Module):
    """Cost ``1 - slope(context) * score - offset(context)`` of every cell, ``1 - score`` before training.

    The context of a cell are log-mean-exp, largest and mean of the other allowed cells of its row and of its
    column. Slope (always positive) and offset are functions of it, a small perceptron shared by all cells and
    a linear shortcut to the offset: 79 weights. Hence rows and columns may come in any number and order, and
    raising one score alone never raises the cost of that cell, whatever the weights. The last layer and the
    shortcut start at zero, which makes the first cost exact and still gives them gradients.

    Scores are expected within -1..1, as cosines are. The most that slope and offset can take away there is
    added to all cells, a number that depends on the weights alone: so no cost is cut off at the floor and the
    best cells keep their order. Neither transport of a fixed mass nor ``planted_loss`` notices. On another
    scale divide the scores first; scores above 1 may be cut off.

    Everything is computed in the type of the weights, whatever autocast says.

    Args:
        temperature: of the log-mean-exp, > 0, in units of the score.

    Raises:
        ValueError: if the temperature is not a positive finite number.

    References:
        Han et al., L2RM, CVPR 2024, whose network is a linear layer over caption positions; this one shares
        its purpose and its start only.
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
        """Scalar >= 0 that no score or context within -1..1 can bring the cost below 0 without."""
        steepest = _bounded(self.slope.weight.abs().sum() + self.slope.bias.sum()).exp()
        highest = self.offset.weight.abs().sum() + self.shortcut.weight.abs().sum()
        return (steepest - 1.0 + highest).clamp(min=0.0)

    def forward(self, scores: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Cost of every cell.

        Args:
            scores: (n, m) finite similarity, larger is closer; n, m >= 1.
            allowed: (n, m) bool, cells that may be matched; others are no context. None for everywhere.

        Returns:
            (n, m) >= 1e-10.

        Raises:
            ValueError: if the scores are no matrix or empty, or the mask has another shape.
        """
        allowed = _checked(scores, allowed)
        with torch.autocast(scores.device.type, enabled=False):
            S = scores.to(self.hidden.weight.dtype)
            context = cell_context(S, allowed, self.temperature).flatten(1)  # (6, n m)
            hidden = torch.addmm(
                self.hidden.bias.unsqueeze(1), self.hidden.weight, context
            ).tanh()  # (8, n m)
            slope = _bounded(self.slope.weight @ hidden + self.slope.bias).exp()
            offset = self.offset.weight @ hidden + self.shortcut.weight @ context
            cost = 1.0 - (S * slope.view_as(S) + offset.view_as(S))
            return (cost + self.lift()).clamp(min=FLOOR)


def _bounded(log_slope: Tensor) -> Tensor:
    """The logarithm of the slope, squeezed so that no slope vanishes or overflows."""
    return _STEEPEST * (log_slope / _STEEPEST).tanh()


def _checked(scores: Tensor, allowed: Tensor | None) -> Tensor:
    if scores.ndim != 2 or scores.numel() == 0:
        raise ValueError(f"scores must be (n, m) with at least one cell, got {tuple(scores.shape)}")
    if allowed is None:
        return torch.ones_like(scores, dtype=torch.bool)
    if allowed.shape != scores.shape or allowed.dtype != torch.bool:
        raise ValueError(
            f"allowed must be bool of shape {tuple(scores.shape)} like the scores, "
            f"got {allowed.dtype} of shape {tuple(allowed.shape)}"
        )
    return allowed
