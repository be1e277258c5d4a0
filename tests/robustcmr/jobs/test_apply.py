"""Lists of audits written back: the rows that are on them, and refusals."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import ConfigError, DataError, RunFolderError
from robustcmr.jobs.apply import apply_audit
from robustcmr.jobs.audit_run import run_audit
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.terminal import Console


@pytest.fixture
def audited(made, tmp_path):
    """An audit of 60 pairs in 3 files, a quarter of which are to be dropped."""
    folder = made.write(tmp_path / "data", *made.make())
    return folder, audit(made, folder, tmp_path / "out")


def audit(made, folder, output, **changes):
    given = made.given(folder)
    given = made.given(folder, fingerprint=fingerprint(given.source))
    settings = made.settings(sources=(str(folder / "web"),), **changes)
    run_audit(given, settings, output, Console(file=io.StringIO()), command="x")
    return output


def read(folder):
    return {path.name: pq.read_table(path) for path in sorted(folder.glob("*.parquet"))}


def test_the_rows_of_a_list_are_written(made, audited, tmp_path):
    folder, out = audited
    for chosen in ("keep", "drop", "review"):
        done = apply_audit(out, tmp_path / chosen, chosen)
        listed = set((out / "lists" / f"{chosen}.txt").read_text().splitlines())
        written = read(tmp_path / chosen)
        for name, table in read(folder / "web").items():
            mask = pa.array([each in listed for each in table["id"].to_pylist()])
            assert written[name].equals(table.filter(mask), check_metadata=True)
        assert (done.rows, done.of) == (len(listed), 60)
        assert done.files == tuple(tmp_path / chosen / f"{n}.parquet" for n in range(3))
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_dry_run_writes_nothing(audited, tmp_path):
    done = apply_audit(audited[1], tmp_path / "clean", "drop", dry_run=True)
    assert (done.rows, done.of, len(done.files)) == (15, 60, 3)
    assert not (tmp_path / "clean").exists()


def test_rows_that_a_filter_left_out_are_not_written(made, tmp_path):
    folder = made.write(tmp_path / "data", *made.make())
    out = audit(made, folder, tmp_path / "out", where="image LIKE '%5.jpg'")
    done = sum(apply_audit(out, tmp_path / name, name).rows for name in ("keep", "drop", "review"))
    assert done == 6


def test_a_row_of_several_captions_stays_while_one_is_on_the_list(made, tmp_path, caplog):
    rows, images, texts = made.make()
    rows["caption"] = [[f"a thing {n}", f"another thing {n}"] for n in range(60)]
    folder = made.write(tmp_path / "data", rows, images, np.repeat(texts, 2, axis=0))
    bad = np.load(folder / "texts.npy")
    bad[0] = -bad[0]  # the first caption of the first row
    np.save(folder / "texts.npy", bad)
    out = audit(made, folder, tmp_path / "out")
    pairs = {row["id"]: row["decision"] for row in pq.read_table(out / "pairs.parquet").to_pylist()}
    assert pairs["pair00000#0"] == "drop"
    apply_audit(out, tmp_path / "dropped", "drop")
    written = read(tmp_path / "dropped")["0.parquet"]
    assert written["caption"][0].as_py() == ["a thing 0", "another thing 0"]


def test_a_changed_source_is_refused(made, audited, tmp_path):
    folder, out = audited
    pq.write_table(pq.read_table(folder / "web" / "1.parquet").slice(1), folder / "web" / "1.parquet")
    with pytest.raises(DataError, match=r"the source has changed since the audit: .*1\.parquet"):
        apply_audit(out, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_folders_that_hold_something_are_refused(made, audited, tmp_path):
    folder, out = audited
    with pytest.raises(
        RunFolderError, match=r"lies within the source .*, which would then hold its pairs twice"
    ):
        apply_audit(out, folder / "web" / "clean")
    with pytest.raises(RunFolderError, match="is not empty; choose a new folder"):
        apply_audit(out, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file; expected a folder"):
        apply_audit(out, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert apply_audit(out, tmp_path / "empty").of == 60


def test_a_failure_leaves_no_folder(made, audited, tmp_path, monkeypatch):
    out = audited[1]
    from robustcmr.sources.parquet import Parquet

    real, calls = Parquet.write, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise DataError("the disk is full")
        return real(self, *arguments)

    monkeypatch.setattr(Parquet, "write", failing)
    with pytest.raises(DataError, match="disk is full"):
        apply_audit(out, tmp_path / "clean")
    assert not [path.name for path in tmp_path.iterdir() if "clean" in path.name]
    assert apply_audit(out, tmp_path / "clean").of == 60


def test_another_format_gets_a_row_a_pair(made, tmp_path):
    rows, images, texts = made.make()
    rows["caption"] = [[f"a thing {n}", f"another thing {n}"] for n in range(60)]
    texts = np.repeat(texts, 2, axis=0)
    texts[0] = -texts[0]
    out = audit(made, made.write(tmp_path / "data", rows, images, texts), tmp_path / "out")
    listed = (out / "lists" / "drop.txt").read_text().splitlines()
    assert "pair00000#0" in listed
    would = apply_audit(out, tmp_path / "table", "drop", "jsonl", dry_run=True)
    done = apply_audit(out, tmp_path / "table", "drop", "jsonl")
    assert would.rows == done.rows == len(listed)
    written = [json.loads(line)["id"] for line in done.files[0].read_text().splitlines()]
    assert written == listed
    with pytest.raises(ConfigError, match=r"there is no format 'xml' to write; choose one of parquet"):
        apply_audit(out, tmp_path / "xml", "drop", "xml", dry_run=True)
