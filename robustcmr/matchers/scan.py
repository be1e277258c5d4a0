"""SCAN: stacked cross attention from words to regions, from regions to words, or both."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from robustcmr.matchers.fragment_matcher import FragmentMatcher, FragmentOptions
from robustcmr.options import Options
from robustcmr.types import Fragments

PUBLISHED_SMOOTHING = {"t2i": 9.0, "i2t": 4.0}

_SLOPE = 0.1  # of the leaky ReLU
_NORM_FLOOR = 1e-10  # added to squared norms of similarities; bounds the gradient where all vanish
_ATTENDED_FLOOR = 1e-6  # least squared norm of an attended vector; below it only rounding is left
_CPU_TILE_CELLS = 1 << 17  # half a MiB of float32: the tensors of a tile fit the cache
_TILE_CELLS = 1 << 23  # on a GPU few large calls are faster; about ten tensors of 32 MiB


class ScanConfig(FragmentOptions):
    """Options of the SCAN matcher."""

    direction: Literal["t2i", "i2t", "both"] = Field(
        "t2i",
        description="t2i: words attend to regions; i2t: regions attend to words; both: the mean of the two.",
    )
    smoothing: float | None = Field(
        None,
        gt=0,
        description="Lambda, inverse temperature of the attention; null is the published 9 (t2i) or 4 (i2t).",
    )
    aggregation: Literal["mean", "sum-exp"] = Field(
        "mean", description="Over the words (t2i) or regions (i2t): the mean, or log(sum(exp(l x))) / l."
    )
    lse_smoothing: float = Field(6.0, gt=0, description="l, the sharpness of sum-exp (sum-exp).")


class Scan(FragmentMatcher):
    """Stacked cross attention between regions and words.

    For ``t2i``, each word attends to the regions: similarities pass a leaky ReLU, are normalised to unit
    norm over the words of each region, and a softmax over the regions gives the weights. The cosine of the
    word with the weighted sum of regions is pooled over the words. ``i2t`` exchanges regions and words. A
    ``sum-exp`` score exceeds the largest of its L cosines by up to ``log(L) / l``.

    Departures: ``both`` trains one model (the paper averages two). Fragments are normalised to unit norm, and
    norms have a floor so that gradients stay finite.

    References:
        Lee et al., "Stacked Cross Attention for Image-Text Matching", ECCV 2018, section 3.
    """

    Config: ClassVar[type[Options]] = ScanConfig
    config: ScanConfig

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Score every image with every caption, (N_images, N_texts), at least float32."""
        scores = []
        if self.config.direction != "i2t":
            scores.append(self._directed("t2i", images, texts))
        if self.config.direction != "t2i":
            scores.append(self._directed("i2t", texts, images).T)
        return scores[0] if len(scores) == 1 else (scores[0] + scores[1]) / 2

    def _directed(self, direction: str, context: Fragments, query: Fragments) -> Tensor:
        """Score every context with every query that attends to it, (N, M)."""
        given = self.config.smoothing
        cosines = attended_cosines(
            context.features,
            query.features,
            context.mask,
            query.mask,
            smoothing=PUBLISHED_SMOOTHING[direction] if given is None else given,
        )
        return pooled(
            cosines, query.mask, None if self.config.aggregation == "mean" else self.config.lse_smoothing
        )


