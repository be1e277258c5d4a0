from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import robustcmr
from robustcmr.audit import near_items
from robustcmr.audit.picture_hashes import content_hash, difference_hash
from robustcmr.data.picture_files import open_picture
from robustcmr.errors import ArgumentError, DataError, DeviceError, RunFolderError
from robustcmr.jobs import make_vectors as module
from robustcmr.jobs.made_vectors import Made
from robustcmr.jobs.make_vectors import make_vectors
from robustcmr.jobs.model import Model
from robustcmr.jobs.pair_encoders import PretrainedPairEncoder
from robustcmr.jobs.trained import TrainedRun
from robustcmr.sources import open_source
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import open_vectors

LONG = " ".join(["a small red circle is left of a large blue square"] * 8)
WORDS = (
    "a dog runs over the grass",
    "the man's bicycle",
    "two green triangles",
    "a CHILD in a striped shirt",
)


def write_pairs(folder: Path, n: int = 12) -> Path:
    """A CSV of n pictures of many shapes and modes with two captions each, and four bad pairs."""
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["id,image,caption"]
    for row in range(n):
        pixels = rng.integers(0, 256, (20 + 3 * row, 64 - 2 * row, 4 if row % 3 == 0 else 3), dtype=np.uint8)
        image, exif = Image.fromarray(pixels), Image.Exif()
        exif[274] = 1 + row % 8  # orientation
        image.save(folder / "pictures" / f"{row}.png", exif=exif)
        for part in range(2):
            lines.append(f"p{row}-{part},pictures/{row}.png,{WORDS[(row + part) % 4]} {row % 3}")
    whole = (folder / "pictures" / "1.png").read_bytes()
    (folder / "pictures" / "bad.png").write_bytes(whole[:20] + b"damaged")
    lines.insert(6, "gone,pictures/gone.png,a picture that is not there")
    lines.insert(9, "bad-0,pictures/bad.png,a damaged picture")
    lines.insert(9, "bad-1,pictures/bad.png,the same one again")
    lines.insert(12, "empty,pictures/3.png,  ")
    lines.append(f"long,pictures/0.png,{LONG}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def make_siglip(folder: Path, tiny_models: Any, naflex: bool = False) -> Path:
    """A tiny SigLIP of 40 tokens, or SigLIP 2 of the NaFlex kind, whose tokenizer has the marks of Gemma."""
    from tokenizers import Tokenizer, models, normalizers, trainers
    from transformers import (
        AutoTokenizer,
        PreTrainedTokenizerFast,
        Siglip2Config,
        Siglip2Model,
        SiglipConfig,
        SiglipModel,
    )

    tiny_models.make_clip(folder)
    if naflex:
        (folder / "config.json").write_text('{"model_type": "siglip2"}')  # decides the class of the tokenizer
        marks = {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>", "mask": "<mask>"}
        pieces = Tokenizer(models.BPE(unk_token="<unk>"))
        pieces.normalizer = normalizers.Replace(" ", "\u2581")
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[*marks.values()], show_progress=False)
        pieces.train_from_iterator([*tiny_models.CAPTIONS, *map(str, range(10))], trainer)
        named = {f"{name}_token": mark for name, mark in marks.items()}
        PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=40, **named).save_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)
    tokens.model_max_length = 40
    tokens.save_pretrained(folder)
    shape = {**tiny_models.SHAPE, "hidden_size": 32}
    text = {**shape, "vocab_size": len(tokens), "max_position_embeddings": 40, "projection_size": 32}
    text |= {name: getattr(tokens, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    torch.manual_seed(3)
    if naflex:
        config = Siglip2Config(text_config=text, vision_config={**shape, "num_patches": 16, "patch_size": 8})
        Siglip2Model(config).save_pretrained(folder)
        processor: dict[str, Any] = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8}
        processor |= {"max_num_patches": 16}
    else:
        config = SiglipConfig(text_config=text, vision_config={**shape, "image_size": 32, "patch_size": 8})
        SiglipModel(config).save_pretrained(folder)
        processor = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    processor |= {"do_convert_rgb": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def source(pairs: Path) -> Source:
    return open_source(pairs)


@pytest.fixture(scope="module")
def models(clip_folder: Path, tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "clip": clip_folder,
        "siglip": make_siglip(root / "siglip", tiny_models),
        "siglip2": make_siglip(root / "siglip2", tiny_models, naflex=True),
    }


def read(folder: Path) -> tuple[list[dict[str, Any]], Any, Any]:
    """Metadata rows and vectors of all pieces, as clip-retrieval lays them out."""
    rows, images, texts = [], [], []
    for number in range(len(list((folder / "metadata").iterdir()))):
        rows += pq.read_table(folder / "metadata" / f"metadata_{number}.parquet").to_pylist()
        images.append(np.load(folder / "img_emb" / f"img_emb_{number}.npy"))
        texts.append(np.load(folder / "text_emb" / f"text_emb_{number}.npy"))
    return rows, np.concatenate(images), np.concatenate(texts)


def features(output: Any) -> Any:
    vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_vectors_are_those_of_transformers(
    kind: str, source: Source, pairs: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = make_vectors(
        source, output=tmp_path / "out", model=str(models[kind]), device="cpu", batch_size=5
    )
    rows, images, texts = read(folder)
    assert images.dtype == texts.dtype == np.float16
    assert len(rows) == len(images) == len(texts) == 25
    assert list(rows[0]) == ["id", "image_path", "caption", "picture_hash", "difference_hash"]
    model = AutoModel.from_pretrained(models[kind]).eval()
    new = importlib.util.find_spec("transformers.image_processing_backends") is not None
    pil: dict[str, Any] = {"backend": "pil"} if new else {"use_fast": False}
    processor = AutoImageProcessor.from_pretrained(models[kind], **pil)
    tokens = AutoTokenizer.from_pretrained(models[kind])
    for row, image, text in zip(rows, images, texts, strict=True):  # one by one, so without padding by others
        picture = open_picture(pairs.parent.resolve(), row["image_path"])
        assert row["picture_hash"] == content_hash((pairs.parent / row["image_path"]).read_bytes())
        assert row["difference_hash"] == difference_hash(picture)
        caption = row["caption"] if kind == "clip" else row["caption"].lower()
        padding = {"padding": "max_length"} if kind != "clip" else {}
        read_text = tokens(caption, truncation=True, return_tensors="pt", **padding)
        with torch.no_grad():
            expected = features(model.get_image_features(**processor(picture, return_tensors="pt")))[0]
            np.testing.assert_allclose(image, expected, atol=1e-3)
            expected = features(model.get_text_features(input_ids=read_text["input_ids"]))[0]
            np.testing.assert_allclose(text, expected, atol=1e-3)
    assert images.std(0).min() > 1e-3  # not all the same
    assert len(np.unique(texts, axis=0)) > 10


def test_what_has_no_vectors_is_named_and_counted(
    source: Source, clip_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    with caplog.at_level("INFO", logger="robustcmr"):
        folder = make_vectors(
            *(source,), output=tmp_path / "out", model=str(clip_folder), device="cpu", progress=seen.append
        )
    assert sum(seen) == 29
    made = Made.read(folder)
    assert made is not None
    assert made.finished
    assert (made.pairs, made.pictures, made.cut) == (25, 12, 1)
    assert sum(made.problems.values()) == 4
    assert made.problems["unreadable picture"] == 2
    found = pq.read_table(folder / "problems" / "problems_0.parquet").to_pylist()
    assert {row["id"]: row["problem"].partition(":")[0] for row in found}.keys() == {
        *("gone", "bad-0", "bad-1", "empty"),
    }
    assert "cut 1 caption at the 64 tokens" in caplog.text
    assert "2 pairs have no vectors: unreadable picture, such as bad-1 (" in caplog.text


def test_the_audit_opens_what_was_made(source: Source, clip_folder: Path, tmp_path: Path) -> None:
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu", piece=7)
    rows, images, texts = read(folder)
    for side, expected in (("image", images), ("text", texts)):
        vectors = open_vectors(folder, side, source)  # type: ignore[arg-type]
        assert (vectors.count, vectors.width, vectors.by) == (25, 20, "id")
        keys = [key for batch in vectors.keys() or () for key in batch.column("key").to_pylist()]
        assert keys == [row["id"] for row in rows]
        np.testing.assert_array_equal(vectors.take(np.arange(25)), expected.astype(np.float32))


def test_shared_pictures_and_captions_are_encoded_once(
    source: Source, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counter[str]()

    def counting(name: str) -> Any:
        original = getattr(PretrainedPairEncoder, name)

        def counted(self: Any, given: Sequence[Any]) -> Any:
            counts[name] += len(given)
            return original(self, given)

        return counted

    for name in ("images", "texts"):
        monkeypatch.setattr(PretrainedPairEncoder, name, counting(name))
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    rows, images, _ = read(folder)
    assert counts == {"images": 12, "texts": len({row["caption"] for row in rows})}
    for left in range(24):
        same = rows[left]["image_path"] == rows[left + 1]["image_path"]
        assert np.array_equal(images[left], images[left + 1]) == same


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stopped(source: Source, output: Path, model: str, pieces: int) -> None:
    """Make vectors, and die by SIGKILL in the middle of a piece."""
    original, done = PretrainedPairEncoder.texts, []

    def texts(self: Any, captions: Sequence[str]) -> Any:
        done.append(0)
        if len(done) > 2 * pieces:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, captions)

    PretrainedPairEncoder.texts = texts  # type: ignore[method-assign]
    make_vectors(source, output=output, model=model, device="cpu", piece=6, batch_size=4)


def test_killed_and_resumed_gives_the_same_bytes(source: Source, clip_folder: Path, tmp_path: Path) -> None:
    whole = make_vectors(
        *(source,), output=tmp_path / "whole", model=str(clip_folder), device="cpu", piece=6, batch_size=4
    )
    child = multiprocessing.get_context("fork").Process(
        target=stopped, args=(source, tmp_path / "part", str(clip_folder), 2)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    made = Made.read(tmp_path / "part")
    assert made is not None
    assert 0 < made.pieces < 5
    assert not made.finished
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "part" / "img_emb").iterdir()}
    time.sleep(0.01)
    make_vectors(source, output=tmp_path / "part", model=str(clip_folder), device="cpu", batch_size=4)
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert contents(tmp_path / "part") == contents(whole)
    before = contents(whole)
    make_vectors(source, output=whole, model=str(clip_folder), device="cpu")  # all is there
    assert contents(whole) == before


def test_pieces_reach_over_shards_and_keep_rows_whole(clip_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    for number in range(3):
        lines = [
            {"image": "a.png", "caption": [f"caption {row} {part}" for part in range(row + 1)]}
            for row in range(3)
        ]
        (tmp_path / f"part{number}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    source = open_source(sorted(tmp_path.glob("*.jsonl")))
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu", piece=4)
    sizes = [
        pq.read_metadata(folder / "metadata" / f"metadata_{number}.parquet").num_rows
        for number in range(len(list((folder / "metadata").iterdir())))
    ]
    assert sizes == [3, 4, 2, 4, 2, 3]  # rows of 1, 2, 3, 1, 2, 3, 1, 2 and 3 captions, at most 4 together
    rows, images, _ = read(folder)
    assert [row["caption"] for row in rows[:4]] == [
        "caption 0 0",
        "caption 1 0",
        "caption 1 1",
        "caption 2 0",
    ]
    assert len(np.unique(images, axis=0)) == 1
    one = make_vectors(source, output=tmp_path / "one", model=str(clip_folder), device="cpu", piece=1)
    assert len(list((one / "metadata").iterdir())) == 9


def test_a_condition_chooses_rows(source: Source, clip_folder: Path, tmp_path: Path) -> None:
    folder = make_vectors(
        *(source,),
        output=tmp_path / "out",
        model=str(clip_folder),
        device="cpu",
        where="id LIKE 'p1%'",
        piece=3,
    )
    assert [row["id"] for row in read(folder)[0]] == [
        f"p{row}-{part}" for row in (1, 10, 11) for part in (0, 1)
    ]


def test_vectors_of_a_run_are_its_own(clip_run: Path, pairs: Path, source: Source, tmp_path: Path) -> None:
    folder = make_vectors(source, output=tmp_path / "out", run=clip_run, device="cpu", batch_size=7)
    rows, images, texts = read(folder)
    with TrainedRun(clip_run, device="cpu") as run:
        expected = run.embed_images([pairs.parent / row["image_path"] for row in rows]).vectors
        np.testing.assert_allclose(images, expected, atol=1e-3)
        expected = run.embed_texts([row["caption"] for row in rows]).vectors
        np.testing.assert_allclose(texts, expected, atol=1e-3)
    made = Made.read(folder)
    assert made is not None
    assert made.cut == 1


def test_runs_without_one_vector_a_side_are_refused(
    omit_run: Path, vector_run: Path, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"the run .* reads no pictures but features of them; give"):
        make_vectors(source, output=tmp_path / "out", run=omit_run, device="cpu")
    with pytest.raises(DataError, match="reads no pictures"):
        make_vectors(source, output=tmp_path / "out", run=vector_run, device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_matcher_of_fragments_is_refused(
    clip_run: Path, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "by_vectors", False)
    with pytest.raises(DataError, match=r"compares parts of pictures and captions.*such as clip"):
        make_vectors(source, output=tmp_path / "out", run=clip_run, device="cpu")


def test_another_model_source_or_condition_is_refused(
    models: dict[str, Path], pairs: Path, tmp_path: Path, tiny_models: Any
) -> None:
    own = tmp_path / "own"
    shutil.copytree(pairs.parent, own)
    source, output = open_source(own / "pairs.csv"), tmp_path / "out"
    make_vectors(source, output=output, model=str(models["clip"]), device="cpu")
    before = contents(output)
    tiny_models.make_clip(tmp_path / "other", seed=1)
    for options, words in (
        ({"model": str(models["siglip"])}, "were made by"),
        ({"model": str(tmp_path / "other")}, "other weights"),
        ({"model": str(models["clip"]), "where": "id <> 'long'"}, "another condition"),
    ):
        with pytest.raises(RunFolderError, match=rf"{words}.*choose another folder"):
            make_vectors(source, output=output, device="cpu", **options)  # type: ignore[arg-type]
    shutil.copytree(models["clip"], tmp_path / "moved")  # the same model
    make_vectors(source, output=output, model=str(tmp_path / "moved"), device="cpu")
    (own / "pairs.csv").write_text((own / "pairs.csv").read_text() + "new,pictures/1.png,a new pair\n")
    with pytest.raises(RunFolderError, match=r"of another source: .*choose another folder"):
        make_vectors(open_source(own / "pairs.csv"), output=output, model=str(models["clip"]), device="cpu")
    assert contents(output) == before


def test_folders_of_something_else_are_refused(source: Source, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign" / "img_emb").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "vectors.json").write_text('{"pieces": "many"}')
    for name, words in (("foreign", "was not made here"), ("file", "is a file"), ("damaged", "is damaged")):
        with pytest.raises((RunFolderError, DataError), match=words):
            make_vectors(source, output=tmp_path / name, model=str(clip_folder), device="cpu")


def test_bad_arguments(source: Source, clip_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    output, clip = tmp_path / "out", str(clip_folder)
    with pytest.raises(ArgumentError, match="neither is given"):
        make_vectors(source, output=output)
    with pytest.raises(ArgumentError, match="both are given"):
        make_vectors(source, output=output, model=clip, run=tmp_path)
    for name in ("batch_size", "piece"):
        with pytest.raises(ArgumentError, match=f"{name} is 0; expected at least 1"):
            make_vectors(source, output=output, model=clip, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="is a bert model; expected CLIP or SigLIP"):
        make_vectors(source, output=output, model=str(bert_folder))
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        make_vectors(source, output=output, model=clip, device="gpu")
    with pytest.raises(DataError, match="no such folder"):
        make_vectors(source, output=output, model=str(tmp_path / "none"))
    assert not output.exists()


def test_the_audit_finds_a_picture_that_was_saved_again_by_its_hashes(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors alone find none; nor does an audit of vectors that were made before there were hashes."""
    monkeypatch.setitem(near_items.LIKENESS, "image", 1.0)
    rng = np.random.default_rng(0)
    lines = ["id,image,caption"]
    for row in range(60):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        noise.resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / f"{row}.png")
        lines.append(f"p{row},{row}.png,{WORDS[row % 4]} {row}")
    first = Image.open(tmp_path / "7.png")
    first.resize((100, 75)).save(tmp_path / "again.jpg", quality=70)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "8.png")
    shutil.copy(tmp_path / "8.png", tmp_path / "copy.png")
    lines += [f"again,again.jpg,{WORDS[3]} 7", f"copy,copy.png,{WORDS[0]} 8"]
    lines += [f"other,again.jpg,{WORDS[1]} 900"]  # of another caption
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")

    def duplicates(output: Path, **options: Any) -> dict[str, str]:
        with pytest.raises(DataError, match="63 sound pairs"):  # too few to judge, which comes afterwards
            robustcmr.audit_pairs(tmp_path / "pairs.csv", output=output, progress=False, **options)
        keys, ids = pq.read_table(output / "work" / "rows", columns=["key", "id"]).to_pydict().values()
        named = dict(zip(keys, ids, strict=True))
        found = pq.read_table(output / "work" / "joins" / "near_images.parquet")
        assert len(found) == len(pq.read_table(output / "work" / "joins" / "near_pairs.parquet"))
        pairs = pq.read_table(output / "work" / "joins" / "near_pairs.parquet").to_pylist()
        return {named[pair["key"]]: pair["duplicate_of"] for pair in pairs}

    model = {"model": str(clip_folder), "device": "cpu"}
    assert duplicates(tmp_path / "out", **model) == {"again": "p7", "copy": "p8"}
    vectors = tmp_path / "out" / "vectors"
    assert duplicates(tmp_path / "given", vectors=vectors) == {"again": "p7", "copy": "p8"}
    for path in (vectors / "metadata").iterdir():
        pq.write_table(pq.read_table(path).select(["id", "image_path", "caption"]), path)
    shutil.copytree(vectors, tmp_path / "old" / "vectors")
    assert duplicates(tmp_path / "old", **model) == {"copy": "p8"}  # whose vectors are the same


def test_nothing_to_encode_is_said(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image,caption\ngone.png,a dog\nlost.png,a cat\n")
    source = open_source(tmp_path / "pairs.csv")
    with pytest.raises(DataError, match=r"no pair of .* can be encoded: 2 pairs have no vectors: .*picture"):
        make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")


def test_a_source_that_leaves_pictures_out_has_them_missing(
    source: Source, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(source).pictures

    def pictures(self: Any, shard: Any, rows: Any = None) -> Any:
        return (each for each in original(self, shard, rows) if each.row % 4)

    expected = [
        row["id"]
        for row in read(
            make_vectors(*(source,), output=tmp_path / "all", model=str(clip_folder), device="cpu")
        )[0]
    ]
    monkeypatch.setattr(type(source), "pictures", pictures)
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    made = Made.read(folder)
    assert made is not None
    assert made.problems["missing picture"] > 3
    assert {row["id"] for row in read(folder)[0]} < set(expected)
    assert module.NO_PICTURE == "missing picture"


def test_few_of_many_pairs_are_joined_by_their_ids(clip_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    lines = [f"{'a' if row % 9 == 0 else f'gone{row}'}.png,caption number {row}" for row in range(50)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    source = open_source(tmp_path / "pairs.csv")
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    for side in ("image", "text"):
        vectors = open_vectors(folder, side, source)  # type: ignore[arg-type]
        assert (vectors.count, vectors.by) == (6, "id")


def test_a_picture_too_large_is_named_without_advice_on_training(clip_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4000, 3)).save(tmp_path / "strip.png")
    (tmp_path / "pairs.csv").write_text("image,caption\na.png,a square\nstrip.png,a strip\n")
    source = open_source(tmp_path / "pairs.csv")
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    (row,) = pq.read_table(folder / "problems" / "problems_0.parquet").to_pylist()
    assert row["problem"] == (
        "unreadable picture: it has 4000 x 3 pixels, expected sides of at most 100 to 1"
    )
