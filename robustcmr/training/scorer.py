"""Per-pair evidence over the training set, in evaluation mode."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import OrderedData, TrainingData
from robustcmr.errors import UserError
from robustcmr.files import reason
from robustcmr.matchers.base import Matcher, evaluation_mode, item_vectors, pooled_vectors
from robustcmr.training.batches import batches_of
from robustcmr.training.contents import read_contents
from robustcmr.training.seeds import generator_for
from robustcmr.types import (
    FloatArray,
    Fragments,
    IntArray,
    LabelledVectors,
    PairBatch,
    PairContents,
    PairVectors,
)

_PURPOSE = 3
_BLOCK = 1 << 20  # bytes


@dataclass
class TrainingSetScorer:
    """Scores shuffled batches of given pairs, without augmentation, and gathers one number per pair.

    Pairs of large data are shuffled within windows of it; see :mod:`robustcmr.data.scoring_order`. The order
    does not depend on where the features are.
    """

    data: TrainingData
    batch_size: int  # approximate; batches differ by at most one and have at least two pairs
    device: torch.device  # where the matchers are
    seed: int  # the run's
    epoch: int  # from 0; it determines the shuffling
    after_batch: Callable[[], None] | None = None  # such as to check for a stop request

    def __call__(self, evidence: Callable[[Tensor, PairBatch], Tensor], matcher: Matcher) -> FloatArray:
        """See :class:`robustcmr.methods.base.Scorer`."""
        return self._gathered(lambda _, batch: matcher(batch.images, batch.texts), evidence, matcher)

    def with_vectors(
        self, evidence: Callable[[Tensor, PairBatch], Tensor], matcher: Matcher, on_disk: bool = False
    ) -> tuple[FloatArray, PairVectors]:
        """See :class:`robustcmr.methods.base.Scorer`."""
        image_of, sides = self.data.image_of_pair, dict[str, Tensor]()

        def keep(name: str, rows: int, places: IntArray, side: Fragments) -> None:
            vectors = item_vectors(side).half().cpu()
            if name not in sides:
                sides[name] = _table(rows, vectors.shape[1], on_disk)
            sides[name][places] = vectors

        def score(ids: IntArray, batch: PairBatch) -> Tensor:
            images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
            keep("images", int(image_of.max()) + 1, image_of[ids], images)
            keep("texts", len(self.data), ids, texts)
            return matcher.score(images, texts)

        gathered = self._gathered(score, evidence, matcher)
        return gathered, PairVectors(sides["images"], sides["texts"])

    def _gathered(
        self,
        score: Callable[[IntArray, PairBatch], Tensor],
        evidence: Callable[[Tensor, PairBatch], Tensor],
        matcher: Matcher,
    ) -> FloatArray:
        gathered = np.empty(0, dtype=np.float32)
        with self._batches(self._shuffled_ids(), matcher) as batches:
            for ids, batch in batches:
                values = evidence(score(ids, batch).float(), batch)
                if not len(gathered):
                    gathered = np.empty((len(self.data), *values.shape[1:]), dtype=np.float32)
                gathered[ids] = values.float().cpu().numpy()
                if self.after_batch is not None:
                    self.after_batch()
        return gathered

    def contents(self) -> PairContents:
        """See :class:`robustcmr.methods.base.Scorer`."""
        parts = replace(self, epoch=0)._shuffled_ids()  # whenever it is read, the same
        return read_contents(self.data, parts, self.device, self.after_batch)

    @contextmanager
    def _batches(
        self, parts: Iterable[IntArray], matcher: Matcher
    ) -> Iterator[Iterator[tuple[IntArray, PairBatch]]]:
        """Provide ids and batches, on the device, to a block in evaluation mode and without gradients."""
        read = batches_of(self.data, ((ids, self.data.batch(ids)) for ids in parts))
        with evaluation_mode(matcher), torch.inference_mode(), closing(read):
            yield ((ids, batch.to(self.device)) for ids, batch in read)

    def _shuffled_ids(self) -> list[IntArray]:
        """Return the pair ids of every batch."""
        n_pairs, generator = len(self.data), generator_for(self.seed, _PURPOSE, self.epoch)
        # as even as possible, so that no batch lacks negatives
        count = max(1, min(round(n_pairs / self.batch_size), n_pairs // 2))
        if isinstance(self.data, OrderedData):
            return self.data.shuffled_parts(count, generator)
        return np.array_split(generator.permutation(n_pairs), count)

    def vectors(self, matcher: Matcher) -> LabelledVectors:
        """See :class:`robustcmr.methods.base.Scorer`."""
        images, texts, labels = [], [], []
        every, size = np.arange(len(self.data), dtype=np.int64), self.batch_size
        in_order = (every[start : start + size] for start in range(0, len(every), size))
        with self._batches(in_order, matcher) as batches:
            for _, batch in batches:
                if batch.labels is None:
                    raise ValueError("these pairs carry no classes, so there are no labelled vectors")
                images.append(pooled_vectors(matcher.encode_images(batch.images)).float())
                texts.append(pooled_vectors(matcher.encode_texts(batch.texts)).float())
                labels.append(batch.labels)
                if self.after_batch is not None:
                    self.after_batch()
        # joined outside inference mode, so that methods may use them in autograd
        return LabelledVectors(torch.cat(images), torch.cat(texts), torch.cat(labels))


def _table(rows: int, width: int, on_disk: bool) -> Tensor:
    """(rows, width) float16 zeros, in memory or in a temporary file that vanishes with them."""
    if not on_disk:
        return torch.zeros(rows, width, dtype=torch.float16)
    size = rows * width * 2
    try:
        with tempfile.TemporaryFile() as file:
            for start in range(0, size, _BLOCK):  # a full disk is found here, not while mapped bytes are set
                file.write(bytes(min(_BLOCK, size - start)))
            file.flush()
            return torch.from_numpy(np.memmap(file, np.float16, "r+", shape=(rows, width)))
    except OSError as error:
        raise UserError(
            f"cannot keep {size / 2**20:,.0f} MiB of vectors in {tempfile.gettempdir()}: {reason(error)}; "
            "TMPDIR names the folder, and --set method.vectors_on_disk=false keeps them in memory"
        ) from error
