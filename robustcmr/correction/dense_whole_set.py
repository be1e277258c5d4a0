"""Whole-set rematching over all captions and images, by one unbalanced plan.

min <1 - S, P> - epsilon H(P) + reach^2 [KL(P 1 | 1/n) + KL(P' 1 | capacity / n)]
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from robustcmr.correction.candidates import Candidates
from robustcmr.correction.whole_set import WholeSetPlan, even_capacity, suggestions
from robustcmr.transport.streamed_unbalanced import streamed_potentials, streamed_row_masses


def rematch_whole_set_densely(
    texts: Tensor,
    images: Tensor,
    candidates: Candidates,
    reach: float = 0.5,
    epsilon: float = 0.01,
    *,
    capacity: float | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
) -> WholeSetPlan:
    """Move suspected captions to any image at least cost 1 - score, as far as that pays.

    ``reach`` sets the price of unmatched mass; the total mass follows from it, unlike in
    ``rematch_whole_set``. Images without a matching caption therefore receive some mass, less at a lower
    price. The plan is never in memory: suggestions are read from it at the candidates, and mass that a
    caption moves elsewhere lowers their shares. The image that a caption was given takes part in the plan but
    is no candidate.

    Args:
        texts: (n, D) unit vectors of the captions, on an NVIDIA GPU.
        images: (M, D) unit vectors of all images, there too.
        candidates: of the captions, among the images.
        reach: root of the price, > 0, in units of the score.
        epsilon: smoothing > 0, in units of the score.
        capacity: intended captions of an image, > 0; None as for ``rematch_whole_set``.
        tolerance: share of the mass that may be out of place.
        max_iterations: most scalings.

    Returns:
        The plan, on the CPU. ``share`` refers to all mass that a caption moves; ``moved`` may exceed 1;
        ``asked`` and ``iterations`` are None; ``edges`` counts all pairs of captions and images.

    Raises:
        ValueError: shapes or numbers do not fit.
        DeviceError: the vectors are not on an NVIDIA GPU, or kernels cannot be built there.
        ConfigError: the package flash-sinkhorn is missing.
    """
    started = time.perf_counter()
    n, m = len(texts), len(images)
    if candidates.images.shape[0] != n:
        raise ValueError(f"expected candidates of {n} captions, got of {candidates.images.shape[0]}")
    capacity = even_capacity(n, m) if capacity is None else capacity
    if not (reach > 0 and capacity > 0):
        raise ValueError(f"reach and capacity must be above 0, got {reach} and {capacity}")
    given = texts.new_full((n,), 1 / n, dtype=torch.float32)
    taken = texts.new_full((m,), capacity / n, dtype=torch.float32)
    problem = (texts, images, given, taken)
    potentials = streamed_potentials(
        *problem, epsilon=epsilon, penalty=reach**2, tolerance=tolerance, max_iterations=max_iterations
    )
    log_masses, error = streamed_row_masses(*problem, potentials, epsilon=epsilon, penalty=reach**2)
    f, g, log_masses = (x.cpu() for x in (*potentials, log_masses))
    found = candidates.cpu()  # images -1 and scores -inf for none
    exponents = (f.unsqueeze(1) + g[found.images.clamp(min=0)] - 1 + found.scores) / epsilon  # (n, k)
    log_plan = exponents + math.log(capacity / n**2)
    return WholeSetPlan(
        log_plan.exp(),
        *suggestions(log_plan, log_masses),
        moved=log_masses.exp() * n,
        mass=float(log_masses.double().exp().sum()),
        asked=None,
        error=error,
        converged=error <= tolerance,
        iterations=None,
        edges=n * m,
        seconds=time.perf_counter() - started,
    )
