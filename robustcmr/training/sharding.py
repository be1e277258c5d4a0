"""Share one batch among several processes, each with a part of the images, captions and score matrix.

Methods and losses see no difference: a sharded matcher returns whole results, equal in every process.
Encoding is split by items and scoring by images. The backward pass corrects for the split:

- gathered values (encoded items, rows of scores) pass on the gradient of this process's part, as all
  processes compute the same loss;
- inputs of split scoring receive the sum of all processes' gradients, as each process saw only some rows;
- if a batch is too small to split, or scores depend on each other, every process computes everything and
  passes 1 / P of the gradient on to the weights.

Each process ends with part of the gradient, so :func:`sum_gradients` comes before the optimiser's step. Batch
norms use the statistics of the whole batch. P processes thus do what one would have done, up to rounding.

References:
    The two operators are f and g of Shoeybi et al., "Megatron-LM", 2019.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from robustcmr.matchers.base import Matcher, random_state
from robustcmr.training import processes
from robustcmr.types import Fragments, ImageBatch, TextBatch

Map = Callable[[Tensor], Tensor]

_LEAST_PART = 2  # a part of one image has no spread for a batch norm

_cut: ContextVar[bool] = ContextVar("cut", default=False)
"""Whether the running code sees only a part of the batch."""


def shard(matcher: Matcher) -> Matcher:
    """Make a matcher share its work among the processes, in place; a single process changes nothing.

    Call it on fresh weights, equal in every process, before the matcher is copied or wrapped. Names and
    shapes of the weights stay.
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
    """Sum the gradients of the matchers' weights over all processes, in place."""
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
    """Mixin placed before a matcher's own class."""

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Return fragments of all images; this process encodes its part."""
        own = _own_part(len(images))
        part = ImageBatch(images.features[own], images.mask[own])
        return self._encoded(super().encode_images, part, len(images))  # type: ignore[safe-super]

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Return fragments of all captions; this process encodes its part."""
        own = _own_part(len(texts))
        vectors = None if texts.vectors is None else texts.vectors[own]
        part = TextBatch(texts.tokens[own], texts.mask[own], vectors)
        return self._encoded(super().encode_texts, part, len(texts))  # type: ignore[safe-super]

    def _encoded(self, encode: Callable[[Any], Fragments], part: ImageBatch | TextBatch, n: int) -> Fragments:
        """Return fragments of all ``n`` items, from this process's part."""
        if not _is_split(n):
            return _changed(encode(part), lambda values: _scaled(values, 1 / processes.count()))
        with self._apart():
            side = encode(part)
        return _assembled_side(side, n)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return all scores; this process computes those of its images."""
        n = processes.count()
        if not _is_split(len(images)) or (self.training and not self.pairwise):
            images, texts = (_changed(side, lambda values: _scaled(values, n)) for side in (images, texts))
            return _scaled(super().score(images, texts), 1 / n)  # type: ignore[safe-super]
        images, texts = _changed(images, _entered), _changed(texts, _entered)
        with self._apart():
            rows = super().score(images[_own_part(len(images))], texts)  # type: ignore[safe-super]
        return _assembled(rows, len(images))

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Work on a part: batch norms span all parts, and each process draws its own dropout."""
        token = _cut.set(True)
        try:
            if not self.training:
                yield
                return
            drawn = True
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices):
                torch.manual_seed(zlib.crc32(torch.get_rng_state().numpy().tobytes()) + processes.rank())
                before = random_state()
                yield
                drawn = random_state() != before
            if drawn:  # else the next dropout would repeat this one
                torch.rand(())
        finally:
            _cut.reset(token)


def _is_split(length: int) -> bool:
    return length // processes.count() >= _LEAST_PART


def _own_part(length: int) -> slice:
    """Return the items of this process; all if the batch is too small to split."""
    return slice(*_cuts(length)[processes.rank() :][:2]) if _is_split(length) else slice(None)


def _cuts(length: int) -> list[int]:
    n = processes.count()
    return [length * r // n for r in range(n + 1)]


class WholeBatchNorm(nn.BatchNorm1d):
    """Batch norm with the statistics of the whole batch, of which each process has a part."""

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
    """Return the sum of all processes' values, without changing them."""
    place = processes.device()
    narrow = place.type == "cpu" and values.dtype in (torch.float16, torch.bfloat16)
    held = values.detach().to(place, torch.float32 if narrow else values.dtype, copy=True).contiguous()
    distributed.all_reduce(held)
    return held.to(values.device, values.dtype)


def _gathered(part: Tensor, length: int) -> Tensor:
    """Return all parts in order, (length, ...)."""
    place, cuts = processes.device(), _cuts(length)
    kind = part.dtype
    sent = part.detach().to(place)
    if kind == torch.bool:
        sent = sent.to(torch.uint8)
    elif place.type == "cpu" and kind in (torch.float16, torch.bfloat16):
        sent = sent.float()
    sizes = [end - start for start, end in pairwise(cuts)]
    missing = max(sizes) - len(sent)  # all parts are sent at the same size
    sent = torch.cat([sent, sent.new_zeros(missing, *sent.shape[1:])]).contiguous()
    received = [torch.empty_like(sent) for _ in sizes]
    distributed.all_gather(received, sent)
    whole = torch.cat([chunk[:size] for chunk, size in zip(received, sizes, strict=True)])
    return whole.to(part.device, kind)


class _TwoWay(torch.autograd.Function):
    """One linear map of the values, another of their gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, forth: Map, back: Map) -> Tensor:
        ctx.back = back
        return forth(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None


def _two_way(values: Tensor, forth: Map, back: Map) -> Tensor:
    return cast(Tensor, _TwoWay.apply(values, forth, back))  # type: ignore[no-untyped-call]


def _unchanged(values: Tensor) -> Tensor:
    return values.view_as(values)


def _assembled(part: Tensor, length: int) -> Tensor:
    """Gather all parts; the gradient is that of this process's part."""
    own = _own_part(length)
    return _two_way(part, lambda values: _gathered(values, length), lambda gradient: gradient[own])


def _entered(values: Tensor) -> Tensor:
    """Return the values; the gradient is the sum of all processes'."""
    return _two_way(values, _unchanged, _summed_over_processes)


def _summed(values: Tensor) -> Tensor:
    """Sum values and gradients over the processes, as each computes the loss of its own part."""
    return _two_way(values, _summed_over_processes, _summed_over_processes)


def _scaled(values: Tensor, factor: float) -> Tensor:
    """Return the values; the gradient is scaled."""
    return _two_way(values, _unchanged, lambda gradient: gradient * factor)


def _assembled_side(side: Fragments, length: int) -> Fragments:
    """Return fragments of all items, padded to the longest."""
    spare = processes.largest(side.mask.shape[1]) - side.mask.shape[1]
    features, mask = F.pad(side.features, (0, 0, 0, spare)), F.pad(side.mask, (0, spare))
    pooled = None if side.pooled is None else _assembled(side.pooled, length)
    return Fragments(_assembled(features, length), _gathered(mask, length), pooled)


def _changed(side: Fragments, change: Map) -> Fragments:
    pooled = None if side.pooled is None else change(side.pooled)
    return Fragments(change(side.features), side.mask, pooled)
