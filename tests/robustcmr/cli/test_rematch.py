"""``robustcmr rematch`` on a tiny run of the embedded scenes, and the mistakes it reports."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.jobs.open import open_run
from robustcmr.jobs.train import train
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.rematches_table import RematchesTable

DATA = {"name": "scenes", "n_train": 24, "n_dev": 4, "n_test": 4}
TREE = {
    "data": DATA,
    "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
    "method": {"name": "robust", "warmup_epochs": 1},
    "noise": {"ratio": 0.4},
    "training": {"epochs": 1, "batch_size": 32, "device": "cpu"},
    "optim": {"lr": 0.003, "milestones": []},
}
SUSPECTED = np.arange(0, 120, 3)


def suspecting(run, rows):
    """Rewrite a run's table of pairs so that it suspects these."""
    table = PairsTable.read(run.pairs)
    clean = ~np.isin(table.pair, rows)
    PairsTable(**{**vars(table), "is_clean": clean}).write(run.pairs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch that suspects every third pair; not to be changed."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "a")
    train(resolve(TREE), run.path)
    suspecting(run, SUSPECTED)
    return run


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of it."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "a"))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_suspect_gets_a_suggestion(copied, robustcmr):
    done = robustcmr("rematch", copied.path, "--top-k", 10, "--mass", 0.4)
    assert done.code == 0, done.err
    rows = rows_of(copied.path / "rematches.csv")
    assert list(rows[0]) == [column.name for column in RematchesTable.columns if column.name != "id"]
    assert [int(row["pair"]) for row in rows] == SUSPECTED.tolist()
    table = PairsTable.read(copied.pairs)
    track = open_run(copied.path).track
    names = track.data.split("train").image_names
    for row in rows:
        pair = int(row["pair"])
        assert row["caption"] == table.caption[pair]
        assert int(row["image"]) == table.image[pair] != int(row["rematch"])
        assert row["rematch_name"] == names[int(row["rematch"])]
        assert 1 <= int(row["rank"]) <= 10
        assert 0 <= float(row["share_margin"]) <= float(row["share"]) <= 1
        assert float(row["margin"]) == pytest.approx(
            float(row["rematch_score"]) - float(row["score"]), abs=1e-5
        )
        if row["rank"] == "1":  # the best of all images, which pairs.csv looked through as well
            assert float(row["rematch_score"]) == pytest.approx(table.rematch_score[pair], abs=1e-4)
    assert np.mean([float(row["moved"]) for row in rows]) == pytest.approx(0.4, abs=1e-3)
    for said in ("40 of 120 (33.3%)", "400", "0.4", "moved mass", "any other image", "rematches.csv"):
        assert said in done.out
    assert "the matcher's own scores of all pairs" in done.out


def test_json_and_options(copied, robustcmr, tmp_path):
    target = tmp_path / "new" / "out.csv"
    searched = ["--search", "shortlist", "--shortlist", 7, "--top-k", 4, "--half", "--device", "cpu"]
    solved = ["--capacity", 2, "--epsilon", 0.05, "--mass", 0.3]
    done = robustcmr("rematch", copied.path, "--json", "-o", target, *searched, *solved)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["output"] == str(target)
    assert (told["pairs"], told["suspected"], told["images"]) == (120, 40, 24)
    assert (told["search"], told["scored"], told["edges"]) == ("shortlist", 280, 160)
    assert told["mass"] == pytest.approx(0.3, rel=1e-3)
    assert told["converged"]
    assert 0 <= told["quality"]["plan"] <= told["quality"]["reachable"] <= 1
    assert len(rows_of(target)) == 40
    assert not (copied.path / "rematches.csv").exists()


def test_quality_is_measured_by_what_captions_are_true_of(copied, robustcmr):
    """Every number of the table again, by a loop over the file and the data."""
    done = robustcmr("rematch", copied.path, "--json", "--top-k", 23)
    quality = json.loads(done.out)["quality"]
    track = open_run(copied.path).track
    every = np.arange(24)
    right, chance, reachable = [], [], []
    for row in rows_of(copied.path / "rematches.csv"):
        pair, given = int(row["pair"]), int(row["image"])
        fits = track.data.fits("train", pair, every)
        right.append(fits[int(row["rematch"])])
        chance.append(fits[every != given].mean())
        reachable.append(fits[every != given].any())
    assert quality["suggestions"] == pytest.approx(np.mean(right))
    assert quality["chance"] == pytest.approx(np.mean(chance))
    assert quality["reachable"] == pytest.approx(np.mean(reachable))
    assert quality["candidates"] <= quality["reachable"]


def test_an_unknown_truth_is_not_reported(copied, robustcmr, monkeypatch):
    from robustcmr.tracks.pairs import PairsTrack

    monkeypatch.setattr(PairsTrack, "truth_is_known", property(lambda self: False))
    done = robustcmr("rematch", copied.path)
    assert done.code == 0
    assert "true of" not in done.out
    assert len(rows_of(copied.path / "rematches.csv")) == 40


def test_candidates_that_allow_less_mass_are_reported(copied, robustcmr):
    done = robustcmr("rematch", copied.path, "--top-k", 1, "--capacity", 0.2, "--mass", 1)
    assert done.code == 0
    assert "of 1 requested; the candidates allow no more" in " ".join(done.out.split())


def test_a_plan_that_did_not_converge_is_reported(copied, robustcmr, monkeypatch):
    from robustcmr.jobs import rematch as run_rematch

    solve = run_rematch.rematch_whole_set
    monkeypatch.setattr(
        run_rematch,
        "rematch_whole_set",
        lambda *words, **options: solve(*words, **options, tolerance=1e-12, max_iterations=1),
    )
    done = robustcmr("rematch", copied.path, "--epsilon", 0.0005, "--top-k", 5)
    assert done.code == 0
    assert "did not converge; raise --epsilon or lower --mass" in done.err


@pytest.fixture
def one_vector(tmp_path):
    """A run of a matcher that compares one vector a side, which suspects every third pair."""
    run = RunFolder(tmp_path / "one")
    tree = {**TREE, "matcher": {"name": "vse_infty", "dim": 16, "word_dim": 8, "region_hidden": 8}}
    train(resolve(tree), run.path)
    suspecting(run, SUSPECTED)
    return run


def test_a_dense_plan(one_vector, robustcmr, monkeypatch):
    """The kernels need a GPU, so their potentials come from a slow loop here."""
    from robustcmr.correction import dense_whole_set

    def by_loop(x, y, r, c, *, epsilon, penalty, tolerance, max_iterations):
        cost, share = 1 - x @ y.T, penalty / (penalty + epsilon)
        f, g = torch.zeros(len(x)), torch.zeros(len(y))
        for _ in range(max_iterations):
            f = -share * epsilon * torch.logsumexp((g - cost) / epsilon + c.log(), 1)
            g = -share * epsilon * torch.logsumexp((f[:, None] - cost) / epsilon + r.log()[:, None], 0)
        return f, g

    monkeypatch.setattr(dense_whole_set, "streamed_potentials", by_loop)
    dense = ["--plan", "dense", "--epsilon", 0.05, "--top-k", 23]
    told = json.loads(robustcmr("rematch", one_vector.path, "--json", *dense).out)
    assert (told["search"], told["edges"], told["asked"], told["iterations"]) == ("vectors", 960, None, None)
    assert told["converged"]
    more = json.loads(robustcmr("rematch", one_vector.path, "--json", *dense, "--reach", 1.0).out)
    assert told["mass"] < more["mass"]
    rows = rows_of(one_vector.path / "rematches.csv")
    assert len(rows) == 40
    assert sum(float(row["moved"]) for row in rows) / 40 == pytest.approx(more["mass"], rel=1e-3)
    assert all(row["image"] != row["rematch"] for row in rows)
    shown = robustcmr("rematch", one_vector.path, *dense)
    assert shown.code == 0
    for said in ("960", "mass moved", "products of one vector per side"):
        assert said in shown.out
    assert "requested" not in shown.out
    assert "iterations" not in shown.out
    monkeypatch.setattr(
        dense_whole_set,
        "streamed_potentials",
        lambda *given, **named: by_loop(*given, **{**named, "max_iterations": 1}),
    )
    hasty = robustcmr("rematch", one_vector.path, *dense)
    assert hasty.code == 0
    assert "did not converge; raise --epsilon or lower --reach" in hasty.err


def test_a_dense_plan_needs_unit_vectors(one_vector, robustcmr, monkeypatch):
    from robustcmr.jobs import rematch as run_rematch

    vectors = run_rematch.scoring_vectors
    monkeypatch.setattr(run_rematch, "scoring_vectors", lambda *given: tuple(2 * x for x in vectors(*given)))
    done = robustcmr("rematch", one_vector.path, "--plan", "dense")
    assert done.code == 2
    assert "needs vectors of length 1, and those of vse_infty are not; use --plan sparse" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_dense_plan_needs_a_gpu(one_vector, robustcmr):
    done = robustcmr("rematch", one_vector.path, "--plan", "dense", "--device", "cpu")
    assert done.code == 2
    assert "needs an NVIDIA GPU, but the vectors are on cpu" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (one_vector.path / "rematches.csv").exists()


def test_no_suspects(copied, robustcmr):
    suspecting(copied, [])
    done = robustcmr("rematch", copied.path)
    assert (done.code, done.out) == (
        0,
        f"none of 120 pairs is suspected; wrote {copied.path / 'rematches.csv'}\n",
    )
    assert rows_of(copied.path / "rematches.csv") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mass", 0], "--mass is 0, expected more than 0 and at most 1"),
        (["--mass", 1.5], "--mass is 1.5, expected more than 0 and at most 1\n"),
        (["--mass", 40], "--mass is 40, expected more than 0 and at most 1; did you mean 0.4?"),
        (["--mass", "40%"], "--mass is '40%', expected a number such as 0.5; did you mean 0.4?"),
        (["--epsilon", "x"], "--epsilon is 'x', expected a number such as 0.5"),
        (["--epsilon", -1], "--epsilon is -1, expected a positive number"),
        (["--capacity", 0], "--capacity is 0, expected a positive number"),
        (["--search", "some"], "--search is 'some', expected auto, all or shortlist"),
        (["--plan", "some"], "--plan is 'some', expected sparse or dense"),
        (["--reach", 0.5], "--reach does not go with a sparse plan; use --mass, or add --plan dense"),
        (["--plan", "dense", "--mass", 0.5], "--mass does not go with a dense plan; use --reach, or leave"),
        (["--plan", "dense", "--reach", 0], "--reach is 0, expected a positive number"),
        (
            ["--plan", "dense"],
            "needs a matcher with one vector per side, and omit compares more; use",
        ),
    ],
)
def test_bad_options_are_one_sentence(trained, robustcmr, options, says):
    done = robustcmr("rematch", trained.path, *options)
    assert done.code == 2
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert done.out == ""


