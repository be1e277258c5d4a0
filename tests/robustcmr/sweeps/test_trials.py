"""Trials with their configurations, and every problem told before anything starts."""

import pytest

from robustcmr.config.resolve import resolve
from robustcmr.errors import SweepError
from robustcmr.sweeps.options import sweep_options
from robustcmr.sweeps.trials import config_hash, plan_trials, same_or_refuse, with_overrides


def options(**tree):
    return sweep_options({"name": "x", **tree}, "the sweep x")


def plan(**tree):
    return plan_trials(options(**tree), "the sweep x")


def test_each_configuration_is_what_train_would_resolve():
    found = plan(
        base={"data": {"name": "scenes", "n_train": 50}, "training": {"epochs": 2}},
        grid={"method.name": ["rce", "l2rm"], "noise.ratio": [0.4]},
        seeds=[5],
    )
    expected = {
        "seed": 5,
        "data": {"name": "scenes", "n_train": 50},
        "training": {"epochs": 2},
        "noise": {"ratio": 0.4},
    }
    for entry, method in zip(found, ("rce", "l2rm"), strict=True):
        assert entry.config == resolve({**expected, "method": method})
        trial = entry.trial
        assert (trial.epochs, trial.track, trial.select, trial.seed) == (2, "pairs", "dev", 5)
        assert trial.config_hash == config_hash(entry.config)
    assert [entry.trial.name for entry in found] == ["rce-ratio0.4-seed5", "l2rm-ratio0.4-seed5"]


def test_options_of_a_method_that_is_replaced_are_dropped():
    base = {"method": {"name": "l2rm", "warmup_epochs": 2}}
    found = plan(base=base, grid={"method.name": ["hinge", "l2rm"]})
    assert found[0].config.method.name == "hinge"
    assert found[1].config.method.options.warmup_epochs == 2


def test_values_keep_their_types():
    found = plan(grid={"optim.milestones": [[3, 5]], "optim.clip": [None], "optim.lr": [1e-5]})
    optim = found[0].config.settings.optim
    assert (optim.milestones, optim.clip, optim.lr) == ((3, 5), None, 1e-5)


def test_all_problems_of_all_trials_at_once():
    with pytest.raises(SweepError) as error:
        plan(
            base={"trainign": {"epochs": 3}},
            grid={"method.name": ["hinge", "hing"], "noise.ratio": [0.4, 1.5]},
        )
    head, *rest = str(error.value).splitlines()
    assert head == "3 problems in the sweep x:"
    assert any("trainign: unknown key; did you mean 'training'? (in all 4 trials)" in line for line in rest)
    assert any(
        "unknown method 'hing'; did you mean 'hinge'?" in line and "(in 2 of 4" in line for line in rest
    )
    assert any("noise.ratio: got 1.5" in line and "first hinge-ratio1.5-seed0" in line for line in rest)


def test_a_problem_of_one_trial_names_it():
    with pytest.raises(SweepError, match=r"got 1.5.*\(in ratio1.5-seed0\)"):
        plan(grid={"noise.ratio": [0, 1.5]})
    with pytest.raises(SweepError) as error:
        plan(grid={"noise.ratio": [1.5]})
    assert str(error.value) == "the sweep x: noise.ratio: got 1.5, expected a number in [0, 1)"


def test_trials_that_are_configured_alike_are_refused():
    grid = {"a": [{"label": "one", "noise.ratio": 0.4}, {"label": "two", "noise.ratio": 0.40}]}
    with pytest.raises(SweepError, match="two-seed0 has the same configuration as one-seed0"):
        plan(grid=grid)


def test_names_that_would_be_alike_are_told_apart():
    long = "a" * 40
    grid = {
        "a": [{"label": f"{long}1", "noise.ratio": 0.4}, {"label": f"{long}2", "noise.ratio": 0.2}],
    }
    names = [entry.trial.name for entry in plan(grid=grid)]
    assert len(set(names)) == 2
    assert all(name.startswith(f"{long}-seed0-") for name in names)
    assert names == [entry.trial.name for entry in plan(grid=grid)]


def test_a_single_gpu_cannot_be_asked_for_by_number():
    with pytest.raises(SweepError, match="'cuda:1' names one GPU"):
        plan(base={"training": {"device": "cuda:1"}})


def test_overrides_change_the_base():
    changed = with_overrides(options(base={"optim": {"lr": 1}}), ["optim.lr=1e-4", "training.epochs=2"])
    assert changed.base == {"optim": {"lr": 1e-4}, "training": {"epochs": 2}}


def test_overrides_of_what_is_varied_are_refused_all_at_once():
    sweep = options(grid={"noise.ratio": [0, 0.4]})
    with pytest.raises(SweepError) as error:
        with_overrides(sweep, ["noise.ratio=0.1", "noise=3", "seed=4", "nonsense"])
    assert [line.split("'")[1] for line in str(error.value).splitlines()[1:]] == [
        "noise.ratio=0.1",
        "noise=3",
        "seed=4",
        "nonsense",
    ]


def test_a_taken_name_is_refused_with_the_first_difference():
    (entry,) = plan(grid={"noise.ratio": [0.4]})
    same_or_refuse(entry.config.to_dict(), entry, "F")
    same_or_refuse({"noise": {"ratio": 0.4}}, entry, "F")  # as a version that knew fewer keys wrote it
    with pytest.raises(
        SweepError, match=r"already in F with another .*training.epochs is 3 there and 12 now"
    ):
        same_or_refuse({"noise": {"ratio": 0.4}, "training": {"epochs": 3}}, entry, "F")
    with pytest.raises(SweepError, match=r"refuses \(old: unknown key"):
        same_or_refuse({"old": 3}, entry, "F")
