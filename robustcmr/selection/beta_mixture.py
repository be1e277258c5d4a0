"""Two Beta components by expectation maximisation, each M-step at its maximum likelihood.

    p(x) = w_1 Beta(x; a_1, b_1) + w_2 Beta(x; a_2, b_2)
    M-step of one component, s and t its weighted means of log x and log(1 - x):
        maximise (a - 1) s + (b - 1) t - log B(a, b),  concave in (a, b)
        slope      s - psi(a) + psi(a + b),  t - psi(b) + psi(a + b)
        curvature  diag(psi'(a), psi'(b)) - psi'(a + b)

Newton steps are cut back to the allowed square and halved until they gain, so the likelihood never falls.
Where the steps run out, the last parameters are returned with ``converged`` False.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, expit, log_expit, polygamma

from robustcmr.selection.mixture import otsu_split
from robustcmr.selection.normalise import Values, check_evidence

EDGE = 0.01
"""Values are clipped to EDGE .. 1 - EDGE: the density may have poles at 0 and 1, and many hinges are 0."""
SMALLEST, LARGEST = 0.1, 50.0
"""Bounds of the shapes; without them a component could collapse onto equal values."""
_CELLS = 1000  # starts are compared on this many bins of the sorted values
_STARTS = (0.3, 0.6, 0.9)  # shares of the low group to start from, besides the split by Otsu


@dataclass(frozen=True)
class BetaMixture:
    """Two Beta components, the one with the lower mean first.

    Attributes:
        alpha: (2,) first shape.
        beta: (2,) second shape.
        weights: (2,) shares, sum 1.
        log_likelihood: natural logarithm, summed over the values.
        history: (iterations,) log likelihood before each step, per value.
        converged: whether the likelihood stopped rising before the steps ran out.
    """

    alpha: Values
    beta: Values
    weights: Values
    log_likelihood: float
    history: Values
    converged: bool

    n_parameters = 5

    @property
    def iterations(self) -> int:
        """Number of steps taken."""
        return len(self.history)

    @property
    def means(self) -> Values:
        """(2,) mean of each component."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def variances(self) -> Values:
        """(2,) variance of each component."""
        return self.means * (1 - self.means) / (self.alpha + self.beta + 1)

    def log_densities(self, values: Values) -> Values:
        """(2, N) log density of each component, without its share."""
        log_x, log_rest = _logs(values)
        return _log_densities(self.alpha, self.beta, log_x, log_rest)

    def turning_point(self) -> tuple[float, bool] | None:
        """See :meth:`robustcmr.selection.mixture.Mixture.turning_point`."""
        a, b = self.alpha[0] - self.alpha[1], self.beta[0] - self.beta[1]
        return (float(a / (a + b)), bool(a > 0)) if a * b > 0 else None

    def scores(self, values: Values) -> Values:
        """(4, N) slope of each component's log density in its alpha and beta; 0 for a shape at its bound."""
        log_x, log_rest = _logs(values)
        both = digamma(self.alpha + self.beta)
        rows = []
        for k in range(2):
            for shape, log_value in ((self.alpha[k], log_x), (self.beta[k], log_rest)):
                inside = SMALLEST < shape < LARGEST
                rows.append(log_value - digamma(shape) + both[k] if inside else np.zeros_like(log_x))
        return np.stack(rows)


def fit_beta_mixture(values: Values, max_iterations: int = 1000, tolerance: float = 1e-8) -> BetaMixture:
    """Fit two Beta components to values in 0..1; the order of the values does not matter.

    Several starts are compared on bins of the sorted values; the most likely continues on all values.

    Args:
        values: (N,) in [0, 1], N >= 2; clipped to EDGE .. 1 - EDGE.
        max_iterations: most steps, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture.

    Raises:
        ValueError: fewer than two values, or one outside 0..1.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Ma and Leijon, 2009, for Beta mixtures; Arazo et al., ICML 2019, for their use on losses (with
        weighted moments instead of maximum likelihood, and ten steps).
    """
    ordered = _checked(values)
    log_x, log_rest = _logs(ordered)
    n = len(ordered)
    cuts = np.unique(np.linspace(0, n, min(n, _CELLS), endpoint=False).astype(np.int64))
    counts = np.diff(np.append(cuts, n)).astype(np.float64)
    cells = (np.add.reduceat(log_x, cuts) / counts, np.add.reduceat(log_rest, cuts) / counts)
    splits = {otsu_split(ordered), *(min(max(round(share * n), 1), n - 1) for share in _STARTS)}
    tried = []
    for split in sorted(splits):
        in_high = np.clip((cuts + counts - split) / counts, 0.0, 1.0)  # (cells,) share of the cell above
        start = _maximise(counts, *cells, in_high, (np.ones(2), np.ones(2)))
        tried.append(_climb(counts, *cells, start, 200, tolerance * 10))
    best = max(tried, key=lambda fit: fit[1][-1])
    (weights, alpha, beta), history, converged = _climb(
        np.ones(n), log_x, log_rest, best[0], max_iterations, tolerance
    )
    order = np.argsort(alpha / (alpha + beta), kind="stable")
    weights, alpha, beta = weights[order], alpha[order], beta[order]
    likelihood = float(np.logaddexp(*_joint(weights, alpha, beta, log_x, log_rest)).sum())
    return BetaMixture(alpha, beta, weights, likelihood, np.array(history), converged)


