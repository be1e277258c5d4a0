"""Training on people's own pairs: vectors beside parquet, a folder of pictures, an audit."""

import csv
import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import robustcmr
from robustcmr.data.source import SourcePairs
from robustcmr.errors import ConfigError, DataError
from robustcmr.runs.pairs_table import PairsTable

N, WIDTH, WORDS = 220, 16, 24


def write_web(root, wrong=0.0):
    """Pairs whose vectors say which words they hold: 1 to 3 captions an image, some of another image."""
    rng = np.random.default_rng(3)
    shape = rng.normal(size=(WORDS, WIDTH))
    shown = [rng.choice(WORDS, 3, replace=False) for _ in range(N)]
    image_of = np.repeat(np.arange(N), rng.integers(1, 4, N))
    told = image_of.copy()
    chosen = rng.choice(len(told), round(wrong * len(told)), replace=False)
    told[chosen] = np.roll(told[chosen], 1)

    def vectors(items):
        return np.array([shape[shown[i]].sum(0) for i in items]) + 0.3 * rng.normal(size=(len(items), WIDTH))

    root.mkdir(parents=True, exist_ok=True)
    columns = {
        "uid": [f"key-{row}" for row in range(len(told))],
        "image": [f"photos/{image}.jpg" for image in image_of],
        "caption": [
            f"number {row} has " + " and ".join(f"thing{word}" for word in shown[i])
            for row, i in enumerate(told)
        ],
    }
    pq.write_table(pa.table(columns), root / "web.parquet", row_group_size=100)
    np.save(root / "images.npy", vectors(range(N))[image_of].astype(np.float16))
    np.save(root / "texts.npy", vectors(told).astype(np.float32))
    return root


def options(root, **more):
    return {
        "data.image_vectors": str(root / "images.npy"),
        "data.text_vectors": str(root / "texts.npy"),
        **{"data.dev": 0.1, "data.test": 0.1, "matcher.dim": 16},
        **more,
    }


