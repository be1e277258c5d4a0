"""The leaderboard: what is planned, what is kept, and pages that say what the CSV says."""

import csv
import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from robustcmr import plugins
from robustcmr.config.resolve import resolve
from robustcmr.methods.baseline import InfoNCE
from robustcmr.runs.read import SavedRun
from robustcmr.sweeps.options import sweep_options
from robustcmr.sweeps.trials import plan_trials

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
MODULES = (
    *("leaderboard", "leaderboard_plan", "leaderboard_rows"),
    *("leaderboard_page", "methods_page", "run_table"),
)


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def board(modules):
    return modules.leaderboard


@pytest.fixture
def plan(modules):
    return modules.leaderboard_plan


@pytest.fixture
def table(modules):
    return modules.leaderboard_rows


@pytest.fixture
def make_row(table):
    """A row as the CSV gives it, with the present options."""

    def make(method, single, data="scenes", ensemble="", **changes):
        row = {
            **{
                "data": data,
                "fingerprint": "f" * 16,
                "matcher": "vse_infty",
                "method": method,
                "changes": "",
            },
            **{"protocol": "caption", "noise": "0.4", "seed": "0", "n_models": "2" if ensemble else "1"},
            **{"single_rsum": str(single), "ensemble_rsum": str(ensemble), "auroc": "", "noise_rate": ""},
            **{"average_precision": "", "calibration_error": "", "best_epoch": "9", "epochs": "12"},
            **changes,
        }
        return {**row, "options": table.present_hash(row)}

    return make


# what is planned


def test_every_method_is_planned_by_existing(plan):
    blocks = plan.blocks(["scenes", "f8k"], [])
    assert [block.name for block in blocks] == [
        *("scenes-1-vse_infty-seed0", "f8k-1-vse_infty-seed0"),
        *("scenes-1-vse_infty-seed1", "f8k-1-vse_infty-seed1"),
    ]
    methods = set(blocks[0].methods)
    assert {"infonce", "rce", "l2rm", "robust"} <= methods
    announced = [name for name in plugins.methods.names() if plugins.methods.load(name).track == "pairs"]
    assert methods == {n for n in announced if (plugins.methods.announced(n) or "").startswith("robustcmr.")}
    assert next(blocks[0].cells()) == (("caption", 0.4), "infonce")


@pytest.mark.parametrize("data", ["scenes", "f8k", "quick"])
def test_every_planned_run_is_a_valid_trial_with_the_hash_that_is_expected(plan, data):
    block = plan.stage_one(data)[0]
    tree = block.sweep([])
    if data == "f8k":
        tree["base"]["data"]["root"] = "somewhere"
    trials = plan_trials(sweep_options(tree, "the sweep"), "the sweep")
    assert len(trials) == len(list(block.cells()))
    for entry, (noise, method) in zip(trials, block.cells(), strict=True):
        assert entry.config.method.name == method
        assert plan.options_hash(entry.config) == plan.options_hash(block.config(noise, method))
        assert entry.config.settings.evaluation.test is None


def test_lengths_in_epochs_are_shares_of_the_training(plan):
    assert plan.shorter("robust", "scenes") == {}
    assert plan.shorter("robust", "f8k") == {
        "method.warmup_epochs": 2,
        "method.warmup_extension": 1,
    }
    assert plan.shorter("infonce", "f8k") == {}


def test_rows_that_are_in_are_not_planned_again(board, plan, make_row, tmp_path):
    block = plan.stage_one("scenes")[0]
    rows = [make_row("rce", 300), {**make_row("l2rm", 300), "options": "other"}]
    board_ = board.Board(tmp_path / "none.csv", tmp_path, None)
    board_.rows = rows
    done = board_.done(block)
    assert done == [(("caption", 0.4), "rce")]
    names = {cell["label"] for cell in block.sweep(done)["grid"]["method"]}
    assert all("-" in name for name in names)
    trials = plan_trials(sweep_options(block.sweep(done), "s"), "s")
    made = {(trial.config.settings.noise.ratio, trial.config.method.name) for trial in trials}
    assert (0.4, "rce") not in made
    assert (0.4, "l2rm") in made  # its options have changed
    assert len(made) == len(list(block.cells())) - 1


