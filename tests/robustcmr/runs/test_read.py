"""Reading runs: what is found where, and what is said of runs that cannot be read."""

import json

import pytest

from robustcmr.errors import RunFolderError
from robustcmr.runs.read import find_runs, headline, read_run
from robustcmr.runs.schemas import MEASURES


def test_a_finished_run_is_read_whole(make_run, make_results, tmp_path):
    results = make_results(312.5, seed=7)
    run = read_run(make_run(tmp_path / "a", results))
    assert run.results == results
    assert [row["epoch"] for row in run.rows] == [1]
    assert run.config["seed"] == 7
    assert run.version == "0.1.0"
    assert run.folder.noise == tmp_path / "a" / "noise.npz"


def test_findings_of_version_0_1_had_another_name(make_run, make_results, tmp_path):
    found = {"changed": 0.25}
    run = read_run(make_run(tmp_path / "a", make_results(beliefs=found)))
    assert run.results["findings"] == found
    assert run.results == make_results(findings=found)


def test_the_headline_measure_is_the_tracks(make_results):
    assert headline(make_results()) == "rsum"
    assert headline(make_results(track="labels")) == "map"
    with pytest.raises(RunFolderError, match="of the track 'sound', expected pairs or labels"):
        headline(make_results(track="sound"))


def test_a_run_of_another_version_is_read_and_says_so(make_run, make_results, tmp_path):
    run = read_run(make_run(tmp_path / "a", make_results(robustcmr_version="9.9.9", new_measure=1)))
    assert run.version == "9.9.9"
    results = make_results()
    del results["robustcmr_version"]
    assert read_run(make_run(tmp_path / "b", results)).version == "unknown"


def test_a_version_that_wrote_too_little_is_named(make_run, make_results, tmp_path):
    results = make_results(robustcmr_version="0.0.1")
    del results["splits"], results["track"]
    with pytest.raises(RunFolderError, match=r"robustcmr 0\.0\.1 and lacks track, splits; train"):
        read_run(make_run(tmp_path / "a", results))


def test_no_run_is_said(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        read_run(tmp_path / "nothing")


def test_an_unfinished_run_says_how_to_go_on(make_run, tmp_path):
    path = make_run(tmp_path / "a")
    (path / "results.json").unlink()
    with pytest.raises(RunFolderError, match=f"has not finished; resume .*--resume {path}"):
        read_run(path)


def test_converted_weights_were_never_trained_here(make_run, tmp_path):
    path = make_run(tmp_path / "a")
    (path / "results.json").unlink()
    (path / "environment.json").write_text(json.dumps({"converted_from": {"file": "their.pth"}}))
    with pytest.raises(RunFolderError, match=r"converted from their\.pth"):
        read_run(path)
    assert find_runs([path]).unfinished == (path,)


@pytest.mark.parametrize("missing", ["config.yaml", "environment.json"])
def test_half_a_run_is_said(make_run, tmp_path, missing):
    path = make_run(tmp_path / "a")
    (path / missing).unlink()
    with pytest.raises(RunFolderError, match="holds only a part of a run"):
        read_run(path)
    assert "only a part" in find_runs([tmp_path]).damaged[path]


def test_a_folder_begun_and_lost_is_said(tmp_path):
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(RunFolderError, match="holds only a part of a run"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", b'{"data": "sce', "is damaged"),
        ("results.json", b"\xff\xfe", "is damaged"),
        ("results.json", b"[]", "expected a mapping"),
        ("config.yaml", b"a: [1", "is damaged"),
        ("config.yaml", b"7", "expected a mapping"),
        ("metrics.jsonl", b'{"epoch": 1}\n{"ep', "is damaged"),
        ("environment.json", b"{", "is damaged"),
        ("metrics.jsonl", None, "is missing"),
    ],
)
def test_damage_is_one_sentence(make_run, tmp_path, name, content, message):
    path = make_run(tmp_path / "a")
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=message) as caught:
        read_run(path)
    assert "\n" not in str(caught.value)
    found = find_runs([tmp_path])
    assert found.finished == ()
    assert found.damaged == {path: str(caught.value)}


