"""Running targets: what is believed of a pair, as a decaying mean of what was found in each step or epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays


@takes_arrays()
def running_target(previous: Tensor, found: Tensor, keep: float, least: float = 0.0) -> Tensor:
    """Return ``keep * previous + (1 - keep) * found``, with 0 in place of what falls below ``least``.

    A target of 0 can rise again: by (1 - keep) of what is found.

    Args:
        previous: (N,) targets so far.
        found: (N,) what was found now, in the same unit.
        keep: share of the previous target in 0..1; 0 forgets it, 1 keeps it.
        least: smaller targets become 0.

    Returns:
        (N,) new targets, detached.

    Raises:
        ValueError: the shapes differ, or ``keep`` leaves 0..1.

    Example:
        >>> import torch
        >>> running_target(torch.tensor([1.0, 0.1]), torch.tensor([0.5, 0.0]), keep=0.8, least=0.1)
        tensor([0.9000, 0.0000])

    References:
        Qin et al., "Cross-modal Active Complementary Learning with Self-refining Correspondence", NeurIPS
        2023 (keep 0.8, least 0.1); Zhao et al., "Mitigating Noisy Correspondence by Geometrical Structure
        Consistency Learning", CVPR 2024 (keep 0.3).
    """
    if previous.shape != found.shape:
        raise ValueError(
            f"previous is of shape {tuple(previous.shape)} and found of {tuple(found.shape)}; expected one "
            "number for each of the same pairs"
        )
    if not 0.0 <= keep <= 1.0:
        raise ValueError(f"keep is {keep}; expected a share in 0..1, such as keep=0.8")
    new = (keep * previous + (1 - keep) * found).detach()
    return torch.where(new < least, torch.zeros_like(new), new)
