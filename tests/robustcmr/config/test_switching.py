"""Options of a recipe that belong to a replaced data set, matcher or method are left out, and listed."""

import logging

import pytest

from robustcmr import plugins
from robustcmr.config.recipes import recipe_folder
from robustcmr.config.resolve import compose, read_config, resolve
from robustcmr.config.switching import without_replaced
from robustcmr.errors import ConfigError
from robustcmr.sweeps.options import SweepOptions
from robustcmr.sweeps.trials import plan_trials, with_overrides


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "robustcmr")
    return lambda: [text for text in caplog.messages if text.startswith("left out")]


FORMS = {
    "flag": ({"method.name": "rce"}, []),
    "override": ({}, ["method.name=rce"]),
    "short override": ({}, ["method=rce"]),
    "mapping": ({}, ["method={name: rce}"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_choose_a_method_gives_it_its_own_defaults(form, said):
    config = compose("f30k_l2rm", *FORMS[form])
    assert config.method == resolve({"method": "rce"}).method
    assert config.settings.training.epochs == 40  # the rest of the recipe stays
    assert said() == [
        "left out of the recipe: method.warmup_epochs=5 (chosen for l2rm); set one again to keep it"
    ]


def test_an_option_that_both_have_goes_back_to_its_default(said):
    config = compose("f8k_robust", {}, ["method.name=l2rm"])
    assert config.method == resolve({"method": "l2rm"}).method
    (line,) = said()
    assert "method.warmup_epochs=2" in line
    assert "method.warmup_extension=0" in line


def test_what_the_user_sets_beside_it_is_kept_and_not_listed(said):
    config = compose("f8k_robust", {"method.name": "l2rm"}, ["method.warmup_epochs=3"])
    assert config.method.options.warmup_epochs == 3
    assert "warmup_epochs" not in said()[0]


def test_what_the_user_sets_and_the_method_lacks_is_refused():
    with pytest.raises(ConfigError, match=r"method\.warmup_epochs: unknown key"):
        compose("f8k_robust", {"method.name": "rce"}, ["method.warmup_epochs=3"])


@pytest.mark.parametrize("given", [({"matcher.name": "vse_infty"}, []), ({}, ["matcher.name=vse_infty"])])
def test_another_matcher_has_its_own_defaults(given, said):
    config = compose("f30k_l2rm", *given)
    assert config.matcher.options == config.matcher.cls.Config()
    assert config.method.options.warmup_epochs == 5
    assert said()[0].endswith("matcher.iterations=3 (chosen for omit); set one again to keep it")


def test_one_line_for_everything(said):
    compose("f30k_l2rm", {"matcher.name": "vse_infty"}, ["method.name=rce"])
    (line,) = said()
    assert "(chosen for omit); method.warmup_epochs=5 (chosen for l2rm);" in line


def test_the_same_plug_in_leaves_nothing_out(said):
    config = compose("f30k_l2rm", {"method.name": "l2rm", "matcher.name": "omit"}, [])
    assert config.method.options.warmup_epochs == 5
    assert not said()


def test_data_of_another_track_leave_out_what_was_chosen_for_the_old_one(said):
    config = compose("scenes_omit", {}, ["data.name=scenes-labels", "optim.lr=0.5"])
    assert (config.matcher.name, config.method.name) == ("two_tower", "uot_rcl")
    assert config.settings.noise.ratio == 0.4
    assert config.settings.optim.lr == 0.5
    assert said() == [
        "left out of the recipe: noise.protocol=caption (chosen for the pairs track); "
        "set one again to keep it"
    ]


def test_labelled_data_for_a_recipe_of_pairs():
    tree = {
        "optim": {"milestones": [5]},
        "augmentation": {"drop_regions": 0.1},
        "method": {"most_wrong": 0.2},
    }
    kept, sentence = without_replaced(tree, {"data": {"name": "scenes-labels"}})
    assert kept == {"optim": {}, "augmentation": {}, "method": {}}
    assert "method.most_wrong=0.2 (chosen for robust)" in sentence
    assert "augmentation.drop_regions=0.1, optim.milestones=[5] (chosen for the pairs track)" in sentence
    assert tree["optim"] == {"milestones": [5]}  # the recipe given is not changed


def test_data_that_must_not_be_imported_changes_nothing_else():
    tree = {"data": "some_module:Data", "method": {"most_wrong": 0.2}}
    kept, _ = without_replaced(tree, {"data": "scenes-labels"}, unknown=["some_module:Data"])
    assert kept["method"] == {"most_wrong": 0.2}


# sweeps


def plan(base, grid):
    options = SweepOptions(name="s", base=base, grid=grid)
    return {entry.trial.name: entry.config for entry in plan_trials(options, "the sweep")}


L2RM = {"method": {"name": "l2rm", "warmup_epochs": 3, "mass": 0.2}}
GRIDS = {
    "by name": {"method.name": ["rce", "l2rm"]},
    "short form": {"method": ["rce", "l2rm"]},
    "by label": {
        "row": [
            {"label": "rce", "method.name": "rce", "method.temperature": 0.1},
            {"label": "l2rm", "method.name": "l2rm", "noise.ratio": 0.2},
        ]
    },
}


@pytest.mark.parametrize("form", GRIDS)
def test_a_grid_that_switches_the_method(form, said):
    trials = plan(L2RM, GRIDS[form])
    assert trials["rce-seed0"].method.name == "rce"
    assert trials["rce-seed0"].method.options.temperature == (0.1 if form == "by label" else 0.05)
    if form != "short form":  # which replaces the section
        assert trials["l2rm-seed0"].method.options.warmup_epochs == 3
    assert said() == [
        "left out of the base: method.warmup_epochs=3, method.mass=0.2 (chosen for l2rm); set one again to "
        "keep it (in rce-seed0)"
    ]


def test_a_base_without_a_name_has_options_of_the_default(said):
    trials = plan({"method": {"most_wrong": 0.2}}, {"method.name": ["rce", "robust"]})
    assert trials["robust-seed0"].method.options.most_wrong == 0.2
    assert "method.most_wrong=0.2 (chosen for robust)" in said()[0]


def test_a_grid_that_switches_the_track():
    trials = plan(
        {"method": {"most_wrong": 0.2}, "optim": {"milestones": [3]}}, {"data.name": ["scenes-labels"]}
    )
    assert trials["scenes-labels-seed0"].method.name == "uot_rcl"


def test_an_override_of_the_base_that_switches_the_method(said):
    options = with_overrides(SweepOptions(name="s", base=L2RM), ["method.name=rce", "method.temperature=0.1"])
    assert options.base == {"method": {"name": "rce", "temperature": 0.1}}
    assert len(said()) == 1


def test_every_shipped_recipe_takes_every_method_of_its_track():
    names = [name for name in plugins.methods.names() if plugins.methods.load(name).track == "pairs"]
    for path in recipe_folder().glob("*.yaml"):
        recipe = read_config(path)
        for name in [] if "labels" in path.name else names:
            if name != recipe.get("method", {}).get("name", "robust"):
                config = compose(path.stem, {}, [f"method.name={name}"])
                assert config.method.options == config.method.cls.Config()
