"""Divide pairs by the matcher's evidence together with what other pairs say of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robustcmr.selection.divide import divide_by_reference
from robustcmr.selection.evidence_weights import learned_evidence
from robustcmr.selection.noise_rate import at_noise_rate
from robustcmr.selection.normalise import Values
from robustcmr.selection.pair_structure import pair_agreement
from robustcmr.types import Division, PairTable

ROUNDS = 3
"""Each round takes its belief from the one before; a fourth changes next to nothing."""


def divide_by_structure(
    evidence: Values, reference: Values, table: PairTable, threshold: float = 0.5, seed: int = 0
) -> Division:
    """Divide pairs by the matcher's evidence and by how far other pairs confirm them.

    The first belief comes from the matcher's evidence alone, by :func:`divide_by_reference`. Each round then
    weighs log(1 + evidence) and the agreements of :func:`pair_agreement` by how well they tell given pairs
    from mismatched ones, and divides anew. The noise rate stays that of the matcher's evidence: the other fit
    is better at order than at shares. Where that evidence alone shows one group, other pairs are not asked,
    as they would confirm any belief.

    Args:
        evidence: (N,) finite and >= 0, high where a pair looks mismatched, such as cross entropies.
        reference: (N,) the same of caption i with the image of pair ``table.partner[i]``; NaN where that is
            the image it was given.
        table: of the N pairs.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).
        seed: see :func:`pair_agreement`.

    Returns:
        The division, in the order of the pairs; its evidence is the log-odds of a mismatch.

    Raises:
        ValueError: shapes do not fit, evidence is negative, or the threshold is out of range.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> import numpy as np, torch
        >>> rng = np.random.default_rng(0)
        >>> from robustcmr.selection import rare_words
        >>> from robustcmr.types import PairTable
        >>> n, topic = 400, rng.integers(20, size=400)  # captions of a topic share a word
        >>> given = np.where(np.arange(n) < 100, rng.integers(20, size=n), topic)  # 100 images are random
        >>> images = torch.from_numpy(np.eye(20)[given]).half()
        >>> partner = np.roll(np.arange(n), 1)
        >>> table = PairTable(images, images * 0, np.arange(n), rare_words(np.arange(n), topic, n), partner)
        >>> evidence = np.exp(rng.normal(np.where(np.arange(n) < 100, 2, 1), 0.5))  # weak by itself
        >>> reference = np.exp(rng.normal(2, 0.5, n))
        >>> wrong = ~divide_by_structure(evidence, reference, table).is_clean
        >>> bool(wrong[:100].mean() > 0.8), bool(wrong[100:].mean() < 0.2)
        (True, True)
    """
    known = ~np.isnan(reference)
    alone = found = divide_by_reference(evidence, reference[known], threshold)
    if alone.noise_rate is None:
        return alone
    own, of_mismatched = np.log1p(evidence), np.log1p(reference[known])
    for _ in range(ROUNDS):
        given, mismatched = pair_agreement(table, found.clean_probability, seed)
        against = learned_evidence(
            np.column_stack([own, given]),
            np.column_stack([of_mismatched, mismatched[known]]),
            found.clean_probability,
        )
        divided = divide_by_reference(*against, threshold, log=False)
        if divided.noise_rate is None:
            return alone
        clean = at_noise_rate(divided.clean_probability, divided.noise_rate, alone.noise_rate)
        found = replace(divided, clean_probability=clean, is_clean=clean > threshold)
    reason = f"{alone.reason}, by the matcher's evidence; which ones, by that of other pairs, too"
    return replace(found, reason=reason, noise_rate=alone.noise_rate, noise_interval=alone.noise_interval)
