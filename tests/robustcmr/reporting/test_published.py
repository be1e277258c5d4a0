"""Published figures: every row is whole, and says where it is from."""

import pytest

from robustcmr.errors import ComparisonError
from robustcmr.reporting.published import published_rows


def test_every_row_says_what_it_is():
    rows = published_rows()
    assert len(rows) == 44
    for row in rows:
        assert row.method
        assert row.source
        assert row.n_models in (1, 2)
        assert row.setting.protocol in ("caption", "image", "per_modality", "real", "protocol unknown")
        assert (row.ratio is None) == (row.setting.protocol == "real")
        assert row.ratio is None or 0 < row.ratio < 1
        (headline,) = {"rsum", "map_i2t"} & set(row.means)
        assert 0 < row.means[headline] < (600 if headline == "rsum" else 100)
        if "map" in row.means:
            both = (row.means["map_i2t"] + row.means["map_t2i"]) / 2
            assert row.means["map"] == pytest.approx(both)
    assert len({(row.method, row.setting.data, row.ratio) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("data", "method", "ratio", "measure", "value"),
    [
        ("f30k", "L2RM", 0.8, "rsum", 404.0),
        ("coco", "UCPM", 0.2, "rsum", 528.7),
        ("cc152k", "IN2R", None, "rsum", 380.8),
        ("wikipedia", "MRL", 0.4, "map_t2i", 45.3),
        ("xmedianet", "MRL", 0.6, "map_i2t", 38.4),
    ],
)
def test_some_rows_by_hand(data, method, ratio, measure, value):
    found = [row for row in published_rows(data) if (row.method.split(" (")[0], row.ratio) == (method, ratio)]
    assert [row.means[measure] for row in found] == [value]


def test_only_what_was_asked_for_and_a_hint_where_nothing_is_known():
    assert {row.setting.data for row in published_rows("f30k")} == {"f30k"}
    with pytest.raises(
        ComparisonError, match=r"of 'f30' are known; did you mean 'f30k'\? \(there are: f30k, "
    ):
        published_rows("f30")
    with pytest.raises(ComparisonError, match=r"of 'mnist' are known \(there are"):
        published_rows("mnist")
