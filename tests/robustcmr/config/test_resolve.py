"""Reading, overriding and validating configurations; every mistake is told with its full key, all at once."""

from pathlib import Path

import pytest
import yaml
from pydantic import Field, model_validator

from robustcmr import plugins
from robustcmr.config.resolve import (
    apply_overrides,
    compose,
    parse_value,
    read_config,
    resolve,
    resolve_component,
)
from robustcmr.data.precomp import Precomputed
from robustcmr.data.scenes import Scenes
from robustcmr.errors import ConfigError, UserError
from robustcmr.matchers.omit import Omit
from robustcmr.methods.baseline import Hinge, InfoNCE
from robustcmr.methods.robust import Robust
from robustcmr.options import Options


def problems_of(tree):
    """The lines of the message about a tree, without the count."""
    with pytest.raises(ConfigError) as caught:
        resolve(tree)
    lines = str(caught.value).split("\n")
    if len(lines) == 1:
        return lines
    assert lines[0] == f"{len(lines) - 1} problems in the configuration:"
    return [line.strip() for line in lines[1:]]


def problem_of(tree):
    (line,) = problems_of(tree)
    return line


# what an empty configuration means


def test_defaults_are_omit_on_scenes_with_robust():
    config = resolve({})
    assert (config.data.cls, config.matcher.cls, config.method.cls) == (Scenes, Omit, Robust)
    assert config.settings.noise.ratio == 0.0
    assert config.settings.training.epochs == 12


def test_sections_may_be_empty_or_short():
    tree = yaml.safe_load("matcher:\nmethod: infonce\noptim:\nnoise:\n")
    config = resolve(tree)
    assert config.matcher.cls is Omit
    assert config.method.cls is InfoNCE
    assert config.settings == resolve({}).settings


def test_values_arrive_in_the_typed_options():
    config = resolve(
        {
            "seed": 7,
            "matcher": {"dim": 64, "partial": "bins"},
            "method": {"name": "hinge", "margin": 0.3},
            "optim": {"milestones": [3, 5], "clip": None, "lr": "1e-4"},
            "noise": {"ratio": 0.4, "protocol": "image"},
        }
    )
    assert config.settings.seed == 7
    assert config.matcher.options.dim == 64
    assert config.matcher.options.partial == "bins"
    assert config.method.options.margin == 0.3
    assert config.settings.optim.milestones == (3, 5)
    assert config.settings.optim.clip is None
    assert config.settings.optim.lr == 1e-4  # YAML 1.1 reads 1e-4 as a text
    assert config.settings.noise.protocol == "image"


# everything wrong is told at once


def test_all_problems_are_listed_with_their_full_keys():
    known = ", ".join(plugins.matchers.names())
    assert problems_of(
        {
            "data": {"name": "scenes", "n_trian": 3},
            "matcher": {"name": "omitt"},
            "method": {"name": "hinge", "margin": -1},
            "optim": {"lrr": 3, "lr": 0},
            "noise": {"ratio": 1.5},
            "optimm": {},
        }
    ) == [
        "data.n_trian: unknown key; did you mean 'data.n_train'?",
        f"matcher.name: unknown matcher 'omitt'; did you mean 'omit'? (known: {known})",
        "method.margin: got -1, expected a number above 0",
        "noise.ratio: got 1.5, expected a number in [0, 1)",
        "optim.lr: got 0, expected a number above 0",
        "optim.lrr: unknown key; did you mean 'optim.lr'?",
        "optimm: unknown key; did you mean 'optim'?",
    ]


