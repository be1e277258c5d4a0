import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from robustcmr.data.base import PairsData
from robustcmr.data.scenes import Scenes
from robustcmr.data.scenes.truth import satisfies
from robustcmr.errors import DataError, UserError

ROOT = Path(__file__).resolve().parents[4]
TINY = {"n_train": 3, "n_dev": 2, "n_test": 2}


def files(data):
    return {path.name: path.read_bytes() for path in sorted(data.folder().iterdir())}


def test_splits_have_the_promised_form(small):
    assert isinstance(small, PairsData)
    assert small.splits() == ("train", "dev", "test")
    for name, n in (("train", 24), ("dev", 6), ("test", 10)):
        split = small.split(name)
        assert split.name == name
        assert split.n_images == n
        assert split.features.shape == (n, 12, 436)
        assert len(split.captions) == 5 * n
        assert all(isinstance(caption, str) and caption for caption in split.captions)
        assert split.image_of_caption.dtype == np.int64
        np.testing.assert_array_equal(split.image_of_caption, np.arange(5 * n) // 5)
        assert len(set(split.image_names)) == n


def test_default_sizes():
    config = Scenes.Config()
    assert (config.n_train, config.n_dev, config.n_test) == (1500, 300, 500)


def test_features_are_centred_numbers(small):
    features = small.split("train").features.take(np.arange(24))
    assert features.dtype == np.float32
    assert features.min() >= -1
    assert features.max() <= 1
    assert abs(features.mean()) < 0.5
    assert features.std() > 0.3


def test_features_are_cut_from_the_picture(small):
    """A second cutting, box by box, from the picture drawn anew, must give the very same pixels."""
    split = small.split("test")
    features = split.features.take(np.arange(split.n_images))
    for image in range(split.n_images):
        picture = split.picture(image)
        assert picture.size == (96, 96)
        assert picture.mode == "RGB"
        for region in features[image]:
            box = np.rint((region[-4:] + 1) * 48).astype(int)
            crop = picture.resize((12, 12), Image.Resampling.BILINEAR, box=tuple(box.tolist()))
            expected = np.asarray(crop, dtype=np.float64).ravel() / 127.5 - 1
            np.testing.assert_allclose(region[:-4], expected, atol=1e-6)


def test_picture_out_of_range_and_pickling(small):
    split = small.split("dev")
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(np.asarray(copy.picture(2)), np.asarray(split.picture(2)))
    np.testing.assert_array_equal(copy.features.take(np.array([1])), split.features.take(np.array([1])))
    for image in (-1, 6):
        with pytest.raises(IndexError, match=r"0\.\.5"):
            split.picture(image)


def oracle_rsum(satisfied, own):
    """Expected sum of recalls in percent if all fitting candidates are ranked first, in random order."""
    rivals, n_images = satisfied.sum(axis=1) - 1, satisfied.shape[1]  # other images that fit each caption
    counts = np.bincount(own, minlength=n_images)
    strangers = satisfied.sum(axis=0) - counts  # captions of others that fit each image
    total = 0.0
    for k in (1, 5, 10):
        missed = np.ones(n_images)  # all of the first k places hold strangers
        for step in range(k):
            missed *= np.maximum(strangers - step, 0) / (strangers + counts - step).clip(1)
        total += 100 * (1 - missed).mean() + 100 * np.minimum(1, k / (rivals + 1)).mean()
    return total


def test_captions_are_true_of_their_pictures_and_rarely_of_others(small):
    for name in small.splits():
        split = small.split(name)
        images = np.arange(split.n_images)
        table = np.stack([small.fits(name, row, images) for row in range(len(split.captions))])
        assert table[np.arange(len(table)), split.image_of_caption].all()
        others = (table.sum() - len(table)) / (table.size - len(table))
        assert others < 0.01
        assert oracle_rsum(table, split.image_of_caption) > 560


def test_fits_answers_in_the_order_asked(small):
    scenes, meanings = small.scenes("train"), small.meanings("train")
    images = np.array([7, 1, 1, 0, 23])
    for row in (0, 5, 35):
        expected = [satisfies(scenes[image], meanings[row]) for image in images]
        assert small.fits("train", row, images).tolist() == expected


def test_seed_and_split_change_everything(cache):
    first, second = (Scenes(Scenes.Config(seed=seed, **TINY)) for seed in (0, 1))
    assert first.folder() != second.folder()
    assert first.split("train").captions != second.split("train").captions
    prints = {data.fingerprint(name) for data in (first, second) for name in data.splits()}
    assert len(prints) == 6
    assert first.split("train").captions[:10] != first.split("test").captions[:10]
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in prints)


