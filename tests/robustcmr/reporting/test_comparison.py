"""Runs side by side: numbers by hand, labels, refusals, robustness, significance, and many runs."""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from robustcmr.errors import ComparisonError
from robustcmr.reporting.comparison import compare, with_published
from robustcmr.reporting.comparison_files import to_csv
from robustcmr.reporting.published import published_rows
from robustcmr.reporting.robustness import normalised_area
from robustcmr.runs.queries import write_queries
from robustcmr.runs.read import SavedRun, find_runs, read_run

LABELS = {"track": "labels", "noise_kind": "symmetric", "protocol": "shared", "matcher": "two_tower"}


@pytest.fixture
def finished(make_results: Any) -> Any:
    """A finished run that lies nowhere."""

    def make(headline: float, config: dict[str, Any] | None = None, **changes: Any) -> SavedRun:
        results = make_results(headline, **changes)
        names = [str(results[key]) for key in ("method", "noise_ratio", "seed")]
        return SavedRun(Path("runs") / "-".join(names), results, [], config or {})

    return make


@pytest.fixture
def grid(finished: Any) -> list[SavedRun]:
    """Three methods, two ratios, three seeds."""
    levels = {("hinge", 0.2): 300, ("hinge", 0.6): 200, ("rce", 0.2): 320, ("rce", 0.6): 180}
    levels |= {("l2rm", 0.2): 330, ("l2rm", 0.6): 300}
    return [
        finished(level + seed, method=method, noise_ratio=ratio, seed=seed)
        for (method, ratio), level in levels.items()
        for seed in (2, 0, 1)
    ]


def test_means_deviations_and_ranks_by_hand(grid):
    found = compare(grid)
    assert [(row.ratio, row.method, row.rank) for row in found.rows] == [
        *[(0.2, "l2rm", 1), (0.2, "rce", 2), (0.2, "hinge", 3)],
        *[(0.6, "l2rm", 1), (0.6, "hinge", 2), (0.6, "rce", 3)],
    ]
    row = found.rows[0]
    assert (row.mean, row.std, row.seeds, row.values) == (331.0, 1.0, (0, 1, 2), (330.0, 331.0, 332.0))
    assert row.means["i2t_r1"] == pytest.approx(331 / 6)
    assert row.runs[0] == Path("runs/l2rm-0.2-0")
    assert (row.headline, row.n_models, row.noise, row.marks) == ("rsum", 1, "20% caption", ())
    assert found.mixed == ()
    assert found.notes[-1].startswith("of 4 rows the difference over queries is not known")


def test_the_order_of_the_runs_does_not_matter(grid):
    shuffled = random.Random(0).sample(grid, len(grid))
    assert compare(shuffled) == compare(grid)


def test_equal_means_share_a_rank(finished):
    runs = [finished(value, method=name) for name, value in {"a": 300, "b": 300, "c": 200}.items()]
    assert [row.rank for row in compare(runs).rows] == [1, 1, 3]


def test_one_seed_has_no_deviation_and_no_p_value(finished):
    rows = compare([finished(300, method="a"), finished(250, method="b")]).rows
    assert rows[0].std is None
    assert rows[1].difference.over_seeds.p_value is None
    assert rows[1].difference.over_seeds.difference == -50


def test_significance_over_seeds_is_paired_by_seed(finished):
    a = {0: 300, 1: 310, 2: 305, 3: 290}
    b = {0: 299, 1: 312, 3: 280, 7: 100}
    runs = [finished(v, method=m, seed=s) for m, by in (("a", a), ("b", b)) for s, v in by.items()]
    test = compare(runs).rows[1].difference.over_seeds
    assert (test.n_seeds, test.difference) == (3, pytest.approx((-1 + 2 - 10) / 3))
    assert test.p_value == 6 / 8  # of -1, 2, -10: all but 7 and -7 are as far from 0 as -9
    runs = [run for run in runs if (run.results["method"], run.results["seed"]) in {("a", 1), ("b", 7)}]
    assert compare(runs).rows[1].difference.over_seeds is None


