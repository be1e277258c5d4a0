"""Dividing pairs: right where there are two groups, silent where there is one."""

import re

import numpy as np
import pytest
import torch

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection import batch_cross_entropy, divide_by_mixture, divide_by_reference
from robustcmr.selection.anchored_mixture import SHIFTS, fit_anchored_mixture, shift_of_upper_part
from robustcmr.selection.divide import LEAST_SHARE
from robustcmr.selection.mixture import low_posterior
from robustcmr.selection.noise_rate import noise_rate


def two_groups(n=7500, share=0.05, seed=0):
    """Values and which of them are noisy."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(n) < share
    return np.where(noisy, rng.beta(20, 8, n), rng.beta(2, 20, n)), noisy


ONE_GROUP = {
    "beta": lambda rng, n: rng.beta(2, 8, n),
    "steep": lambda rng, n: rng.beta(0.5, 5, n),
    "high": lambda rng, n: rng.beta(20, 3, n),
    "normal": lambda rng, n: rng.normal(size=n),
    "half normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "gamma": lambda rng, n: rng.gamma(3, size=n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1, n),
    "heavy tails": lambda rng, n: rng.standard_t(4, n),
}


@pytest.mark.parametrize("model", ["beta", "gaussian"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.6, 0.8])
def test_clear_groups_are_found(model, share):
    evidence, noisy = two_groups(share=share)
    division = divide_by_mixture(evidence, model)
    assert division.bimodal
    assert division.reason.startswith("two groups: a second component improves BIC by")
    # the values are Beta, so the normal model places its border a little off
    assert (division.is_clean == noisy).mean() < (0.01 if model == "beta" else 0.02)
    assert division.noise_rate == pytest.approx(share, abs=0.02 if model == "beta" else 0.03)
    low, high = division.noise_interval
    assert low < division.noise_rate < high
    np.testing.assert_array_equal(division.is_clean, division.clean_probability > 0.5)
    np.testing.assert_array_equal(division.evidence, evidence)


@pytest.mark.parametrize("model", ["beta", "gaussian"])
@pytest.mark.parametrize("name", ONE_GROUP)
def test_one_group_is_left_whole(model, name):
    division = divide_by_mixture(ONE_GROUP[name](np.random.default_rng(1), 7500), model)
    assert not division.bimodal
    assert division.reason.startswith("one group: a second component improves BIC by")
    assert division.is_clean.all()
    assert (division.clean_probability == 1).all()
    assert (division.noise_rate, division.noise_interval) == (None, None)


def test_flat_evidence_is_one_beta():
    for seed in range(3):
        assert not divide_by_mixture(np.random.default_rng(seed).random(7500)).bimodal


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_more_evidence_is_never_cleaner(model):
    rng = np.random.default_rng(0)
    evidence = np.where(rng.random(4000) < 0.4, rng.normal(0.6, 0.2, 4000), rng.normal(0.1, 0.04, 4000))
    division = divide_by_mixture(evidence, model)
    assert division.bimodal
    assert (np.diff(division.clean_probability[evidence.argsort()]) <= 0).all()
    assert division.is_clean[evidence.argmin()]
    assert not division.is_clean[evidence.argmax()]


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_unit_and_order_do_not_matter(model):
    evidence, _ = two_groups(2000, 0.3)
    whole = divide_by_mixture(evidence, model)
    order = np.random.default_rng(1).permutation(2000)
    other = divide_by_mixture(evidence[order], model)
    np.testing.assert_array_equal(other.clean_probability, whole.clean_probability[order])
    scaled = divide_by_mixture(-5 + 1000 * evidence, model)
    np.testing.assert_allclose(scaled.clean_probability, whole.clean_probability, atol=1e-6)


def test_one_outlier_does_not_hide_the_groups():
    evidence, noisy = two_groups(2000, 0.3)
    evidence[0], noisy[0] = 1e6, True
    assert (divide_by_mixture(evidence).is_clean == noisy).mean() < 0.01


def test_the_threshold_is_obeyed():
    evidence, _ = two_groups(3000, 0.4)
    strict, loose = divide_by_mixture(evidence, threshold=0.999), divide_by_mixture(evidence, threshold=0.001)
    assert strict.is_clean.sum() < loose.is_clean.sum()
    np.testing.assert_array_equal(strict.is_clean, strict.clean_probability > 0.999)
    assert strict.threshold == 0.999


@pytest.mark.parametrize("evidence", [[0.4], [1, 1, 1], [0.0] * 100])
def test_the_same_evidence_for_all(evidence):
    division = divide_by_mixture(evidence)
    assert division.is_clean.all()
    assert division.reason == "all pairs have the same evidence"


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_a_handful_of_pairs_is_not_divided(model):
    division = divide_by_mixture([0.1, 0.9], model)
    assert (division.bimodal, division.is_clean.tolist()) == (False, [True, True])
    assert division.reason == "2 pairs are too few to tell one group from two (needed 20)"
    assert not divide_by_mixture([0.1] * 12 + [0.9] * 7, model).bimodal
    enough = divide_by_mixture([0.1] * 12 + [0.9] * 8, model)
    assert enough.is_clean.tolist() == [True] * 12 + [False] * 8


def test_float32_as_the_scorer_gives_it():
    evidence, noisy = two_groups(2000, 0.3)
    division = divide_by_mixture(evidence.astype(np.float32))
    assert division.evidence.dtype == division.clean_probability.dtype == np.float64
    assert (division.is_clean == noisy).mean() < 0.01


def test_bad_input():
    with pytest.raises(ValueError, match="must be a vector of at least one real number"):
        divide_by_mixture([])
    with pytest.raises(ValueError, match=r"got float64 of shape \(2, 2\)"):
        divide_by_mixture(np.zeros((2, 2)))
    for bad in (np.nan, np.inf):
        with pytest.raises(TrainingDivergedError, match="1 of 3 pairs"):
            divide_by_mixture([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="unknown mixture model 'gamma', expected 'beta' or 'gaussian'"):
        divide_by_mixture([0.0, 1.0], "gamma")
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
            divide_by_mixture([0.0, 1.0], threshold=threshold)


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_one_group_is_divided_where_that_is_asked_for(model):
    evidence = ONE_GROUP["exponential"](np.random.default_rng(1), 2000)
    division = divide_by_mixture(evidence, model, always=True)
    assert division.bimodal
    assert 0 < (~division.is_clean).sum() < 2000
    assert (np.diff(division.clean_probability[evidence.argsort()]) <= 0).all()
    # what would have been divided anyway is divided no other way
    clear, _ = two_groups(2000, 0.3)
    np.testing.assert_array_equal(
        divide_by_mixture(clear, model, always=True).clean_probability,
        divide_by_mixture(clear, model).clean_probability,
    )


@pytest.mark.parametrize("evidence", [[1.0] * 50, [0.1, 0.9]])
def test_nothing_to_divide_stays_whole_even_where_it_is_asked_for(evidence):
    assert not divide_by_mixture(evidence, always=True).bimodal


REASON = re.compile(
    r"one group: about (\d+\.\d)% of the pairs look like pairs mismatched on purpose,"
    r" which (cannot be told from none|leaves no clean group to be found)"
)


def logarithmic(share, seed=0, n=3000, clean=(0.6, 0.3), noisy=(2.0, 0.35), moved=0.1):
    """Evidence, reference and which pairs are noisy; all normal in log(1 + evidence)."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < share
    values = np.where(wrong, rng.normal(noisy[0] - moved * noisy[1], noisy[1], n), rng.normal(*clean, n))
    return np.expm1(np.abs(values)), np.expm1(np.abs(rng.normal(*noisy, n))), wrong


