from __future__ import annotations

import pytest

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train


@pytest.fixture
def finished(tiny_tree, tmp_path):
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "epochs": 1}}
    return train(resolve(tree), tmp_path / "run").path


def test_the_page_lies_in_the_run_folder_unless_asked_otherwise(robustcmr, finished, tmp_path):
    done = robustcmr("report", finished)
    assert (done.code, done.out) == (0, f"wrote {finished / 'report.html'}\n")
    text = (finished / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    other = tmp_path / "new" / "page.html"
    assert robustcmr("report", finished, "-o", other, "--gallery", "3").out == f"wrote {other}\n"
    assert 'id="alignment"' in other.read_text()


def test_files_alone_are_enough(robustcmr, finished, tmp_path):
    done = robustcmr("report", finished, "--no-model", "-o", tmp_path / "page.html")
    assert (done.code, done.err) == (0, "")
    assert "from the files of the run alone" in (tmp_path / "page.html").read_text()


def test_mistakes_are_one_sentence(robustcmr, finished, tmp_path):
    for arguments, said in (
        ([tmp_path / "none"], "holds no run"),
        ([finished, "-o", tmp_path], "is a folder"),
    ):
        done = robustcmr("report", *arguments)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1
    (finished / "results.json").write_text("{")
    done = robustcmr("report", finished)
    assert done.code == 2
    assert "results.json is damaged" in done.err
    assert not (finished / "report.html").exists()


def test_the_gallery_has_limits(robustcmr, finished):
    assert robustcmr("report", finished, "--gallery", "-1").code == 2
