"""Divide pairs by two kinds of evidence together: a matcher's, and a linear model's that never saw the pair.

Each errs where the other does not. A matcher comes to believe the wrong pairs that it learns, and keeps away
from the pairs that it suspects. The linear model does neither, but understands less.
"""

from __future__ import annotations

import numpy as np

from robustcmr.selection.cross_fitting import cross_fitted_evidence
from robustcmr.selection.divide import divide_by_reference
from robustcmr.selection.normalise import Values
from robustcmr.types import Division, FloatArray, PairContents

OF_MATCHER = 0.25
"""Share of the matcher's evidence; chosen on Flickr8K for the probabilities' squared error."""
_TINY = 1e-9


def divide_by_both(
    evidence: FloatArray, contents: PairContents, belief: Values, threshold: float = 0.5, seed: int = 0
) -> Division:
    """Divide pairs by a matcher's evidence and that of :func:`cross_fitted_evidence`, added.

    Each is standardised over the pairs mismatched on purpose, which are the same for both. The matcher's
    counts ``OF_MATCHER``, as clean pairs lie further from mismatched ones in it, and are held apart from
    those by training itself.

    Args:
        evidence: (N, 2), of every given pair and of a mismatched one, as from :func:`batch_cross_entropy`;
            NaN where there is no mismatch.
        contents: of the pairs; ``contents.partner[i]`` is the pair whose image caption i was mismatched with.
        belief: (N,) in 0..1, how surely each pair is clean; the linear model learns by it, other captions of
            a pair's image included.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).
        seed: see :func:`cross_fitted_evidence`.

    Returns:
        The division, in the order of the pairs.

    Raises:
        ValueError: shapes do not fit, or the threshold is out of range.

    Example:
        >>> import numpy as np, torch
        >>> from robustcmr.selection import divide_by_both, rare_words
        >>> from robustcmr.types import PairContents
        >>> rng = np.random.default_rng(0)
        >>> n, topic = 400, rng.integers(8, size=400)  # captions of a topic share a word
        >>> wrong = np.arange(n) < 100
        >>> images = np.eye(8)[np.where(wrong, rng.integers(8, size=n), topic)]
        >>> features = torch.from_numpy(images + rng.normal(0, 0.3, images.shape)).half()
        >>> words = rare_words(np.arange(n), topic, n)
        >>> contents = PairContents(words, features, np.arange(n), np.roll(np.arange(n), 1))
        >>> matcher = rng.gamma(9, np.where(wrong, 0.6, 0.3)), rng.gamma(9, 0.6, n)  # knows a little
        >>> found = divide_by_both(np.stack(matcher, 1), contents, np.ones(n))
        >>> bool((found.is_clean == ~wrong).mean() > 0.9)
        True
    """
    linear = cross_fitted_evidence(contents, belief, "pairs", seed)
    told = ~np.isnan(evidence[:, 1])
    own, reference = np.zeros(len(belief)), np.zeros(int(told.sum()))
    kinds = (np.log1p(evidence.T.astype(np.float64)), OF_MATCHER), (linear, 1 - OF_MATCHER)
    for (given, mismatched), share in kinds:
        mean, scale = mismatched[told].mean(), share / max(mismatched[told].std(), _TINY)
        own += scale * (given - mean)
        reference += scale * (mismatched[told] - mean)
    return divide_by_reference(own, reference, threshold, log=False)
