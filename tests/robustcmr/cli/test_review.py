"""``robustcmr review`` and its commands."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.audit.labels import Label, LabelFile, read_labels
from robustcmr.jobs.review import sampled
from robustcmr.runs.audits import AuditFolder


@pytest.fixture
def audit(audited_pictures):
    table = pq.read_table(audited_pictures / "pairs.parquet")
    aside = np.array(table["decision"].to_pylist()) == "aside"
    scores = pa.array(np.linspace(-4, 8, len(table)), pa.float64(), mask=aside)
    pq.write_table(
        table.set_column(table.schema.get_field_index("score"), "score", scores),
        audited_pictures / "pairs.parquet",
    )
    return audited_pictures


def judge(audit, count, by="Ada", verdict=None):
    pairs = sampled(AuditFolder(audit), labels=60).pairs[:count]
    LabelFile(audit / "labels.jsonl").append(
        [
            Label(
                *(pair.id, verdict or ("wrong" if pair.score < 0 else "right"), by),
                *("2026-01-01T00:00:00.000+00:00", pair.stratum, pair.probability),
            )
            for pair in pairs
        ]
    )


def test_status_in_words_and_as_json(robustcmr, audit):
    judge(audit, 60)
    judge(audit, 4, "Bo", "wrong")
    done = robustcmr("review", "status", audit)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "60 of 60 pairs are judged."
    assert any(line.startswith("Ada and Bo agree on ") for line in lines)
    assert re.fullmatch(r"Wrong pairs: \d+\.\d% \(95% interval \d+\.\d% to \d+\.\d%\)\.", lines[-1])
    found = json.loads(robustcmr("review", "status", audit, "--json").out)
    assert found["judged"] == 60


def test_out_and_back(robustcmr, audit, tmp_path):
    judge(audit, 10)
    done = robustcmr("review", "export", audit, "-o", tmp_path / "tasks.json")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"wrote {tmp_path / 'tasks.json'}",
        f"wrote {tmp_path / 'tasks.xml'}",
        "60 pairs",
    ]
    (audit / "labels.jsonl").unlink()
    done = robustcmr("review", "import", audit, tmp_path / "tasks.json")
    assert done.out == "added 10 of 10 verdicts\n"
    done = robustcmr("review", "import", audit, tmp_path / "tasks.json")
    assert done.out == "added 0 of 10 verdicts; the others were known already or replaced since\n"
    assert len(read_labels(audit / "labels.jsonl")) == 10
    as_json = robustcmr("review", "import", audit, tmp_path / "tasks.json", "--json").out
    assert json.loads(as_json) == {"audit": str(audit), "added": 0, "of": 10}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nothing"], "there is no audit in nothing"),
        (["status", "nothing"], "there is no audit in nothing"),
        (["export", "nothing", "-o", "a.csv"], "there is no audit in nothing"),
        (["import", "nothing", "a.csv"], "there is no audit in nothing"),
        (["AUDIT", "--by", " "], "the reviewer's name is"),
        (["export", "AUDIT", "-o", "a.doc"], "the format of a.doc is not known by its name"),
        (["import", "AUDIT", "a.csv"], "has no sample yet"),
    ],
)
def test_mistakes_are_one_sentence(robustcmr, audit, words, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = robustcmr("review", *(audit if word == "AUDIT" else word for word in words))
    assert done.code == 2
    assert why in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_port_in_use_is_said(robustcmr, audit):
    from robustcmr.review.serve import listen

    with listen(0) as taken:
        port = taken.getsockname()[1]
        done = robustcmr("review", audit, "--port", port, "--no-browser")
    assert done.code == 2
    assert f"port {port} cannot be used: address already in use; choose another one" in done.err.lower()


def test_missing_packages_are_named(robustcmr, audit, monkeypatch):
    from robustcmr.jobs import audit_packages

    monkeypatch.setattr(audit_packages, "find_spec", lambda name: None if name == "uvicorn" else True)
    done = robustcmr("review", audit, "--no-browser")
    assert "this needs pyarrow, duckdb, starlette and uvicorn; pip install 'robustcmr[audit]'" in done.err
    assert robustcmr("review", "status", audit).code == 0


def test_the_page_is_served_until_ctrl_c(audit):
    command = [sys.executable, "-m", "robustcmr", "review", str(audit), "--no-browser", "--labels", "60"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        lines = iter(process.stderr.readline, "")
        address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        with urllib.request.urlopen(f"{address}state?by=Ada", timeout=20) as answer:
            state = json.load(answer)
        assert (state["total"], state["judged"], state["title"]) == (60, 0, "audit")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert out.splitlines() == ["0 of 60 pairs are judged.", f"Go on: robustcmr review {audit}"]
