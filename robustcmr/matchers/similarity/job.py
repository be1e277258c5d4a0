"""Cut all pairs into tiles and compute the nodes of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.matchers.similarity.heads import Head
from robustcmr.matchers.similarity.vectors import Attention, Captions, attend, project_squares

CHUNK_WORDS = 256
"""Target number of words a tile."""


@dataclass(frozen=True)
class Job:
    """Settings shared by all tiles of a call; no tensor here has a gradient."""

    head: Head
    smooth: float
    lengths: tuple[int, ...]
    moments: Tensor | None
    autocast: torch.dtype | None
    tile_bytes: int
    trained: bool
    wide: torch.dtype

    def tiles(self, like: Tensor) -> list[tuple[slice, Captions]]:
        """Return blocks of images and captions that cover all pairs.

        A block holds neighbouring captions of about ``CHUNK_WORDS`` words, fewer if the tile is too small,
        and as many images as then fit, in blocks of equal size where possible.
        """
        n, row = len(like), like.shape[-1] * like.element_size()
        capacity = max(1, self.tile_bytes // row)  # differences in a tile
        most = max(min(capacity, CHUNK_WORDS), capacity // 64)
        wide = torch.empty(0, dtype=self.wide, device=like.device)
        tiles, first, start = [], 0, 0
        while first < len(self.lengths):
            last, t = first + 1, self.lengths[first]
            while last < len(self.lengths) and t + self.lengths[last] <= most:
                t += self.lengths[last]
                last += 1
            captions = Captions.of(self.lengths[first:last], first, start, wide)
            height = -(-n // -(-n // max(1, capacity // t)))
            tiles += [(slice(i, min(i + height, n)), captions) for i in range(0, n, height)]
            first, start = last, start + t
        return tiles

    def n_nodes(self, n: int) -> int:
        """Return the number of real nodes of all pairs."""
        return n * (sum(self.lengths) + len(self.lengths))

    def scores_of(
        self,
        nodes: Tensor,
        i: slice,
        captions: Captions,
        moments: Tensor | None,
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Return the scores of one tile, (n, c)."""
        n = i.stop - i.start
        with torch.autocast(nodes.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.head.scores(nodes, captions.node_mask(n), moments, weights).view(n, -1)

    def moments_of(self, nodes: Tensor, i: slice, captions: Captions, weights: Sequence[Tensor]) -> Tensor:
        """Return the sums of the moments over the real nodes of one tile, (s,)."""
        with torch.autocast(nodes.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.head.moments(nodes, captions.node_mask(i.stop - i.start), weights)


class Sides:
    """The tensors of a call, sliced by tile."""

    def __init__(self, job: Job, tensors: Sequence[Tensor]) -> None:
        self.regions, self.words, self.image_globals, self.text_globals = tensors[:4]
        kind = self.regions.dtype
        self.local_weight, self.global_weight = tensors[4].to(kind), tensors[6].to(kind)
        self.local_bias, self.global_bias = tensors[5].to(job.wide), tensors[7].to(job.wide)
        wide = self.regions.to(job.wide)
        self.gram = torch.bmm(wide, wide.transpose(1, 2))  # (n, R, R)
        self.job = job

    def attention(self, i: slice, captions: Captions) -> Attention:
        """Return the attention of the words of some captions over the regions of some images."""
        regions, words = self.regions[i], self.words[captions.words]
        similarity = torch.matmul(words, regions.transpose(1, 2)).to(self.job.wide)  # (n, t, R)
        return attend(similarity, captions, self.gram[i], self.job.smooth)

    def local_differences(self, i: slice, captions: Captions, attention: Attention) -> Tensor:
        """Return context minus word, (n t, D)."""
        regions, words = self.regions[i], self.words[captions.words]
        words = words.expand(len(regions), -1, -1)
        return torch.baddbmm(words, attention.context.to(regions.dtype), regions, beta=-1).flatten(0, 1)

    def global_differences(self, i: slice, captions: Captions) -> Tensor:
        """Return image minus caption, (n c, D)."""
        return (self.image_globals[i].unsqueeze(1) - self.text_globals[captions.rows]).flatten(0, 1)

    def nodes(self, i: slice, captions: Captions) -> tuple[Tensor, Tensor, Tensor]:
        """Return nodes (n c, N, K), zero where padded, and inverse norms (n t, 1) and (n c, 1)."""
        differences = self.local_differences(i, captions, self.attention(i, captions))
        local, inverse = project_squares(differences, self.local_weight, self.local_bias)
        whole, whole_inverse = project_squares(
            self.global_differences(i, captions), self.global_weight, self.global_bias
        )
        (c, N), n, K = captions.mask.shape, i.stop - i.start, local.shape[-1]
        nodes = local.new_zeros(n, c * N, K)
        nodes.index_copy_(1, captions.places, local.view(n, -1, K))
        nodes.view(n, c, N, K)[:, :, 0] = whole.view(n, c, K)
        return nodes.view(n * c, N, K), inverse, whole_inverse