def test_one_problem_stands_alone():
    assert problem_of({"optim": {"lrr": 3}}) == "optim.lrr: unknown key; did you mean 'optim.lr'?"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"matchr": {}}, "matchr: unknown key; did you mean 'matcher'?"),
        (
            {"matcher": {"nam": "omit"}},
            "matcher.nam: unknown key; did you mean 'matcher.name'?",
        ),
        (
            {"text": {"quux": 1}},
            "text.quux: unknown key (known: min_count, vocabulary)",
        ),
        ({"method": "hingee"}, "method.name: unknown method 'hingee'; did you mean 'hinge'?"),
        ({"method": 3}, "method: got 3, expected a section with a 'name'"),
        ({"method": {"name": 3}}, "method.name: got 3, expected the name of a method"),
        (
            {"data": {"name": "f30k"}},
            "data.root: missing, set it with --set data.root=/path/to/it or --data-root /path/to/it",
        ),
        ({"seed": None}, "seed: got None, expected a whole number in [0, 4294967296)"),
        ({"seed": 1.5}, "seed: got 1.5, expected a whole number in [0, 4294967296)"),
        ({"noise": {"seed": -1}}, "noise.seed: got -1, expected a whole number in [0, 4294967296) or null"),
        ({"noise": {"derange": "perhaps"}}, "noise.derange: got 'perhaps', expected true or false"),
        ({"noise": {"file": 3}}, "noise.file: got 3, expected a path or null"),
        (
            {"noise": {"protocol": "captoin"}},
            "noise.protocol: got 'captoin', expected caption, image, shared or per_modality or null; "
            "did you mean 'caption'?",
        ),
        (
            {"noise": {"kind": "symetric"}},
            "noise.kind: got 'symetric', expected mismatch, symmetric, asymmetric or instance or null; "
            "did you mean 'symmetric'?",
        ),
        ({"optim": 3}, "optim: got 3, expected a section of options"),
        ({"optim": {"clip": 0}}, "optim.clip: got 0, expected a number above 0 or null"),
        ({"optim": {"decay": 2}}, "optim.decay: got 2, expected a number in (0, 1]"),
        (
            {"optim": {"milestones": [3, "x"]}},
            "optim.milestones: got 'x' in it, expected a list of whole numbers",
        ),
        ({"optim": {"milestones": 3}}, "optim.milestones: got 3, expected a list of whole numbers"),
        ({"optim": {"betas": [0.9, 1]}}, "optim.betas: got [0.9, 1.0], expected two numbers in [0, 1)"),
        ({"optim": {"betas": [-0.1, 0.9]}}, "optim.betas: got [-0.1, 0.9], expected two numbers in [0, 1)"),
        ({"optim": {"betas": [0.9]}}, "optim.betas: got [0.9], expected a list of 2 numbers"),
        ({"optim": {"betas": [0.9, 0.9, 0.9]}}, "optim.betas: got [0.9, 0.9, 0.9], expected a list of 2"),
        ({"optim": {"betas": [0.9, "x"]}}, "optim.betas: got 'x' in it, expected a list of 2 numbers"),
        ({"optim": {"betas": ["nan", 0.9]}}, "optim.betas: got 'nan' in it, expected a list of 2 numbers"),
        (
            {"evaluation": {"map_at": [50, 0]}},
            "evaluation.map_at: got [50, 0], expected whole numbers of at least 1",
        ),
        ({"training": {"epochs": 0}}, "training.epochs: got 0, expected a whole number of at least 1"),
        ({"evaluation": {"select": 3}}, "evaluation.select: got 3, expected a text"),
        (
            {"training": {"device": "cuda:x"}},
            "training.device: unknown device 'cuda:x', expected auto, cpu, cuda, cuda:N or mps",
        ),
        ({"training": {"device": "cpu:1"}}, "training.device: unknown device 'cpu:1'"),
        (
            {"data": {"name": "scenes", "min_objects": 9, "max_objects": 3}},
            "data: min_objects is 9 but max_objects is 3",
        ),
    ],
)
def test_messages(tree, message):
    assert problem_of(tree).startswith(message)


