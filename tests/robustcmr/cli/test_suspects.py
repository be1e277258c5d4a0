import json

import numpy as np
import pytest
import typer
from PIL import Image

from robustcmr.cli.suspects import suspects
from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError, DataError, RunFolderError
from robustcmr.reporting import suspects as reporting
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable


def start_run(path, data, wrong=(3, 11), suspected=None):
    """A run folder as training leaves it: some pairs of the data got another image, and were noticed."""
    config = resolve({"data": data})
    split = config.data.cls(config.data.options).split("train")
    own, n = split.image_of_caption, len(split.captions)
    bad = np.isin(np.arange(n), wrong)
    given = np.where(bad, (own + 1) % split.n_images, own)
    best = np.where(bad, own, (own + 1) % split.n_images)
    names = split.image_names or [""] * split.n_images
    probability = np.where(bad, np.arange(n) / 1000, 0.9)
    run = RunFolder(path)
    run.start(config.to_yaml(), {})
    PairsTable(
        pair=np.arange(n),
        caption=split.captions,
        image=given,
        image_name=[names[i] for i in given],
        evidence=1 - probability,
        clean_probability=probability,
        is_clean=~bad if suspected is None else ~np.isin(np.arange(n), suspected),
        rematch=best,
        rematch_name=[names[i] for i in best],
        score=np.where(bad, 0.25, 0.75),
        rematch_score=np.where(bad, 0.75, 0.25),
    ).write(run.pairs)
    return run, split


