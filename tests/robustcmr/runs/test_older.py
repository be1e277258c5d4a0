"""Run folders of version 0.1 mean the same today."""

import pytest
import yaml

from robustcmr.config.resolve import resolve, run_config
from robustcmr.methods.l2rm_options import L2RMOptions
from robustcmr.methods.robust_options import RobustOptions
from robustcmr.runs.older import REMOVED, RENAMED, current_config

# as version 0.1 wrote them
DEFAULT = {
    **{"name": "l2rm", "legacy": False, "warmup_epochs": 4, "warmup_extension": 2, "unclear": 0.7},
    **{"warmup_loss": "infonce", "temperature": 0.05, "floor": 1e-7, "teacher_decay": 0.99, "agreement": 1.0},
    **{"agreement_epoch": 2, "mixture": "anchored", "evidence_margin": 0.2, "threshold": 0.5},
    **{"always_divide": False, "most_wrong": 0.5, "streams": "auto", "split_above": 0.65},
    **{"clean_loss": "infonce", "clean_weights": "posterior", "margin": 0.2, "mask_same_image": True},
    **{"rematch_weight": 1.0, "rematch_loss": "cross_entropy", "cost": "network", "cost_lr": 0.001},
    **{"planted_least": 0.01, "planted_most": 0.1, "contrast": 1.0, "solver": "partial", "mass": 0.1},
    **{"epsilon": 0.01, "weighting": "mass"},
}
RELEASED = {
    **DEFAULT,
    **{"legacy": True, "warmup_epochs": 5, "warmup_extension": 0, "warmup_loss": "rce"},
    **{
        "teacher_decay": None,
        "agreement": 0.0,
        "mixture": "beta",
        "always_divide": True,
        "most_wrong": 1.0,
        "streams": "split",
    },
    **{"clean_loss": "hinge", "clean_weights": "equal", "mask_same_image": False, "rematch_loss": "kl"},
    **{"cost": "positional", "cost_lr": 2e-6, "solver": "dummies", "weighting": "uniform"},
}


def test_the_default_is_robust(caplog):
    tree = current_config({"seed": 3, "method": {**DEFAULT, "streams": "mixed", "split_above": 0.6}})
    config = resolve(tree)
    assert (config.method.name, config.settings.seed) == ("robust", 3)
    assert config.method.options == RobustOptions(groups="mixed", split_above=0.6)
    assert "no longer exist (cost=network)" in caplog.text  # it rematched within a batch


def test_legacy_is_l2rm(caplog):
    config = resolve(current_config({"method": {**RELEASED, "epsilon": 0.07}}))
    assert (config.method.name, config.method.options) == ("l2rm", L2RMOptions(epsilon=0.07))
    assert caplog.text == ""


@pytest.mark.parametrize(("given", "method"), [(DEFAULT, "robust"), (RELEASED, "l2rm")])
def test_what_is_dropped_had_the_value_that_is_now_fixed(given, method):
    renamed = {RENAMED.get(key, key): value for key, value in given.items()}
    fixed = {key: value for key, value in REMOVED[method].items() if value is not None}
    assert {key: renamed[key] for key in fixed} == fixed


def test_another_value_than_the_fixed_one_is_logged(caplog):
    config = resolve(current_config({"method": {**DEFAULT, "clean_loss": "hinge", "weighting": "uniform"}}))
    assert config.method.options == RobustOptions()
    assert "no longer exist (clean_loss=hinge, weighting=uniform, cost=network)" in caplog.text


def test_options_of_rematching_within_a_batch_are_left_out():
    saved = {"name": "robust", "groups": "split", "cost": "similarity", "mass": 0.2, "solver": "exact"}
    config = resolve(current_config({"method": saved}))
    assert config.method.options == RobustOptions(groups="split")


def test_other_methods_and_folders_of_today_stay():
    for method in ("hinge", {"name": "hinge", "margin": 0.3}, {"name": "l2rm", "epsilon": 0.07}, None):
        assert current_config({"seed": 1, "method": method}) == {"seed": 1, "method": method}
    labels = current_config({"method": {"name": "uot_rcl", "belief_temperature": 0.3}})
    assert labels["method"] == {"name": "uot_rcl", "posterior_temperature": 0.3}


def test_a_run_folder_of_0_1_is_read_with_the_names_of_today(tmp_path):
    tree = {"seed": 3, "data": {"name": "scenes"}, "matcher": {"name": "omit"}, "method": DEFAULT}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    config = run_config(tmp_path / "config.yaml")
    assert config.method.options == RobustOptions()
    assert "streams" not in config.to_yaml()
