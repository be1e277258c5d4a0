"""The cost network as released: a linear layer over caption positions, tied to the batch size."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from robustcmr.correction.cost_network import FLOOR
from robustcmr.correction.planting import PlantedProblem, cut_problem, n_planted, require_pairs


class LegacyCostNetwork(nn.Module):
    """Cost ``S W' + b`` with W (B, B) over the captions of a batch, cut off below; ``1 - S`` before training.

    Kept to compare with: it learns something about the place of a caption in the batch, which means nothing,
    and nothing keeps the cost up where there is no match.

    Args:
        batch_size: B, number of captions it takes, >= 1.

    Raises:
        ValueError: if the batch size is below 1.

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

    def forward(self, scores: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Cost of every cell.

        Args:
            scores: (n, B) similarity, larger is closer.
            allowed: not looked at; here so that both networks are called alike.

        Returns:
            (n, B) >= 1e-10, in the type of the weights, whatever autocast says.

        Raises:
            ValueError: if the scores have another number of columns.
        """
        del allowed
        if scores.ndim != 2 or scores.shape[1] != self.batch_size:
            raise ValueError(
                f"the legacy cost network takes scores of exactly {self.batch_size} captions, "
                f"got {tuple(scores.shape)}; leave smaller batches out, or use the cost network of any size"
            )
        with torch.autocast(scores.device.type, enabled=False):
            cost: Tensor = self.layer(scores.to(self.layer.weight.dtype))
            return cost.clamp(min=FLOOR)


def legacy_planted_problem(
    scores: Tensor,
    share: float,
    same_image: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> PlantedProblem:
    """Plant matches at random places of an image queue, all captions of the batch staying.

    What is known of the release is that a queue of images gets the partners of 1 to 10% of the batch's
    captions at random places. Its loss reads the planted cells alone, and its layer treats every image by
    itself, so the other images of the queue have no influence; here the other images of the batch stand in
    for them. The captions are put in a random order, so a planted match sits at any column.

    Args:
        scores: (B, B) similarity of pairs believed clean, on the diagonal; B >= 1.
        share: of the captions whose image is planted, in (0, 1]; at least one is.
        same_image: (B, B) bool, True where the image given to pair i is the one given to pair j.
        generator: on the CPU; the same one gives the same problem.

    Returns:
        The problem, B x B. True matches that were not planted are not allowed.

    Raises:
        ValueError: if shapes do not fit, there is no pair, or the share is out of range.
    """
    B = require_pairs(scores, same_image)
    k = n_planted(share, B)
    images, captions = (torch.randperm(B, generator=generator) for _ in range(2))
    is_pair = images[:, None] == captions[None, :]
    is_planted = is_pair & (torch.randperm(B, generator=generator) < k)[:, None]
    problem = cut_problem(scores, images, captions, is_planted, same_image)
    return replace(problem, allowed=problem.allowed & (problem.is_match | ~is_pair.to(scores.device)))


def legacy_planted_loss(cost: Tensor, is_match: Tensor) -> Tensor:
    """Mean cost of the planted matches, and nothing else.

    Args:
        cost: (n, m) from the cost network, with its graph.
        is_match: (n, m) bool, planted cells.

    Returns:
        Scalar; 0 where none is planted.
    """
    return torch.where(is_match, cost, 0.0).sum() / is_match.sum().clamp(min=1)
