"""Whole audits: their outcome, what stops them, and that a stopped one ends as if it had not been stopped."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import DataError, InUseError, RunFolderError
from robustcmr.jobs import audit_run, audit_stages
from robustcmr.locks import sole_user
from robustcmr.terminal import Console


@pytest.fixture
def audit(made):
    def run(given, output, **changes):
        restart = changes.pop("restart", False)
        console = Console(file=io.StringIO())
        return audit_run.run_audit(
            given, made.settings(**changes), output, console, restart, "robustcmr audit web"
        )

    return run


@pytest.fixture
def folder(made, tmp_path):
    return made.write(tmp_path / "data", *made.make())


def rows_of(folder):
    return pq.read_table(folder / "pairs.parquet").to_pylist()


def test_an_audit_names_the_pairs_of_other_captions(made, audit, folder, tmp_path):
    found = audit(made.given(folder), tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    images, texts = np.load(folder / "images.npy"), np.load(folder / "texts.npy")
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images, texts)]
    np.testing.assert_allclose([row["score"] for row in rows], (unit[0] * unit[1]).sum(1), atol=1e-6)
    assert [row["id"] for row in rows] == [f"pair{n:05d}" for n in range(60)]
    assert [row["row"] for row in rows] == [n % 20 for n in range(60)]
    assert {row["id"] for row in rows if row["decision"] == "drop"} == {
        f"pair{n:05d}" for n in range(0, 60, 4)
    }
    summary = found.read_summary()
    assert summary["decisions"]["drop"] == 15
    assert sum(summary["decisions"].values()) == summary["pairs"] == 60
    assert summary["noise_rate"]["says"].startswith("looks mismatched")
    for name in ("keep", "drop", "review", "aside"):
        listed = (found.lists / f"{name}.txt").read_text().splitlines()
        assert listed == [row["id"] for row in rows if row["decision"] == name]
    about = found.read_about()
    assert about["command"] == "robustcmr audit web"
    assert about["source"]["format"] == "parquet"
    assert not found.work.exists()
    assert not (tmp_path / "out" / ".lock").exists()


def test_bad_pairs_are_named_and_set_aside(made, audit, tmp_path):
    rows, images, texts = made.make()
    rows["caption"][3] = "  "
    rows["image"][5] = None
    rows["id"][9] = rows["id"][8]
    images[10, 2], texts[11], texts[12, 0] = np.nan, 0, np.inf
    folder = made.write(tmp_path / "data", rows, images, texts)
    found = audit(made.given(folder), tmp_path / "out")
    aside = {
        n: row["reason"] for n, row in enumerate(rows_of(tmp_path / "out")) if row["decision"] == "aside"
    }
    assert aside == {
        3: "empty caption",
        5: "missing image",
        9: "id of an earlier pair",
        10: "NaN or infinite numbers in the image vector",
        11: "only zeros in the text vector",
        12: "NaN or infinite numbers in the text vector",
    }
    problems = {each["problem"]: each for each in found.read_summary()["problems"]}
    assert set(problems) == set(aside.values())
    assert problems["empty caption"]["examples"] == ["pair00003"]
    assert problems["empty caption"]["first"] == "0.parquet row 3"
    assert (found.lists / "aside.txt").read_text().splitlines()[2] == "pair00008"


def test_pairs_that_are_there_twice_are_dropped(made, audit, tmp_path):
    rows, images, texts = made.make()
    for later, first in ((7, 2), (41, 2)):
        rows["image"][later], rows["caption"][later] = (
            rows["image"][first],
            rows["caption"][first].upper() + " ",
        )
    folder = made.write(tmp_path / "data", rows, images, texts)
    audit(made.given(folder), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert {n: row["duplicate_of"] for n, row in enumerate(found) if row["duplicate_of"]} == {
        7: "pair00002",
        41: "pair00002",
    }
    assert [found[n]["decision"] for n in (7, 41)] == ["drop", "drop"]
    assert [found[n]["caption_count"] for n in (2, 7, 41, 3)] == [3, 3, 3, 1]
    assert found[2]["reason"] != found[7]["reason"]


class Killed(BaseException):
    """Stands in for kill -9 between two writes."""


STAGES = {  # by the module that looks the function up
    "write_rows": audit_stages,
    "write_facts": audit_stages.joins,
    "write_positions": audit_stages,
    "write_near_items": audit_stages,
    "write_near_pairs": audit_stages,
    "calibrate": audit_stages,
    "score_piece": audit_stages,
    "write_terms": audit_stages,
    "write_log_bayes": audit_stages,
    "write_output": audit_run,
    "write_uids": audit_run,
}
AGAIN = ("write_rows", "write_positions", "score_piece", "write_terms")
"""Stages that are killed at their second use."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_audit_ends_as_one_that_was_not(made, audit, tmp_path, monkeypatch, when):
    """Killed before or after a step of every stage in turn, each time in the folder of the last."""
    rows, images, texts = made.make()
    rows["id"] = [f"{n:032x}" for n in range(60)]
    folder = made.write(tmp_path / "data", rows, images, texts)
    audit(made.given(folder), tmp_path / "whole")
    for stage, room in STAGES.items():
        real, calls = getattr(room, stage), []

        def dying(*arguments, stage=stage, real=real, calls=calls, **options):
            calls.append(1)
            dies = len(calls) == (2 if stage in AGAIN else 1)
            if dies and when == "before":
                raise Killed
            result = real(*arguments, **options)
            if dies:
                raise Killed
            return result

        with monkeypatch.context() as patch:
            patch.setattr(room, stage, dying)
            with pytest.raises(Killed):
                audit(made.given(folder), tmp_path / "out")
        assert not (tmp_path / "out" / "audit.json").exists()
    audit(made.given(folder), tmp_path / "out")
    assert made.outcome(tmp_path / "out") == made.outcome(tmp_path / "whole")


