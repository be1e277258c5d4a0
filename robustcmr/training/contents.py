"""One pass over the training set that gathers what its pairs hold, without a matcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import TrainingData
from robustcmr.selection.caption_words import rare_words
from robustcmr.selection.region_summary import RegionSummary
from robustcmr.training.batches import batches_of
from robustcmr.types import IntArray, PairContents

_SAMPLE = 512  # pairs whose images give the components of the summaries


def read_contents(
    data: TrainingData,
    parts: Sequence[IntArray],
    device: torch.device,
    after_batch: Callable[[], None] | None = None,
) -> PairContents:
    """Read all pairs once; what is kept takes about 1.2 kB an image, and 8 bytes a word.

    Args:
        data: the training pairs, which are read without augmentation.
        parts: their ids, shuffled, in batches; each pair's partner is the next.
        device: where images are summarised.
        after_batch: called after each batch, such as to stop.
    """
    n, image_of = len(data), data.image_of_pair
    ids = np.concatenate(parts)
    partner = np.empty(n, dtype=np.int64)
    partner[ids] = np.roll(ids, -1)
    summary = RegionSummary(data.batch(ids[:_SAMPLE]).images.to(device))
    sides: dict[str, Tensor] = {}

    def keep(name: str, rows: int, places: IntArray, values: Tensor) -> None:
        if name not in sides:
            sides[name] = torch.zeros(rows, values.shape[1], dtype=torch.float16)
        sides[name][places] = values.half().cpu()

    captions, words = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    with closing(batches_of(data, ((part, data.batch(part)) for part in parts))) as batches:
        for part, batch in batches:
            keep("features", int(image_of.max()) + 1, image_of[part], summary(batch.images.to(device)))
            if batch.texts.vectors is not None:
                keep("text_vectors", n, part, batch.texts.vectors)
            else:
                rows, columns = batch.texts.mask.nonzero(as_tuple=True)
                captions.append(part[rows.numpy()])
                words.append(batch.texts.tokens[rows, columns].numpy())
            if after_batch is not None:
                after_batch()
    spoken = rare_words(np.concatenate(captions), np.concatenate(words), n)
    return PairContents(spoken, sides["features"], image_of, partner, sides.get("text_vectors"))