def test_a_reference_can_be_chosen(grid):
    found = compare(grid, against="hinge")
    differences = {(row.method, row.ratio): row.difference for row in found.rows}
    assert differences["hinge", 0.2] is None
    assert differences["l2rm", 0.6].reference == "hinge"
    assert differences["l2rm", 0.6].over_seeds.difference == 100
    assert differences["rce", 0.6].over_seeds.difference == -20
    with pytest.raises(
        ComparisonError, match=r"no run is of the method 'dice' .*expected one of: hinge, rce, l2rm"
    ):
        compare(grid, against="dice")


def test_ensembles_and_single_models_are_apart(finished):
    found = compare([finished(300, n_models=2), finished(290)])
    assert [(row.n_models, row.rank) for row in found.rows] == [(1, 1), (2, 1)]
    assert all(row.difference is None for row in found.rows)


@pytest.fixture
def peers(finished: Any, make_results: Any) -> Any:
    """A run of two networks: their ensemble, and each alone."""

    def make(ensemble: float, alone: tuple[float, float], **changes: Any) -> SavedRun:
        splits = [make_results(value)["splits"] for value in alone]
        by_model = {split: [each[split] for each in splits] for split in ("dev", "test")}
        return finished(ensemble, method="peers", n_models=2, by_model=by_model, **changes)

    return make


def test_a_method_of_two_networks_has_a_row_of_single_ones_and_one_of_ensembles(finished, peers):
    runs = [peers(330, (300, 306), seed=0), peers(340, (310, 318), seed=1)]
    runs += [finished(305 + seed, method="rce", seed=seed) for seed in (0, 1)]
    found = compare(runs)
    assert [(row.label, row.rank, row.mean) for row in found.rows] == [
        ("peers", 1, 308.5),
        ("rce", 2, 305.5),
        ("peers (2 models)", 1, 335.0),
    ]
    assert found.rows[0].std == pytest.approx(np.std([303, 314], ddof=1))
    assert found.rows[1].difference.reference == "peers"
    assert found.rows[1].difference.over_seeds.difference == pytest.approx(-3)
    assert found.rows[2].difference is None  # of no other ensemble
    assert found.notes[0] == (
        "peers: a row of single models is the mean over the networks of each run, each measured alone"
    )
    lines = to_csv(found).splitlines()
    columns = lines[0].split(",")
    models = [line.split(",")[columns.index("n_models")] for line in lines[1:]]
    assert models == ["1", "1", "2"]


def test_a_reference_of_two_networks_is_compared_with_as_many(finished, peers):
    runs = [peers(330, (300, 306)), finished(350, method="rce"), finished(320, method="both", n_models=2)]
    found = {row.label: row for row in compare(runs, against="peers").rows}
    assert found["rce"].difference.over_seeds.difference == 350 - 303
    assert found["both (2 models)"].difference.reference == "peers (2 models)"
    assert found["both (2 models)"].difference.over_seeds.difference == 320 - 330


def test_curves_of_single_networks_and_of_ensembles_have_ranks_apart(finished, peers):
    runs = [peers(400 - 100 * ratio, (300, 300), noise_ratio=ratio) for ratio in (0.2, 0.8)]
    runs += [finished(350, method="rce", noise_ratio=ratio) for ratio in (0.2, 0.5, 0.8)]
    found = compare(runs)
    assert [(e.method, e.n_models, e.rank, e.over) for e in found.robustness] == [
        ("rce", 1, 1, (0.2, 0.8)),
        ("peers", 1, 2, (0.2, 0.8)),
        ("peers", 2, 1, (0.2, 0.8)),
    ]
    assert found.robustness[-1].over_seeds is None