def test_a_resumed_audit_scores_no_piece_again(made, audit, folder, tmp_path, monkeypatch):
    scored = []
    real = audit_stages.score_piece

    def counting(rows, *rest):
        scored.append(rows.name)
        if len(scored) == 3:
            raise Killed
        real(rows, *rest)

    monkeypatch.setattr(audit_stages, "score_piece", counting)
    with pytest.raises(Killed):
        audit(made.given(folder, 16), tmp_path / "out")
    audit(made.given(folder, 16), tmp_path / "out")
    assert len(scored) == len(set(scored)) + 1  # the third, which had not been written
    assert len(set(scored)) > 3


def test_pieces_of_any_size_find_the_same(made, audit, folder, tmp_path):
    found = []
    for piece in (8, 1000):
        audit(made.given(folder, piece), tmp_path / str(piece))
        found.append(made.outcome(tmp_path / str(piece)))
        found[-1]["pairs"] = rows_of(tmp_path / str(piece))
        del found[-1]["pairs.parquet"]
    assert found[0] == found[1]


def test_a_changed_call_does_not_resume(made, audit, folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(audit_stages, "score_piece", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            audit(made.given(folder), tmp_path / "out")
    with pytest.raises(RunFolderError, match=r"began with seed 0, not 1; begin again with --restart"):
        audit(made.given(folder), tmp_path / "out", seed=1)
    with pytest.raises(RunFolderError, match="the source has changed since"):
        audit(made.given(folder, fingerprint={}), tmp_path / "out")
    monkeypatch.setattr("robustcmr.jobs.audit_run.VERSION", "9.9")
    with pytest.raises(RunFolderError, match=r"began with robustcmr [\d.]+, and this is 9.9"):
        audit(made.given(folder), tmp_path / "out")
    audit(made.given(folder), tmp_path / "out", seed=1, restart=True)
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["settings"]["seed"] == 1


def test_a_finished_audit_is_not_replaced_unless_asked(made, audit, folder, tmp_path):
    audit(made.given(folder), tmp_path / "out")
    with pytest.raises(RunFolderError, match="holds a finished audit; read it with robustcmr report"):
        audit(made.given(folder), tmp_path / "out")
    audit(made.given(folder), tmp_path / "out", restart=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"holds thesis.tex, which is no part of an audit"):
        audit(made.given(folder), tmp_path / "other", restart=True)
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_one_process_works_in_a_folder(made, audit, folder, tmp_path):
    with sole_user(tmp_path / "out" / ".lock", "it"), pytest.raises(InUseError, match="is in use by process"):
        audit(made.given(folder), tmp_path / "out")


def test_a_filter_keeps_the_positions_of_vectors(made, audit, folder, tmp_path):
    audit(made.given(folder), tmp_path / "all")
    audit(made.given(folder), tmp_path / "some", where="image LIKE '%5.jpg'")
    whole = {row["id"]: row["score"] for row in rows_of(tmp_path / "all")}
    some = {row["id"]: row["score"] for row in rows_of(tmp_path / "some")}
    assert len(some) == 6
    assert some == {name: whole[name] for name in some}


def test_a_source_without_pairs_is_reported(made, audit, folder, tmp_path):
    with pytest.raises(DataError, match="has no pairs, or its filter leaves none"):
        audit(made.given(folder), tmp_path / "out", where="image = 'none'")


def test_strict_stops_at_a_problem(made, audit, tmp_path):
    rows, images, texts = made.make()
    rows["caption"][3] = ""
    folder = made.write(tmp_path / "data", rows, images, texts)
    with pytest.raises(DataError, match=r"1 of 60 pairs cannot be used, .* pair00003: empty caption"):
        audit(made.given(folder), tmp_path / "out", strict=True)
    rows["caption"][3], images[3] = "a thing", np.nan
    folder = made.write(tmp_path / "data2", rows, images, texts)
    with pytest.raises(DataError, match=r"1 of 60 pairs cannot be used, .* pair00003: NaN or infinite"):
        audit(made.given(folder), tmp_path / "out2", strict=True)
    assert not (tmp_path / "out2" / "pairs.parquet").exists()


def test_a_calibration_is_used_again(made, audit, folder, tmp_path):
    audit(made.given(folder), tmp_path / "first")
    other = made.write(tmp_path / "new", *made.make(seed=5))
    audit(made.given(other), tmp_path / "own")
    audit(made.given(other), tmp_path / "out", calibration=str(tmp_path / "first"))
    saved = [(tmp_path / name / "calibration.npz").read_bytes() for name in ("first", "own", "out")]
    assert saved[2] == saved[0] != saved[1]
    assert rows_of(tmp_path / "out")[0]["calibrated_by"] == str(tmp_path / "first")
    rows, images, texts = made.make(width=5)
    narrow = made.write(tmp_path / "narrow", rows, images, texts)
    with pytest.raises(DataError, match="was fitted to vectors of 16 numbers, and these have 5"):
        audit(made.given(narrow), tmp_path / "bad", calibration=str(tmp_path / "first"))


def test_vectors_of_two_widths_are_refused(made, audit, tmp_path):
    rows, images, texts = made.make()
    folder = made.write(tmp_path / "data", rows, images, texts[:, :5])
    with pytest.raises(DataError, match="image vectors have 16 numbers and the text vectors 5"):
        audit(made.given(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pairs_near_an_earlier_one_are_dropped(made, audit, tmp_path):
    """Near is a picture of almost the same vector with a caption of almost the same vector."""
    rows, images, texts = made.make()
    rows["image"] = [f"i/{n}.jpg" for n in range(60)]
    for later, first in ((9, 2), (50, 2)):
        images[later] = images[first] * 3 + 0.01
        texts[later] = texts[first] * 2 + 0.01
    images[30] = images[13]  # whose caption is another one
    folder = made.write(tmp_path / "data", rows, images, texts)
    audit(made.given(folder), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert {n: row["duplicate_of"] for n, row in enumerate(found) if row["duplicate_of"]} == {
        9: "pair00002",
        50: "pair00002",
    }
    assert {found[n]["reason"] for n in (9, 50)} == {"near picture and caption of an earlier pair"}
    audit(made.given(folder), tmp_path / "off", near_duplicates=False)
    found = rows_of(tmp_path / "off")
    assert not any(row["duplicate_of"] for row in found)
    assert [found[n]["reason"] for n in (9, 50)] != ["near picture and caption of an earlier pair"] * 2


def test_a_calibration_of_another_model_is_refused(made, audit, folder, tmp_path):
    model = {"name": "clip-a", "weights": "1"}
    audit(made.given(folder), tmp_path / "first", model=model)
    for mine in ({**model, "name": "a copy"}, None):
        out = tmp_path / str(mine)[:6]
        audit(made.given(folder), out, model=mine, calibration=str(tmp_path / "first"))
    other = {"name": "clip-b", "weights": "2"}
    with pytest.raises(DataError, match="was fitted to vectors of clip-a, and these are of clip-b"):
        audit(made.given(folder), tmp_path / "bad", model=other, calibration=str(tmp_path / "first"))


def test_keys_of_vectors_that_come_twice_are_said(made, audit, tmp_path):
    rows, images, texts = made.make()
    folder = made.write(tmp_path / "data", rows, images, texts)
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    np.save(vectors / "images.npy", np.concatenate([images, images[:2] * 0 + 1]))
    (vectors / "images.txt").write_text("\n".join([*rows["id"], *rows["id"][:2]]) + "\n")
    given = made.given(folder)
    images = made.open_vectors(vectors, "image", given.source)
    assert images.by == "id"
    audit(made.replace(given, images=images), tmp_path / "out")
    audit(given, tmp_path / "plain")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "2 keys of the image vectors come more than once; the first counts" in summary["says"]
    assert [row["score"] for row in rows_of(tmp_path / "out")] == [
        row["score"] for row in rows_of(tmp_path / "plain")
    ]
