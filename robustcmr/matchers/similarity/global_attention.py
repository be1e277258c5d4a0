"""Pool a set of fragments by attention against their mean."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.errors import DataError
from robustcmr.matchers.encoders.layers import masked_mean, xavier
from robustcmr.matchers.similarity.vectors import unit


class GlobalAttention(nn.Module):
    """Sum fragments with softmax weights ``v . (tanh(A x) * tanh(B mean))`` and normalise.

    Biases without effect are dropped: that of v, which shifts all logits of a set alike, and those before a
    batch norm of the same channels.

    Args:
        dim: D, width of a fragment.
        dropout: dropout probability after tanh.
        norm: batch norm before tanh: none; by channel over real fragments (and over means); or, as released
            with SGRAF, fragments by *position*, which requires exactly ``n_positions`` fragments a set and
            depends on their order.
        n_positions: see ``norm``.
        what: name of the fragments in messages.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021, section 3.1.
    """

    def __init__(
        self,
        dim: int,
        dropout: float,
        norm: Literal["none", "channel", "position"],
        n_positions: int = 0,
        what: str = "fragments",
    ) -> None:
        super().__init__()
        self.what, self.n_positions = what, n_positions if norm == "position" else None
        self.local = nn.Linear(dim, dim, bias=norm != "channel")
        self.whole = nn.Linear(dim, dim, bias=norm == "none")
        self.local_norm = (
            None if norm == "none" else nn.BatchNorm1d(n_positions if norm == "position" else dim)
        )
        self.whole_norm = None if norm == "none" else nn.BatchNorm1d(dim)
        self.dropout = nn.Dropout(dropout)
        self.common = nn.Linear(dim, 1, bias=False)
        for linear in (self.local, self.whole, self.common):
            xavier(linear)

    def forward(self, fragments: Tensor, mask: Tensor) -> Tensor:
        """Pool N sets into vectors (N, D) of unit norm.

        Args:
            fragments: (N, L, D) of unit norm, zero where padded.
            mask: (N, L) bool, at least one True a row.

        Raises:
            DataError: norm is ``position`` and a set has a different number of fragments.
        """
        real = fragments[mask]  # (V, D)
        local = self.local(real)
        if self.n_positions is not None:
            if mask.shape[1] != self.n_positions or not bool(mask.all()):
                raise DataError(
                    f"this model normalises by position and expects {self.n_positions} {self.what} in every "
                    f"set, got {int(mask.sum(1).min())}..{int(mask.sum(1).max())}; train with norm=channel"
                )
            local = _normalised(self.local_norm, local.view(*mask.shape, -1)).flatten(0, 1)
        else:
            local = _normalised(self.local_norm, local)
        whole = _normalised(self.whole_norm, self.whole(masked_mean(fragments, mask)))
        local, whole = (self.dropout(torch.tanh(x)) for x in (local, whole))
        owner = mask.nonzero()[:, 0]
        shares = self.common(local * whole[owner]).squeeze(-1)  # (V,)
        wide = torch.promote_types(shares.dtype, torch.float32)
        logits = torch.full(mask.shape, -torch.inf, dtype=wide, device=mask.device)
        logits[mask] = shares.to(wide)
        weights = torch.softmax(logits, -1).unsqueeze(-1)  # (N, L, 1)
        return unit((weights * fragments).sum(1))


def _normalised(norm: nn.BatchNorm1d | None, values: Tensor) -> Tensor:
    """Apply batch norm to (x, C) or (x, C, D); a single row uses the running statistics."""
    if norm is None:
        return values
    if values.ndim == 2 and len(values) == 1:
        return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    normalised: Tensor = norm(values)
    return normalised