def by_scores(share, seed=0, n=3200, fits=0.5, batch=64):
    """The same of cross entropies over batches of normal scores, a right pair's being higher."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < share
    found = []
    for part in wrong.reshape(-1, batch):
        scores = rng.normal(0, 0.12, (batch, batch))
        scores[np.diag_indices(batch)] += np.where(part, 0.0, fits)
        found.append(batch_cross_entropy(torch.from_numpy(scores), 0.05).numpy())
    return *np.concatenate(found).T, wrong


SIMULATIONS = {
    "close": lambda share, seed: logarithmic(share, seed, clean=(1.0, 0.3)),
    "wide clean": lambda share, seed: logarithmic(share, seed, clean=(0.8, 0.5)),
    "narrow clean": lambda share, seed: logarithmic(share, seed, clean=(0.3, 0.15)),
    "log-normal": lambda share, seed: (
        lambda e, r, w: (np.where(w, e, np.random.default_rng(seed).lognormal(-0.7, 0.7, len(e))), r, w)
    )(*logarithmic(share, seed)),
    "scores": lambda share, seed: by_scores(share, seed),
    "scores, weak": lambda share, seed: by_scores(share, seed, fits=0.4),
    "scores, strong": lambda share, seed: by_scores(share, seed, fits=0.9),
}


@pytest.mark.parametrize("name", SIMULATIONS)
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_pairs_that_look_mismatched_are_found_and_counted(name, share):
    evidence, reference, wrong = SIMULATIONS[name](share, 0)
    division = divide_by_reference(evidence, reference)
    assert division.bimodal
    # the scores' clean group is far from normal where it lies close
    assert division.noise_rate == pytest.approx(wrong.mean(), abs=0.07 if name == "scores, weak" else 0.05)
    low, high = division.noise_interval
    assert low < division.noise_rate < high
    assert division.reason == (
        f"two groups: between {low:.1%} and {high:.1%} of the pairs look like pairs mismatched on purpose"
    )
    assert (division.is_clean == ~wrong).mean() > (0.85 if name in ("close", "scores, weak") else 0.9)
    np.testing.assert_array_equal(division.is_clean, division.clean_probability > 0.5)
    np.testing.assert_array_equal(division.evidence, evidence)
    assert (np.diff(division.clean_probability[evidence.argsort()]) <= 0).all()


@pytest.mark.parametrize("name", SIMULATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_where_all_pairs_fit_none_is_suspected(name, seed):
    evidence, reference, _ = SIMULATIONS[name](0.0, seed)
    division = divide_by_reference(evidence, reference)
    assert not division.bimodal
    assert division.is_clean.all()
    assert (division.clean_probability == 1).all()
    assert (division.noise_rate, division.noise_interval, division.density) == (None, None, None)
    about, why = REASON.fullmatch(division.reason).groups()
    assert float(about) < 100 * LEAST_SHARE
    assert why == "cannot be told from none"


@pytest.mark.parametrize("name", SIMULATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_where_no_pair_fits_nothing_is_divided_either(name, seed):
    division = divide_by_reference(*SIMULATIONS[name](1.0, seed)[:2])
    assert not division.bimodal
    assert division.is_clean.all()
    about, why = REASON.fullmatch(division.reason).groups()
    assert float(about) >= 98
    assert why == "leaves no clean group to be found"


def test_few_mismatched_pairs_are_found_and_very_few_are_not():
    for share, divided in ((0.05, True), (0.003, False)):
        evidence, reference, wrong = logarithmic(share, n=20_000)
        division = divide_by_reference(evidence, reference)
        assert division.bimodal == divided
        if divided:
            assert division.noise_rate == pytest.approx(wrong.mean(), abs=0.01)
        else:
            assert 0.1 <= float(REASON.fullmatch(division.reason)[1]) <= 0.6


def test_a_tail_of_the_clean_group_is_no_noise():
    """The fit alone takes 3% of these right pairs for noisy; hardly any lies where mismatched pairs do."""
    evidence, reference, _ = by_scores(0.0)
    division = divide_by_reference(evidence, reference)
    assert not division.bimodal
    assert float(REASON.fullmatch(division.reason)[1]) < 0.5
    # forty pairs in the middle of the noisy group are too many to be such a tail
    evidence[:40] = np.quantile(reference, np.linspace(0.02, 0.98, 40))
    assert divide_by_reference(evidence[:1600], reference).bimodal


def shifts_and_rates(evidence, reference):
    """The shift that counts, and the rate at each of those tried."""
    values, known = np.log1p(evidence), np.log1p(reference)
    shift = min(fit_anchored_mixture(values, known).shift, shift_of_upper_part(values, known))
    shift = max(SHIFTS[0], shift)
    tried = sorted({0.0, SHIFTS[0], shift, shift + SHIFTS[0]})
    fits = {at: fit_anchored_mixture(values, known, (at, at)) for at in tried}
    return shift, fits, {at: noise_rate(fit, values) for at, fit in fits.items()}


@pytest.mark.parametrize("moved", [0.1, 0.4, 0.8])
def test_the_fitted_shift_decides_and_the_others_widen_the_interval(moved):
    evidence, reference, wrong = logarithmic(0.4, n=10_000, moved=moved)
    shift, fits, rates = shifts_and_rates(evidence, reference)
    assert shift == pytest.approx(moved, abs=0.1)
    division = divide_by_reference(evidence, reference)
    assert division.noise_rate == pytest.approx(fits[shift].weights[1])
    assert division.noise_rate == pytest.approx(wrong.mean(), abs=0.02)
    np.testing.assert_allclose(
        division.clean_probability, low_posterior(fits[shift], np.log1p(evidence)), atol=1e-12
    )
    low, high = division.noise_interval
    assert low == pytest.approx(min(rate.low for rate in rates.values()))
    assert high == pytest.approx(max(rate.high for rate in rates.values()))
    assert low < rates[shift].low - 0.001
    assert high > rates[shift].high + 0.001


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_pairs_learned_by_heart_are_counted(share):
    """Held where the reference is, a group that has moved this far would be counted by half or less."""
    evidence, reference, wrong = logarithmic(share, clean=(0.7, 0.4), moved=0.9)
    assert divide_by_reference(evidence, reference).noise_rate == pytest.approx(wrong.mean(), abs=0.05)
    held = fit_anchored_mixture(np.log1p(evidence), np.log1p(reference), (0.1, 0.1))
    assert held.weights[1] < wrong.mean() - 0.05


def test_an_estimate_that_might_as_well_be_none_divides_nothing():
    """Of 21 pairs that overlap so much, 7% may be noise, or none."""
    rng = np.random.default_rng(94)
    n, share = int(rng.integers(20, 60)), rng.uniform(0, 0.2)
    noisy = rng.random(n) < share
    evidence = np.expm1(
        np.abs(
            np.where(
                noisy, rng.normal(1.9, 0.5, n), rng.normal(rng.uniform(0.3, 1.2), rng.uniform(0.1, 0.6), n)
            )
        )
    )
    _, _, rates = shifts_and_rates(evidence, KNOWN)
    assert rates[SHIFTS[0]].rate > 0.05
    assert min(rate.low for rate in rates.values()) < 0.001
    division = divide_by_reference(evidence, KNOWN)
    assert division.reason.startswith("one group: about 7.2% of the pairs look like")
    assert division.reason.endswith("which cannot be told from none")


def test_the_interval_holds_the_truth():
    """It is wider than the sampling error, so it holds it nearly always where the shapes are right."""
    held = 0
    for seed in range(20):
        evidence, reference, wrong = logarithmic(0.4, seed, n=1000)
        low, high = divide_by_reference(evidence, reference).noise_interval
        held += low < wrong.mean() < high
        assert high - low < 0.15
    assert held >= 19


def test_the_order_of_pairs_and_reference_does_not_matter():
    evidence, reference, _ = logarithmic(0.3)
    order = np.random.default_rng(1).permutation(len(evidence))
    one = divide_by_reference(evidence, reference)
    other = divide_by_reference(evidence[order], reference[order])
    np.testing.assert_array_equal(other.clean_probability, one.clean_probability[order])
    assert other.noise_interval == pytest.approx(one.noise_interval)
    assert other.noise_rate == one.noise_rate


def test_by_reference_the_threshold_is_obeyed_and_float32_will_do():
    evidence, reference, wrong = logarithmic(0.4)
    evidence, reference = evidence.astype(np.float32), reference.astype(np.float32)
    strict, loose = (divide_by_reference(evidence, reference, threshold) for threshold in (0.99, 0.01))
    assert strict.is_clean.sum() < loose.is_clean.sum()
    assert (strict.threshold, loose.threshold) == (0.99, 0.01)
    np.testing.assert_array_equal(strict.is_clean, strict.clean_probability > 0.99)
    assert strict.evidence.dtype == strict.clean_probability.dtype == np.float64
    assert (strict.is_clean == ~wrong).mean() > 0.85


TOO_ALIKE = "mismatched pairs all have the same evidence"
NO_CLEAN = "one group: about 100.0% of the pairs look like pairs mismatched on purpose, which leaves no clean"
NO_NOISY = "one group: about 0.0% of the pairs look like pairs mismatched on purpose, which cannot be told"
KNOWN = np.expm1(np.linspace(1, 3, 200))


@pytest.mark.parametrize(
    ("evidence", "reference", "reason"),
    [
        (np.linspace(0, 20, 19), KNOWN, "19 pairs are too few to tell one group from two (needed 20)"),
        (KNOWN, KNOWN[:19], "19 mismatched pairs are too few to tell one group from two (needed 20)"),
        (KNOWN, [], "0 mismatched pairs are too few"),
        (KNOWN, np.full(50, 0.1), TOO_ALIKE),
        (KNOWN, 4.85 + 1e-10 * np.linspace(0, 1, 50), TOO_ALIKE),
        (np.zeros(50), KNOWN, NO_NOISY),
        (1e-12 * np.linspace(0, 1, 50), KNOWN, NO_NOISY),
        (np.full(50, 40.0), KNOWN, NO_CLEAN),
        (np.linspace(20, 200, 200), KNOWN, NO_CLEAN),  # all above, and wider
        (np.full(50, 1e308), KNOWN, NO_CLEAN),
    ],
)
def test_one_sided_equal_and_few_pairs_are_left_whole(evidence, reference, reason):
    division = divide_by_reference(evidence, reference)
    assert division.reason.startswith(reason)
    assert division.is_clean.all()
    assert not division.bimodal


def test_two_heaps_are_told_apart():
    division = divide_by_reference(np.append(np.zeros(30), np.full(20, KNOWN[80])), KNOWN)
    assert division.is_clean.tolist() == [True] * 30 + [False] * 20
    assert division.noise_rate == pytest.approx(0.4, abs=0.01)


def test_bad_input_by_reference():
    with pytest.raises(ValueError, match="must be a vector of at least one real number"):
        divide_by_reference([], KNOWN)
    with pytest.raises(ValueError, match=r"must be at least 0, got -0\.5"):
        divide_by_reference(np.append(KNOWN, -0.5), KNOWN)
    with pytest.raises(ValueError, match="must be at least 0, got -2"):
        divide_by_reference(KNOWN, np.append(KNOWN, -2.0))
    for bad in (np.nan, np.inf):
        with pytest.raises(TrainingDivergedError, match="1 of 201 pairs"):
            divide_by_reference(np.append(KNOWN, bad), KNOWN)
        with pytest.raises(TrainingDivergedError, match="1 of 201 pairs"):
            divide_by_reference(KNOWN, np.append(KNOWN, bad))
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
            divide_by_reference(KNOWN, KNOWN, threshold)