def attended_cosines(
    context: Tensor,
    query: Tensor,
    context_mask: Tensor,
    query_mask: Tensor,
    *,
    smoothing: float,
    tile_cells: int | None = None,
) -> Tensor:
    """Return the cosine of each query fragment with the attended sum of context fragments.

    The attended vector is never formed. With S the similarities of query and context, G the Gram matrix of
    the context and a the attention, the cosine is ``a . S / sqrt(a' G a)``. The gradient is written by hand
    and recomputes everything but the result, in tiles of several sets on either side; tiling changes results
    by rounding only. Under autocast the products of fragments run in its dtype, all else in float32.

    Args:
        context: (N, R, D) attended fragments, of any norm.
        query: (M, W, D) attending fragments, of any norm.
        context_mask: (N, R) bool, True for real fragments.
        query_mask: (M, W) bool, likewise.
        smoothing: inverse temperature of the attention, > 0.
        tile_cells: cells (pairs x R x W) of a tile of at least one pair; None chooses by device.

    Returns:
        (N, M, W) in -1..1, 0 for padded or zero query fragments; float32, or float64 for float64 inputs.
    """
    device = context.device.type
    wide = torch.promote_types(torch.promote_types(context.dtype, query.dtype), torch.float32)
    product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else wide
    if tile_cells is None:
        tile_cells = _CPU_TILE_CELLS if device == "cpu" else _TILE_CELLS
    with torch.autocast(device, enabled=False):
        sides = [_unit(x.to(wide), mask) for x, mask in ((context, context_mask), (query, query_mask))]
        cosines = _AttendedCosines.apply(*sides, context_mask, smoothing, product, tile_cells)  # type: ignore[no-untyped-call]
    return cast(Tensor, cosines)


def pooled(cosines: Tensor, mask: Tensor, lse_smoothing: float | None) -> Tensor:
    """Pool the cosines of a set of query fragments into one score.

    Args:
        cosines: (N, M, W).
        mask: (M, W) bool, True for real query fragments.
        lse_smoothing: l > 0 of ``log(sum(exp(l x))) / l``; None takes the mean.

    Returns:
        (N, M); 0 for a query without real fragments.
    """
    empty = ~mask.any(-1)
    if lse_smoothing is None:
        return cosines.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
    lowest = torch.finfo(cosines.dtype).min
    scores = torch.logsumexp((cosines * lse_smoothing).masked_fill(~mask, lowest), -1) / lse_smoothing
    return scores.masked_fill(empty, 0.0)


def _unit(features: Tensor, mask: Tensor) -> Tensor:
    """Normalise fragments (N, L, D) to unit norm, zero where padded."""
    return F.normalize(features.masked_fill(~mask.unsqueeze(-1), 0.0), dim=-1)


class _Attention(NamedTuple):
    """One tile of t contexts and s queries.

    Attributes:
        similarity: (t, R, s W) S.
        squashed: (t, R, s, W) leaky similarities, of unit norm over W.
        norm: (t, R, s, 1) their norm before.
        weights: (t, R, s W) attention, summing to 1 over R.
        pulled: (t, R, s W) G a.
        dot: (t, s W) a . S.
        squared_norm: (t, s W) a' G a, of the attended vector.
    """

    similarity: Tensor
    squashed: Tensor
    norm: Tensor
    weights: Tensor
    pulled: Tensor
    dot: Tensor
    squared_norm: Tensor


def _attend(
    context: Tensor, query: Tensor, gram: Tensor, mask: Tensor, smoothing: float, product: torch.dtype
) -> _Attention:
    """Compute the attention of a tile: context (t, R, D), query (s, W, D), gram (t, R, R), mask (t, R)."""
    (t, R, D), (s, W, _) = context.shape, query.shape
    flat = context.to(product).reshape(-1, D) @ query.to(product).reshape(-1, D).T
    S = flat.to(context.dtype).view(t, R, s, W)
    squashed = F.leaky_relu(S, _SLOPE)
    norm = torch.linalg.vector_norm(squashed, dim=-1, keepdim=True)  # (t, R, s, 1)
    norm = norm.square_().add_(_NORM_FLOOR).sqrt_()
    squashed.div_(norm)
    padded = S.new_zeros(t, R, 1, 1).masked_fill_(~mask[:, :, None, None], torch.finfo(S.dtype).min)
    logits = torch.add(padded, squashed, alpha=smoothing)  # one pass for scaling and masking
    S, weights = S.view(t, R, s * W), logits.softmax(1).view(t, R, s * W)
    pulled = gram @ weights
    return _Attention(S, squashed, norm, weights, pulled, (weights * S).sum(1), (weights * pulled).sum(1))


