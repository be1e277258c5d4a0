"""What the track of the data decides: defaults, kinds of noise, what means nothing, and which methods fit."""

import importlib.metadata

import pytest
import yaml
from pydantic import Field

from robustcmr import plugins
from robustcmr.config.resolve import compose, read_config, resolve
from robustcmr.config.schema import NoiseOptions, Settings
from robustcmr.config.tracks import TRACKS
from robustcmr.data.base import DataSet, LabelledData
from robustcmr.errors import ConfigError
from robustcmr.matchers.omit import Omit
from robustcmr.matchers.two_tower import TwoTower
from robustcmr.methods.base import Method
from robustcmr.methods.label_baselines import MRL
from robustcmr.options import Options

LABELS = {"data": "scenes-labels"}


def problems_of(tree):
    with pytest.raises(ConfigError) as caught:
        resolve(tree)
    lines = str(caught.value).split("\n")
    return lines if len(lines) == 1 else [line.strip() for line in lines[1:]]


def problem_of(tree):
    (line,) = problems_of(tree)
    return line


@pytest.fixture
def named(monkeypatch):
    """Make a class known by a name, and forget it afterwards."""

    def announce(registry, name, cls):
        monkeypatch.setitem(registry._registered, name, cls)
        return name

    return announce


# defaults


def test_every_key_of_a_track_is_one_of_the_schema():
    for defaults in TRACKS.values():
        keys = [(section, key) for section, values in defaults.settings.items() for key in values]
        keys += [(section, key) for section, names in defaults.own.items() for key in names]
        for section, key in keys:
            assert key in Settings.model_fields[section].annotation.model_fields, f"{section}.{key}"


def test_every_kind_and_protocol_of_the_schema_is_of_one_track():
    for key, known in (("kind", "kinds"), ("protocol", "protocols")):
        (choices, _) = NoiseOptions.model_fields[key].annotation.__args__
        assert sorted(choices.__args__) == sorted(
            x for track in TRACKS.values() for x in getattr(track, known)
        )


def test_defaults_of_the_labels_track():
    config = resolve(LABELS)
    assert (config.matcher.name, config.matcher.cls) == ("two_tower", TwoTower)
    assert config.method.name == "uot_rcl"
    assert config.method.cls.track == "labels"
    settings = config.settings
    assert (settings.training.epochs, settings.training.batch_size) == (25, 100)
    optim = settings.optim
    assert (optim.name, optim.lr, optim.betas, optim.schedule) == ("adam", 1e-3, (0.5, 0.999), "cosine")
    assert (optim.weight_decay, optim.milestones, optim.clip) == (0.0, (), 2.0)
    assert (settings.noise.kind, settings.noise.protocol) == ("symmetric", "shared")


def test_defaults_of_the_pairs_track_are_as_they_were():
    config = resolve({})
    assert (config.matcher.name, config.matcher.cls, config.method.name) == ("omit", Omit, "robust")
    settings = config.settings
    assert (settings.training.epochs, settings.training.batch_size) == (12, 128)
    optim = settings.optim
    assert (optim.name, optim.lr, optim.betas, optim.schedule) == ("adamw", 2e-3, (0.9, 0.999), "milestones")
    assert (optim.weight_decay, optim.milestones) == (0.01, (8,))
    assert (settings.noise.kind, settings.noise.protocol) == ("mismatch", "caption")


def test_what_the_tree_says_wins_key_by_key():
    settings = resolve(
        {
            **LABELS,
            "optim": {"lr": 0.5, "schedule": "milestones", "milestones": [3]},
            "training": {"epochs": 2},
            "noise": {"kind": "instance", "protocol": "per_modality"},
        }
    ).settings
    assert (settings.optim.lr, settings.optim.schedule, settings.optim.milestones) == (
        0.5,
        "milestones",
        (3,),
    )
    assert (settings.optim.name, settings.optim.weight_decay) == ("adam", 0.0)
    assert (settings.training.epochs, settings.training.batch_size) == (2, 100)
    assert (settings.noise.kind, settings.noise.protocol) == ("instance", "per_modality")


@pytest.mark.parametrize("section", ["optim", "training"])
def test_an_empty_section_has_the_defaults_of_the_track(section):
    assert resolve({**LABELS, section: None}) == resolve(LABELS)


def test_a_section_that_is_none_is_told_and_not_hidden_by_the_defaults():
    assert problem_of({**LABELS, "optim": 3}) == "optim: got 3, expected a section of options"


