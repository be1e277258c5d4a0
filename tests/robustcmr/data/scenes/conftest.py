import numpy as np
import pytest

from robustcmr.data.scenes import Scenes
from robustcmr.data.scenes.grammar import GrammarOptions, write_captions
from robustcmr.data.scenes.layout import LayoutOptions, sample_scene


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A data set of a few pictures, in a cache of its own, all splits opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTCMR_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = Scenes(Scenes.Config(n_train=24, n_dev=6, n_test=10))
        for name in data.splits():
            data.split(name)
    return data


@pytest.fixture(scope="session")
def many():
    """300 scenes with their captions, as (scene, captions); no pictures."""
    rng = np.random.Generator(np.random.PCG64(5))
    layout = LayoutOptions(min_objects=3, max_objects=7, repeats=0.45, rotation=8.0, occlusion=0.4)
    grammar = GrammarOptions(attribute_dropout=0.35, background_mentions=0.2, synonyms=True)
    scenes = [sample_scene(rng, layout) for _ in range(300)]
    return [(scene, write_captions(scene, rng, grammar)) for scene in scenes]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
