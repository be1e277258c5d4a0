"""Heads that adapt the vectors to the pairs at hand, each judged on images that it was not trained on.

A linear map a side, started from the identity, learns by InfoNCE from captions and images, and from captions
and another caption of the same image; each term is weighted by how far its pairs are believed, found by the
quick calibration. Images are dealt into folds; the head of a fold is trained on all other folds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from robustcmr.audit.calibration import Calibration, Sample, fit_calibration
from robustcmr.audit.evidence import Values
from robustcmr.audit.heads import Head, Space
from robustcmr.errors import DataError
from robustcmr.types import IntArray

FOLDS = 5
LEAST_PAIRS = 10_000
"""Fewer pairs teach a head less than they cost in noise."""

_TEMPERATURE, _RATE, _BATCH = 0.1, 1e-3, 512
_EPOCHS, _MOST_STEPS = 10, 3_000


def fit_deep(sample: Sample, folds: IntArray, seed: int = 0, device: str = "cpu") -> Calibration:
    """Train a head a fold, and calibrate the pairs behind their heads.

    Args:
        sample: see :func:`robustcmr.audit.calibration.fit_calibration`.
        folds: (n,) fold of each pair's image, in 0 .. FOLDS - 1.
        seed: of the quick calibration, the batches and the pairs mismatched on purpose.
        device: of torch.

    Raises:
        DataError: there are fewer than ``LEAST_PAIRS`` pairs, or a fold is empty.
    """
    if len(sample) < LEAST_PAIRS:
        raise DataError(
            f"deep needs about {LEAST_PAIRS:,} sound pairs to train on and there are {len(sample):,}; leave "
            "it out, as the quick score is the better one here"
        )
    if len(np.unique(folds)) < FOLDS:
        raise DataError(
            f"deep deals images into {FOLDS} folds and all fall into {len(np.unique(folds))}; check that "
            "pairs of different images have different image names"
        )
    quick = fit_calibration(sample, seed)
    judged = quick.judge(
        sample.images, sample.texts, sample.image_codes, np.zeros(len(sample), np.int64), device
    )
    belief = 1 / (1 + np.exp(judged.log_odds.astype(np.float64)))
    reference = quick.spaces[0].reference
    spaces = []
    for fold in range(FOLDS):
        head = train_head(sample[np.flatnonzero(folds != fold)], belief[folds != fold], seed, device)
        spaces.append(Space.behind(head, reference))
    return fit_calibration(sample, seed, tuple(spaces), folds)


def train_head(sample: Sample, belief: Values, seed: int = 0, device: str = "cpu") -> Head:
    """Train the head of one fold.

    Args:
        sample: pairs of all other folds.
        belief: (n,) how far each pair is believed, in [0, 1].
        seed: of the batches.
        device: of torch.

    Returns:
        Both maps, (D, D).
    """
    dealer = torch.Generator().manual_seed(seed)
    images, texts, believed = (
        torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
        for values in (sample.images, sample.texts, belief)
    )
    siblings = _Siblings(sample.image_codes)
    n, width = texts.shape
    maps = [torch.eye(width, device=device, requires_grad=True) for _ in range(2)]
    optimiser = torch.optim.AdamW(maps, lr=_RATE, weight_decay=0.0)
    steps = min(_EPOCHS * (n // _BATCH), _MOST_STEPS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    rows = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(rows) < _BATCH:
            rows = torch.randperm(n, generator=dealer)
        batch, rows = rows[:_BATCH], rows[_BATCH:]
        other = siblings.draw(batch, dealer)
        x = normalize(images[batch] @ maps[0], dim=1)  # (B, D)
        y, z = normalize(texts[batch] @ maps[1], dim=1), normalize(texts[other] @ maps[1], dim=1)
        w = believed[batch]
        has_other = (other != batch).to(device)
        loss = _weighted(x @ y.T, w) + _weighted(z @ y.T, w * believed[other] * has_other)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return Head(*(one.detach().cpu().numpy() for one in maps))


def _weighted(products: Tensor, weights: Tensor) -> Tensor:
    """InfoNCE of (B, B) cosines in both directions, each pair weighted; 0 where no weight is left."""
    scores = products / _TEMPERATURE
    own = torch.arange(len(scores), device=scores.device)
    losses = cross_entropy(scores, own, reduction="none") + cross_entropy(scores.T, own, reduction="none")
    return (losses * weights).sum() / (2 * weights.sum().clamp_min(1e-6))


class _Siblings:
    """Draws another caption of the same image; the caption itself where there is none."""

    def __init__(self, image_codes: IntArray) -> None:
        order = np.argsort(image_codes, kind="stable")
        ordered = image_codes[order]
        first = np.searchsorted(ordered, ordered, side="left")
        count = np.searchsorted(ordered, ordered, side="right") - first
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        self._order, self._place = torch.from_numpy(order), torch.from_numpy(place)
        self._first, self._count = torch.from_numpy(first), torch.from_numpy(count)

    def draw(self, rows: Tensor, dealer: torch.Generator) -> Tensor:
        """(B,) rows -> (B,) rows."""
        place = self._place[rows]
        first, count = self._first[place], self._count[place]
        step = 1 + (torch.rand(len(rows), generator=dealer) * (count - 1)).long()  # 1 .. count - 1
        moved = (place - first + torch.where(count > 1, step, 0)) % count
        return self._order[first + moved]
