"""Whether a training learned anything, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcmr.config.schema import OptimOptions
from robustcmr.evaluation.chance import Chance

_USUAL = OptimOptions().lr
_GROWN = 10.0


def training_warnings(
    rows: Sequence[Mapping[str, Any]], scores: Sequence[float], split: str, chance: Chance, lr: float
) -> list[str]:
    """Return a warning if no epoch, or not even the last one, scored above chance; else nothing.

    An epoch is at chance if its score is at most two standard deviations above that of random scores.

    Args:
        rows: metrics of each epoch.
        scores: the measure that chooses the best epoch, of each.
        split: the split that it was measured on.
        chance: of that measure.
        lr: the learning rate.
    """
    if not scores or scores[-1] > chance.most:
        return []
    guess = f"random scores give {chance.mean:.1f} ± {chance.std:.1f}"
    best = max(range(len(scores)), key=scores.__getitem__)
    if scores[best] > chance.most:
        what = (
            f"the score on {split} fell to chance: {scores[-1]:.1f} in the last epoch, where {guess}; the "
            f"weights kept are of epoch {rows[best]['epoch']} with {scores[best]:.1f}"
        )
    else:
        what = f"no epoch scored above chance on {split}: the best is {scores[best]:.1f}, where {guess}"
    other = _USUAL if f"{lr:g}" != f"{_USUAL:g}" else _USUAL / 10
    first, last = float(rows[0]["loss"]), float(rows[-1]["loss"])
    if last > _GROWN * first > 0:
        what += f"; the loss grew from {first:.3g} in the first epoch to {last:.3g} in the last"
    return [
        f"{what}; train longer, try another learning rate, such as --set optim.lr={other:g} (it was "
        f"{lr:g}), or check the data"
    ]