def test_queries_of_an_ensemble_are_not_taken_for_those_of_one_network(make_run, make_results, tmp_path):
    def folder(name: str, **changes: Any) -> SavedRun:
        path = make_run(tmp_path / name, make_results(300.0, method=name, **changes))
        ranks = {"i2t_rank": np.ones(10, np.int64), "t2i_rank": np.ones(50, np.int64)}
        write_queries(path / "queries-test.npz", {**ranks, "t2i_image": np.arange(50) // 5})
        return read_run(path)

    splits = make_results(290.0)["splits"]
    by_model = {split: [measures] * 2 for split, measures in splits.items()}
    found = compare([folder("rce"), folder("peers", n_models=2, by_model=by_model), folder("hinge")])
    tests = {row.label: row.difference and row.difference.over_queries for row in found.rows}
    assert tests["rce"] is not None  # from hinge, the first of equal ones
    assert tests["peers"] is None
    assert any("a mean over networks" in sentence for sentence in found.notes)


def test_labels_tell_matchers_and_settings_apart(finished):
    def labels(*runs):
        return [row.method for row in compare(runs).rows]

    assert labels(finished(3, matcher="omit"), finished(2, matcher="my.pkg:Net")) == [
        "omit + hinge",
        "Net + hinge",
    ]
    lr = [
        {"optim": {"lr": lr, "decay": 0.1}, "training": {"device": f"cuda:{i}"}}
        for i, lr in enumerate((1, 2))
    ]
    assert labels(finished(3, lr[0]), finished(2, lr[1])) == ["hinge optim.lr=1", "hinge optim.lr=2"]
    runs = [
        finished(3, {**lr[0], "seed": 0, "noise": {"seed": 1}}),
        finished(1, {**lr[0], "seed": 1}, seed=1),
    ]
    assert [row.seeds for row in compare(runs).rows] == [(0, 1)]
    older = finished(1, {"optim": {"lr": 1}, "tracking": {"names": ["wandb"]}}, seed=1)
    assert labels(finished(3, lr[0]), older) == ["hinge"]  # a key one version did not know tells nothing


def test_options_of_the_method_that_differ_are_in_labels(finished):
    configs = [{"method": {"name": "robust", "most_wrong": rate, "split_above": 0.5}} for rate in (0.1, 0.9)]
    runs = [finished(9 - i, config, method="robust") for i, config in enumerate(configs)]
    assert [row.method for row in compare(runs).rows] == [
        "robust method.most_wrong=0.1",
        "robust method.most_wrong=0.9",
    ]


def test_a_repeated_run_counts_once_and_is_told(finished):
    first, second = finished(300), dataclasses.replace(finished(100), path=Path("runs/again"))
    found = compare([first, second])
    assert found.rows[0].values == (300,)
    assert found.notes == ("runs/again repeats runs/hinge-0.4-0 (same settings and seed) and was left out",)


def test_versions_are_told(finished):
    found = compare([finished(300), finished(310, seed=1, robustcmr_version="0.0.9")])
    assert found.rows[0].mean == 305
    assert found.notes == ("the runs were trained by different versions of robustcmr: 0.0.9, 0.1.0",)


def test_warnings_of_trainings_are_told_once(finished):
    warned = [finished(300 + seed, seed=seed, warnings=["it is short"]) for seed in range(4)]
    again = dataclasses.replace(warned[0], path=Path("runs/again"))  # left out, so not warned of
    lost = [
        finished(100, method="rce", seed=seed, warnings=["it is short", f"it is at {seed}.5"])
        for seed in (0, 1)
    ]
    notes = compare([*warned, again, *lost]).notes
    assert [note for note in notes if "it is" in note] == [
        "WARNING of 2 runs (runs/rce-0.4-0, runs/rce-0.4-1), here that of the first: it is at 0.5",
        "WARNING of 6 runs (runs/hinge-0.4-0, runs/hinge-0.4-1, runs/hinge-0.4-2 and 3 more): it is short",
    ]


def test_a_warning_of_two_networks_is_told_once(peers):
    assert (
        sum("it is short" in note for note in compare([peers(1, (2, 3), warnings=["it is short"])]).notes)
        == 1
    )


def test_other_numbers_of_epochs_are_told(finished):
    runs = [
        finished(300, epochs=8),
        finished(310, method="rce", epochs=8),
        finished(200, method="l2rm", epochs=2),
    ]
    assert compare(runs[:2]).notes[-1].startswith("of 1 rows")
    assert compare(runs).notes[0] == (
        "the runs were trained for different numbers of epochs (2: l2rm; 8: hinge, rce), so they differ in "
        "more than their methods"
    )


def test_differences_over_some_of_the_seeds_are_told(finished):
    runs = [finished(300 + 40 * seed, method="rce", noise_ratio=0.2, seed=seed) for seed in (0, 1)]
    runs += [
        finished(290, method="l2rm", noise_ratio=0.2),
        finished(280, method="gsc", noise_ratio=0.2, seed=5),
    ]
    found = compare(runs)
    first, second, third = found.rows
    assert (first.mean, second.mean) == (320, 290)
    assert second.difference.over_seeds.difference == -10  # over the seed that both have
    assert third.difference.over_seeds is None
    assert found.notes[0] == (
        "means are over all seeds of a row, but its difference is over the seeds that it shares with the "
        "reference, and some rows do not share all: l2rm at 20% caption (1 shared with rce)"
    )
    both = [*runs[:3], finished(290, method="l2rm", noise_ratio=0.2, seed=1)]
    assert not any("means are over" in note for note in compare(both).notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "image"}, r"the protocol \(caption in runs/hinge-0.4-0; image in runs/rce-0.4-0\)"),
        ({"data_fingerprint": "e" * 64}, r"the data fingerprint \(ffffffff in .*; eeeeeeee in "),
        ({"data": "f30k"}, r"the data set \(scenes in .*; f30k in "),
        ({"noise_hash": "9" * 64}, r"the noise file at the same seed and ratio \(.*; 99999999 in runs/rce"),
        ({"noise_kind": "swap"}, r"the noise kind \(mismatch in .*; swap in "),
        ({"selection_split": "test"}, r"the selection split \(dev in .*; test in "),
    ],
)
def test_mixtures_are_refused_by_name_and_marked_where_allowed(finished, changes, words):
    runs = [finished(300), finished(310, method="rce", **changes)]
    with pytest.raises(ComparisonError, match=words) as refused:
        compare(runs)
    assert "add --mixed" in str(refused.value)
    found = compare(runs, mixed=True)
    assert found.mixed
    assert all(row.marks and row.rank == 1 for row in found.rows)
    assert all(row.difference is None for row in found.rows)
    assert len({row.marks for row in found.rows}) == 2


