"""The folder of a finished audit."""

import json

import pytest

from robustcmr.errors import DataError
from robustcmr.runs.audits import AuditFolder


def test_a_finished_audit_is_told_by_its_audit_json(make_audit, tmp_path):
    folder = AuditFolder(make_audit(tmp_path / "a"))
    folder.require()
    assert folder.read_summary()["pairs"] == 1000
    assert folder.read_about()["command"].startswith("robustcmr audit")
    folder.about.unlink()
    with pytest.raises(DataError, match=r"has no audit\.json"):
        folder.require()
    folder.work.mkdir()
    with pytest.raises(DataError, match="has not finished; give its command again to resume it"):
        folder.require()
    with pytest.raises(DataError, match="there is no audit in"):
        AuditFolder(tmp_path / "b").require()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda summary: summary.pop("decisions"), "decisions is missing"),
        (lambda summary: summary.update(pairs=-1), "pairs"),
        (lambda summary: summary.update(noise_rate={"value": "a"}), "noise_rate"),
        (lambda summary: summary["reasons"].update(drop=3), "reasons"),
    ],
)
def test_a_summary_that_does_not_fit_is_refused(make_audit, tmp_path, damage, message):
    folder = AuditFolder(make_audit(tmp_path / "a"))
    summary = json.loads(folder.summary.read_text())
    damage(summary)
    folder.summary.write_text(json.dumps(summary))
    with pytest.raises(DataError, match=message):
        folder.read_summary()


def test_damaged_json_is_named(make_audit, tmp_path):
    folder = AuditFolder(make_audit(tmp_path / "a"))
    folder.summary.write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*summary\.json"):
        folder.read_summary()
    folder.summary.unlink()
    with pytest.raises(DataError, match=r"cannot read .*summary\.json: No such file"):
        folder.read_summary()
