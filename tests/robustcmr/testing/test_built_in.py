"""Everything built in keeps its contract, as the conformance kit sees it."""

from dataclasses import replace

import numpy as np
import pytest

from robustcmr import plugins
from robustcmr.errors import ConfigError, UserError
from robustcmr.methods import robust
from robustcmr.selection import divide_by_mixture
from robustcmr.testing import (
    LABEL_METHOD_CHECKS,
    LABELLED_CHECKS,
    MATCHER_CHECKS,
    METHOD_CHECKS,
    ConformanceError,
    check_dataset,
    check_matcher,
    check_method,
    sample_spec,
)


def spec_for(cls, config):
    """The spec of a built-in: with pictures and a tokenizer's indices, or text vectors, if it needs them."""
    if cls.inputs(config).image_processor is not None:
        pictures = sample_spec(picture_size=(32, 32))
        return replace(pictures, vocabulary_size=390, words=(), padding_index=389, unknown_index=389)
    try:
        cls(config, sample_spec())
    except UserError:
        return sample_spec(text_width=12)
    return sample_spec()


@pytest.mark.parametrize("name", plugins.matchers.names())
def test_built_in_matchers_pass(name, clip_folder):
    cls = plugins.matchers.load(name)
    config = cls.Config(**({"weights": str(clip_folder)} if name == "clip" else {}))
    check_matcher(name, config, spec_for(cls, config))


@pytest.mark.parametrize("options", [{"head": "linear"}, {"head": "linear", "backbone_lr": 0.0}])
def test_clip_with_a_head_passes(clip_folder, options):
    given = {"weights": str(clip_folder), **options}
    cls = plugins.matchers.load("clip")
    report = check_matcher("clip", given, spec_for(cls, cls.Config(**given)))
    assert report.passed == tuple(MATCHER_CHECKS)
    with pytest.raises(ConfigError, match="give spec= with the size of the pictures"):
        check_matcher("clip", given)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("two_tower", {"dim": 8, "hidden": [16, 12], "dropout": 0.3}),
        ("two_tower", {"dim": 8, "hidden": []}),
        ("embeddings", {"dim": 8, "texts": "vectors"}),
        ("embeddings", {"dim": 8, "texts": "words"}),
        ("embeddings", {"dim": 8, "head": "mlp", "dropout": 0.3, "normalise_inputs": False}),
    ],
)
def test_matchers_of_text_vectors_pass(name, options):
    assert check_matcher(name, options, sample_spec(text_width=7)).passed == tuple(MATCHER_CHECKS)


@pytest.mark.parametrize("partial", ["bins", "mass"])
def test_variants_of_omit_pass(partial):
    report = check_matcher("omit", {"partial": partial, "marginals": "norm", "dim": 16, "word_dim": 8})
    assert report.passed == tuple(MATCHER_CHECKS)


@pytest.mark.parametrize("name", plugins.methods.names())
def test_built_in_methods_of_both_tracks_pass(name):
    report = check_method(name, epochs=2)
    assert "learning" in report.passed


def test_robust_with_a_division_and_two_groups(monkeypatch):
    def always(evidence, reference, threshold):
        return divide_by_mixture(evidence, "gaussian", threshold, always=True)

    monkeypatch.setattr(robust, "divide_by_reference", always)
    report = check_method("robust", {"warmup_epochs": 1, "groups": "split", "least_findable": 0}, epochs=3)
    # it draws images for captions before a step, and moves no mass within one
    assert report.passed == tuple(name for name in METHOD_CHECKS if name != "rematches")


def test_l2rm_with_a_division():
    report = check_method("l2rm", {"warmup_epochs": 1, "mixture": "gaussian"}, epochs=2)
    assert {"learning", "estimates", "resuming"} <= set(report.passed)


@pytest.mark.parametrize("name", ["label_ce", "mrl"])
def test_every_check_applies_to_a_method_with_anchors(name):
    assert check_method(name, epochs=2).passed == tuple(LABEL_METHOD_CHECKS)


@pytest.mark.parametrize(
    "options", [{}, {"semantic": False}, {"relation": False}, {"transitions": "none", "prior": "uniform"}]
)
def test_uot_rcl_past_its_warmup(options):
    assert check_method("uot_rcl", {"warmup_epochs": 1, **options}, epochs=3).passed == tuple(
        LABEL_METHOD_CHECKS
    )


def test_scenes_pass():
    report = check_dataset("scenes", {"n_train": 12, "n_dev": 4, "n_test": 4})
    assert set(report.not_applicable) == {"text_vectors"}


def test_precomputed_folders_pass(data_folder):
    report = check_dataset("precomp", {"root": str(data_folder)})
    assert set(report.not_applicable) == {"text_vectors", "pictures", "image_names"}


def test_a_damaged_folder_is_reported(make_folder, tmp_path):
    root = make_folder(tmp_path / "damaged")
    numbers = np.load(root / "dev_ims.npy")
    numbers[0] = np.inf
    np.save(root / "dev_ims.npy", numbers)
    with pytest.raises(ConformanceError, match="features of dev: 1 of the 12 sampled entries"):
        check_dataset("precomp", {"root": str(root)})


def test_labelled_scenes_pass():
    report = check_dataset("scenes-labels", {"n_train": 18, "n_dev": 9, "n_test": 9, "text_width": 8})
    assert report.passed == tuple(LABELLED_CHECKS)


@pytest.mark.parametrize("prepared", [{}, {"standardise": "train", "normalise": True}])
def test_labelled_files_pass(labelled_folder, prepared):
    report = check_dataset("labelled", {"root": str(labelled_folder), **prepared})
    assert set(report.not_applicable) == {"captions", "pictures"}