def test_tracks_are_refused_and_marked(finished, make_results):
    labelled = finished(0, method="mrl", **LABELS)
    for measures in labelled.results["splits"].values():
        measures.update({"map": 50.0, "map_i2t": 55.0, "map_t2i": 45.0, "n_texts": 10})
        del measures["n_captions"]
    with pytest.raises(
        ComparisonError, match=r"the track \(pairs in .*; labels in .*the protocol \(caption in"
    ):
        compare([finished(300), labelled])
    found = compare([finished(300), labelled], mixed=True)
    assert {row.headline: row.mean for row in found.rows} == {"rsum": 300, "map": 50}
    assert "track labels" in found.rows[1].marks
    assert compare([labelled]).rows[0].noise == "40% symmetric shared"
    assert to_csv(found).count("\n") == 3


def test_other_noise_files_are_fine_at_other_seeds_and_ratios(finished):
    runs = [finished(300, seed=seed, noise_ratio=ratio) for seed in (0, 1) for ratio in (0.2, 0.4)]
    assert len({run.results["noise_hash"] for run in runs}) == 4
    assert len(compare(runs).rows) == 2


def test_runs_without_noise_fit_every_protocol(finished):
    clean = finished(350, noise_ratio=0.0, protocol="image")
    found = compare([clean, finished(300), finished(280, noise_ratio=0.8)])
    assert [row.noise for row in found.rows] == ["0%", "40% caption", "80% caption"]
    assert found.robustness[0].ratios == (0.0, 0.4, 0.8)
    both = compare([clean, finished(300), finished(200, protocol="image", noise_hash="1" * 64)], mixed=True)
    assert [(entry.setting.protocol, entry.means) for entry in both.robustness] == [
        ("caption", (350, 300)),
        ("image", (350, 200)),
    ]


