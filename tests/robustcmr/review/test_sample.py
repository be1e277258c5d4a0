"""The sample on disk, and the order it is judged in."""

import json
from collections import Counter

import numpy as np
import pytest
from scipy.special import expit

from robustcmr.audit.design import Design
from robustcmr.audit.labels import Label
from robustcmr.errors import DataError
from robustcmr.review.sample import Drawn, Request, Sample, in_order, read_sample, sample_file, write_sample


def sample(sizes=(40, 20, 10)):
    pairs = [Drawn(f"{h}-{i}", h, 0.5, h - i / 7) for h, size in enumerate(sizes) for i in range(size)]
    design = Design(np.array([-1.5, np.float32(0.1)]), np.array(sizes) * 2, np.array([0.9, 0.5, 0.1]))
    return Sample(Request(70, None, 3), design, tuple(in_order(pairs, 3)))


def test_it_comes_back_as_it_was(tmp_path):
    assert read_sample(tmp_path) is None
    write_sample(tmp_path, sample())
    found = read_sample(tmp_path)
    assert (found.request, found.pairs) == (sample().request, sample().pairs)
    for name in ("edges", "counts", "means"):
        assert np.array_equal(getattr(found.design, name), getattr(sample().design, name))


def test_every_beginning_holds_each_stratum_in_proportion():
    pairs = sample().pairs
    for end in (7, 14, 35, 63):
        counts = Counter(pair.stratum for pair in pairs[:end])
        for stratum, share in enumerate((4 / 7, 2 / 7, 1 / 7)):
            assert abs(counts[stratum] - share * end) <= 2
    assert in_order(pairs, 3) == in_order(pairs[::-1], 3) == list(pairs)
    assert in_order(pairs, 4) != list(pairs)


def test_labels_become_numbers():
    labels = [
        Label(key, verdict, "Ada", "2026-01-01T00:00:00+00:00", 0, 0.5)
        for key, verdict in (
            ("0-0", "right"),
            ("1-3", "wrong"),
            ("2-7", "partly"),
            ("0-1", "unsure"),
            ("x", "wrong"),
        )
    ]
    found = sample().labelled(labels)
    assert found.wrong.tolist() == [0, 1, 0.5]
    assert found.stratum.tolist() == [0, 1, 2]
    assert found.chance == pytest.approx(expit([0, -(1 - 3 / 7), -1]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pairs": 3}, "pairs"),
        (
            {"strata": {"edges": [1.0], "counts": [1, 2, 3], "means": [0.1, 0.2, 0.3]}},
            "do not belong together",
        ),
        (
            {"pairs": [{"id": "a", "stratum": 3, "probability": 0.5, "score": 1.0}]},
            "is not among its 3 strata",
        ),
        ({"pairs": [{"id": "a", "stratum": 0, "probability": 0.0, "score": 1.0}]}, "greater than 0"),
    ],
)
def test_damage_is_said(tmp_path, change, why):
    write_sample(tmp_path, sample())
    path = sample_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=rf"review\.json: .*{why}.*; remove it"):
        read_sample(tmp_path)
