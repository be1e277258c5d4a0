from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from noise_injection import NoiseError, make_label_noise

N, K = 6000, 6
TRUTH = np.arange(N) * 7 % K
KINDS: dict[str, dict[str, Any]] = {
    "symmetric": {},
    "asymmetric": {},
    "instance": {"features": np.random.RandomState(5).normal(size=(N, 4)) + TRUTH[:, None]},
}

FROZEN: dict[str, Any] = {
    "both": [[1, 0, 3, 3, 0, 0, 2, 2, 0, 1, 0, 3], [0, 3, 1, 3, 0, 3, 2, 3, 1, 0, 2, 1]],
    "redrawn": [0, 0, 3, 3, 0, 2, 2, 2, 0, 1, 0, 3],
    "instance": [1, 1, 1, 2, 0, 1, 2, 3, 1, 2, 3, 3],
}


def chi_square(counts: np.ndarray, expected: np.ndarray | float) -> float:
    """Share of fair experiments that would come out at least as uneven."""
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(chi2.sf(statistic, counts.size - 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_modality", [False, True])
@pytest.mark.parametrize("ratio", [0.2, 0.29, 0.8])
def test_exact_counts(kind: str, per_modality: bool, ratio: float) -> None:
    given, record = make_label_noise(TRUTH, K, ratio, kind, 3, per_modality=per_modality, **KINDS[kind])
    columns = 2 if per_modality else 1
    assert given.shape == (N, columns)
    assert given.dtype == np.int64
    assert (given != TRUTH[:, None]).sum(axis=0).tolist() == [int(ratio * N)] * columns
    assert record.n_wrong == (int(ratio * N),) * columns
    assert record.n_chosen == int(ratio * N)
    assert record.ratio_realised == int(ratio * N) / N
    assert record.ratio_by_modality == (int(ratio * N) / N,) * columns
    assert (record.kind, record.noise, record.source) == ("labels", kind, "made")
    assert record.protocol == ("per_modality" if per_modality else "shared")
    assert record.labels_sha256 == hashlib.sha256(given.astype("<i8").tobytes()).hexdigest()


def test_product_is_rounded_down_in_floating_point() -> None:
    given, _ = make_label_noise(np.arange(100) % 4, 4, 0.29, "symmetric", 0)
    assert (given[:, 0] != np.arange(100) % 4).sum() == 28  # 0.29 * 100 is 28.999999999999996


@pytest.mark.parametrize("kind", KINDS)
def test_ratio_zero_gives_the_truth(kind: str) -> None:
    given, record = make_label_noise(TRUTH, K, 0, kind, 3, per_modality=True, **KINDS[kind])
    np.testing.assert_array_equal(given, np.stack([TRUTH, TRUTH], axis=1))
    assert (record.ratio_asked, record.ratio_realised, record.n_wrong) == (0.0, 0.0, (0, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_seeds(kind: str) -> None:
    one, record = make_label_noise(TRUTH, K, 0.4, kind, 3, **KINDS[kind])
    same, again = make_label_noise(TRUTH.astype(np.int16), K, 0.4, kind, 3, **KINDS[kind])
    other, _ = make_label_noise(TRUTH, K, 0.4, kind, 4, **KINDS[kind])
    assert one.tobytes() == same.tobytes()
    assert record == again
    assert ((one != TRUTH[:, None]) != (other != TRUTH[:, None])).any()


def test_the_callers_labels_and_generator_are_left_alone() -> None:
    truth = TRUTH.copy()
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    make_label_noise(truth, K, 0.5, "symmetric", 0)
    np.testing.assert_array_equal(truth, TRUTH)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_bytes_are_frozen() -> None:
    """The legacy stream never changes, so neither may these."""
    truth = np.arange(12) % 4
    assert make_label_noise(truth, 4, 0.5, "symmetric", 7, per_modality=True)[0].T.tolist() == FROZEN["both"]
    redrawn = make_label_noise(truth, 4, 0.5, "symmetric", 7, redraw_true=True)[0]
    assert redrawn[:, 0].tolist() == FROZEN["redrawn"]
    features = np.stack([truth, np.arange(12) ** 2 / 20], axis=1)
    given = make_label_noise(truth, 4, 0.5, "instance", 7, features=features)[0]
    assert given[:, 0].tolist() == FROZEN["instance"]


def test_symmetric_is_uniform_over_rows_and_other_classes() -> None:
    rows = np.zeros(N)
    pairs = np.zeros((K, K))
    for seed in range(40):
        given = make_label_noise(TRUTH, K, 0.3, "symmetric", seed)[0][:, 0]
        rows += given != TRUTH
        np.add.at(pairs, (TRUTH, given), 1)
    wrong = pairs[~np.eye(K, dtype=bool)]
    assert 0.001 < chi_square(wrong, wrong.mean()) < 0.999
    tenths = rows.reshape(10, -1).sum(axis=1)
    assert tenths.sum() == 40 * int(0.3 * N)
    assert chi_square(tenths, tenths.mean()) > 0.001
    assert rows.max() < 30  # 40 draws of 0.3: 30 or more would be eight standard deviations


def test_redraw_true_is_uniform_over_all_and_has_the_closed_form_rate() -> None:
    drawn = np.zeros(K)
    rates = []
    for seed in range(40):
        given, record = make_label_noise(TRUTH, K, 0.6, "symmetric", seed, redraw_true=True)
        rates.append(record.ratio_realised)
        offset = (given[:, 0] - TRUTH) % K
        drawn += np.bincount(offset, minlength=K)
        assert record.n_wrong[0] == (offset > 0).sum() < record.n_chosen == int(0.6 * N)
    drawn[0] -= 40 * (N - int(0.6 * N))  # the rows never chosen
    assert chi_square(drawn, 40 * 0.6 * N / K) > 0.001
    deviation = np.sqrt(0.6 * (1 / K) * (1 - 1 / K) / N / 40)
    assert abs(np.mean(rates) - 0.6 * (1 - 1 / K)) < 4 * deviation


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_modalities_are_independent(kind: str) -> None:
    table = np.zeros((2, 2))
    same = 0
    for seed in range(40):
        given = make_label_noise(TRUTH, K, 0.4, kind, seed, per_modality=True)[0]
        wrong = given != TRUTH[:, None]
        np.add.at(table, (wrong[:, 0].astype(int), wrong[:, 1].astype(int)), 1)
        both = wrong.all(axis=1)
        same += int((given[both, 0] == given[both, 1]).sum())
    both_wrong = 40 * N * 0.4 * 0.4
    assert abs(table[1, 1] - both_wrong) < 4 * np.sqrt(both_wrong)
    if kind == "symmetric":  # of those, one in K - 1 agrees by chance
        assert abs(same - both_wrong / (K - 1)) < 4 * np.sqrt(both_wrong / (K - 1))


def test_shared_labels_are_the_images_of_two() -> None:
    shared = make_label_noise(TRUTH, K, 0.4, "symmetric", 3)[0]
    both = make_label_noise(TRUTH, K, 0.4, "symmetric", 3, per_modality=True)[0]
    np.testing.assert_array_equal(shared[:, 0], both[:, 0])


def test_asymmetric_goes_to_the_next_class_unless_told() -> None:
    given, record = make_label_noise(TRUTH, K, 0.4, "asymmetric", 3)
    wrong = given[:, 0] != TRUTH
    np.testing.assert_array_equal(given[wrong, 0], (TRUTH[wrong] + 1) % K)
    assert record.class_map == (1, 2, 3, 4, 5, 0)


def test_asymmetric_follows_its_map() -> None:
    mapping = [0, 0, 5, 1, 4, 2]
    given, record = make_label_noise(TRUTH, K, 0.5, "asymmetric", 3, class_map=mapping)
    assert record.class_map == tuple(mapping)
    for own, now in zip(TRUTH, given[:, 0], strict=True):
        assert now in (own, mapping[own])
    kept = np.isin(TRUTH, [0, 4])
    np.testing.assert_array_equal(given[kept, 0], TRUTH[kept])
    assert record.n_chosen == N // 2
    assert record.n_wrong == (int((given[:, 0] != TRUTH).sum()),)
    assert abs(record.ratio_realised - 0.5 * 4 / 6) < 0.03
    same = make_label_noise(TRUTH, K, 0.5, "asymmetric", 3, class_map=np.array(mapping, np.uint8))
    assert same[1] == record


def test_two_classes_are_exchanged() -> None:
    truth = np.arange(50) % 2
    for kind in ("symmetric", "asymmetric"):
        given = make_label_noise(truth, 2, 0.5, kind, 0)[0][:, 0]
        assert (given != truth).sum() == 25
        assert set(given.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"n_classes": 1, "truth": [0, 0]}, "number of classes is 1; expected a whole number of at least 2"),
        ({"n_classes": 0}, "number of classes is 0"),
        ({"n_classes": True}, "number of classes is True"),
        ({"n_classes": 3.0}, "number of classes is 3.0"),
        ({"truth": [0, 1, 3]}, "the label vector has entries from 0 to 3; expected classes from 0 to 2"),
        ({"truth": [0, -1, 2]}, "the label vector has entries from -1 to 2"),
        (
            {"truth": np.array([0, 2**64 - 1], np.uint64)},
            "label vector has entries from 0 to 18446744073709551615",
        ),
        ({"truth": [0.0, 1.0]}, "has float64 values"),
        ({"truth": [True, False]}, "has bool values"),
        ({"truth": [[0, 1]]}, r"has shape \(1, 2\)"),
        ({"truth": np.zeros(0, int)}, "is empty"),
        ({"ratio": 1.0}, "noise ratio is 1.0"),
        ({"ratio": -0.1}, "noise ratio is -0.1"),
        ({"ratio": float("nan")}, "noise ratio is nan"),
        ({"seed": -1}, "noise seed is -1"),
        ({"kind": "symetric"}, r"no label noise 'symetric' \(did you mean 'symmetric'\?\); choose one of"),
        ({"kind": "banana"}, "no label noise 'banana'; choose one of symmetric, asymmetric, instance"),
        ({"kind": "asymmetric", "class_map": [1, 2]}, r"class map has shape \(2,\)"),
        ({"kind": "asymmetric", "class_map": [1, 2, 3]}, "class map has entries from 1 to 3"),
        ({"kind": "asymmetric", "class_map": [1.0, 2.0, 0.0]}, "class map has float64"),
        ({"kind": "asymmetric", "class_map": [0, 1, 2]}, "maps every class to itself"),
        ({"class_map": [1, 2, 0]}, "symmetric label noise does not use class_map"),
        ({"kind": "asymmetric", "redraw_true": True}, "asymmetric label noise does not use redraw_true"),
        ({"features": np.ones((6, 2))}, "symmetric label noise does not use features"),
        ({"kind": "instance"}, "needs features; give"),
    ],
)
def test_mistakes(changes: dict[str, Any], part: str) -> None:
    settings = {"truth": [0, 1, 2, 0, 1, 2], "n_classes": 3, "ratio": 0.5, "kind": "symmetric", "seed": 0}
    values = {**settings, **changes}
    with pytest.raises(NoiseError, match=part) as caught:
        make_label_noise(np.asarray(values.pop("truth")), **values)
    assert "\n" not in str(caught.value)
