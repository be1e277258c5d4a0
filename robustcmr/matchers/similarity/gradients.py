"""Gradients of the tiled similarity scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustcmr.matchers.similarity.job import Job, Sides
from robustcmr.matchers.similarity.vectors import (
    Captions,
    add_product,
    attend_backward,
    project_squares_backward,
)


def head_gradients(
    job: Job,
    nodes: Tensor,
    i: slice,
    captions: Captions,
    moments: Tensor | None,
    weights: Sequence[Tensor],
    gradient: Tensor,
    moments_gradient: Tensor | None,
) -> list[Tensor]:
    """Return the gradients of one tile by its nodes, the moments and the head's weights.

    Args:
        job: settings shared by all tiles.
        nodes: (n c, N, K).
        i: images of the tile.
        captions: captions of the tile.
        moments: moments used by the head.
        weights: weights of the head.
        gradient: gradient by all scores.
        moments_gradient: gradient by the sums of the moments; None treats the moments as constants.
    """
    with torch.enable_grad():
        inputs = [
            x.detach().requires_grad_() for x in (nodes, torch.empty(0) if moments is None else moments)
        ]
        inputs += [x.detach().requires_grad_() for x in weights]
        used = None if moments is None else inputs[1]
        outputs = [job.scores_of(inputs[0], i, captions, used, inputs[2:])]
        gradients = [gradient[i, captions.rows]]
        if moments_gradient is not None:
            outputs.append(job.moments_of(inputs[0], i, captions, inputs[2:]))
            gradients.append(moments_gradient)
    return list(torch.autograd.grad(outputs, inputs, gradients, allow_unused=True, materialize_grads=True))


class Totals:
    """Gradients summed over tiles, at least float32."""

    def __init__(self, sides: Sides, tensors: Sequence[Tensor]) -> None:
        self.sides = sides
        zeros = [torch.zeros_like(x, dtype=sides.job.wide) for x in tensors]
        self.regions, self.words, self.image_globals, self.text_globals = zeros[:4]
        self.local_weight, self.local_bias, self.global_weight, self.global_bias = zeros[4:8]
        self.head = zeros[8:]
        self.gram = torch.zeros_like(sides.gram)

    def add_tile(
        self,
        i: slice,
        captions: Captions,
        nodes: Tensor,
        inverse: Tensor,
        whole_inverse: Tensor,
        by_nodes: Tensor,
    ) -> None:
        """Add one tile, given its nodes (n c, N, K), inverse norms and the gradient by the nodes."""
        (c, N), n, K = captions.mask.shape, i.stop - i.start, nodes.shape[-1]
        nodes, by_nodes = nodes.view(n, c * N, K), by_nodes.reshape(n, c * N, K)
        by_difference = project_squares_backward(
            self.sides.global_differences(i, captions),
            self.sides.global_weight,
            nodes[:, ::N].reshape(n * c, K),
            whole_inverse,
            by_nodes[:, ::N].reshape(n * c, K),
            self.global_weight,
            self.global_bias,
        ).view(n, c, -1)
        self.image_globals[i] += by_difference.sum(1)
        self.text_globals[captions.rows] -= by_difference.sum(0)
        self._add_local(
            i,
            captions,
            nodes.index_select(1, captions.places).flatten(0, 1),
            inverse,
            by_nodes.index_select(1, captions.places).flatten(0, 1),
        )

    def _add_local(
        self, i: slice, captions: Captions, vectors: Tensor, inverse: Tensor, gradient: Tensor
    ) -> None:
        """Add the words of one tile, given their vectors (n t, K) and the gradient by them."""
        sides, n = self.sides, i.stop - i.start
        regions, words = sides.regions[i], sides.words[captions.words]
        attention = sides.attention(i, captions)
        by_difference = project_squares_backward(
            sides.local_differences(i, captions, attention),
            sides.local_weight,
            vectors,
            inverse,
            gradient,
            self.local_weight,
            self.local_bias,
        ).view(n, len(words), -1)
        by_context = torch.bmm(by_difference, regions.transpose(1, 2)).to(inverse.dtype)  # (n, t, R)
        by_similarity, by_gram = attend_backward(attention, captions, sides.job.smooth, by_context)
        self.gram[i] += by_gram
        kind = regions.dtype
        by_similarity = by_similarity.to(kind)
        add_product(self.regions[i], attention.context.to(kind).transpose(1, 2), by_difference)
        add_product(self.regions[i], by_similarity.transpose(1, 2), words.expand(n, -1, -1))
        total = self.words[captions.words]
        total -= by_difference[0] if n == 1 else by_difference.sum(0)
        add_product(total, by_similarity.transpose(0, 1).flatten(1), regions.flatten(0, 1))

    def gradients(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Return all totals in the dtypes of the tensors they belong to."""
        self.regions += 2.0 * torch.bmm(self.gram, self.sides.regions.to(self.gram.dtype))
        totals = (
            self.regions,
            self.words,
            self.image_globals,
            self.text_globals,
            self.local_weight,
            self.local_bias,
            self.global_weight,
            self.global_bias,
            *self.head,
        )
        return [total.to(x.dtype) for total, x in zip(totals, like, strict=True)]
