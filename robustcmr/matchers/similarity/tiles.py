"""Score all pairs of images and captions from similarity vectors, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robustcmr.matchers.similarity.heads import Head
from robustcmr.matchers.similarity.job import Job, Sides, Tile
from robustcmr.matchers.similarity.vectors import add_product, attend_backward, project_squares_backward

_CPU_TILE_BYTES = 4 << 20  # of (context - word): fits the cache, with few tiles
_GPU_TILE_BYTES = 64 << 20  # keeps a GPU busy


def tiled_scores(
    regions: Tensor,
    words: Tensor,
    lengths: Sequence[int],
    image_globals: Tensor,
    text_globals: Tensor,
    local: nn.Linear,
    whole: nn.Linear,
    head: Head,
    head_weights: Sequence[Tensor],
    *,
    smooth: float,
    moments: Tensor | None = None,
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
        local: map D -> K to the similarity vectors of words and their contexts, in float32 or wider.
        whole: likewise, of global vectors.
        head: scores similarity vectors.
        head_weights: its weights.
        smooth: inverse temperature of the attention, at most 16.
        moments: moments for the head; None computes them from these pairs.

    Returns:
        Scores (n, m), and the moments used by the head, detached; None if it uses none.
    """
    device = regions.device.type
    maps = (local.weight, local.bias, whole.weight, whole.bias)
    fragments = (regions.contiguous(), words.contiguous(), image_globals, text_globals)
    tensors = (*fragments, *maps, *head_weights)
    job = Job(
        head,
        smooth,
        tuple(lengths),
        moments,
        autocast=torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None,
        tile_bytes=_GPU_TILE_BYTES if device == "cuda" else _CPU_TILE_BYTES,
        trained=torch.is_grad_enabled() and any(x.requires_grad for x in tensors),
        wide=torch.promote_types(regions.dtype, torch.float32),
    )
    with torch.autocast(device, enabled=False):
        scores, used = _TiledScores.apply(job, *tensors)  # type: ignore[no-untyped-call]
    return cast(Tensor, scores), cast("Tensor | None", used)


class _TiledScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, Tensor | None]:
        sides, weights = Sides(job, tensors), tensors[8:]
        n, m = len(sides.regions), len(job.lengths)
        ctx.n_nodes = n * (m + sum(job.lengths))  # real nodes of all pairs
        scores, moments = sides.gram.new_empty(n, m), job.moments
        tiles = job.tiles(sides.regions)
        find = moments is None and job.head.needs_moments
        kept = [sides.nodes(tile) for tile in tiles] if job.trained or find else []
        if find:
            parts = [job.moments_of(tile, x[0], weights) for tile, x in zip(tiles, kept, strict=True)]
            moments = torch.stack(parts).sum(0) / ctx.n_nodes
        for k, tile in enumerate(tiles):
            nodes = kept[k][0] if kept else sides.nodes(tile)[0]
            scores[tile.images, tile.captions] = job.scores_of(tile, nodes, moments, weights)
        ctx.job, ctx.tiles, ctx.found = job, tiles, find
        ctx.save_for_backward(*tensors, moments, *(x for nodes in kept for x in nodes))
        if moments is None:
            return scores, None
        moments = moments.detach().clone()
        ctx.mark_non_differentiable(moments)
        return scores, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradient.device.type, enabled=False):
            job: Job = ctx.job
            saved = ctx.saved_tensors
            after = len(saved) - 3 * len(ctx.tiles)
            tensors, moments = saved[: after - 1], saved[after - 1]
            kept = [saved[k : k + 3] for k in range(after, len(saved), 3)]
            totals = _Totals(Sides(job, tensors), tensors)
            by_moments = None
            if ctx.found:
                by_moments = torch.zeros_like(moments)
                for tile, (nodes, *_) in zip(ctx.tiles, kept, strict=True):
                    found = _head_gradients(job, tile, nodes, moments, tensors[8:], gradient, None)
                    by_moments += found[1]
                by_moments /= ctx.n_nodes
            for tile, (nodes, inverse, whole_inverse) in zip(ctx.tiles, kept, strict=True):
                by_nodes, _, *by_weights = _head_gradients(
                    job, tile, nodes, moments, tensors[8:], gradient, by_moments
                )
                totals.add_tile(tile, nodes, inverse, whole_inverse, by_nodes, by_weights)
            return (None, *totals.gradients(tensors))