def test_null_asks_for_the_default_of_the_track():
    tree = {**LABELS, "noise": {"kind": None, "protocol": None}}
    assert resolve(tree) == resolve(LABELS)


@pytest.mark.parametrize("tree", [{}, {**LABELS, "method": "mrl"}])
def test_a_noise_file_beside_kind_and_protocol_of_the_track(tree):
    config = resolve({**tree, "noise": {"file": "n.npz"}})
    track = TRACKS[config.data.cls.track]
    noise = config.settings.noise
    assert (noise.kind, noise.protocol) == (track.kinds[0], track.protocols[0])
    assert resolve(yaml.safe_load(config.to_yaml())) == config


# saved configurations


@pytest.mark.parametrize(
    "tree",
    [
        LABELS,
        {
            "data": {"name": "wikipedia", "root": "x"},
            "method": {"name": "mrl", "beta": 0.5},
            "noise": {"ratio": 0.4, "kind": "asymmetric", "class_map": [1, 0, 2]},
            "augmentation": {"feature_noise": 0.1},
            "evaluation": {"map_at": [1, 10], "test": None},
            "optim": {"betas": [0, 0.9]},
        },
        {**LABELS, "noise": {"redraw_true": True}, "evaluation": {"map_at": []}},
    ],
)
def test_the_saved_form_means_the_same(tree, tmp_path, monkeypatch):
    config = resolve(tree)
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    again = resolve(read_config(tmp_path / "config.yaml"))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


OLD = """
seed: 0
data: {name: precomp, root: /data/f8k, captions_per_image: 5, trusted: true}
noise: {ratio: 0.4, protocol: image, seed: null, derange: false, file: null}
matcher: {name: omit, dim: 64}
method: {name: hinge, margin: 0.05}
text: {vocabulary: null, min_count: 4}
augmentation: {drop_regions: 0.1, corrupt_words: 0.2}
optim: {name: adamw, lr: 0.002, weight_decay: 0.01, milestones: [8], decay: 0.1, warmup_steps: 0, clip: 2.0}
training: {epochs: 12, batch_size: 128, precision: fp32, device: auto, checkpoint_minutes: 5.0, workers: 0}
evaluation: {select: dev, test: test, batch_size: 256, rematch_images: 2000, block_mib: 256}
"""


def test_a_run_folder_from_before_there_were_labels():
    old = resolve(yaml.safe_load(OLD)).settings
    assert (old.noise.kind, old.noise.protocol, old.noise.ratio) == ("mismatch", "image", 0.4)
    assert (old.optim.betas, old.optim.schedule) == ((0.9, 0.999), "milestones")
    tree = yaml.safe_load(OLD)
    tree["noise"] = {"ratio": 0.0, "protocol": "caption", "seed": None, "derange": False, "file": "/n.npz"}
    assert resolve(tree).settings.noise.protocol == "caption"
    del tree["noise"]["protocol"]
    assert resolve(tree).settings.noise.protocol == "caption"


# what means nothing on a track


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("noise", "derange", True),
        ("augmentation", "drop_regions", 0.0),
        ("augmentation", "corrupt_words", 0.1),
        ("evaluation", "rematch_images", 100),
    ],
)
def test_keys_of_the_pairs_track_are_refused_for_labels(section, key, value):
    assert problem_of({**LABELS, "method": "mrl", section: {key: value}}) == (
        f"{section}.{key}: it is for the pairs track and the data set 'scenes-labels' is of the labels "
        "track; leave it out"
    )
    assert getattr(getattr(resolve({section: {key: value}}).settings, section), key) == value


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("noise", "redraw_true", True),
        ("noise", "class_map", [1, 0]),
        ("augmentation", "feature_noise", 0.1),
        ("evaluation", "map_at", []),
    ],
)
def test_keys_of_the_labels_track_are_refused_for_pairs(section, key, value):
    assert problem_of({section: {key: value}}) == (
        f"{section}.{key}: it is for the labels track and the data set 'scenes' is of the pairs track; "
        "leave it out"
    )


def test_how_texts_are_read_may_matter_for_labels_too():
    assert resolve({**LABELS, "text": {"min_count": 3}}).settings.text.min_count == 3


@pytest.mark.parametrize(
    ("data", "key", "value", "expected"),
    [
        ("scenes", "kind", "symmetric", "mismatch"),
        ("scenes", "protocol", "shared", "caption or image"),
        ("scenes-labels", "kind", "mismatch", "symmetric, asymmetric or instance"),
        ("scenes-labels", "protocol", "image", "shared or per_modality"),
    ],
)
def test_noise_of_the_other_track(data, key, value, expected):
    track = {"scenes": "pairs", "scenes-labels": "labels"}[data]
    assert problem_of({"data": data, "noise": {key: value}}) == (
        f"noise.{key}: got '{value}', and the data set '{data}' is of the {track} track; expected {expected}"
    )