def test_other_options_have_another_hash_and_another_root_has_not(plan):
    tree = {"data": {"name": "f8k", "root": "a"}, "method": "rce", "matcher": "vse_infty"}
    plain = plan.options_hash(resolve(tree))
    assert plan.options_hash(resolve({**tree, "data": {"name": "f8k", "root": "b"}, "seed": 3})) == plain
    assert plan.options_hash(resolve({**tree, "training": {"workers": 2}})) == plain
    for change in ({"method": {"name": "rce", "temperature": 0.1}}, {"optim": {"lr": 0.1}}):
        assert plan.options_hash(resolve({**tree, **change})) != plain


def test_stage_two_is_the_best_five_and_three_that_are_always_in(plan, table, make_row, monkeypatch):
    names = ("infonce", "robust", "rce", "l2rm", "a", "b", "c", "d", "e")
    monkeypatch.setattr(plan, "pair_methods", lambda: names)
    monkeypatch.setattr(table, "present_hash", lambda row: "same")
    level = {name: 100 + place for place, name in enumerate(names)}
    rows = [make_row(name, level[name], noise=noise) for name in names for noise in ("0.4", "0.8")]
    assert plan.best("scenes", rows) == ("robust", "rce", "l2rm", "e", "d", "c", "b", "a")
    assert plan.best("scenes", rows[1:]) == ()  # infonce at 0.4 is missing
    assert plan.best("f8k", rows) == ()
    blocks = plan.stage_two("scenes", rows)
    assert [(block.matcher, block.seed) for block in blocks[:3]] == [
        ("omit", 0),
        ("vse_infty", 0),
        ("omit", 1),
    ]
    assert ("image", 0.4) in blocks[0].noises


# what is kept


def test_rows_of_other_machines_stay_and_repeated_runs_replace_theirs(table, make_row):
    old = [make_row("rce", 300), make_row("l2rm", 310, seed="1")]
    found = table.merged(old, [make_row("rce", 305), make_row("infonce", 290)])
    assert [(row["method"], row["seed"], row["single_rsum"]) for row in found] == [
        *[("infonce", "0", "290"), ("l2rm", "1", "310"), ("rce", "0", "305")],
    ]


def test_rows_of_former_options_are_not_kept(board, modules, make_row, tmp_path):
    rows = board.Board(tmp_path / "rows.csv", tmp_path, None)
    rows.keep([make_row("rce", 300), {**make_row("l2rm", 300), "options": "old"}])
    assert [row["method"] for row in rows.rows] == ["rce"]
    assert len(modules.run_table.read_rows(tmp_path / "rows.csv")) == 1


def test_forgotten_methods_leave_the_table_and_their_runs_the_folder(board, modules, make_row, tmp_path):
    folder = tmp_path / "sweeps"
    folder.mkdir()
    rows = board.Board(tmp_path / "rows.csv", folder, None)
    rows.keep([make_row("rce", 300), make_row("l2rm", 300)])
    board.forget(rows, ["l2rm"])
    assert [row["method"] for row in modules.run_table.read_rows(tmp_path / "rows.csv")] == ["rce"]
    assert not folder.exists()
    assert [path.name.startswith("sweeps-") for path in tmp_path.iterdir() if path.is_dir()] == [True]


def test_a_run_of_two_networks_becomes_a_row_of_both(plan, table):
    alone = [dict.fromkeys(table.MEASURES, value) for value in (300.0, 306.0)]
    results = {
        **{"data_fingerprint": "f" * 64, "noise_hash": "a" * 64, "matcher": "vse_infty", "method": "rce"},
        **{"seed": 3, "epochs": 12, "best_epoch": 9, "selection_split": "dev", "n_models": 2, "seconds": 7.0},
        "splits": {"dev": dict.fromkeys(table.MEASURES, 330.0)},
        "by_model": {"dev": alone},
        "findings": {"noise_rate": 0.41, "division": {"auroc": 0.9, "average_precision": 0.8}},
    }
    config = resolve({"method": "rce", "matcher": "vse_infty", "noise": {"ratio": 0.4}}).to_dict()
    environment = {"torch_threads": 1, "processor": "a chip", "packages": {"torch": "2.6"}}
    row = table.row_of(SavedRun(Path("run"), results, [], config, environment), "scenes")
    assert (row["single_rsum"], row["ensemble_rsum"], row["n_models"]) == (303.0, 330.0, 2)
    assert (row["auroc"], row["calibration_error"], row["noise_rate"]) == (0.9, "", 0.41)
    assert (row["protocol"], row["noise"], row["seed"], row["best_epoch"]) == ("caption", "0.4", "3", 9)
    assert (row["threads"], row["torch"], row["cpu"]) == (1, "2.6", "a chip")
    assert row["options"] == plan.options_hash(config)


