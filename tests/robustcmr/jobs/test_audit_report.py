"""The page of an audit, from its folder and its source."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustcmr.errors import UserError
from robustcmr.jobs.audit_report import score_counts, worst_pairs, write_audit_report
from robustcmr.runs.audits import AuditFolder


def pictures(page):
    """Red of each picture by the id of its pair."""
    found = {}
    for uri, key in re.findall(
        r'src="data:image/webp;base64,([^"]+)"[^>]*alt="Picture of pair ([^"]+)"', page
    ):
        with Image.open(io.BytesIO(base64.b64decode(uri))) as picture:
            found[key] = picture.convert("RGB").getpixel((5, 5))[0]
    return found


def test_each_pair_is_shown_with_its_own_picture(audited_pictures):
    page = write_audit_report(audited_pictures).read_text()
    shown = pictures(page)
    assert len(shown) > 20
    for key, red in shown.items():
        assert abs(red - 12 * (int(key[-4:]) // 5)) < 6
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_the_most_likely_wrong_come_first(audited_pictures):
    folder = AuditFolder(audited_pictures)
    table = pq.read_table(folder.pairs).to_pylist()
    groups = list(worst_pairs(folder, folder.read_summary(), 16))
    assert [(group.decision, group.reason) for group in groups] == [
        *(("drop", "looks mismatched"), ("drop", "boilerplate caption")),
        *(("review", "may be mismatched"), ("aside", "empty caption")),
    ]
    for group in groups:
        those = [row for row in table if row["reason"] == group.reason]
        assert group.total == len(those)
        expected = sorted(those, key=lambda row: (-(row["p_mismatch"] or 0), row["row"]))[:4]
        assert [row["id"] for row in group.rows] == [row["id"] for row in expected]


def test_no_gallery_and_no_pictures(audited_pictures, tmp_path):
    page = write_audit_report(audited_pictures, tmp_path / "a.html", gallery=0).read_text()
    assert "A page without a gallery was requested." in page
    assert not pictures(page)
    page = write_audit_report(audited_pictures, tmp_path / "b.html", pictures=False).read_text()
    assert not pictures(page)
    assert "0000.png" in page
    assert not (audited_pictures / "report.html").exists()


@pytest.mark.parametrize("damage", ["gone", "changed", "one"])
def test_a_source_that_is_not_as_it_was_is_said_on_the_page(audited_pictures, damage):
    file = audited_pictures.parent / "shop.parquet"
    if damage == "gone":
        file.unlink()
        expected = "Pictures go by name: there is no file or folder"
    elif damage == "changed":
        pq.write_table(pa.table({"id": ["x"], "image": ["y"], "text": ["z"]}), file)
        expected = "the source has changed since the audit"
    else:
        (audited_pictures.parent / "0000.png").write_bytes(b"no picture")
        expected = "pictures could not be shown."
    page = write_audit_report(audited_pictures).read_text()
    assert expected in page
    assert bool(pictures(page)) == (damage == "one")


def test_scores_are_counted(audited_pictures):
    folder = AuditFolder(audited_pictures)
    scores = np.array([s for s in pq.read_table(folder.pairs)["score"].to_pylist() if s is not None])
    curves = score_counts(folder)
    expected, _ = np.histogram(scores, curves["edges"])
    assert sum(curves["given"]) >= len(scores) - 6
    assert np.abs(np.array(curves["given"]) - expected).sum() <= 4  # of values on an edge
    known = [row["p_mismatch"] for row in pq.read_table(folder.pairs).to_pylist() if row["score"] is not None]
    assert sum(curves["mismatched"]) == pytest.approx(sum(known), rel=0.1)
    assert "likely mismatched" in write_audit_report(audited_pictures).read_text()


def test_only_web_addresses_become_links(make_audit, tmp_path):
    names = ["https://a.org/1", "javascript://%0aalert(1)", "data://x", "HTTP://a.org/2", "s3://b/3"] * 200
    folder = make_audit(tmp_path / "links", image=names)
    page = write_audit_report(folder, pictures=False).read_text()
    assert set(re.findall(r'href="([^#"d][^"]*)"', page)) == {"https://a.org/1", "HTTP://a.org/2"}
    assert "javascript://%0aalert(1)" in page


def test_damaged_pairs_are_named(audited_pictures):
    (audited_pictures / "pairs.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"cannot read .*pairs\.parquet"):
        write_audit_report(audited_pictures)


def test_a_folder_is_no_page(audited_pictures, tmp_path):
    with pytest.raises(UserError, match="is a folder, expected a file for the page"):
        write_audit_report(audited_pictures, tmp_path)
    with pytest.raises(UserError, match="there is no audit in"):
        write_audit_report(tmp_path / "gone")
