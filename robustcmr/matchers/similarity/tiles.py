"""Score all pairs of images and captions from similarity vectors, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustcmr.matchers.similarity.gradients import Totals, head_gradients
from robustcmr.matchers.similarity.heads import Head
from robustcmr.matchers.similarity.job import Job, Sides

_CPU_TILE_BYTES = 4 << 20  # of (context - word): fits the cache, with few tiles
_GPU_TILE_BYTES = 64 << 20  # keeps a GPU busy


@dataclass(frozen=True)
class Maps:
    """The linear maps to similarity vectors.

    Attributes:
        local_weight: (K, D) for words and their contexts.
        local_bias: (K,).
        global_weight: (K, D) for global vectors.
        global_bias: (K,).
    """

    local_weight: Tensor
    local_bias: Tensor
    global_weight: Tensor
    global_bias: Tensor


def tiled_scores(
    regions: Tensor,
    words: Tensor,
    lengths: Sequence[int],
    image_globals: Tensor,
    text_globals: Tensor,
    maps: Maps,
    head: Head,
    head_weights: Sequence[Tensor],
    *,
    smooth: float,
    moments: Tensor | None = None,
    tile_bytes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Score every image with every caption.

    The differences of contexts and words, (n, T, D), are never stored. If gradients are needed, the
    similarity vectors (n, T + m, K) are kept for the backward pass, which recomputes all else tile by tile.
    Matrix products run in the dtype of the fragments, sums in float32 or wider; under autocast the head runs
    under autocast too.

    Args:
        regions: (n, R, D) of unit norm, zero where padded; gradients by padding are undefined.
        words: (T, D) of unit norm, the real words of all captions, concatenated.
        lengths: m caption lengths of at least 1, T in total; sorted lengths need the least padding.
        image_globals: (n, D).
        text_globals: (m, D).
        maps: the linear maps, in float32 or wider.
        head: scores similarity vectors.
        head_weights: its weights.
        smooth: inverse temperature of the attention, at most 16.
        moments: moments for the head; None computes them from these pairs.
        tile_bytes: bytes of a tile's largest tensor; None chooses by device.

    Returns:
        Scores (n, m), and the moments used by the head, detached; None if it uses none.
    """
    wide = torch.promote_types(regions.dtype, torch.float32)
    device = regions.device.type
    if tile_bytes is None:
        tile_bytes = _GPU_TILE_BYTES if device == "cuda" else _CPU_TILE_BYTES
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    tensors = (
        regions.contiguous(),
        words.contiguous(),
        image_globals,
        text_globals,
        maps.local_weight,
        maps.local_bias,
        maps.global_weight,
        maps.global_bias,
        *head_weights,
    )
    job = Job(
        head,
        smooth,
        tuple(lengths),
        moments,
        autocast,
        tile_bytes,
        torch.is_grad_enabled() and any(x.requires_grad for x in tensors),
        wide,
    )
    with torch.autocast(device, enabled=False):
        scores, used = _TiledScores.apply(job, *tensors)  # type: ignore[no-untyped-call]
    return cast(Tensor, scores), cast("Tensor | None", used)


class _TiledScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, Tensor | None]:
        sides, weights = Sides(job, tensors), tensors[8:]
        n, m = len(sides.regions), len(job.lengths)
        scores, moments = sides.gram.new_empty(n, m), job.moments
        tiles = job.tiles(sides.regions)
        find = moments is None and job.head.needs_moments
        kept = [sides.nodes(i, captions) for i, captions in tiles] if job.trained or find else []
        if find:
            parts = [job.moments_of(tile[0], *at, weights) for tile, at in zip(kept, tiles, strict=True)]
            moments = torch.stack(parts).sum(0) / job.n_nodes(n)
        for k, (i, captions) in enumerate(tiles):
            nodes = kept[k][0] if kept else sides.nodes(i, captions)[0]
            scores[i, captions.rows] = job.scores_of(nodes, i, captions, moments, weights)
        ctx.job, ctx.tiles, ctx.found = job, tiles, find
        ctx.save_for_backward(*tensors, moments, *(x for tile in kept for x in tile))
        if moments is None:
            return scores, None
        moments = moments.detach().clone()
        ctx.mark_non_differentiable(moments)
        return scores, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradient.device.type, enabled=False):
            return (None, *_TiledScores._gradients(ctx, gradient))

    @staticmethod
    def _gradients(ctx: Any, gradient: Tensor) -> list[Tensor]:
        job: Job = ctx.job
        saved = ctx.saved_tensors
        after = len(saved) - 3 * len(ctx.tiles)
        tensors, moments = saved[: after - 1], saved[after - 1]
        sides = Sides(job, tensors)
        totals = Totals(sides, tensors)
        moments_gradient = None
        if ctx.found:
            moments_gradient = torch.zeros_like(moments)
            for k, at in enumerate(ctx.tiles):
                nodes = saved[after + 3 * k]
                moments_gradient += head_gradients(
                    job, nodes, at[0], at[1], moments, tensors[8:], gradient, None
                )[1]
            moments_gradient /= job.n_nodes(len(sides.regions))
        for k, (i, captions) in enumerate(ctx.tiles):
            nodes, inverse, whole_inverse = saved[after + 3 * k : after + 3 * k + 3]
            by_nodes, _, *by_weights = head_gradients(
                job, nodes, i, captions, moments, tensors[8:], gradient, moments_gradient
            )
            for total, part in zip(totals.head, by_weights, strict=True):
                total += part
            totals.add_tile(i, captions, nodes, inverse, whole_inverse, by_nodes)
        return totals.gradients(tensors)
