"""Cut all pairs into tiles and compute the nodes of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.matchers.similarity.heads import Head
from robustcmr.matchers.similarity.vectors import Attention, attend, project_squares

CHUNK_WORDS = 256
"""Target number of words a tile."""


@dataclass(frozen=True)
class Tile:
    """The pairs of n images and c captions, whose t real words are concatenated.

    Attributes:
        images: slice of all images.
        captions: slice of all captions.
        words: slice of all T words.
        owner: (t,) int64, caption of each word, from 0.
        indicator: (c, t) 1 where a word belongs to a caption, else 0, in the dtype of sums.
        places: (t,) int64, node of each word among the c * N nodes of an image.
        mask: (c, N) bool, True for real nodes, N = 1 + longest caption; the first, global node is real.
        even: whether all nodes are real.
    """

    images: slice
    captions: slice
    words: slice
    owner: Tensor
    indicator: Tensor
    places: Tensor
    mask: Tensor
    even: bool

    @staticmethod
    def of(lengths: Sequence[int], first: int, start: int, like: Tensor) -> Tile:
        """Build from caption lengths; ``first`` is the row of the first caption, ``start`` its first word."""
        counts = torch.tensor(lengths)
        owner = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        inside = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts)[owner]
        N = 1 + max(lengths)
        return Tile(
            slice(0, 0),
            slice(first, first + len(lengths)),
            slice(start, start + len(owner)),
            owner.to(like.device),
            F.one_hot(owner, len(lengths)).T.to(like.device, like.dtype).contiguous(),
            (owner * N + 1 + inside).to(like.device),
            (torch.arange(N) <= counts.unsqueeze(1)).to(like.device),
            min(lengths) == N - 1,
        )

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.images.stop - self.images.start)

    @property
    def node_mask(self) -> Tensor | None:
        """Mask (n c, N) of the real nodes of all pairs; None where all are real."""
        return None if self.even else self.mask.repeat(self.n, 1)

    def sums(self, values: Tensor) -> Tensor:
        """Sum over the words of each caption and broadcast back to them, (n, t, R) -> (n, t, R)."""
        if len(self.indicator) == 1:
            return values.sum(1, keepdim=True)
        return torch.matmul(self.indicator, values).index_select(1, self.owner)


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

    def tiles(self, like: Tensor) -> list[Tile]:
        """Return tiles that cover all pairs.

        A tile holds neighbouring captions of about ``CHUNK_WORDS`` words, fewer if it is too small, and as
        many images as then fit, in blocks of equal size where possible.
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
            captions = Tile.of(self.lengths[first:last], first, start, wide)
            height = -(-n // -(-n // max(1, capacity // t)))
            tiles += [replace(captions, images=slice(i, min(i + height, n))) for i in range(0, n, height)]
            first, start = last, start + t
        return tiles

    def scores_of(
        self, tile: Tile, nodes: Tensor, moments: Tensor | None, weights: Sequence[Tensor]
    ) -> Tensor:
        """Return the scores of one tile, (n, c)."""
        with torch.autocast(nodes.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.head.scores(nodes, tile.node_mask, moments, weights).view(tile.n, -1)

    def moments_of(self, tile: Tile, nodes: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the sums of the moments over the real nodes of one tile, (s,)."""
        with torch.autocast(nodes.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.head.moments(nodes, tile.node_mask, weights)


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

    def attention(self, tile: Tile) -> Attention:
        """Return the attention of the words of a tile over its regions."""
        regions, words = self.regions[tile.images], self.words[tile.words]
        similarity = torch.matmul(words, regions.transpose(1, 2)).to(self.job.wide)  # (n, t, R)
        return attend(similarity, tile.sums, self.gram[tile.images], self.job.smooth)

    def local_differences(self, tile: Tile, attention: Attention) -> Tensor:
        """Return context minus word, (n t, D)."""
        regions = self.regions[tile.images]
        words = self.words[tile.words].expand(len(regions), -1, -1)
        return torch.baddbmm(words, attention.context.to(regions.dtype), regions, beta=-1).flatten(0, 1)

    def global_differences(self, tile: Tile) -> Tensor:
        """Return image minus caption, (n c, D)."""
        return (self.image_globals[tile.images].unsqueeze(1) - self.text_globals[tile.captions]).flatten(0, 1)

    def nodes(self, tile: Tile) -> tuple[Tensor, Tensor, Tensor]:
        """Return nodes (n c, N, K), zero where padded, and inverse norms (n t, 1) and (n c, 1)."""
        differences = self.local_differences(tile, self.attention(tile))
        local, inverse = project_squares(differences, self.local_weight, self.local_bias)
        whole, whole_inverse = project_squares(
            self.global_differences(tile), self.global_weight, self.global_bias
        )
        (c, N), n, K = tile.mask.shape, tile.n, local.shape[-1]
        nodes = local.new_zeros(n, c * N, K)
        nodes.index_copy_(1, tile.places, local.view(n, -1, K))
        nodes.view(n, c, N, K)[:, :, 0] = whole.view(n, c, K)
        return nodes.view(n * c, N, K), inverse, whole_inverse
