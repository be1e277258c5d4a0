"""The embedded labelled data set: its classes are true, it is the same each time, and it can be learned."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustcmr.data.bag_of_words import BagOfWords
from robustcmr.data.base import LabelledData
from robustcmr.data.scenes.build import BOXES, Recipe
from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.data.scenes.regions import region_boxes, region_features
from robustcmr.data.scenes.vocabulary import COLOURS, SHAPES
from robustcmr.data.scenes_labels import (
    COLOUR_FAMILIES,
    GRAMMAR,
    KINDS,
    LAYOUT_OPTIONS,
    SHAPE_FAMILIES,
    ScenesLabels,
    kind_of_scene,
)
from robustcmr.errors import DataError

SIZES = {"train": 300, "dev": 20, "test": 100}


def build(folder, **options):
    """A data set in a cache of its own, all splits opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTCMR_CACHE", str(folder))
        given = {f"n_{name}": n for name, n in SIZES.items()} | {"standardise": "none"} | options
        data = ScenesLabels(ScenesLabels.Config(**given))
        for name in data.splits():
            data.split(name)
        files = {path.name: path.read_bytes() for path in data.folder().iterdir()}
    return data, files


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def data(built):
    return built[0]


def test_form(data):
    assert isinstance(data, LabelledData)
    assert data.splits() == tuple(SIZES)
    for name, n in SIZES.items():
        split = data.split(name)
        assert split.name == name
        assert split.images.shape == (n, 1, 864)
        assert split.texts.shape == (n, 1, 128)
        assert split.labels.dtype == np.int64
        assert len(split) == len(split.captions) == len(data.scenes(name)) == n
        assert split.class_names == KINDS
        assert split.trusted
        times = np.bincount(split.labels, minlength=9)
        assert times.max() - times.min() <= 1
        assert data.split(name) is split


def test_families_cover_everything_once():
    assert sorted(shape for family in SHAPE_FAMILIES.values() for shape in family) == sorted(SHAPES)
    assert sorted(colour for family in COLOUR_FAMILIES.values() for colour in family) == sorted(COLOURS)
    assert len(set(KINDS)) == 9


def test_labels_are_what_most_objects_are(data):
    """By counting names of kinds, in another way than the data set does."""
    for name in SIZES:
        for scene, label in zip(data.scenes(name), data.split(name).labels, strict=True):
            named = Counter()
            for thing in scene.things:
                (shape,) = [family for family, members in SHAPE_FAMILIES.items() if thing.shape in members]
                (colour,) = [family for family, members in COLOUR_FAMILIES.items() if thing.colour in members]
                named[f"{colour} and {shape}"] += 1
            assert named[KINDS[label]] >= 0.6 * len(scene.things)
            assert all(times < named[KINDS[label]] for kind, times in named.items() if kind != KINDS[label])


def scene_of(*looks):
    things = [Thing(shape, colour, "big", "plain", 0.5, 0.5, 0.1, 0.0) for shape, colour in looks]
    return Scene("white", tuple(things), ())


def test_kind_of_scene():
    red_circle, pink_moon, black_house = ("circle", "red"), ("moon", "pink"), ("house", "black")
    assert KINDS[kind_of_scene(scene_of(red_circle, pink_moon, black_house), 0.6)] == "warm and round"
    assert kind_of_scene(scene_of(red_circle, pink_moon, black_house), 0.7) is None
    assert kind_of_scene(scene_of(red_circle, black_house), 0.0) is None
    assert KINDS[kind_of_scene(scene_of(black_house), 1.0)] == "deep and blocky"


def test_image_vectors_pool_the_pixels(data):
    config = data.config
    recipe = Recipe(config.seed, 101, LAYOUT_OPTIONS, GRAMMAR, 0.02, 0.08)
    split = data.split("dev")
    stored = split.images.take(np.arange(3))[:, 0]
    for image in range(3):
        scene, picture = data.scenes("dev")[image], split.picture(image)
        assert picture.size == (96, 96)
        # which candidate it was is not told; the picture itself fixes all but the jitter of the boxes
        found = False
        for candidate in range(400):
            boxes = region_boxes(scene, recipe.chance(candidate, BOXES), 0.08)
            pixels = region_features(picture, boxes)[:, :432].astype(np.float64)
            expected = np.concatenate([np.sum(pixels, axis=0) / 12, np.sort(pixels, axis=0)[-1]])
            found = found or np.allclose(stored[image], expected, atol=1e-5)
        assert found


