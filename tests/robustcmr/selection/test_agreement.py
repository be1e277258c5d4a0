"""Sets of pairs by two divisions and by thresholds, pair by pair."""

import numpy as np
import pytest

from robustcmr.selection.agreement import agreement_sets, threshold_sets


def test_agreement_pair_by_pair():
    first, second = np.random.default_rng(0).random((2, 50)) < 0.6
    sets = agreement_sets(first, second)
    for i in range(50):
        name = ("noisy", "hard", "clean")[int(first[i]) + int(second[i])]
        assert {each: bool(members[i]) for each, members in sets.items()} == {
            each: each == name for each in ("clean", "hard", "noisy")
        }


@pytest.mark.parametrize("thresholds", [(0.6, 0.5), (0.5,), (0.5, 0.5), (0.9, 0.4, 0.1)])
def test_thresholds_pair_by_pair(thresholds):
    values = np.append(np.random.default_rng(0).random(50), [0.5, 0.6, 0.0, 1.0])
    sets = threshold_sets(values, thresholds)
    assert len(sets) == len(thresholds) + 1
    for i, value in enumerate(values):
        place = next((k for k, limit in enumerate(thresholds) if value > limit), len(thresholds))
        assert [bool(members[i]) for members in sets] == [k == place for k in range(len(sets))]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"two vectors of bool.*got bool \(2,\) and bool \(1,\)"):
        agreement_sets([True, False], [True])
    with pytest.raises(ValueError, match="got float64"):
        agreement_sets([0.7, 0.2], [True, False])
    with pytest.raises(ValueError, match=r"thresholds are \[0\.5, 0\.6\]; expected"):
        threshold_sets([0.1], (0.5, 0.6))
    with pytest.raises(ValueError, match=r"thresholds are \[\]"):
        threshold_sets([0.1], ())
    with pytest.raises(ValueError, match="must be a vector"):
        threshold_sets([[0.1]], (0.5,))