def test_a_published_file_is_put_at_the_ratio_it_has(finished):
    found = compare(
        [finished(300, noise_ratio=None, noise_ratio_realised=0.1987), finished(290, noise_ratio=0.4)]
    )
    assert [row.ratio for row in found.rows] == [0.2, 0.4]


def test_no_runs_and_no_split_are_told(finished):
    with pytest.raises(ComparisonError, match="no finished run to compare"):
        compare([])
    with pytest.raises(ComparisonError, match="no measures of the val split, only of dev, test; choose"):
        compare([finished(300)], "val")


def test_area_by_hand_and_against_numpy():
    assert normalised_area([0, 0.5, 1], [600, 300, 0], 600) == pytest.approx(50)
    assert normalised_area([0.2, 0.8], [600, 600], 600) == pytest.approx(100)
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random(6)), 100 * rng.random(6)
    assert normalised_area(x, y, 100) == pytest.approx(np.trapezoid(y, x) / (x[-1] - x[0]))


def test_robustness_over_ratios_and_seeds(grid):
    found = compare(grid).robustness
    assert [(entry.method, entry.rank) for entry in found] == [("l2rm", 1), ("hinge", 2), ("rce", 2)]
    first = found[0]
    assert (first.ratios, first.means, first.stds) == ((0.2, 0.6), (331, 301), (1, 1))
    assert first.area == pytest.approx(100 * (331 + 301) / 2 / 600)
    assert first.area_std == pytest.approx(100 / 600)
    assert first.over_seeds is None
    assert found[1].over_seeds.n_seeds == 6
    assert found[1].over_seeds.p_value == 2 / 2**6


def test_robustness_is_tested_against_the_reference_that_was_named(grid):
    found = {entry.method: entry for entry in compare(grid, against="rce").robustness}
    assert found["rce"].over_seeds is found["rce"].reference is None
    assert (found["hinge"].reference, found["l2rm"].reference) == ("rce", "rce")
    assert found["l2rm"].over_seeds.difference == (10 + 120) / 2
    assert found["hinge"].over_seeds.difference == (-20 + 20) / 2
    assert found["hinge"].over_seeds.p_value == 1
    assert found["l2rm"].rank == 1  # by area, whatever the reference
    best = {entry.method: entry.reference for entry in compare(grid).robustness}
    assert best == {"l2rm": None, "hinge": "l2rm", "rce": "l2rm"}


def test_curves_of_as_many_models_as_no_curve_of_the_reference_are_not_tested(finished):
    runs = [finished(300, method=name, n_models=2, noise_ratio=r) for name in "ab" for r in (0.2, 0.6)]
    runs += [finished(300, method=name, noise_ratio=r) for name in ("rce", "hinge") for r in (0.2, 0.6)]
    found = {entry.method: entry for entry in compare(runs, against="rce").robustness}
    assert found["hinge"].over_seeds.difference == 0
    assert [found[name].over_seeds for name in "ab"] == [None, None]