@pytest.mark.parametrize(
    ("key", "value", "only"), [("redraw_true", True, "symmetric"), ("class_map", [1, 0], "asymmetric")]
)
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "instance"])
def test_keys_that_one_kind_of_noise_reads(key, value, only, kind):
    tree = {**LABELS, "noise": {"kind": kind, key: value}}
    if kind == only:
        assert resolve(tree).settings.noise.kind == kind
        return
    assert problem_of(tree) == (
        f"noise.{key}: only {only} noise reads it and noise.kind is '{kind}'; "
        f"leave it out, or add --set noise.kind={only}"
    )


def test_a_kind_of_the_other_track_is_told_without_what_follows_from_it():
    tree = {**LABELS, "noise": {"kind": "mismatch", "class_map": [1, 0], "redraw_true": True}}
    assert problem_of(tree).startswith("noise.kind: got 'mismatch', ")


def test_a_noise_file_excludes_everything_else_that_is_said_of_the_noise_and_each_is_told_once():
    said = {
        "ratio": 0.2,
        "kind": "instance",
        "protocol": "per_modality",
        "seed": 3,
        "derange": True,
        "redraw_true": True,
        "class_map": [1, 0],
    }
    found = problems_of({**LABELS, "noise": {"file": "n.npz", **said}})
    assert found == [
        f"noise.{key}: a noise file decides the noise, so leave noise.{key} out or noise.file" for key in said
    ]


# methods and data


def test_a_method_for_pairs_on_labels():
    line = problem_of({**LABELS, "method": "l2rm"})
    start, _, names = line.partition("; methods that would work: ")
    assert start == (
        "method.name: method 'l2rm' is for the pairs track and the data set 'scenes-labels' is of the "
        "labels track"
    )
    assert {"label_ce", "mrl"} <= set(names.split(", "))
    assert not {"l2rm", "hinge", "infonce", "rce"} & set(names.split(", "))


def test_a_method_for_labels_on_pairs():
    line = problem_of({"method": "mrl"})
    start, _, names = line.partition("; methods that would work: ")
    assert start == (
        "method.name: method 'mrl' is for the labels track and the data set 'scenes' is of the pairs track"
    )
    assert {"hinge", "infonce", "l2rm", "rce"} <= set(names.split(", "))
    assert not {"label_ce", "mrl", "uot_rcl"} & set(names.split(", "))


def test_a_broken_method_is_not_among_those_that_would_work(monkeypatch):
    real = importlib.metadata.entry_points
    extra = importlib.metadata.EntryPoint("broken", "no.such.module:X", "robustcmr.methods")
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [*real(group=group), *([extra] if group == extra.group else [])],
    )
    line = problem_of({**LABELS, "method": "l2rm"})
    assert "broken" in plugins.methods.names()
    assert "mrl" in line
    assert "broken" not in line


def test_where_no_method_would_work(monkeypatch):
    monkeypatch.setattr(plugins.methods, "names", lambda: ["l2rm"])
    assert problem_of({**LABELS, "method": "l2rm"}).endswith("labels track; no method here is for that")


def test_a_third_party_method_is_for_pairs_unless_it_says_otherwise(named):
    class Own(Method):
        """Anything."""

        Config = Options

        def training_step(self, batches):
            raise NotImplementedError

    class ForLabels(Own):
        track = "labels"

    named(plugins.methods, "own", Own)
    named(plugins.methods, "own_labels", ForLabels)
    assert resolve({"method": "own"}).method.cls is Own
    assert resolve({**LABELS, "method": "own_labels"}).method.cls is ForLabels
    assert "own_labels" in problem_of({**LABELS, "method": "own"}).partition("would work: ")[2]


# data that is not known


class Nothing(DataSet):
    """It says no track."""

    class Config(Options):
        size: int = Field(3, description="how large")

    def splits(self):
        return ("train",)

    def split(self, name):
        raise AssertionError("its track is asked first")

    def fingerprint(self, split):
        return ""