@pytest.mark.parametrize("ratio", [1, 1.0, -0.1, 40, float("nan"), float("inf"), "nan", "inf", "40%", [0.4]])
def test_noise_must_be_a_share(ratio):
    hint = "; did you mean 0.4?" if ratio in (40, "40%") else ""
    assert problem_of({"noise": {"ratio": ratio}}) == (
        f"noise.ratio: got {ratio!r}, expected a number in [0, 1){hint}"
    )


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "mps"])
def test_known_devices(device):
    assert resolve({"training": {"device": device}}).settings.training.device == device


# the noise file


def test_a_noise_file_decides_the_noise():
    tree = {"noise": {"file": "n.npy", "ratio": 0.2, "derange": True, "seed": 3, "protocol": "image"}}
    found = problems_of(tree)
    assert found[0].startswith("noise.ratio: a noise file decides the noise, so leave noise.ratio out")
    assert [line.partition(":")[0] for line in found] == [
        "noise.ratio",
        "noise.protocol",
        "noise.seed",
        "noise.derange",
    ]


def test_a_noise_file_beside_values_that_ask_for_nothing():
    config = resolve({"noise": {"file": "n.npy", "ratio": 0.0, "derange": False, "seed": None}})
    assert config.settings.noise.file == Path.cwd() / "n.npy"


# paths


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = resolve(
        {
            "data": {"name": "precomp", "root": "data/f8k"},
            "text": {"vocabulary": "~/words.json"},
            "noise": {"file": "noise.npz"},
        }
    )
    assert config.data.options.root == tmp_path / "data" / "f8k"
    assert config.settings.text.vocabulary == Path("/home/somebody/words.json")
    assert config.settings.noise.file == tmp_path / "noise.npz"


def test_a_home_folder_nobody_has():
    assert problem_of({"text": {"vocabulary": "~no-such-user-here/words.json"}}).startswith(
        "text.vocabulary: no home folder is known for '~no-such-user-here/words.json'"
    )


# there and back again


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {
            "seed": 11,
            "data": {"name": "precomp", "root": "somewhere", "captions_per_image": 1},
            "matcher": {"name": "omit", "partial": "mass", "mass": 0.7},
            "method": {"name": "rce", "floor": 1e-5, "mask_same_image": False},
            "noise": {"ratio": 0.25, "protocol": "image", "seed": 5, "derange": True},
            "optim": {"milestones": [2, 4], "clip": None, "lr": 1e-7},
            "evaluation": {"test": None},
        },
        {"noise": {"file": "noise.npy"}},
    ],
)
def test_the_saved_form_means_the_same(tree, tmp_path, monkeypatch):
    config = resolve(tree)
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # also when read from another folder
    again = resolve(read_config(tmp_path / "config.yaml"))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


# overrides


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("0.5", 0.5),
        ("null", None),
        ("", None),
        ("true", True),
        ("[3,5]", [3, 5]),
        ("omit", "omit"),
        ("'1e3'", "1e3"),
        ("infonce", "infonce"),
        ("2024-13-45", "2024-13-45"),
        ("a: [", "a: ["),
        ("cuda:1", "cuda:1"),
    ],
)
def test_values_are_read_as_yaml(raw, value):
    assert parse_value(raw) == value
    assert type(parse_value(raw)) is type(value)


def test_overrides_set_values_and_leave_the_tree_alone():
    tree = {"optim": {"lr": 1.0}, "matcher": "omit"}
    result = apply_overrides(
        tree,
        ["optim.lr=1e-4", "optim.clip=null", "optim.milestones=[3,5]", "matcher.dim=32", " noise.ratio =0.2"],
    )
    assert result == {
        "optim": {"lr": 1e-4, "clip": None, "milestones": [3, 5]},
        "matcher": {"name": "omit", "dim": 32},
        "noise": {"ratio": 0.2},
    }
    assert tree == {"optim": {"lr": 1.0}, "matcher": "omit"}
    config = resolve(result)
    assert (config.settings.optim.clip, config.settings.optim.milestones) == (None, (3, 5))


@pytest.mark.parametrize("text", ["optim.lr", "=3", "optim..lr=3", ".lr=3", "optim.=3"])
def test_an_override_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match=r"cannot read the override .*, expected KEY=VALUE such as"):
        apply_overrides({}, [text])


