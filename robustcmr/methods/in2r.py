"""IN2R: suspected pairs learn from what similar clean items are paired with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from robustcmr.correction.memory import AttentionRefiner, PairMemory, Pooling, pooled_values
from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.losses.matching import symmetric_cross_entropy_loss
from robustcmr.matchers.base import Matcher, evaluation_mode, item_vectors, two_views
from robustcmr.methods.hinge_peers import HingePeerMethod, HingePeerOptions
from robustcmr.options import Options
from robustcmr.types import PairBatch


class In2rOptions(HingePeerOptions):
    """Options of IN2R; the defaults are the paper's, but for the epochs."""

    temperature: float = Field(0.05, gt=0.0, description="tau of every softmax, in units of the score")
    intra_weight: float = Field(0.1, ge=0.0, description="weight of the hinges within a modality")
    refine_weight: float = Field(1.0, ge=0.0, description="weight of the loss of suspected pairs")
    neighbours: int = Field(5, ge=1, description="K, clean pairs that make a prototype")
    pooling: Pooling = Field("attention", description="nearest, mean or learned mean of the neighbours")
    capacity: int = Field(65_536, ge=1, description="most pairs in a memory; the paper has 448,000 for COCO")


class In2r(HingePeerMethod):
    """Intra-modal neighbour-aware noise rectification: prototypes from a memory of clean pairs.

    1. Warm-up: robust cross entropy (paper: 5 of 45 epochs); then division by the mean hinge.
    2. Clean pairs: hinges across modalities, and within each between two passes (without dropout one, as they
       are equal), against the hardest negatives from ``switch_epoch`` on. Pairs above the mean clean
       probability enter the matcher's memory.
    3. Suspected pairs: the K nearest clean images in the peer's memory give a text prototype, whose softmax
       over the batch's texts is the target, by symmetric cross entropy; likewise for captions.

    Hinges are summed, the other loss is a mean, as published. Departures: the peer encodes the queries and
    batch that meet its memory (published: the learner, whose space is another); no vector is centred by its
    batch, as released even in tests. ``released``: the second network starts as a copy and queries with its
    own vectors; the loss contrasts items with the batch's prototypes, each way at half weight; K = 1, intra
    weight 1 and margin 0.3. Not followed: a refiner for each direction, intra terms in the warm-up.

    References:
        Liu et al., Intra-Modal Neighbors Never Lie, ICML 2026, equations 1-12.
    """

    Config: ClassVar[type[Options]] = In2rOptions
    takes_width: ClassVar[bool] = True
    config: In2rOptions

    def __init__(self, config: In2rOptions, matchers: Sequence[Matcher], *sizes: int, width: int) -> None:
        super().__init__(config, matchers, *sizes)
        self.memories = [PairMemory(min(config.capacity, self.n_pairs), width) for _ in matchers]
        self.refiners = [AttentionRefiner(width) for _ in matchers] if config.pooling == "attention" else []
        if config.released:
            self.matchers[1].load_state_dict(self.matchers[0].state_dict())

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """Memories and refiners."""
        found: dict[str, nn.Module] = {f"memory_{k}": memory for k, memory in enumerate(self.memories)}
        return found | {f"refiner_{k}": refiner for k, refiner in enumerate(self.refiners)}

    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Mean robust cross entropy."""
        return robust_cross_entropy_loss(
            scores.float(), self.config.temperature, self.not_negatives(batch)
        ).mean()

    def learn(self, own: int, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Hinges of clean pairs, which may enter the memory, or the loss of suspected ones."""
        if group == "noisy":
            return {"refine_loss": self.config.refine_weight * self._refine_loss(own, batch)}
        config, matcher, mask = self.config, self.matchers[own], self.not_negatives(batch)
        weight, margin = (1.0, 0.3) if config.released else (config.intra_weight, config.margin)
        images, more_images = two_views(matcher.encode_images, batch.images, weight > 0)
        texts, more_texts = two_views(matcher.encode_texts, batch.texts, weight > 0)
        V, U = item_vectors(images), item_vectors(texts)  # (B, D)
        given = self.state[f"clean_{1 - own}"]
        elite = self.peer_probability(own, batch) > float(given[given > config.threshold].mean())
        self.memories[own].push(V[elite], U[elite])
        across = matcher.score(images, texts).float()
        within = (V @ item_vectors(more_images).T, U @ item_vectors(more_texts).T)
        intra = weight * torch.stack([self.hinges(scores, margin, mask) for scores in within]).sum()
        return {"clean_loss": self.hinges(across, config.margin, mask), "intra_loss": intra}

    def _refine_loss(self, own: int, batch: PairBatch) -> Tensor:
        """Scalar loss of a suspected batch; 0 while the peer's memory is empty."""
        config, tau, matcher = self.config, self.config.temperature, self.matchers[own]
        peer, memory = self.matchers[1 - own], self.memories[1 - own]
        images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
        scores = matcher.score(images, texts).float()
        if len(memory) == 0:
            return 0.0 * scores.sum()
        if not config.released:
            with torch.no_grad(), evaluation_mode(peer):
                images, texts = peer.encode_images(batch.images), peer.encode_texts(batch.texts)
        V, U = item_vectors(images), item_vectors(texts)  # (B, D)
        pool = self.refiners[own] if self.refiners else partial(pooled_values, pooling=config.pooling)
        k = 1 if config.released else config.neighbours
        t, v = pool(memory.neighbours(V, k, "image")), pool(memory.neighbours(U, k, "text"))  # (B, D)
        if config.released:
            both = robust_cross_entropy_loss(V @ t.T, tau), robust_cross_entropy_loss(U @ v.T, tau)
        else:
            targets = torch.softmax(t @ U.T / tau, dim=1), torch.softmax(v @ V.T / tau, dim=1)  # (B, B)
            both = symmetric_cross_entropy_loss(scores, *targets, tau)
        return 0.5 * torch.stack(both).mean(1).sum()
