"""Call pairs clean or noisy, with nothing in between: by the arg-max of a batch, or by two divisions.

With evidence e of :mod:`robustcmr.losses.evidential` and mutual evidence m_ij = e_ij + e_ji, a pair is clean
by arg-max where no rival j of its batch has m_ij > m_ii. Rivals of a pair depend on the batch, so a division
by arg-max does too; it is no probability, and its share of suspected pairs is no estimate of the noise rate.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives
from robustcmr.selection.normalise import check_evidence
from robustcmr.types import Division


@takes_arrays("temperature")
def rival_evidence(scores: Tensor, temperature: float = 0.1, same_image: Tensor | None = None) -> Tensor:
    """Return log(max_j m_ij / m_ii): how far the strongest rival of each pair exceeds it in its batch.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        temperature: tau > 0 of the evidence.
        same_image: (B, B) bool, symmetric, cells besides the diagonal that are no rivals.

    Returns:
        (B,) finite, above 0 where a rival has more evidence; -2 / tau, the least possible, without rivals. At
        least float32, on the device of the scores.

    Example:
        >>> import torch
        >>> rival_evidence(torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.2, 0.8], [0.0, 0.8, 0.7]]))
        tensor([-6.1663,  4.6666,  0.5967])

    References:
        Qin et al., DECL, ACM MM 2022, division by mutual evidence.
    """
    excluded = no_negatives(scores, same_image)
    logs = torch.tanh(scores.to(torch.promote_types(scores.dtype, torch.float32))) / temperature  # of e
    mutual = torch.logaddexp(logs, logs.T)
    rivals = mutual.masked_fill(excluded, -math.inf).amax(1)
    return torch.where(excluded.all(1), -2.0 / temperature, rivals - mutual.diagonal())


def divide_by_arg_max(rivals: npt.ArrayLike) -> Division:
    """Divide pairs by whether they were the arg-max of their batch.

    Args:
        rivals: (N,) finite, such as ``rival_evidence(scores)``, above 0 where a pair was not.

    Returns:
        The division with probabilities 0 and 1, and no noise rate.

    Raises:
        ValueError: it is empty or no vector.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> divide_by_arg_max([-2.0, 0.5, 0.0]).is_clean
        array([ True, False,  True])
    """
    given = check_evidence(rivals)
    clean = given <= 0
    reason = "divided by the arg-max in random batches, without a test for two groups"
    return Division(clean.astype(np.float64), 0.5, clean, given, True, reason, None, None)


def consensus_labels(
    first: Division, second: Division, disagreement: Literal["coin", "drop"] = "coin"
) -> npt.NDArray[np.bool_]:
    """Return which pairs count as clean: those of both divisions, and by chance those of one.

    N coins are drawn from torch's global generator at every call, so a disputed pair is tossed anew.

    Args:
        first: a division of N pairs.
        second: another division of the same pairs, such as that of another view.
        disagreement: toss a ``coin`` for a pair that only one calls clean, or ``drop`` it.

    Returns:
        (N,) bool.

    Raises:
        ValueError: the divisions are of different numbers of pairs.

    Example:
        >>> both = divide_by_arg_max([-1.0, 1.0, -1.0]), divide_by_arg_max([-1.0, 1.0, 1.0])
        >>> consensus_labels(*both, disagreement="drop")
        array([ True, False, False])

    References:
        Qin et al., RDE, CVPR 2024, confident consensus division.
    """
    one, other = first.is_clean, second.is_clean
    if one.shape != other.shape:
        raise ValueError(f"expected divisions of the same pairs, got {len(one)} and {len(other)}")
    if disagreement == "drop":
        return np.asarray(one & other)
    coins = (torch.rand(len(one)) < 0.5).numpy()
    return np.where(one == other, one, coins)
