"""Divide pairs before any training, by a linear model of their words and image features."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from robustcmr.selection.cross_fitting import cross_fitted_evidence
from robustcmr.selection.divide import divide_by_reference
from robustcmr.selection.noise_rate import at_noise_rate
from robustcmr.selection.normalise import Values
from robustcmr.types import Division, PairContents

_ROUNDS = 2  # the second weighs the pairs by the belief of the first; a third changes next to nothing


def divide_before_training(contents: PairContents, threshold: float = 0.5, seed: int = 0) -> Division:
    """Divide pairs by :func:`cross_fitted_evidence`, held against mismatches made on purpose.

    The noise rate comes from evidence that knows no other caption of a pair's image. Which pairs are wrong is
    told with the help of these captions, unless they seem wrong together: then fewer pairs look wrong with
    their help than the interval of the noise rate allows.

    Args:
        contents: of N pairs.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).
        seed: see :func:`cross_fitted_evidence`.

    Returns:
        The division, in the order of the pairs. A clean pair that no linear model understands counts as
        mismatched, so the noise rate is too high where many are.

    Raises:
        ValueError: the threshold is out of range.

    Example:
        >>> import numpy as np, torch
        >>> from robustcmr.selection import rare_words
        >>> from robustcmr.types import PairContents
        >>> rng = np.random.default_rng(0)
        >>> n, topic = 400, rng.integers(8, size=400)  # captions of a topic share a word
        >>> images = np.eye(8)[np.where(np.arange(n) < 100, rng.integers(8, size=n), topic)]
        >>> features = torch.from_numpy(images + rng.normal(0, 0.3, images.shape)).half()
        >>> words = rare_words(np.arange(n), topic, n)
        >>> contents = PairContents(words, features, np.arange(n), np.roll(np.arange(n), 1))
        >>> wrong = ~divide_before_training(contents).is_clean
        >>> bool(wrong[:100].mean() > 0.8), bool(wrong[100:].mean() < 0.1)  # the first 100 are random
        (True, True)
    """
    found = _divided(contents, np.ones(len(contents.partner)), "images", threshold, seed)
    if found.noise_rate is None or found.noise_interval is None:
        return found
    if len(np.unique(contents.image_of)) == len(contents.image_of):
        return found
    helped = _divided(contents, found.clean_probability, "pairs", threshold, seed)
    if helped.noise_rate is None or helped.noise_rate < found.noise_interval[0]:
        return found
    clean = at_noise_rate(helped.clean_probability, helped.noise_rate, found.noise_rate)
    return replace(
        helped,
        clean_probability=clean,
        is_clean=clean > threshold,
        noise_rate=found.noise_rate,
        noise_interval=found.noise_interval,
    )


def _divided(
    contents: PairContents, belief: Values, apart: Literal["images", "pairs"], threshold: float, seed: int
) -> Division:
    mismatched = contents.image_of[contents.partner] != contents.image_of
    for _ in range(_ROUNDS):
        evidence, reference = cross_fitted_evidence(contents, belief, apart, seed)
        found = divide_by_reference(evidence, reference[mismatched], threshold, log=False)
        if found.noise_rate is None:
            break
        belief = found.clean_probability
    return found