# the pages


def test_tables_keep_single_networks_and_ensembles_apart(modules, make_row):
    rows = [
        *(make_row("rce", 300 + 2 * seed, seed=str(seed)) for seed in (0, 1)),
        make_row("robust", 320, auroc="0.95", average_precision="0.9", noise_rate="0.4"),
        make_row("l2rm", 310, ensemble=340, best_epoch="12"),
    ]
    text = modules.leaderboard_page.tables(rows, {("vse_infty", "rce"): 1.04})
    single, _, ensembles = text.partition("Ensembles of two networks")
    assert "| `rce` | 301.0 ± 1.4 | 1.0 |" in single
    assert "| `robust` | **320.0** (1 seed) |  |" in single
    assert "340" not in single
    assert "longer training may lift them: `l2rm`." in text
    assert "| `l2rm` | 340.0 |" in ensembles
    assert "| `robust` | 95.0 / 90.0 / – / 40.0 |" in ensembles  # AUROC, AP, ECE, noise


def test_the_pages_are_what_the_csvs_and_the_registry_give(board, modules):
    rows = modules.run_table.read_rows(board.CSV)
    total = {data: board.planned_count(data, rows) for data in ("scenes", "f8k")}
    again = "write it anew with: python scripts/leaderboard.py --pages"
    page = modules.leaderboard_page.page(
        rows, modules.methods_page.costs(), total, modules.leaderboard_plan.pair_methods()
    )
    assert modules.leaderboard_page.PAGE.read_text(encoding="utf-8") == page, again
    assert modules.methods_page.PAGE.read_text(encoding="utf-8") == modules.methods_page.page(), again


def test_a_method_without_a_sentence_is_refused(modules):
    class Silent(InfoNCE):
        pass

    Silent.__doc__ = None
    with pytest.raises(ValueError, match="Silent has no docstring"):
        modules.methods_page.first_sentence(Silent)
    assert (
        modules.methods_page.first_sentence(InfoNCE) == "Symmetric cross entropy of the pair among the batch"
    )


def test_paper_and_released_are_taken_from_the_class(modules, monkeypatch):
    class Paper(InfoNCE):
        """Do something.

        A margin as in the paper.

        References:
            Somebody, A paper, 2025,
            equation 3.
        """

        class Config(InfoNCE.Config):
            released: bool = False

    monkeypatch.setattr(plugins.methods, "load", lambda name: Paper)
    assert modules.methods_page.references("paper") == [
        "Somebody, A paper, 2025, equation 3.",
        "yes",
    ]


@pytest.mark.slow
def test_the_script_fills_the_table_and_does_not_run_a_row_twice(board, plan, monkeypatch, tmp_path, capsys):
    tiny = {"name": "scenes", "n_train": 8, "n_dev": 4, "n_test": 1}
    monkeypatch.setattr(plan, "pair_methods", lambda: ("infonce", "rce"))
    monkeypatch.setitem(plan.BASES, "quick", {"data": tiny, "training": {"epochs": 1, "batch_size": 8}})
    monkeypatch.setattr(sys, "argv", ["leaderboard.py", "--quick", "--folder", str(tmp_path / "sweeps")])
    board.main()
    assert "| `rce` |" in capsys.readouterr().out
    with (tmp_path / "sweeps" / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["infonce", "rce"]
    shutil.rmtree(tmp_path / "sweeps" / "quick-1-vse_infty-seed0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was run again"))
    board.main()
    assert "quick-1-vse_infty-seed0: 2 of 2 rows are in" in capsys.readouterr().out
