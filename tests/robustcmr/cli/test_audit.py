"""``robustcmr audit``, ``apply`` and ``report`` of an audit."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COUNT, WIDTH, WRONG = 1500, 24, 300
NAMES = ("--image-vectors", "images.npy", "--text-vectors", "texts.npy")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(COUNT, WIDTH)).astype(np.float32)
    texts = (images + 0.6 * rng.normal(size=images.shape)).astype(np.float32)
    texts[:WRONG] = np.roll(texts[:WRONG], 1, axis=0)
    columns = {
        "uid": [f"u{i}" for i in range(COUNT)],
        "url": [f"https://example.org/{i}.jpg" for i in range(COUNT)],
        "caption": [f"picture number {i}" for i in range(COUNT)],
    }
    pq.write_table(pa.table(columns), "web.parquet")
    np.save("images.npy", images)
    np.save("texts.npy", texts)
    return tmp_path


def test_an_audit_from_its_start_to_a_clean_copy(robustcmr, place):
    done = robustcmr("audit", "web.parquet", *NAMES, "-o", "audits/web")
    assert done.code == 0, done.err
    first, second, *rest = done.out.splitlines()
    assert first.startswith("Looks randomly mismatched: ")
    assert second.startswith("Of 1,500 pairs, ")
    assert rest[-1] == (
        "Write the pairs to keep: robustcmr apply audits/web --list keep --to audits/web-clean"
    )
    assert "image vectors: 1,500 of 24 numbers" in done.err
    page = (place / "audits/web/report.html").read_text()
    assert "robustcmr apply audits/web --list keep --to audits/web-clean" in page
    assert 'href="https://example.org/' in page
    assert "random partners" in page
    assert "near partners" in page
    assert "robustcmr audit web.parquet --image-vectors images.npy" in page

    words = rest[-1].partition("robustcmr ")[2].split()
    would = robustcmr(*words, "--dry-run")
    assert would.code == 0
    assert not (place / "audits/web-clean").exists()
    wrote = robustcmr(*words)
    assert wrote.code == 0
    assert would.out.replace("would write", "wrote") == wrote.out
    kept = pq.read_table(place / "audits/web-clean/web.parquet")
    assert f"wrote {len(kept):,} of 1,500 rows" in wrote.out
    lists = (place / "audits/web/lists/keep.txt").read_text().split()
    assert kept["uid"].to_pylist() == lists


def test_json(robustcmr, place):
    done = robustcmr("audit", "web.parquet", *NAMES, "-o", "out", "--json", "--no-report")
    found = json.loads(done.out)
    assert (found["pairs"], found["page"]) == (COUNT, None)
    assert sum(found["decisions"].values()) == COUNT
    assert not (place / "out/report.html").exists()
    found = json.loads(robustcmr("report", "out", "--json").out)
    assert found["page"] == "out/report.html"
    assert found["noise_rate"]["low"] <= found["noise_rate"]["value"]
    found = json.loads(robustcmr("apply", "out", "--list", "drop", "--to", "new", "--dry-run", "--json").out)
    assert found["dry_run"] is True
    assert 0 < found["rows"] <= WRONG
    assert found["of"] == COUNT
    assert not (place / "new").exists()


def test_another_format(robustcmr, place):
    assert robustcmr("audit", "web.parquet", *NAMES, "-o", "out").code == 0
    done = robustcmr("apply", "out", "--list", "drop", "--to", "dropped", "--format", "csv")
    assert done.code == 0, done.err
    (file,) = (place / "dropped").rglob("*.csv")
    assert len(file.read_text().splitlines()) == 1 + len((place / "out/lists/drop.txt").read_text().split())


def test_pairs_to_review_are_said_to_be_left_out(robustcmr, place):
    done = json.loads(robustcmr("audit", "web.parquet", *NAMES, "-o", "out", "--json", "--no-report").out)
    assert done["decisions"]["review"]
    said = f"{done['decisions']['review']:,} pairs to review are left out; --list review writes them"
    assert said in robustcmr("apply", "out", "--to", "kept", "--dry-run").out
    assert "left out" not in robustcmr("apply", "out", "--list", "review", "--to", "look", "--dry-run").out


def test_a_page_elsewhere_and_without_a_gallery(robustcmr, place):
    robustcmr("audit", "web.parquet", *NAMES, "-o", "out", "--no-report")
    done = robustcmr("report", "out", "-o", "a.html", "--gallery", "0", "--no-model")
    assert done.code == 0
    assert "Look at a.html" in done.out
    assert "A page without a gallery was requested." in (place / "a.html").read_text()


def test_captions_and_names_are_shown_and_never_obeyed(robustcmr, place):
    table = pq.read_table("web.parquet")
    evil = "<script>alert(1)</script>[bold]\x1b[31m"
    captions = [f"{evil} {i}" for i in range(COUNT)]
    pq.write_table(table.set_column(2, "caption", pa.array(captions)), f"{evil[:8]}.parquet")
    done = robustcmr("audit", f"{evil[:8]}.parquet", *NAMES, "-o", "out")
    assert done.code == 0, done.err
    page = (place / "out/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page + done.out + done.err


def test_an_audit_is_told_from_a_run(robustcmr, place):
    (place / "out").mkdir()
    assert "no run" in robustcmr("report", "out").err
    (place / "out/audit.json").write_text("{}")
    error = robustcmr("report", "out").err
    assert "summary.json" in error


def test_partners_are_suggested_and_pairs_repaired(robustcmr, place):
    assert robustcmr("audit", "web.parquet", *NAMES, "-o", "out", "--no-report").code == 0
    done = robustcmr("suggest", "out", "--least", "0.4")
    assert done.code == 0, done.err
    first, second, third, last = done.out.splitlines()
    assert first.startswith("an image for ")
    assert "are expected to be right, as told by" in second
    assert (third, last) == ("wrote out/suggestions.parquet", "Look at out/report.html")
    found = json.loads(robustcmr("suggest", "out", "--json", "--no-report").out)
    kinds = pq.read_table("out/suggestions.parquet")["kind"].to_pylist()
    assert (found["images"], found["captions"]) == (kinds.count("image"), kinds.count("caption"))
    assert found["captions"] > 0
    assert found["page"] is None
    wrote = robustcmr("apply", "out", "--repair", "--sure", "0.5", "--to", "clean")
    assert wrote.code == 0, wrote.err
    assert f"wrote {found['captions']:,} pairs with a better caption" in wrote.out
    repaired = pq.read_table("clean/pairs-00000.parquet")["original_caption"]
    assert len(repaired) - repaired.null_count == found["captions"]