def test_areas_are_over_the_ratios_all_methods_have(finished):
    runs = [finished(100, method="a", noise_ratio=r) for r in (0.0, 0.2, 0.4, 0.8)]
    runs += [finished(200, method="b", noise_ratio=r) for r in (0.2, 0.8)]
    runs += [finished(200, method="alone", noise_ratio=0.2)]
    found = compare(runs)
    assert [(entry.method, entry.over) for entry in found.robustness] == [
        ("b", (0.2, 0.8)),
        ("a", (0.2, 0.8)),
    ]
    assert "the area is over 0.2, 0.8, which all have" in found.notes[-1]
    runs += [finished(200, method="c", noise_ratio=r) for r in (0.2, 0.6)]
    found = compare(runs)
    assert {entry.area for entry in found.robustness} == {entry.rank for entry in found.robustness} == {None}
    assert "over no two ratios" in found.notes[-1]


def with_queries(
    make_run: Any, make_results: Any, path: Path, method: str, seed: int, ranks: Any
) -> SavedRun:
    i2t, t2i = ranks
    rsum = sum(100.0 * float((part <= k).mean()) for part in (i2t, t2i) for k in (1, 5, 10))
    run = read_run(make_run(path, make_results(rsum, method=method, seed=seed)))
    owner = np.arange(len(t2i)) // 5
    write_queries(run.folder.queries("test"), {"i2t_rank": i2t, "t2i_rank": t2i, "t2i_image": owner})
    return run


@pytest.fixture
def queried(make_run: Any, make_results: Any, tmp_path: Path) -> list[SavedRun]:
    """Two methods, two seeds, 200 images of five captions."""
    rng = np.random.default_rng(0)
    runs = []
    for method, worst in (("good", 12), ("poor", 15)):
        for seed in (0, 1):
            ranks = rng.integers(1, worst, 200), rng.integers(1, worst, 1000)
            runs.append(
                with_queries(make_run, make_results, tmp_path / f"{method}{seed}", method, seed, ranks)
            )
    return runs


def test_difference_over_queries_is_that_of_the_headline_measure(queried):
    found = compare(queried)
    good, poor = found.rows
    test = poor.difference.over_queries
    assert good.method == poor.difference.reference == "good"
    assert test.difference == pytest.approx(poor.mean - good.mean)
    assert test.low < test.difference < test.high < 0
    assert test.p_value < 0.01
    assert found.notes == ()


def test_the_interval_is_that_of_the_queries_normal_distribution(queried):
    from robustcmr.runs.queries import read_queries

    def by_image(run):  # each image's share of the difference, its captions with it
        queries = read_queries(run.folder.queries("test"))
        hits = [sum(100.0 * (queries[name] <= k) for k in (1, 5, 10)) for name in ("i2t_rank", "t2i_rank")]
        return hits[0] + hits[1].reshape(200, 5).mean(axis=1)

    good, poor = (np.mean([by_image(run) for run in queried[i : i + 2]], axis=0) for i in (0, 2))
    error = (poor - good).std() / np.sqrt(200)
    test = compare(queried, resamples=10_000).rows[1].difference.over_queries
    for end, z in ((test.low, stats.norm.ppf(0.025)), (test.high, stats.norm.ppf(0.975))):
        assert end == pytest.approx((poor - good).mean() + z * error, abs=0.1 * error)


