"""What went wrong in a training that finished, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcmr.config.schema import OptimOptions
from robustcmr.evaluation.chance import Chance

_USUAL = OptimOptions().lr
_GROWN = 10.0


def warm_up_warnings(method: str, epochs: int, warm_up: int) -> list[str]:
    """Return a warning if a training ended within the warm-up of its method; else nothing.

    Args:
        method: its name.
        epochs: of the training.
        warm_up: epochs of the warm-up; 0 for none.
    """
    if epochs > warm_up:
        return []
    shorter = f", or shorten the warm-up with --set method.warmup_epochs={epochs // 2}" if epochs > 1 else ""
    return [
        f"{method} was trained for {epochs} epoch{'' if epochs == 1 else 's'} and its warm-up takes "
        f"{warm_up} (method.warmup_epochs), so training never got past the warm-up and the result does not "
        f"show what the method does against noise; train longer, such as --epochs {2 * warm_up}{shorter}"
    ]


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