def test_a_file_that_cannot_be_opened_is_said(make_run, tmp_path):
    path = make_run(tmp_path / "a")
    (path / "metrics.jsonl").unlink()
    (path / "metrics.jsonl").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot read .*metrics\.jsonl"):
        read_run(path)


def test_runs_are_found_in_folders_and_sweeps_each_once(make_run, tmp_path):
    trial = make_run(tmp_path / "sweeps" / "noise" / "trials" / "b")
    other = make_run(tmp_path / "sweeps" / "noise" / "trials" / "a")
    (tmp_path / "sweeps" / "noise" / "sweep.yaml").write_text("name: noise\n")
    single = make_run(tmp_path / "runs" / "single")
    stopped = make_run(tmp_path / "runs" / "stopped")
    (stopped / "results.json").unlink()
    (tmp_path / "runs" / "config.yaml").write_text("a recipe of one's own\n")  # alone it is no run
    found = find_runs([single, tmp_path / "sweeps", tmp_path / "runs", trial])
    assert [run.path for run in found.finished] == [single, other, trial]
    assert found.unfinished == (stopped,)
    assert found.damaged == {}


def test_nothing_below_three_levels_and_nothing_inside_a_run(make_run, tmp_path):
    run = make_run(tmp_path / "1" / "2" / "3" / "run")
    make_run(run / "checkpoints" / "copy")
    assert find_runs([tmp_path]).finished == ()
    assert [found.path for found in find_runs([tmp_path / "1"]).finished] == [run]


def test_an_empty_folder_holds_nothing_and_a_missing_one_is_refused(tmp_path):
    assert find_runs([tmp_path]) == find_runs([])
    with pytest.raises(RunFolderError, match="is not there, expected a run folder"):
        find_runs([tmp_path / "typo"])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file, expected a run folder"):
        find_runs([tmp_path / "file"])


CONFIG = (
    "seed: 0\ndata: {name: scenes}\nmatcher: {name: omit}\nmethod: {name: hinge}\nevaluation: {select: dev}\n"
)
RESULTS = {
    **{"data": "scenes", "matcher": "omit", "method": "hinge", "seed": 0, "n_models": 1, "track": "pairs"},
    "splits": {"dev": {**dict.fromkeys(MEASURES["pairs"], 1.0), "rsum": 2.0}},
    **{"best_epoch": 1, "epochs": 2},
}


@pytest.fixture
def small_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text(json.dumps({"command": ["__main__.py", "train", "a b", "--x=$y"]}))
    (run / "metrics.jsonl").write_text(
        '{"epoch": 1, "dev": {"rsum": 2.0}}\n{"epoch": 2, "dev": {"rsum": 1.0}}\n'
    )
    return run


def test_the_small_files_of_a_finished_run(small_run):
    (small_run / "results.json").write_text(json.dumps(RESULTS))
    record = read_run(small_run, finished=False)
    assert record.results == RESULTS
    assert record.track == "pairs"
    assert record.headline == "rsum"
    assert record.best_epoch == 1
    assert record.command == "robustcmr train 'a b' '--x=$y'"


def test_an_unfinished_run_can_be_read_too(small_run):
    record = read_run(small_run, finished=False)
    assert not record.finished
    assert len(record.rows) == 2
    (small_run / "metrics.jsonl").unlink()
    record = read_run(small_run, finished=False)
    assert record.rows == []
    assert record.best_epoch is None
    assert record.track == "pairs"
    (small_run / "metrics.jsonl").write_text('{"epoch": 1, "dev": {"map": 2.0}}\n')
    assert read_run(small_run, finished=False).track == "labels"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.json", '{"data": '),
        ("metrics.jsonl", '{"epoch": 1\n'),
        ("environment.json", "no json"),
        ("config.yaml", "a: [1"),
    ],
)
def test_a_damaged_file_is_named(small_run, name, text):
    (small_run / name).write_text(text)
    with pytest.raises(RunFolderError, match=name) as caught:
        read_run(small_run, finished=False)
    assert "\n" not in str(caught.value)


