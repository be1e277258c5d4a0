"""A finished audit in Python."""

import json

import pytest

from robustcmr.errors import UserError
from robustcmr.jobs.audited import AuditedPairs


@pytest.fixture
def found(audited_pictures):
    return AuditedPairs(audited_pictures)


def test_lists_split_the_judged_pairs(found):
    assert (len(found.kept), len(found.dropped), len(found.review)) == (74, 20, 5)
    decisions = dict(zip(found.pairs.id, found.pairs.decision, strict=True))
    for ids, decision in ((found.kept, "keep"), (found.dropped, "drop"), (found.review, "review")):
        assert {decisions[key] for key in ids} == {decision}


def test_what_was_found(found, audited_pictures):
    rate = found.noise_rate
    assert (rate.value, rate.low, rate.high) == (0.21, 0.19, 0.23)
    assert rate.says.startswith("looks randomly mismatched")
    assert found.problems[0]["problem"] == "empty caption"
    assert found.summary.decisions.drop == 20
    assert found.about["robustcmr_version"] == "0.2.0"
    summary = json.loads((audited_pictures / "summary.json").read_text())
    (audited_pictures / "summary.json").write_text(json.dumps({**summary, "noise_rate": None}))
    assert AuditedPairs(audited_pictures).noise_rate.value is None


def test_in_a_notebook_and_a_terminal(found):
    assert "Of 100 pairs, 20 (20.0%) are to be dropped" in repr(found)
    html = found._repr_html_()
    assert "To drop, most likely wrong" in html
    assert html.count('<img src="data:image/webp;base64,') == 8
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "<script" not in html


def test_in_a_notebook_after_the_source_is_gone(found, audited_pictures):
    (audited_pictures.parent / "shop.parquet").unlink()
    html = found._repr_html_()
    assert "<img" not in html
    assert "0000.png" in html


def test_its_page(found, audited_pictures, tmp_path):
    assert found.report() == audited_pictures / "report.html"
    assert found.report(tmp_path / "a.html", gallery=3).is_file()
    with pytest.raises(UserError, match="gallery is -1"):
        found.report(gallery=-1)


def test_no_audit(tmp_path):
    with pytest.raises(UserError, match="there is no audit in"):
        AuditedPairs(tmp_path / "gone")
    with pytest.raises(UserError, match="the folder of the audit is 3"):
        AuditedPairs(3)


def test_an_unknown_list(found, tmp_path):
    with pytest.raises(UserError, match="list is 'kept', expected one of keep, drop, review"):
        found.apply(tmp_path / "clean", list="kept")