def train(root, output, source="web.parquet", **more):
    return robustcmr.train(
        data="pairs",
        data_root=root / source,
        settings=more.pop("settings", options(root)),
        output=output,
        progress=False,
        **{"epochs": 2, "batch_size": 32, "device": "cpu", **more},
    )


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    return write_web(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def run(web, tmp_path_factory):
    """Parquet with vectors, trained until some pairs are suspected; noise is injected on top."""
    settings = options(web, **{"data.trusted": True, "optim.lr": 0.01})
    return train(web, tmp_path_factory.mktemp("runs") / "a", noise=0.4, epochs=8, settings=settings)


def test_vectors_train_heads_and_ids_stay(run, web):
    config = json.loads((run.path / "results.json").read_text())
    assert (config["data"], config["matcher"], config["method"]) == ("pairs", "embeddings", "robust")
    assert set(config["splits"]) == {"dev", "test"}
    assert config["splits"]["test"]["rsum"] > 150  # chance is under 100
    table = PairsTable.read(run.path / "pairs.csv")
    source = pq.read_table(web / "web.parquet").to_pydict()
    caption_of = dict(zip(source["uid"], source["caption"], strict=True))
    assert [caption_of[key] for key in table.id] == list(table.caption)
    assert len(table) < len(caption_of)
    assert all(name.startswith("photos/") for name in table.image_name)
    assert 0.3 < config["noise_ratio_realised"] <= 0.4
    assert config["findings"]["division"]["auroc"] is not None  # held against the injected noise


def test_recalls_with_unequal_captions_match_a_slow_loop(run, web):
    split = SourcePairs(
        SourcePairs.Config(
            root=str(web / "web.parquet"), **{k[5:]: v for k, v in options(web).items() if "data." in k}
        )
    ).split("test")
    owner = split.image_of_caption
    assert len(set(np.bincount(owner))) > 1
    scores = robustcmr.load(run.path, device="cpu").score(
        split.features.take(np.arange(split.n_images)), split.text_vectors.take(np.arange(len(owner)))[:, 0]
    )
    measured = json.loads((run.path / "results.json").read_text())["splits"]["test"]
    for k in (1, 5, 10):
        hits = 0
        for image in range(split.n_images):  # does one of the image's captions stand among the first k?
            best = np.argsort(-scores[image], kind="stable")[:k]
            hits += any(owner[caption] == image for caption in best)
        assert measured[f"i2t_r{k}"] == pytest.approx(100 * hits / split.n_images)
        hits = 0
        for caption in range(len(owner)):
            hits += owner[caption] in np.argsort(-scores[:, caption], kind="stable")[:k]
        assert measured[f"t2i_r{k}"] == pytest.approx(100 * hits / len(owner))


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs a command in this process; gives what it wrote to stdout and stderr."""
    from robustcmr.cli.main import run

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run()
        written = capsys.readouterr()
        assert not stopped.value.code, written.err
        return written

    return command


def test_commands_show_ids(run, told):
    found = json.loads(told("suspects", run.path, "--json", "--no-sheet", "--top", 5).out)
    assert found["suspected"] > 20
    assert all(row["id"].startswith("key-") for row in found["suspects"])
    told("rematch", run.path)
    with (run.path / "rematches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = dict(zip(run.pairs.id, run.pairs.caption, strict=True))
    assert [known[row["id"]] for row in rows] == [row["caption"] for row in rows]
    told("report", run.path)
    page = (run.path / "report.html").read_text()
    assert f"<h3>Pair {found['suspects'][0]['id']}</h3>" in page


def test_a_resumed_run_gives_the_same_numbers(web, tmp_path, comparable_run):
    begun = train(web, tmp_path / "a", method="infonce", epochs=1, noise=0.4)
    longer = robustcmr.train(resume=begun.path, epochs=2, progress=False)
    whole = train(web, tmp_path / "b", method="infonce", noise=0.4)
    found, expected = comparable_run(longer.path), comparable_run(whole.path)
    assert found["weights"] == expected["weights"]
    assert found["results"]["splits"] == expected["results"]["splits"]


def test_a_run_embeds_new_vectors(run, web):
    loaded = robustcmr.load(run.path, device="cpu")
    images = loaded.embed_images(np.load(web / "images.npy").astype(np.float32)[:5])
    texts = loaded.embed_texts(np.load(web / "texts.npy")[:5])
    assert images.vectors.shape == texts.vectors.shape == (5, 16)
    assert np.mean(loaded.score(images, texts).diagonal()) > 0.3


def test_a_changed_source_is_refused(web, tmp_path):
    shutil.copytree(web, tmp_path / "web")
    run = train(tmp_path / "web", tmp_path / "run", method="infonce", epochs=1)
    vectors = np.load(tmp_path / "web/images.npy")
    vectors += 1
    np.save(tmp_path / "web/images.npy", vectors)
    with pytest.raises(DataError, match="was made for data with fingerprint"):
        robustcmr.train(resume=run.path, epochs=2, progress=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Pictures with a table of captions, 1 to 3 each, one of them broken."""
    root = tmp_path_factory.mktemp("shop")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["sku,file,text"]
    for i in range(60):
        pixels = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
        lines += [f"s{i}-{k},images/{i}.png,a red circle {i} {k}" for k in range(1 + i % 3)]
    (root / "images" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def test_pictures_train_clip_in_one_try(shop, clip_folder, tmp_path, told):
    words = ("--data", "pairs", "--data-root", shop, "--set", f"matcher.weights={clip_folder}")
    words += ("--set", "data.id=sku", "--epochs", 2, "--batch-size", 20, "--set", "method.warmup_epochs=1")
    out, notes = told("train", *words, "-o", tmp_path / "run", "--json")
    assert json.loads(out)["matcher"] == "clip"
    assert "the matcher is clip, as there are pictures and no vectors; --matcher names another" in notes
    assert "2 of 120 pairs" in notes  # those of the broken picture
    assert "captions.csv row 13" in notes
    table = PairsTable.read(tmp_path / "run" / "pairs.csv")
    assert all(key.startswith("s") for key in table.id)
    assert "images/7.png" not in table.image_name
    told("report", tmp_path / "run")
    assert "data:image/" in (tmp_path / "run" / "report.html").read_text()


def test_what_pictures_need_is_named_at_once(shop, tmp_path):
    with pytest.raises(ConfigError, match=r"matcher\.weights: missing.*openai/clip"):
        robustcmr.train(data="pairs", data_root=shop, progress=False)
    with pytest.raises(ConfigError) as raised:
        robustcmr.train(data="images", progress=False)
    assert "data.root: missing" in str(raised.value)
    assert "matcher.weights: missing" in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        robustcmr.train(data="images", data_root=tmp_path, progress=False)
    assert "expected images/ and {split}_caps.tsv" in str(raised.value)
    assert "matcher.weights: missing" in str(raised.value)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    root = write_web(tmp_path_factory.mktemp("audited"), wrong=0.3)
    robustcmr.audit_pairs(
        root / "web.parquet",
        (root / "images.npy", root / "texts.npy"),
        output=root / "audit",
        progress=False,
    )
    return root


def on_audit(root, output, **settings):
    settings = {
        "data.dev": 0.1,
        "data.test": 0.1,
        "matcher.dim": 16,
        "data.root": str(root / "audit"),
        **settings,
    }
    return robustcmr.train(
        **{"data": "pairs", "epochs": 2, "batch_size": 32, "device": "cpu", "progress": False},
        settings=settings,
        output=output,
    )


def test_an_audit_trains_with_its_ids_and_its_list(audited, tmp_path):
    found = robustcmr.load_audit(audited / "audit")
    assert len(found.dropped) > 20
    whole = on_audit(audited, tmp_path / "whole")
    cleaned = on_audit(audited, tmp_path / "cleaned", **{"data.audit": "drop"})
    dropped = set(found.dropped)
    assert [key for key in whole.pairs.id if key not in dropped] == list(cleaned.pairs.id)
    assert set(whole.pairs.id) & dropped
    same = [run.results.splits.test.rsum for run in (whole, cleaned)]
    assert all(np.isfinite(same))


def test_probabilities_of_an_audit_weigh_the_warm_up(audited, tmp_path):
    whole = on_audit(audited, tmp_path / "whole")
    weighed = on_audit(audited, tmp_path / "weighed", **{"data.audit": "weights"})
    losses = [
        json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
        for run in (whole, weighed)
    ]
    assert losses[1] < losses[0]  # wrong pairs, which cannot be learned, count less


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data.audit": "weights", "method": {"name": "infonce"}}, "infonce does not weigh pairs"),
        ({"data.audit": "weights", "method.warmup_epochs": 0}, "method.warmup_epochs above 0"),
        ({"data.audit": "weights", "noise.ratio": 0.2}, "of which the audit says nothing"),
        ({"data.where": "uid > 'k'"}, "the audit in .* says which pairs it is of"),
    ],
)
def test_what_an_audit_does_not_go_with(audited, tmp_path, settings, said):
    with pytest.raises((ConfigError, DataError), match=said):
        on_audit(audited, tmp_path / "run", **settings)
    assert not (tmp_path / "run" / "config.yaml").exists()