def test_without_whole_queries_nothing_is_said_of_them(queried):
    path = queried[3].folder.queries("test")
    whole = path.read_bytes()
    for break_it in (
        path.unlink,
        lambda: path.write_bytes(b"PK"),
        lambda: write_queries(path, {"a": np.ones(3)}),
    ):
        path.write_bytes(whole)
        break_it()
        found = compare(queried)
        assert found.rows[1].difference.over_queries is None
        assert found.rows[1].difference.over_seeds.n_seeds == 2
        assert "of 1 rows the difference over queries is not known" in found.notes[0]
    other = {"i2t_rank": np.ones(100, int), "t2i_rank": np.ones(500, int), "t2i_image": np.arange(500) // 5}
    write_queries(path, other)  # of another test set
    assert compare(queried).rows[1].difference.over_queries is None


def test_average_precisions_are_tested_too(make_run, make_results, tmp_path):
    rng = np.random.default_rng(0)
    runs = []
    for method, level in (("mrl", 60.0), ("ce", 50.0)):
        i2t, t2i = (rng.normal(level, 10, 300) for _ in range(2))
        i2t[:7] = np.nan
        results = make_results(0, method=method, **LABELS)
        measured = {
            **{"map": (np.nanmean(i2t) + t2i.mean()) / 2, "map_i2t": np.nanmean(i2t), "map_t2i": t2i.mean()},
            **{"n_images": 293, "n_texts": 300},
        }
        results["splits"] = {"dev": measured, "test": measured}
        run = read_run(make_run(tmp_path / method, results))
        write_queries(run.folder.queries("test"), {"i2t_ap": i2t, "t2i_ap": t2i})
        runs.append(run)
    best, other = compare(runs).rows
    test = other.difference.over_queries
    assert test.difference == pytest.approx(other.mean - best.mean)
    assert test.low < test.difference < test.high < 0


def test_published_rows_come_after_and_change_nothing(grid):
    ours = compare(grid)
    found = with_published(ours, published_rows("f30k"))
    assert found.rows[: len(ours.rows)] == ours.rows
    theirs = found.rows[len(ours.rows) :]
    assert len(theirs) == 13
    assert all(row.marks == ("not measured here",) and row.source and row.rank is None for row in theirs)
    assert [row.method for row in theirs[:3]] == ["UCPM", "IN2R (VSE infinity)", "L2RM (SGR + SAF)"]
    assert (theirs[2].noise, theirs[2].mean, theirs[2].n_models) == ("20% image", 503.8, 2)
    assert found.robustness == ours.robustness
    assert "the published rows are of f30k and the runs of scenes" in found.notes[-1]
    assert {row.noise for row in with_published(ours, published_rows("cc152k")).rows[6:]} == {"its own, real"}


def test_published_rows_of_another_protocol_are_told(finished):
    found = with_published(compare([finished(300, data="f30k")]), published_rows("f30k"))
    assert "some published rows (image, unknown) differs from that of the runs (caption)" in found.notes[-1]
    clean = with_published(compare([finished(300, data="f30k", noise_ratio=0.0)]), published_rows("f30k"))
    assert len(clean.notes) == 1


def test_ten_thousand_runs(finished, make_run, make_results, tmp_path):
    """Their comparison takes seconds, and so does reading them; the bounds are loose on purpose."""
    runs = [
        finished(float(rank), method=f"m{rank}", noise_ratio=ratio, seed=seed)
        for rank in range(400)
        for ratio in (0.0, 0.2, 0.4, 0.6, 0.8)
        for seed in range(5)
    ]
    start = time.monotonic()
    found = compare(runs)
    text = to_csv(found)
    assert time.monotonic() - start < 60
    assert len(runs) == 10_000
    assert len(found.rows) == text.count("\n") - 1 == 2000
    assert [row.rank for row in found.rows[:400]] == list(range(1, 401))
    assert len(found.robustness) == 400
    for seed in range(20):
        make_run(tmp_path / f"run{seed}", make_results(300.0 + seed, seed=seed))
    assert len(compare(find_runs([tmp_path]).finished).rows[0].seeds) == 20


def test_fingerprints_of_earlier_versions_are_compared_with_new_ones(finished):
    old = finished(300, method="a", data_fingerprint="1" * 16)
    new = finished(290, method="b", data_fingerprint="2" * 16, older_fingerprints=["1" * 16])
    assert len(compare([old, new]).rows) == 2
    other = finished(290, method="c", data_fingerprint="3" * 16, older_fingerprints=["4" * 16])
    with pytest.raises(ComparisonError, match="data fingerprint"):
        compare([old, new, other])
    with pytest.raises(ComparisonError, match="data fingerprint"):
        compare([new, finished(290, method="c", data_fingerprint="3" * 16, older_fingerprints=["1" * 16])])
