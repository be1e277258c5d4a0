"""A third party's matcher of three methods gets everything that Python offers."""

import numpy as np
import pytest

import robustcmr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return robustcmr.train(
        data="colours",
        matcher="pooled",
        noise=0.4,
        epochs=6,
        batch_size=40,
        device="cpu",
        settings={"optim.lr": 0.01},
        output=tmp_path_factory.mktemp("third") / "run",
        progress=False,
    )


@pytest.fixture(scope="module")
def flags():
    from example_plugin.dataset import Colours

    return Colours(Colours.Config()).split("test")


def test_outcome_and_estimates(run, tmp_path):
    assert "pooled" in robustcmr.list_matchers()
    assert run.results.matcher == "pooled"
    assert run.results.rsum > 150  # chance is about 80
    assert len(run.pairs) == 240
    suspects = run.suspects(5)
    assert suspects[0]["image_name"].startswith("train flag")
    assert suspects._repr_html_().count("data:image/webp") >= 5
    assert run.report(tmp_path / "page.html", gallery=2).stat().st_size > 10_000
    assert robustcmr.compare(run).rows[0].method == "robust"


def test_embed_score_search(run, flags):
    loaded = robustcmr.load(run.path, device="cpu", batch_size=16)
    regions = flags.features.take(np.arange(40))
    images, texts = loaded.embed_images(regions), loaded.embed_texts(flags.captions)
    assert (images.vectors.shape, texts.vectors.shape) == ((40, 32), (80, 32))
    scores = loaded.score(images, texts)
    np.testing.assert_allclose(scores, images.vectors @ texts.vectors.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        scores, loaded.score(list(regions), iter(flags.captions)), rtol=1e-5, atol=1e-5
    )
    hits = loaded.search("a flag of red, white and blue", k=5)
    assert hits.search == "vectors"
    assert [hit.name for hit in hits] == [f"test flag {hit.index}" for hit in hits]
    assert all(len(hit.captions) == 2 for hit in hits)
    assert hits._repr_html_().count("data:image/webp") == 5
    row = int(np.argmax(scores.max(1)))
    found = loaded.search(image=regions[row : row + 1], k=3)
    np.testing.assert_allclose([hit.score for hit in found], np.sort(scores[row])[::-1][:3], rtol=1e-5)


def test_the_command_line(run, tmp_path, monkeypatch, capsys):
    import sys

    from robustcmr.cli.main import run as command

    (tmp_path / "captions.txt").write_text("a flag of red, white and blue\n")
    words = (
        "embed",
        str(run.path),
        "--captions",
        str(tmp_path / "captions.txt"),
        "-o",
        str(tmp_path / "vectors"),
    )
    monkeypatch.setattr(sys, "argv", ["robustcmr", *words])
    with pytest.raises(SystemExit):
        command()
    monkeypatch.setattr(sys, "argv", ["robustcmr", "search", str(run.path), "a flag of red, white and blue"])
    with pytest.raises(SystemExit):
        command()
    assert "test flag" in capsys.readouterr().out
    assert np.load(tmp_path / "vectors" / "texts.npy").shape == (1, 32)
