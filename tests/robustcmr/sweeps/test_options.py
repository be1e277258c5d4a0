"""What a sweep file can say, and how its mistakes are told."""

from pathlib import Path

import pytest

from robustcmr.errors import ConfigError, SweepError
from robustcmr.sweeps import options as sweep_file
from robustcmr.sweeps.options import read_sweep, sweep_options
from robustcmr.sweeps.trials import plan_trials


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_defaults_and_the_name_of_the_file(tmp_path):
    options = read_sweep(write(tmp_path / "small.yaml", "grid:\n  noise.ratio: [0, 0.4]\nexclude:\n"))
    assert options.name == "small"
    assert (options.base, options.seeds, options.exclude) == ({}, [0], [])
    assert (options.execution.executor, options.execution.jobs) == ("local", None)


def test_a_recipe_as_base_is_read_in(tmp_path):
    (tmp_path / "mine.yaml").write_text("method: rce\n")
    beside = read_sweep(write(tmp_path / "a.yaml", "base: mine.yaml\n"))
    assert beside.base == {"method": "rce"}
    named = read_sweep(write(tmp_path / "b.yaml", "base: scenes_omit\n"))
    assert named.base["noise"] == {"ratio": 0.4, "protocol": "caption"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gird:\n  noise.ratio: [0]\n", "gird: unknown key; did you mean 'grid'?"),
        ("name: a/b\n", "name: got 'a/b', expected letters, digits, '_', '-' and '.', as a folder's name"),
        ("seeds: [0, -1]\n", "seeds: got [0, -1], expected whole numbers in [0, 4294967296)"),
        ("seeds: [x]\n", "seeds: got 'x' in it, expected a list of whole numbers"),
        (
            "execution: {executor: rya}\n",
            "execution.executor: got 'rya', expected local or ray; did you mean 'ray'?",
        ),
        ("execution: {jobs: 0}\n", "execution.jobs: got 0, expected a whole number of at least 1 or null"),
        (
            "base: scenes_omitt\n",
            "no configuration file scenes_omitt and no shipped recipe of that name; did you",
        ),
        ("grid: [1]\n", "grid: got [1]"),
        ("a: b: c\n", "cannot be read as YAML: line 1"),
    ],
)
def test_mistakes_are_told_by_key(tmp_path, text, sentence):
    with pytest.raises((SweepError, ConfigError)) as error:
        read_sweep(write(tmp_path / "bad.yaml", text))
    assert sentence in str(error.value)
    assert "bad.yaml" in str(error.value)


def test_several_mistakes_at_once():
    with pytest.raises(SweepError) as error:
        sweep_options({"name": "x", "gird": {}, "execution": {"threads": 0}}, "the sweep x")
    head, *rest = str(error.value).splitlines()
    assert head == "2 problems in the sweep x:"
    assert len(rest) == 2


def test_unknown_sweeps_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(
        SweepError, match=r"no sweep file noise_rate and no shipped.*did you mean 'noise_rates'"
    ):
        read_sweep("noise_rate")
    with pytest.raises(SweepError, match=r"is a folder, expected a sweep file; resume .* resume"):
        read_sweep(str(tmp_path))


def test_the_shipped_sweeps_lie_below_the_recipes(tmp_path, monkeypatch):
    assert sweep_file.sweep_names() == ["noise_rates", "noise_rates_quick"]
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "own.yaml").write_text("seeds: [3]\n")
    monkeypatch.setattr(sweep_file, "recipe_folder", lambda: tmp_path)
    assert sweep_file.sweep_names() == ["own"]
    assert read_sweep("own").seeds == [3]


@pytest.mark.parametrize(("name", "count", "seeds"), [("noise_rates", 60, 3), ("noise_rates_quick", 40, 2)])
def test_the_shipped_sweeps_are_the_grid_they_promise(name, count, seeds):
    planned = plan_trials(read_sweep(name), name)
    assert len(planned) == count
    cells = {(entry.config.method.name, entry.config.settings.noise.ratio) for entry in planned}
    expected = {(m, r) for m in ("hinge", "infonce", "rce", "robust") for r in (0.0, 0.2, 0.4, 0.6, 0.8)}
    assert cells == expected
    assert {entry.trial.seed for entry in planned} == set(range(seeds))
    assert {entry.config.settings.noise.protocol for entry in planned} == {"caption"}