def _head_gradients(
    job: Job,
    tile: Tile,
    nodes: Tensor,
    moments: Tensor | None,
    weights: Sequence[Tensor],
    gradient: Tensor,
    by_moments: Tensor | None,
) -> list[Tensor]:
    """Return the gradients of one tile by its nodes (n c, N, K), the moments and the head's weights.

    ``gradient`` is that by all scores, ``by_moments`` that by the sums of the moments; None treats the
    moments as constants.
    """
    with torch.enable_grad():
        constant = torch.empty(0) if moments is None else moments
        inputs = [x.detach().requires_grad_() for x in (nodes, constant, *weights)]
        nodes, used, *weights = inputs
        outputs = [job.scores_of(tile, nodes, None if moments is None else used, weights)]
        gradients = [gradient[tile.images, tile.captions]]
        if by_moments is not None:
            outputs.append(job.moments_of(tile, nodes, weights))
            gradients.append(by_moments)
    return list(torch.autograd.grad(outputs, inputs, gradients, allow_unused=True, materialize_grads=True))


class _Totals:
    """Gradients summed over tiles, at least float32."""

    def __init__(self, sides: Sides, tensors: Sequence[Tensor]) -> None:
        self.sides = sides
        self.all = [torch.zeros_like(x, dtype=sides.job.wide) for x in tensors]
        self.regions, self.words, self.image_globals, self.text_globals = self.all[:4]
        self.gram = torch.zeros_like(sides.gram)

    def add_tile(
        self,
        tile: Tile,
        nodes: Tensor,
        inverse: Tensor,
        whole_inverse: Tensor,
        by_nodes: Tensor,
        by_weights: Sequence[Tensor],
    ) -> None:
        """Add one tile, given its nodes (n c, N, K), inverse norms and gradients."""
        for total, part in zip(self.all[8:], by_weights, strict=True):
            total += part
        (c, N), n, K = tile.mask.shape, tile.n, nodes.shape[-1]
        nodes, by_nodes = nodes.view(n, c * N, K), by_nodes.reshape(n, c * N, K)
        by_difference = project_squares_backward(
            self.sides.global_differences(tile),
            self.sides.global_weight,
            nodes[:, ::N].reshape(n * c, K),
            whole_inverse,
            by_nodes[:, ::N].reshape(n * c, K),
            *self.all[6:8],
        ).view(n, c, -1)
        self.image_globals[tile.images] += by_difference.sum(1)
        self.text_globals[tile.captions] -= by_difference.sum(0)
        vectors, by_vectors = (x.index_select(1, tile.places).flatten(0, 1) for x in (nodes, by_nodes))
        self._add_local(tile, vectors, inverse, by_vectors)

    def _add_local(self, tile: Tile, vectors: Tensor, inverse: Tensor, gradient: Tensor) -> None:
        """Add the words of one tile, given their vectors (n t, K) and the gradient by them."""
        sides, n = self.sides, tile.n
        regions, words = sides.regions[tile.images], sides.words[tile.words]
        attention = sides.attention(tile)
        by_difference = project_squares_backward(
            sides.local_differences(tile, attention),
            sides.local_weight,
            vectors,
            inverse,
            gradient,
            *self.all[4:6],
        ).view(n, len(words), -1)
        by_context = torch.bmm(by_difference, regions.transpose(1, 2)).to(inverse.dtype)  # (n, t, R)
        by_similarity, by_gram = attend_backward(attention, tile.sums, sides.job.smooth, by_context)
        self.gram[tile.images] += by_gram
        by_similarity = by_similarity.to(regions.dtype)
        total = self.regions[tile.images]
        add_product(total, attention.context.to(regions.dtype).transpose(1, 2), by_difference)
        add_product(total, by_similarity.transpose(1, 2), words.expand(n, -1, -1))
        total = self.words[tile.words]
        total -= by_difference[0] if n == 1 else by_difference.sum(0)
        add_product(total, by_similarity.transpose(0, 1).flatten(1), regions.flatten(0, 1))

    def gradients(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Return all totals in the dtypes of the tensors they belong to."""
        self.regions += 2.0 * torch.bmm(self.gram, self.sides.regions.to(self.gram.dtype))
        return [total.to(x.dtype) for total, x in zip(self.all, like, strict=True)]