def test_bad_folders_are_one_sentence(copied, robustcmr, tmp_path):
    def refused(says, *words):
        done = robustcmr("rematch", *words)
        assert done.code == 2, done.out
        assert says in done.err
        assert len(done.err.strip().splitlines()) == 1

    refused("holds no run", tmp_path / "nothing")
    refused("is a folder, expected a file for the rematches", copied.path, "-o", tmp_path)
    table = PairsTable.read(copied.pairs)
    other = PairsTable(**{**vars(table), "image": np.roll(table.image, 1)})
    other.write(copied.pairs)
    refused("does not list the pairs that this run was trained on", copied.path)
    other = PairsTable(**{**vars(table), "caption": [*table.caption[1:], "another"]})
    other.write(copied.pairs)
    refused("does not list the pairs", copied.path)
    copied.pairs.unlink()
    refused("does not estimate which pairs are wrong", copied.path)
    copied.results.unlink()
    refused("has no pairs.csv yet; finish it with", copied.path)
    copied.labels.write_text("")
    refused("corrects labels, expected a run that suspects pairs", copied.path)


def test_scores_that_diverged_are_one_sentence(copied, robustcmr, monkeypatch):
    from robustcmr.matchers.omit import Omit

    monkeypatch.setattr(
        Omit, "score", lambda self, images, texts: torch.full((len(images), len(texts)), torch.nan)
    )
    done = robustcmr("rematch", copied.path)
    assert done.code == 2
    assert "NaN or infinite" in done.err