def test_a_smaller_set_is_the_start_of_a_larger_one(cache):
    few, more = (Scenes(Scenes.Config(**(TINY | {"n_train": n}))).split("train") for n in (2, 4))
    assert more.captions[:10] == few.captions
    np.testing.assert_array_equal(more.features.take(np.arange(2)), few.features.take(np.arange(2)))


def test_cache_is_used_again(cache, caplog):
    config = Scenes.Config(**TINY)
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        Scenes(config).split("train")
        assert caplog.text.count("drawing 7 scenes") == 1
        Scenes(config).split("train")
        assert caplog.text.count("drawing 7 scenes") == 1


def test_opening_twice_gives_the_same_split(small):
    assert small.split("train") is small.split("train")


def test_damaged_features_are_built_again(cache, caplog):
    config = Scenes.Config(**TINY)
    before = Scenes(config)
    path = before.folder() / "train_ims.npy"
    good, content = path.read_bytes(), before.fingerprint("train")
    path.write_bytes(good[:-8] + b"\x00" * 8)
    after = Scenes(config)
    assert after.fingerprint("train") == content
    assert "damaged" in caplog.text
    assert path.read_bytes() == good


def test_two_processes_at_once_give_the_bytes_of_a_third(cache, tmp_path):
    data = Scenes(Scenes.Config(**TINY))
    program = (
        "from robustcmr.data.scenes import Scenes\n"
        f"data = Scenes(Scenes.Config(**{TINY!r}))\n"
        "print([data.fingerprint(name) for name in data.splits()])\n"
    )
    environment = os.environ | {"ROBUSTCMR_CACHE": str(tmp_path / "other"), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "77")
    ]
    told = [process.communicate(timeout=120)[0].strip() for process in running]
    assert told == [str([data.fingerprint(name) for name in data.splits()])] * 2
    (folder,) = (tmp_path / "other" / "scenes").iterdir()
    assert files(data) == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_unwritable_cache_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError) as caught:
        Scenes(Scenes.Config(**TINY)).split("train")
    message = str(caught.value)
    assert "ROBUSTCMR_CACHE" in message
    assert str(tmp_path / "file") in message
    assert "\n" not in message


def test_unknown_split_names_the_known_ones(small):
    for call in (small.split, small.fingerprint):
        with pytest.raises(DataError, match=r"'val'.*train, dev, test"):
            call("val")


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"n_train": 0},
        {"n_test": -5},
        {"min_objects": 2},
        {"max_objects": 10},
        {"min_objects": 6, "max_objects": 5},
        {"pixel_noise": -0.1},
        {"pixel_noise": float("nan")},
        {"attribute_dropout": 1.5},
        {"occlusion": 0.6},
        {"rotation": 45},
        {"box_jitter": 0.5},
        {"colour": "red"},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        Scenes.Config(**wrong)


def test_every_option_is_described():
    for name, field in Scenes.Config.model_fields.items():
        assert field.description, name


def test_every_option_changes_the_data(cache):
    changes = {
        "seed": 3,
        "min_objects": 6,
        "max_objects": 4,
        "repeats": 1.0,
        "occlusion": 0.05,
        "rotation": 0.0,
        "pixel_noise": 0.2,
        "box_jitter": 0.2,
        "attribute_dropout": 0.9,
        "background_mentions": 1.0,
        "synonyms": False,
    }
    assert set(changes) | {"n_train", "n_dev", "n_test"} == set(Scenes.Config.model_fields)
    sizes = {"n_train": 8, "n_dev": 1, "n_test": 1}
    prints = [
        Scenes(Scenes.Config(**sizes, **{name: value})).fingerprint("train")
        for name, value in changes.items()
    ]
    prints.append(Scenes(Scenes.Config(**sizes)).fingerprint("train"))
    assert len(set(prints)) == len(prints)