@pytest.fixture
def call(capsys):
    """Run the command alone and give back what it wrote on stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(suspects)
    command = typer.main.get_command(app)

    def invoke(*words):
        capsys.readouterr()
        command.main([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr()

    return invoke


def test_worst_suspects_are_listed_with_a_sheet(tmp_path, few_scenes, call):
    run, split = start_run(tmp_path / "a", {"name": few_scenes})
    out, err = call(run.path)
    rows = [line for line in out.splitlines() if "train-" in line]
    assert len(rows) == 2
    for row, (pair, given, other) in zip(rows, [(3, 1, 0), (11, 3, 2)], strict=True):
        assert row.split()[:2] == [str(pair), f"{pair / 10:.1f}"]
        assert split.captions[pair] in row
        assert row.split()[-3:] == [f"train-{given:04d}", f"train-{other:04d}", "+0.50"]
    assert "2 of 30 pairs (6.7%) are suspected, all of them shown" in out
    assert f"wrote {run.suspects}" in out
    assert err == ""
    with Image.open(run.suspects) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 600


def test_top_and_output(tmp_path, few_scenes, call):
    run, _ = start_run(tmp_path / "a", {"name": few_scenes})
    out, _ = call(run.path, "--top", 1, "--output", tmp_path / "new" / "sheet.png")
    assert sum("train-" in line for line in out.splitlines()) == 1
    assert "the worst 1 shown" in out
    assert (tmp_path / "new" / "sheet.png").stat().st_size > 1000
    assert not run.suspects.exists()


def test_json(tmp_path, few_scenes, call):
    run, split = start_run(tmp_path / "a", {"name": few_scenes})
    out, err = call(run.path, "--json")
    found = json.loads(out)
    assert (found["pairs"], found["suspected"], found["sheet"]) == (30, 2, str(run.suspects))
    assert [row["pair"] for row in found["suspects"]] == [3, 11]
    assert found["suspects"][0]["caption"] == split.captions[3]
    assert found["suspects"][0]["margin"] == 0.5
    assert err == ""
    run.suspects.unlink()
    assert json.loads(call(run.path, "--json", "--no-sheet").out)["sheet"] is None
    assert not run.suspects.exists()


def test_no_suspects(tmp_path, few_scenes, call):
    run, _ = start_run(tmp_path / "a", {"name": few_scenes}, wrong=())
    out, _ = call(run.path)
    assert out == "none of 30 pairs is suspected\n"
    assert not run.suspects.exists()
    assert json.loads(call(run.path, "--json").out)["suspects"] == []


def test_data_without_pictures(tmp_path, data_folder, call):
    run, _ = start_run(tmp_path / "a", {"name": "precomp", "root": str(data_folder)})
    out, err = call(run.path)
    assert "image 1" in out
    assert "2 of 200 pairs" in out
    assert err == "precomp holds features without pictures, so there is no contact sheet\n"
    assert not run.suspects.exists()
    assert json.loads(call(run.path, "--json").out)["sheet"] is None


def test_a_sheet_has_its_limit(tmp_path, few_scenes, call, monkeypatch):
    monkeypatch.setattr(reporting, "MOST_CARDS", 2)
    run, _ = start_run(tmp_path / "a", {"name": few_scenes}, suspected=range(9))
    out, err = call(run.path)
    assert sum("train-" in line for line in out.splitlines()) == 9
    assert err == "the contact sheet shows the first 2 only\n"
    with Image.open(run.suspects) as sheet:
        assert sheet.width < 1000


def test_data_that_is_gone_or_changed(tmp_path, data_folder, few_scenes, call):
    run, _ = start_run(tmp_path / "a", {"name": "precomp", "root": str(data_folder)})
    data_folder.rename(tmp_path / "moved")
    with pytest.raises(
        DataError, match=r"cannot open the data of .* does not exist.* leave them out with --no-sheet"
    ):
        call(run.path)
    assert "2 of 200 pairs" in call(run.path, "--no-sheet").out
    run, _ = start_run(tmp_path / "b", {"name": few_scenes})
    text = run.pairs.read_text(encoding="utf-8")
    run.pairs.write_text(text.replace('\n3,"', '\n3,"another '), encoding="utf-8")
    with pytest.raises(DataError, match="has changed since the run: caption 3 was 'another"):
        call(run.path)


def test_runs_without_beliefs(tmp_path, few_scenes, call):
    with pytest.raises(RunFolderError, match="holds no run"):
        call(tmp_path / "none")
    run, _ = start_run(tmp_path / "a", {"name": few_scenes})
    run.pairs.unlink()
    with pytest.raises(
        RunFolderError,
        match=r"has no pairs\.csv or labels\.csv yet; finish it with 'robustcmr train",
    ):
        call(run.path)
    words = dict.fromkeys(("data", "matcher", "method"), "some")
    numbers = dict.fromkeys(("seed", "n_models", "best_epoch", "epochs"), 1)
    run.results.write_text(json.dumps({**words, **numbers, "track": "pairs", "splits": {}}))
    with pytest.raises(
        RunFolderError, match=r"has no pairs\.csv or labels\.csv: its method does not estimate which pairs"
    ):
        call(run.path)


def test_mistakes_in_the_options(tmp_path, few_scenes, call):
    run, _ = start_run(tmp_path / "a", {"name": few_scenes})
    with pytest.raises(ConfigError, match="give one of them"):
        call(run.path, "--no-sheet", "--output", tmp_path / "x.png")
    run.pairs.write_text("something else\n")
    with pytest.raises(DataError, match="is no table of pairs"):
        call(run.path)


def start_labelled(path, data, wrong=(3, 11)):
    """A run folder on labelled data: some pairs got the next class, and were noticed."""
    config = resolve({"data": data, "method": "label_ce"})
    split = config.data.cls(config.data.options).split("train")
    n, k = len(split), len(split.class_names)
    bad = np.isin(np.arange(n), wrong)
    run = RunFolder(path)
    run.start(config.to_yaml(), {})
    LabelsTable(
        pair=np.arange(n),
        given=np.where(bad, (split.labels + 1) % k, split.labels),
        corrected=split.labels,
        confidence=np.full(n, 0.75),
        class_names=split.class_names,
        evidence=np.arange(n) / 4,
        caption=split.captions,
    ).write(run.labels)
    return run, split


FEW = {"name": "scenes-labels", "n_train": 18, "n_dev": 9, "n_test": 9}


def test_suspected_labels_are_listed_with_a_sheet(tmp_path, call, cache, monkeypatch):
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(cache))
    run, split = start_labelled(tmp_path / "a", FEW)
    out, _ = call(run.path)
    lines = [line for line in out.splitlines() if "75.0" in line]
    for line, pair in zip(lines, (11, 3), strict=True):
        own = split.labels[pair]
        assert line.split()[0] == str(pair)
        assert f"{split.class_names[(own + 1) % 9]}  " in line
        assert split.class_names[own] in line
        assert f"{pair / 4:.1f}" in line
        assert split.captions[pair][:30] in line
    assert "2 of 18 pairs (11.1%) probably have a wrong class, all of them shown" in out
    assert f"wrote {run.suspects}" in out
    with Image.open(run.suspects) as sheet:
        assert sheet.width > 300
    found = json.loads(call(run.path, "--json", "--top", 1).out)
    assert (found["pairs"], found["suspected"], [row["pair"] for row in found["suspects"]]) == (18, 2, [11])
    assert found["suspects"][0]["corrected_name"] == split.class_names[split.labels[11]]
    text = run.labels.read_text(encoding="utf-8")
    run.labels.write_text(text.replace(split.captions[11], "another"), encoding="utf-8")
    with pytest.raises(DataError, match="has changed since the run"):
        call(run.path)


def test_labels_without_pictures_or_suspects(tmp_path, call, make_labelled_folder):
    labelled_folder = make_labelled_folder(tmp_path / "data")
    run, _ = start_labelled(tmp_path / "a", {"name": "labelled", "root": str(labelled_folder)})
    out, err = call(run.path)
    assert "2 of 60 pairs" in out
    assert "caption" not in out
    assert err.endswith("labelled holds features without pictures, so there is no contact sheet\n")
    run, _ = start_labelled(tmp_path / "b", {"name": "labelled", "root": str(labelled_folder)}, wrong=())
    assert call(run.path).out == "none of 60 pairs is suspected\n"
    run.labels.write_text("something else\n")
    with pytest.raises(DataError, match="is no table of labels"):
        call(run.path)
