"""Teacher: the running mean of a matcher's weights, whose scores are steadier than the matcher's."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from robustcmr.matchers.base import Matcher


class Teacher(nn.Module):
    """Running mean of a matcher's weights; always in evaluation mode and without gradients.

    Update t:  w <- d w + (1 - d) w_matcher,  d = min(decay, (1 + t) / (10 + t)),  fast at first.

    Args:
        matcher: the matcher to average.
        decay: in (0, 1), d in the long run.

    References:
        Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017.
    """

    updates: Tensor

    def __init__(self, matcher: Matcher, decay: float) -> None:
        super().__init__()
        self.matcher: Matcher = copy.deepcopy(matcher).requires_grad_(False)
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        del mode
        super().train(False)
        return self

    @torch.no_grad()
    def follow(self, matcher: Matcher) -> None:
        """Move towards the current matcher; integer buffers such as counters are copied."""
        t = int(self.updates)
        kept = min(self.decay, (1 + t) / (10 + t))
        # shared weights appear once here, unlike in the state dict
        for own, new in zip(_tensors(self.matcher), _tensors(matcher), strict=True):
            if own.is_floating_point():
                own.lerp_(new.to(own), 1 - kept)
            else:
                own.copy_(new)
        self.updates += 1


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())