def test_no_run_is_no_unfinished_run(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        read_run(tmp_path, finished=False)
    with pytest.raises(RunFolderError, match="holds no run"):
        read_run(tmp_path / "missing", finished=False)


def test_half_a_run_is_no_unfinished_run(small_run):
    (small_run / "environment.json").unlink()
    with pytest.raises(RunFolderError, match="part of a run"):
        read_run(small_run, finished=False)


def test_converted_weights_are_no_run_to_report(small_run):
    made = {"command": [], "converted_from": {"file": "theirs.pth"}}
    (small_run / "environment.json").write_text(json.dumps(made))
    with pytest.raises(RunFolderError, match=r"theirs\.pth"):
        read_run(small_run, finished=False)


HOSTILE = {
    "results.json": ("{", "[1]", '"x"', "{}", "null", "1", "[" * 100_000, '{"data": {"a": 1}}', "9" * 5000),
    "environment.json": ("[" * 100_000, "[1]", '"x"', "null", '{"command": 3}', '{"converted_from": {}}'),
    "metrics.jsonl": (
        "null\n",
        "[1]\n",
        "{}\n",
        '{"epoch": "1"}\n',
        '{"epoch": 1, "dev": 3}\n',
        "[" * 100_000,
    ),
    "config.yaml": (
        "[" * 100_000,
        "&a [*a]",
        "data: omit",
        "null",
        "data: {name: 3}",
        "!!bool x",
        "a: 1\na: 2",
    ),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in HOSTILE for text in HOSTILE[name]])
def test_files_of_another_form_are_one_sentence(small_run, name, text):
    (small_run / "results.json").write_text(json.dumps(RESULTS))
    (small_run / name).write_text(text)
    with pytest.raises(RunFolderError, match=name) as caught:
        read_run(small_run, finished=False)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": "0"}, "seed: expected a valid integer, got '0'"),
        ({"seed": 2**70}, "beyond 64 bits"),
        ({"n_models": 0}, "n_models"),
        ({"splits": {"dev": {}}}, "splits.dev has no i2t_r1"),
        ({"splits": {"dev": {"rsum": "x"}}}, "rsum is 'x', expected a finite number"),
        ({"splits": {"dev": {"rsum": float("nan")}}}, "rsum is nan"),
        ({"noise_ratio_realised": 0.4}, "noise_hash is missing"),
        ({"findings": {"suspected": 0.4}}, "findings: reason is missing"),
        ({"peak_memory_bytes": {"cpu": None}}, "peak_memory_bytes: cpu is None"),
    ],
)
def test_the_misfit_of_results_is_named(small_run, changes, words):
    (small_run / "results.json").write_text(json.dumps({**RESULTS, **changes}))
    with pytest.raises(RunFolderError) as caught:
        read_run(small_run)
    assert words in str(caught.value)


def test_an_epoch_without_the_measures_that_choose_the_best_is_named(small_run):
    (small_run / "metrics.jsonl").write_text(
        '{"epoch": 1, "dev": {"rsum": 1.0}}\n{"epoch": 2, "dev": {"loss": 1}}\n'
    )
    with pytest.raises(RunFolderError, match="no measures of the dev split at epoch 2"):
        read_run(small_run, finished=False)


def test_lists_in_an_epoch_are_let_through_but_words_are_not(small_run):
    lists = {"epoch": 1, "dev": {"rsum": 1.0}, "correction": {"given_to_truth": [[1, 2], [0, 3]]}}
    (small_run / "metrics.jsonl").write_text(json.dumps(lists) + "\n")
    assert read_run(small_run, finished=False).rows == [lists]
    for group, words in (({"rsum": [1.0]}, "rsum is \\[1.0\\]"), ({"rsum": 1, "x": "y"}, "x is 'y'")):
        (small_run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "dev": group}) + "\n")
        with pytest.raises(RunFolderError, match=f"line 1: {words}, expected a number"):
            read_run(small_run, finished=False)
    (small_run / "metrics.jsonl").write_text('{"epoch": 1, "loss": NaN, "mine": {"share": NaN}}\n')
    assert len(read_run(small_run, finished=False).rows) == 1  # a method may have logged it
