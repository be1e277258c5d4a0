"""The networks of a run, each measured alone, beside their ensemble."""

import pytest

from robustcmr.errors import RunFolderError
from robustcmr.runs.read import SavedRun, read_run
from robustcmr.runs.single import named_splits, single_run, single_splits


@pytest.fixture
def two(make_results):
    """Results of two networks with rSum 300 and 306, whose ensemble has 330."""

    def make(**changes):
        splits = make_results(330.0)["splits"]
        alone = [make_results(value)["splits"] for value in (300.0, 306.0)]
        by_model = {split: [each[split] for each in alone] for split in splits}
        return make_results(330.0, **{"method": "peers", "n_models": 2, "by_model": by_model, **changes})

    return make


def test_a_single_network_is_the_mean_of_each_alone(two):
    found = single_splits(two())["test"]
    assert found["rsum"] == 303.0
    assert found["i2t_r1"] == pytest.approx(50.5)
    assert (found["n_images"], found["n_captions"]) == (10, 50)  # as they are, not 10.0


def test_curves_that_differ_have_no_mean():
    alone = [{"map": 10.0, "scopes": [1, 2], "precision_i2t": [1.0, 2.0]}, {"map": 20.0, "scopes": [1, 2]}]
    alone[1]["precision_i2t"] = [1.0, 3.0]
    assert single_splits({"by_model": {"dev": alone}}) == {"dev": {"map": 15.0, "scopes": [1, 2]}}


def test_the_rows_of_an_ensemble_say_so(two, make_results):
    named = named_splits(two())
    assert list(named) == ["dev, single", "dev, 2 models", "test, single", "test, 2 models"]
    assert (named["test, single"]["rsum"], named["test, 2 models"]["rsum"]) == (303.0, 330.0)
    plain = make_results()
    assert named_splits(plain) == plain["splits"]


def test_a_run_as_one_network(two, make_results, tmp_path):
    run = SavedRun(tmp_path, two(), [], {})
    alone = single_run(run)
    assert (alone.results["n_models"], alone.results["splits"]["dev"]["rsum"], alone.alone) == (
        1,
        303.0,
        True,
    )
    assert run.results["splits"]["dev"]["rsum"] == 330.0
    assert single_run(SavedRun(tmp_path, make_results(), [], {})) is None


def test_they_are_read_from_disk_and_checked(two, make_run, tmp_path):
    assert single_splits(read_run(make_run(tmp_path / "a", two())).results)["dev"]["rsum"] == 303.0
    broken = two()
    del broken["by_model"]["test"][1]["rsum"]
    with pytest.raises(RunFolderError, match=r"by_model\.test has no rsum"):
        read_run(make_run(tmp_path / "b", broken))
    short = two()
    short["by_model"]["dev"].pop()
    with pytest.raises(RunFolderError, match=r"by_model\.dev is of 1 models, expected 2"):
        read_run(make_run(tmp_path / "c", short))