def fit_beta(values: Values) -> tuple[float, float, float]:
    """Return alpha, beta and the summed log likelihood of one Beta component.

    Values and errors are those of :func:`fit_beta_mixture`.
    """
    log_x, log_rest = _logs(_checked(values))
    s, t = float(log_x.mean()), float(log_rest.mean())
    alpha, beta = _best_shapes(s, t, 1.0, 1.0)
    return alpha, beta, len(log_x) * _mean_log_density(alpha, beta, s, t)


Parameters = tuple[Values, Values, Values]


def _checked(values: Values) -> Values:
    ordered = np.sort(check_evidence(values))
    if len(ordered) < 2 or ordered[0] < 0 or ordered[-1] > 1:
        raise ValueError(
            f"a Beta fit needs at least two values in 0..1, got {len(ordered)} in"
            f" {ordered[0]:g}..{ordered[-1]:g}; normalise the evidence first"
        )
    return ordered


def _logs(values: Values) -> tuple[Values, Values]:
    inside = np.clip(values, EDGE, 1 - EDGE)
    return np.log(inside), np.log1p(-inside)


def _log_densities(alpha: Values, beta: Values, log_x: Values, log_rest: Values) -> Values:
    rows = (alpha - 1)[:, None] * log_x + (beta - 1)[:, None] * log_rest - betaln(alpha, beta)[:, None]
    return np.asarray(rows, dtype=np.float64)


def _joint(weights: Values, alpha: Values, beta: Values, log_x: Values, log_rest: Values) -> Values:
    return np.log(weights)[:, None] + _log_densities(alpha, beta, log_x, log_rest)


def _climb(
    counts: Values, log_x: Values, log_rest: Values, start: Parameters, max_iterations: int, tolerance: float
) -> tuple[Parameters, list[float], bool]:
    """Iterate from ``start``, each value counted ``counts`` times."""
    parameters, total = start, counts.sum()
    history: list[float] = []
    for _ in range(max_iterations):
        low, high = _joint(*parameters, log_x, log_rest)
        ratio = high - low
        # log(e^low + e^high)
        history.append(float(counts @ (low - log_expit(-ratio)) / total))
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            return parameters, history, True
        parameters = _maximise(counts, log_x, log_rest, expit(ratio), parameters[1:])
    return parameters, history, False


def _maximise(
    counts: Values, log_x: Values, log_rest: Values, in_high: Values, near: tuple[Values, Values]
) -> Parameters:
    """M-step: shares and shapes of maximum likelihood, given each value's posterior of the high component."""
    total = counts.sum()
    alpha, beta, weights = near[0].copy(), near[1].copy(), np.empty(2)
    for k, share in enumerate((counts * (1 - in_high), counts * in_high)):
        mass = share.sum()
        weights[k] = mass / total
        if mass > 1e-9:  # an empty component keeps its shapes
            s, t = float(share @ log_x / mass), float(share @ log_rest / mass)
            alpha[k], beta[k] = _best_shapes(s, t, float(alpha[k]), float(beta[k]))
    weights = np.clip(weights, 1e-12, 1.0)
    return weights / weights.sum(), alpha, beta


def _mean_log_density(alpha: float, beta: float, s: float, t: float) -> float:
    return float((alpha - 1) * s + (beta - 1) * t - betaln(alpha, beta))


def _best_shapes(s: float, t: float, alpha: float, beta: float) -> tuple[float, float]:
    """Shapes of maximum likelihood for mean log x = s and mean log(1 - x) = t, searched from those given."""
    point = np.array([alpha, beta])
    value = _mean_log_density(point[0], point[1], s, t)
    for _ in range(100):
        slope = np.array([s, t]) - digamma(point) + digamma(point.sum())
        free = ~(((point <= SMALLEST) & (slope < 0)) | ((point >= LARGEST) & (slope > 0)))
        if not free.any() or np.abs(slope[free]).max() < 1e-12:
            break
        curvature = np.diag(polygamma(1, point)) - polygamma(1, point.sum())
        newton = np.zeros(2)
        newton[free] = np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        # a step scaled by the diagonal curvature gains even where the bounds cut it back
        plain = np.where(free, slope / np.diag(polygamma(1, point)).diagonal(), 0.0)
        found = _gain(point, value, newton, s, t) or _gain(point, value, plain, s, t)
        if found is None:
            break
        point, value = found
    return float(point[0]), float(point[1])


def _gain(point: Values, value: float, step: Values, s: float, t: float) -> tuple[Values, float] | None:
    for _ in range(40):
        there = np.clip(point + step, SMALLEST, LARGEST)
        reached = _mean_log_density(there[0], there[1], s, t)
        if reached > value:
            return there, reached
        step = step / 2
    return None