def test_an_override_below_a_value():
    with pytest.raises(ConfigError, match=r"cannot set seed\.x: seed is a value, not a section"):
        apply_overrides({"seed": 3}, ["seed.x=1"])


# composing


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_overrides_win_over_flags_and_flags_over_the_recipe(recipe):
    path = recipe("seed: 1\noptim: {lr: 1.0}\ntraining: {epochs: 1, batch_size: 16}\n")
    config = compose(path, {"training.epochs": 2, "training.batch_size": 32}, ["training.epochs=3"])
    training = config.settings.training
    assert (config.settings.seed, config.settings.optim.lr) == (1, 1.0)
    assert (training.batch_size, training.epochs) == (32, 3)


def test_without_a_recipe_flags_start_from_the_defaults():
    config = compose(None, {"noise.ratio": 0.4}, [])
    assert config.settings.noise.ratio == 0.4
    assert config.settings.training == resolve({}).settings.training


def test_another_plugin_drops_the_options_of_the_old_one(recipe):
    path = recipe("method: {name: hinge, margin: 0.4, switch_epoch: 2}\n")
    config = compose(path, {"method.name": "infonce"}, ["method.temperature=0.1"])
    assert config.method.cls is InfoNCE
    assert config.method.options.temperature == 0.1


@pytest.mark.parametrize("given", ["{name: robust, most_wrong: 0.4}", "{most_wrong: 0.4}"])
def test_the_same_plugin_keeps_them(recipe, given):
    config = compose(recipe(f"method: {given}\n"), {"method.name": "robust"}, [])
    assert config.method.options.most_wrong == 0.4


def test_a_flag_replaces_the_short_form(recipe):
    config = compose(recipe("method: hinge\n"), {"method.name": "rce"}, [])
    assert config.method.name == "rce"


# reading YAML


def test_yaml_errors_name_the_line(recipe):
    with pytest.raises(
        ConfigError, match=r"recipe\.yaml cannot be read as YAML: line 3, column 7: .*expected"
    ):
        read_config(Path(recipe("seed: 1\noptim:\n  lr: ]\ntraining: 2\n")))


def test_a_key_given_twice_is_an_error(recipe):
    with pytest.raises(ConfigError, match=r"line 4, column 3: the key 'lr' is given twice"):
        read_config(Path(recipe("seed: 1\noptim:\n  lr: 1\n  lr: 2\n")))


def test_anchors_and_merges_still_work(recipe):
    tree = read_config(Path(recipe("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")))
    assert tree["b"] == {"x": 1, "y": 3}


def test_yaml_cannot_run_code(recipe):
    with pytest.raises(
        ConfigError, match=r"cannot be read as YAML: line 1.*could not determine a constructor"
    ):
        read_config(Path(recipe("seed: !!python/object/apply:os.getpid []\n")))


def test_a_key_that_is_no_text(recipe):
    with pytest.raises(ConfigError, match=r"cannot be read as YAML: line 1.*unhashable"):
        read_config(Path(recipe("? [a, b]\n: 1\n")))


def test_a_date_that_is_none(recipe):
    with pytest.raises(ConfigError, match="cannot be read as YAML: month must be in"):
        read_config(Path(recipe("seed: 2024-13-45\n")))


