"""One batch over several processes, each with a part of the images, of the captions and of the score matrix.

Methods and losses notice nothing: what a sharded matcher returns is whole, and the same in every process.
Encoding is cut by items and scoring by images. What goes into and out of the cut work is mended on the way
back:

- what was gathered (encoded items, rows of scores) takes back the gradient of its own part, for all processes
  compute the same loss of the same whole;
- what entered the scoring whole takes back the sum of all processes' gradients, for each saw some rows alone;
- where a batch is too small to be cut, or a matcher's scores depend on each other, all processes do all, and
  each passes its share of the gradient on to the weights.

Weights end with the gradient of a part, so :func:`sum_gradients` comes before the step. Batch norm takes the
statistics of the whole batch. So P processes do what one would have done, up to rounding.

References:
    The two operators are f and g of Shoeybi et al., "Megatron-LM", 2019.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from robustcmr.matchers.base import Matcher
from robustcmr.training import processes
from robustcmr.types import Fragments, ImageBatch, TextBatch

_LEAST_PART = 2  # a part of one image has no spread for a batch norm

_cut: ContextVar[bool] = ContextVar("cut", default=False)
"""Whether what runs now sees a part of the batch."""


def shard(matcher: Matcher) -> Matcher:
    """Have a matcher share its work among the processes; alone it is left as it is.

    Call it on fresh weights, the same in every process, before the matcher is copied or wrapped.

    Args:
        matcher: changed in place; names and shapes of its weights stay.
    """
    if processes.count() == 1:
        return matcher
    cls = type(matcher)
    matcher.__class__ = type(f"Sharded{cls.__name__}", (_Sharded, cls), {"__module__": cls.__module__})
    for module in matcher.modules():
        if type(module) is nn.BatchNorm1d:
            module.__class__ = WholeBatchNorm
    return matcher


def sum_gradients(matchers: Sequence[Matcher]) -> None:
    """Add up what every process found of the gradient of the matchers' weights."""
    if processes.count() == 1:
        return
    found = [p.grad for matcher in matchers for p in matcher.parameters() if p.grad is not None]
    for kind in dict.fromkeys((grad.dtype, grad.device) for grad in found):
        grads = [grad for grad in found if (grad.dtype, grad.device) == kind]
        flat = _summed_over_processes(torch.cat([grad.flatten() for grad in grads]))
        parts = torch.split(flat, [grad.numel() for grad in grads])
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view_as(grad))


if TYPE_CHECKING:
    _Base = Matcher
else:
    _Base = object


