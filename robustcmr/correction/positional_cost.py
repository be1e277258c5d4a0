"""The cost network of L2RM as released: a linear layer over caption positions, tied to the batch size.

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import check_square


class PositionalCost(nn.Module):
    """Cost ``max(S W' + b, 1e-10)``, W (B, B) over the captions of a batch; ``1 - S`` before training.

    It learns about a caption's position in the batch, which carries no meaning, and nothing keeps the cost of
    non-matches up.

    Args:
        batch_size: B, the number of captions it takes, >= 1.

    References:
        Han et al., L2RM, CVPR 2024, released code.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"the batch size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.layer = nn.Linear(batch_size, batch_size)
        with torch.no_grad():
            self.layer.weight.copy_(-torch.eye(batch_size))
            self.layer.bias.fill_(1.0)

    @takes_arrays()
    def forward(self, scores: Tensor) -> Tensor:
        """Return the cost (n, B) >= 1e-10 of every cell of scores (n, B), in the type of the weights."""
        if scores.ndim != 2 or scores.shape[1] != self.batch_size:
            raise ValueError(
                f"the positional cost takes scores of exactly {self.batch_size} captions, "
                f"got {tuple(scores.shape)}; skip smaller batches"
            )
        with torch.autocast(scores.device.type, enabled=False):
            cost: Tensor = self.layer(scores.to(self.layer.weight.dtype))
            return cost.clamp(min=1e-10)


@takes_arrays()
def positional_problem(
    scores: Tensor, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Hide synthetic matches at random places of an image queue; all captions of the batch stay.

    In the release, a queue of images receives the partners of 1 to 10% of the batch's captions. Its loss
    reads the matched cells alone and its layer treats each image separately, so the other images of the queue
    have no influence; here the other images of the batch stand in for them. Captions come in random order.

    Args:
        scores: (B, B) similarity of pairs estimated to be clean, on the diagonal; B >= 1.
        share: of the captions whose image is in the queue, in (0, 1]; at least one is.
        generator: on the CPU; fixes the problem.

    Returns:
        The detached scores (B, B) in their new order, and (B, B) bool, the synthetic matches, at most one a
        row and one a column; both on the device of the scores.
    """
    check_square(scores)
    B = len(scores)
    if B == 0:
        raise ValueError("synthetic matches need at least one pair, got none")
    if not 0 < share <= 1:
        raise ValueError(f"the share of synthetic matches must be above 0 and at most 1, got {share}")
    k = max(1, round(share * B))
    images, captions = (torch.randperm(B, generator=generator) for _ in range(2))
    is_match = images[:, None] == captions[None, :]
    is_match &= (torch.randperm(B, generator=generator) < k)[:, None]
    images, captions, is_match = (x.to(scores.device) for x in (images, captions, is_match))
    return scores.detach()[images][:, captions], is_match


@takes_arrays()
def positional_loss(cost: Tensor, is_match: Tensor) -> Tensor:
    """Return the mean cost of the synthetic matches, 0 where there is none.

    Args:
        cost: (n, m) from the cost network, with its graph.
        is_match: (n, m) bool.

    Example:
        >>> import torch
        >>> positional_loss(torch.tensor([[0.2, 0.9], [0.7, 0.4]]), torch.eye(2) == 1)
        tensor(0.3000)
    """
    return torch.where(is_match, cost, 0.0).sum() / is_match.sum().clamp(min=1)