def test_pictures_show_their_scenes(data):
    split = data.split("test")
    first, again = (np.asarray(split.picture(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, np.asarray(split.picture(8)))
    with pytest.raises(IndexError, match=r"image must lie in 0\.\.99, got 100"):
        split.picture(100)
    copied = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(np.asarray(copied.picture(7)), first)


def test_text_vectors_know_the_training_words_alone(data):
    train, dev = data.split("train"), data.split("dev")
    bag = BagOfWords(train.captions, 128, data.config.seed)
    np.testing.assert_allclose(dev.texts.take(np.arange(20))[:, 0], bag.vectors(dev.captions), atol=1e-6)
    assert all(text.count(" . ") == 2 for text in train.captions)


def test_same_each_time(built, tmp_path):
    data, files = built
    again, files_again = build(tmp_path)
    assert files == files_again
    assert [again.fingerprint(name) for name in SIZES] == [data.fingerprint(name) for name in SIZES]


def test_seeds_and_options_change_it(data, tmp_path):
    small = {f"n_{name}": 9 for name in SIZES}
    base, _ = build(tmp_path, **small)
    marks = {base.fingerprint(name) for name in SIZES}
    assert len(marks) == 3
    for change in ({"seed": 1}, {"captions": 1}, {"text_width": 64}, {"purity": 0.8}):
        other, _ = build(tmp_path, **small, **change)
        assert other.fingerprint("train") not in marks
    one, _ = build(tmp_path, **small, captions=1)
    assert all(" . " not in text for text in one.split("train").captions)
    # as many pairs of a split are drawn, whatever the sizes of the others
    more, _ = build(tmp_path, **{**small, "n_dev": 12})
    assert more.fingerprint("test") == base.fingerprint("test")


def test_splits_share_no_scene(data):
    seen = [str(scene.things) for name in SIZES for scene in data.scenes(name)]
    assert len(set(seen)) == len(seen)


def test_it_can_be_learned_but_is_not_trivial(data):
    """With 300 of the usual 2,000 training pairs; chance is 11%."""
    train, test = data.split("train"), data.split("test")
    for key, low, high in (("images", 0.25, 0.75), ("texts", 0.5, 0.92)):
        x = {s.name: getattr(s, key).take(np.arange(len(s)))[:, 0] for s in (train, test)}
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))
        model.fit(x["train"], train.labels)
        assert low < model.score(x["test"], test.labels) < high


def test_unknown_split(data):
    with pytest.raises(DataError, match="scenes-labels has no split 'val'; expected one of train, dev, test"):
        data.split("val")


@pytest.mark.parametrize(
    "options",
    [{"n_train": 8}, {"purity": 0.9}, {"captions": 6}, {"captions": 0}, {"text_width": 1}, {"k": 1}],
)
def test_options_that_are_refused(options):
    with pytest.raises(ValidationError):
        ScenesLabels.Config(**options)


def test_default_sizes():
    config = ScenesLabels.Config()
    assert (config.n_train, config.n_dev, config.n_test) == (2000, 400, 600)


def test_things_are_judged_by_shape_and_colour_alone():
    scene = scene_of(("star", "blue"), ("arrow", "green"), ("ring", "red"))
    turned = replace(
        scene, background="dark", things=tuple(replace(t, size="small", x=0.1) for t in scene.things)
    )
    assert kind_of_scene(scene, 0.6) == kind_of_scene(turned, 0.6) == KINDS.index("cool and pointed")


def test_standardised_by_the_training_pairs(data, tmp_path):
    plain = {name: data.split(name) for name in SIZES}
    scaled, _ = build(tmp_path, standardise="train")
    for side in ("images", "texts"):
        rows = {name: np.arange(n) for name, n in SIZES.items()}
        train = getattr(plain["train"], side).take(rows["train"]).astype(np.float64)
        spread = train.std(0)
        spread[train.min(0) == train.max(0)] = 1
        for name in SIZES:
            raw = getattr(plain[name], side).take(rows[name])
            found = getattr(scaled.split(name), side).take(rows[name])
            np.testing.assert_allclose(found, (raw - train.mean(0)) / spread, rtol=1e-3, atol=1e-4)
    assert scaled.fingerprint("train") != data.fingerprint("train")


def test_how_vectors_are_prepared_leaves_the_files_alone(built, tmp_path):
    assert build(tmp_path, standardise="train")[1] == built[1]