def test_not_utf8(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"seed: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"cannot be read as YAML: .*utf-8"):
        read_config(path)


def test_an_empty_recipe_is_the_defaults(recipe):
    assert read_config(Path(recipe("# nothing but a comment\n"))) == {}


def test_a_recipe_must_hold_sections(recipe):
    with pytest.raises(ConfigError, match=r"holds a list, expected sections such as 'training:'"):
        read_config(Path(recipe("- 1\n- 2\n")))


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*gone\.yaml: No such file"):
        read_config(tmp_path / "gone.yaml")


# single plug-ins


def test_a_single_component():
    component = resolve_component("data", {"name": "precomp", "root": "x"})
    assert component.cls is Precomputed
    assert component.to_dict() == {
        "name": "precomp",
        "root": str(Path.cwd() / "x"),
        "captions_per_image": 5,
        "trusted": True,
    }


def test_a_single_component_with_two_problems():
    with pytest.raises(UserError) as caught:
        resolve_component("matcher", {"name": "omit", "dmi": 3, "iterations": 0})
    assert "matcher.dmi: unknown key; did you mean 'matcher.dim'?" in str(caught.value)
    assert "matcher.iterations: got 0, expected a whole number of at least 1" in str(caught.value)


# a third party's options


class Inner(Options):
    depth: int = Field(1, ge=0)


class Strange(Options):
    inner: Inner = Inner()
    either: int | str | None = 1
    weights: dict[str, float] = {}  # noqa: RUF012  # pydantic copies it
    by_name: dict[str, Inner] = {}  # noqa: RUF012  # pydantic copies it
    listed: list[Inner] | None = None
    few: float = Field(0.5, le=1)
    less: float = Field(0.5, lt=1)

    @model_validator(mode="after")
    def _fits(self):
        if self.few < 0:
            raise ValueError("few must not be negative")
        return self


@pytest.fixture
def strange(monkeypatch):
    class StrangeMethod(Hinge):
        Config = Strange

    monkeypatch.setitem(plugins.methods._registered, "strange", StrangeMethod)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner": {"dept": 1}}, "method.inner.dept: unknown key; did you mean 'method.inner.depth'?"),
        ({"inner": {"x": 1}}, "method.inner.x: unknown key (known: depth)"),
        (
            {"inner": {"depth": -1}},
            "method.inner.depth: got -1, expected a whole number of at least 0",
        ),
        ({"either": [1]}, "method.either: got [1], expected a whole number or a text or null"),
        ({"weights": 3}, "method.weights: got 3, input should be a valid dictionary"),
        ({"weights": {"a": "x"}}, "method.weights: got 'x', input should be a valid number"),
        (
            {"by_name": {"a": {"dept": 1}}},
            "method.by_name.a.dept: unknown key; did you mean 'method.by_name.a.depth'?",
        ),
        ({"by_name": {"a": {"name": 1}}}, "method.by_name.a.name: unknown key (known: depth)"),
        (
            {"by_name": {"a": {"depth": -1}}},
            "method.by_name.a.depth: got -1, expected a whole number of at least 0",
        ),
        ({"by_name": {"a": 3}}, "method.by_name.a: got 3, expected a section of options"),
        ({"by_name": 3}, "method.by_name: got 3, input should be a valid dictionary"),
        (
            {"listed": [{}, {"dept": 1}]},
            "method.listed.1.dept: unknown key; did you mean 'method.listed.1.depth'?",
        ),
        (
            {"listed": [{"depth": "x"}]},
            "method.listed.0.depth: got 'x', expected a whole number of at least 0",
        ),
        ({"few": 3}, "method.few: got 3, expected a number of at most 1"),
        ({"less": 3}, "method.less: got 3, expected a number below 1"),
        ({"few": -1}, "method: few must not be negative"),
        ({"inner": {1: 2}}, "method.inner.1: unknown key (known: depth)"),
    ],
)
def test_options_of_a_third_party(strange, options, message):
    assert problem_of({"method": {"name": "strange", **options}}).startswith(message)


def test_a_cosine_has_no_milestones():
    settings = resolve({"optim": {"schedule": "cosine"}}).settings
    assert settings.optim.milestones == ()
    again = resolve(yaml.safe_load(resolve({"optim": {"schedule": "cosine"}}).to_yaml()))
    assert again.settings.optim == settings.optim
    with pytest.raises(ConfigError, match=r"schedule is cosine and milestones are \[3\]"):
        resolve({"optim": {"schedule": "cosine", "milestones": [3]}})