class _Sharded(_Base):
    """Mixed in before a matcher's own class."""

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Fragments of all images, of which this process encodes its part."""
        part = _own_part(len(images))
        if part is None:
            side = super().encode_images(images)  # type: ignore[safe-super]
            return _scaled_side(side, 1 / processes.count())
        with self._apart():
            side = super().encode_images(ImageBatch(images.features[part], images.mask[part]))  # type: ignore[safe-super]
        return _assembled_side(side, len(images))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Fragments of all captions, of which this process encodes its part."""
        part = _own_part(len(texts))
        if part is None:
            side = super().encode_texts(texts)  # type: ignore[safe-super]
            return _scaled_side(side, 1 / processes.count())
        vectors = None if texts.vectors is None else texts.vectors[part]
        with self._apart():
            side = super().encode_texts(TextBatch(texts.tokens[part], texts.mask[part], vectors))  # type: ignore[safe-super]
        return _assembled_side(side, len(texts))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """All scores, of which this process computes those of its images."""
        part = _own_part(len(images))
        if self.training and not self.pairwise:
            part = None
        if part is None:
            whole = (_scaled_side(side, processes.count()) for side in (images, texts))
            scores = super().score(*whole)  # type: ignore[safe-super]
            return _scaled(scores, 1 / processes.count())
        with self._apart():
            rows = super().score(  # type: ignore[safe-super]
                _entered_side(images)[part], _entered_side(texts)
            )
        return _assembled(rows, len(images))

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Work on a part: batch norms know; dropout differs by process, and what is common stays alike."""
        token = _cut.set(True)
        try:
            if not self.training:
                yield
                return
            drawn = True
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices):
                torch.manual_seed(zlib.crc32(torch.get_rng_state().numpy().tobytes()) + processes.rank())
                before = _random_state()
                yield
                drawn = _random_state() != before
            if drawn:  # else the next dropout would be this one again
                torch.rand(())
        finally:
            _cut.reset(token)


def _random_state() -> bytes:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states).numpy().tobytes()


def _own_part(length: int) -> slice | None:
    """The items that this process takes; None where a batch is too small to be cut."""
    if length // processes.count() < _LEAST_PART:
        return None
    cuts = _cuts(length)
    return slice(cuts[processes.rank()], cuts[processes.rank() + 1])


def _cuts(length: int) -> list[int]:
    n = processes.count()
    return [length * r // n for r in range(n + 1)]


class WholeBatchNorm(nn.BatchNorm1d):
    """Batch norm by the statistics of the whole batch, where each process has a part of it."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise values (n, C) or (n, C, L)."""
        if not (self.training and _cut.get()):
            return super().forward(values)
        over = [0] if values.ndim == 2 else [0, 2]
        shape = (1, -1) if values.ndim == 2 else (1, -1, 1)
        wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        count = wide.new_tensor([wide.numel() / max(1, wide.shape[1])])
        totals = _summed(torch.cat([wide.sum(over), count]))  # (C + 1,)
        n = totals[-1].detach()
        mean = totals[:-1] / n
        centred = wide - mean.view(shape)
        variance = _summed(centred.square().sum(over)) / n
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * (n / (n - 1).clamp(min=1)))
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape))
        return normalised.to(values.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        counted = cast(Tensor, self.num_batches_tracked).add_(1)
        weight = 1 / float(counted) if self.momentum is None else self.momentum
        for kept, new in ((self.running_mean, mean), (self.running_var, variance)):
            cast(Tensor, kept).lerp_(new.to(cast(Tensor, kept).dtype), weight)


def _summed_over_processes(values: Tensor) -> Tensor:
    """Sum of all processes' values, which are not changed."""
    place = processes.device()
    narrow = place.type == "cpu" and values.dtype in (torch.float16, torch.bfloat16)
    held = values.detach().to(place, torch.float32 if narrow else values.dtype, copy=True).contiguous()
    distributed.all_reduce(held)
    return held.to(values.device, values.dtype)


def _gathered(part: Tensor, length: int) -> Tensor:
    """All parts, (length, ...), in order."""
    place, cuts = processes.device(), _cuts(length)
    kind = part.dtype
    sent = part.detach().to(place)
    if kind == torch.bool:
        sent = sent.to(torch.uint8)
    elif place.type == "cpu" and kind in (torch.float16, torch.bfloat16):
        sent = sent.float()
    sizes = [end - start for start, end in pairwise(cuts)]
    room = max(sizes)  # all send as much
    sent = torch.cat([sent, sent.new_zeros(room - len(sent), *sent.shape[1:])]).contiguous()
    received = [torch.empty_like(sent) for _ in sizes]
    distributed.all_gather(received, sent)
    whole = torch.cat([chunk[:size] for chunk, size in zip(received, sizes, strict=True)])
    return whole.to(part.device, kind)


class _Assembled(torch.autograd.Function):
    """Parts put together; each process takes back the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, length: int) -> Tensor:
        ctx.length = length
        return _gathered(part, length)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        cuts, own = _cuts(ctx.length), processes.rank()
        return gradient[cuts[own] : cuts[own + 1]], None


class _Entered(torch.autograd.Function):
    """The same; the gradients that all processes find are added up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _summed_over_processes(gradient)


class _Summed(torch.autograd.Function):
    """Sum over the processes, there and back: each process goes on with a loss of its own part of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        return _summed_over_processes(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _summed_over_processes(gradient)


class _Scaled(torch.autograd.Function):
    """The same, with a scaled gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def _assembled(part: Tensor, length: int) -> Tensor:
    return cast(Tensor, _Assembled.apply(part, length))  # type: ignore[no-untyped-call]


def _entered(values: Tensor) -> Tensor:
    return cast(Tensor, _Entered.apply(values))  # type: ignore[no-untyped-call]


def _summed(values: Tensor) -> Tensor:
    return cast(Tensor, _Summed.apply(values))  # type: ignore[no-untyped-call]


def _scaled(values: Tensor, factor: float) -> Tensor:
    return cast(Tensor, _Scaled.apply(values, factor))  # type: ignore[no-untyped-call]


def _assembled_side(side: Fragments, length: int) -> Fragments:
    """Fragments of all items, padded to the longest of all."""
    spare = processes.largest(side.mask.shape[1]) - side.mask.shape[1]
    features, mask = F.pad(side.features, (0, 0, 0, spare)), F.pad(side.mask, (0, spare))
    pooled = None if side.pooled is None else _assembled(side.pooled, length)
    return Fragments(_assembled(features, length), _gathered(mask, length), pooled)


def _entered_side(side: Fragments) -> Fragments:
    pooled = None if side.pooled is None else _entered(side.pooled)
    return Fragments(_entered(side.features), side.mask, pooled)


def _scaled_side(side: Fragments, factor: float) -> Fragments:
    pooled = None if side.pooled is None else _scaled(side.pooled, factor)
    return Fragments(_scaled(side.features, factor), side.mask, pooled)