def _tiles(n: int, m: int, cells_a_pair: int, tile_cells: int) -> tuple[list[slice], list[slice]]:
    """Cut n contexts and m queries into roughly square tiles of at most ``tile_cells`` cells."""
    pairs = max(1, tile_cells // max(cells_a_pair, 1))
    t = min(n, max(math.isqrt(pairs), pairs // max(m, 1), 1))
    return _cuts(n, t), _cuts(m, pairs // max(t, 1))


def _cuts(n: int, size: int) -> list[slice]:
    size = max(size, 1)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class _AttendedCosines(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        context: Tensor,
        query: Tensor,
        mask: Tensor,
        smoothing: float,
        product: torch.dtype,
        tile_cells: int,
    ) -> Tensor:
        (n, R, _), (m, W, _) = context.shape, query.shape
        ctx.save_for_backward(context, query, mask)
        ctx.options = smoothing, product
        ctx.tiles = _tiles(n, m, R * W, tile_cells)
        cosines = context.new_empty(n, m, W)
        for i in ctx.tiles[0]:
            gram = context[i] @ context[i].mT  # (t, R, R)
            for j in ctx.tiles[1]:
                tile = _attend(context[i], query[j], gram, mask[i], smoothing, product)
                cosine = tile.dot * tile.squared_norm.clamp(min=_ATTENDED_FLOOR).rsqrt()  # (t, s W)
                cosines[i, j] = cosine.view(-1, j.stop - j.start, W)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        context, query, mask = ctx.saved_tensors
        smoothing, product = ctx.options
        (_, W, D), (rows, columns) = query.shape, ctx.tiles
        context_bar, query_bar = torch.zeros_like(context), torch.zeros_like(query)
        with torch.autocast(gradient.device.type, enabled=False):
            for i in rows:
                gram = context[i] @ context[i].mT  # (t, R, R)
                gram_bar = torch.zeros_like(gram)
                for j in columns:
                    tile = _attend(context[i], query[j], gram, mask[i], smoothing, product)
                    S_bar, part = _tile_gradients(tile, gradient[i, j].flatten(1), smoothing)
                    gram_bar += part
                    flat = S_bar.to(product).view(-1, (j.stop - j.start) * W)  # (t R, s W)
                    words, regions = (x.reshape(-1, D).to(product) for x in (query[j], context[i]))
                    context_bar[i] += (flat @ words).view_as(context[i])
                    query_bar[j] += (flat.T @ regions).view_as(query[j])
                context_bar[i] += (gram_bar + gram_bar.mT) @ context[i]
        return context_bar, query_bar, *[None] * 4


def _tile_gradients(tile: _Attention, cosine_bar: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the gradients by S (t, R, s W) and G (t, R, R), given that by the cosines (t, s W)."""
    floored = tile.squared_norm.clamp(min=_ATTENDED_FLOOR)
    dot_bar = cosine_bar * floored.rsqrt()
    squared_norm_bar = (
        (dot_bar * tile.dot / floored).mul_(-0.5).masked_fill_(tile.squared_norm < _ATTENDED_FLOOR, 0.0)
    )
    gram_bar = (tile.weights * squared_norm_bar.unsqueeze(1)) @ tile.weights.mT
    # by the logits of the softmax: a (a_bar - a . a_bar), where a_bar = dot_bar S + 2 squared_norm_bar G a
    centre = dot_bar * tile.dot + 2 * squared_norm_bar * tile.squared_norm
    logits_bar = tile.similarity * dot_bar.unsqueeze(1)
    logits_bar.addcmul_(tile.pulled, squared_norm_bar.unsqueeze(1), value=2.0).sub_(centre.unsqueeze(1))
    logits_bar = logits_bar.mul_(tile.weights).mul_(smoothing).view_as(tile.squashed)
    # through the norm over W, then the leaky ReLU
    along = (logits_bar * tile.squashed).sum(-1, keepdim=True)
    squashed_bar = logits_bar.addcmul_(tile.squashed, along, value=-1.0).div_(tile.norm)
    squashed_bar = squashed_bar.view_as(tile.similarity)
    S_bar = torch.ops.aten.leaky_relu_backward(squashed_bar, tile.similarity, _SLOPE, False)
    return S_bar.addcmul_(tile.weights, dot_bar.unsqueeze(1)), gram_bar