@pytest.mark.parametrize(
    ("track", "says"),
    [(None, "has no track"), ("images", "has the track 'images'"), (["x"], "the track ['x']")],
)
def test_an_unknown_track_is_one_sentence(named, track, says):
    cls = Nothing if track is None else type("Odd", (Nothing,), {"track": track})
    named(plugins.datasets, "odd", cls)
    tree = {"data": "odd", "noise": {"kind": "symmetric", "class_map": [1]}, "method": {"margin": 0.1}}
    line = problem_of(tree)
    assert line.startswith("data.name: data set 'odd' has ")
    assert says in line
    assert line.endswith(", expected its class to set track = pairs or labels")


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"method": {"name": "mrl", "beta": 0.5}, "noise": {"kind": "instance"}},
        {"method": {"margin": 0.1}, "matcher": {"hidden": [3]}, "augmentation": {"feature_noise": 0.1}},
        {"noise": {"file": "n.npz", "kind": "mismatch", "protocol": "caption"}},
    ],
)
def test_data_that_cannot_be_loaded_is_the_only_problem(rest):
    known = ", ".join(plugins.datasets.names())
    assert problem_of({"data": "scnes", **rest}) == (
        f"data.name: unknown data set 'scnes'; did you mean 'scenes'? (known: {known})"
    )


def test_mistakes_that_need_no_data_are_told_beside_it():
    assert [
        line.partition(":")[0] for line in problems_of({"data": "scnes", "matcher": 3, "method": "hingee"})
    ] == [
        "data.name",
        "matcher",
        "method.name",
    ]


def test_bad_options_of_the_data_hide_neither_its_track_nor_other_mistakes():
    found = problems_of({"data": {"name": "scenes-labels", "n_trian": 3}, "method": "l2rm"})
    assert [line.partition(":")[0] for line in found] == ["data.n_trian", "method.name"]


# composing


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_flag_that_chooses_the_default_of_the_track_keeps_its_options(recipe):
    path = recipe("data: scenes-labels\nmatcher: {dim: 32}\n")
    config = compose(path, {"matcher.name": "two_tower", "method.name": "mrl"}, [])
    assert config.matcher.options.dim == 32
    assert config.method.cls is MRL


def test_a_flag_that_chooses_another_than_the_default_of_the_track_drops_them(recipe):
    path = recipe("data: scenes-labels\nmethod: mrl\nmatcher: {hidden: [8]}\n")
    config = compose(path, {"matcher.name": "embeddings"}, [])
    assert config.matcher.name == "embeddings"


def test_data_of_another_track_drops_the_options_of_its_defaults(recipe):
    path = recipe("matcher: {dim: 32, word_dim: 8}\nmethod: {most_wrong: 0.4}\n")
    assert compose(path, {}, []).matcher.options.word_dim == 8
    config = compose(path, {"data.name": "scenes-labels"}, [])
    assert (config.matcher.cls, config.method.name) == (TwoTower, "uot_rcl")
    assert config.matcher.options == TwoTower.Config()


def test_data_of_the_same_track_keeps_them(recipe):
    path = recipe("matcher: {dim: 32}\ndata: {n_train: 20}\n")
    config = compose(path, {"data.name": "precomp", "data.root": "x"}, [])
    assert (config.data.name, config.matcher.options.dim) == ("precomp", 32)


def test_a_name_that_is_written_stays_and_is_refused(recipe):
    path = recipe("matcher: {name: two_tower}\nmethod: {name: l2rm, margin: 0.4}\n")
    with pytest.raises(ConfigError, match=r"method\.name: method 'l2rm' is for the pairs track"):
        compose(path, {"data.name": "scenes-labels"}, [])


def test_an_override_of_the_data_brings_the_defaults_of_its_track():
    config = compose(None, {"method.name": "mrl"}, ["data.name=scenes-labels"])
    assert (config.matcher.cls, config.settings.training.epochs) == (TwoTower, 25)


@pytest.mark.parametrize("data", ["scnes", "{name: [1]}"])
def test_a_recipe_whose_data_is_not_known_keeps_its_options_for_the_flag(recipe, data):
    path = recipe(f"data: {data}\nmethod: {{beta: 0.5}}\n")
    config = compose(path, {"data.name": "scenes-labels", "method.name": "mrl"}, [])
    assert config.method.options.beta == 0.5
    with pytest.raises(ConfigError, match=r"^data"):
        compose(path, {"method.name": "mrl"}, [])


def test_labelled_data_of_a_third_party(named):
    class Own(LabelledData):
        """Anything."""

        Config = Options

        def splits(self):
            return ("train",)

        def split(self, name):
            raise NotImplementedError

        def fingerprint(self, split):
            return ""

    named(plugins.datasets, "own", Own)
    config = resolve({"data": "own", "method": "label_ce"})
    assert (config.matcher.cls, config.settings.training.batch_size) == (TwoTower, 100)
