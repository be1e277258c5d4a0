"""Suggestions of a whole audit: the file, the page, pairs repaired by them, and refusals."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import robustcmr
from robustcmr.errors import ConfigError, DataError, UserError
from robustcmr.jobs.apply import apply_audit
from robustcmr.jobs.suggest import suggest_partners
from robustcmr.jobs.suggested import suggestions_of, sure_captions
from robustcmr.runs.audits import AuditFolder
from robustcmr.terminal import Console

IMAGES, CAPTIONS, WIDTH = 500, 3, 32
COUNT = IMAGES * CAPTIONS


def write(folder, **more):
    """Pairs of which a fifth are exchanged; ``caption N`` was written for image N // 3."""
    rng = np.random.default_rng(4)
    topics = rng.normal(size=(IMAGES, WIDTH))
    image = np.repeat(np.arange(IMAGES), CAPTIONS)
    images = topics + 0.4 * rng.normal(size=topics.shape)
    texts = topics[image] + 0.5 * rng.normal(size=(COUNT, WIDTH))
    order = np.arange(COUNT)
    moved = rng.permutation(COUNT)[: COUNT // 5]
    order[moved] = np.roll(order[moved], 1)
    columns = {
        "uid": [f"pair {n}" for n in range(COUNT)],
        "url": [f"{n}.jpg" for n in image],
        "text": [f"caption {n}" for n in order],
        **more,
    }
    pq.write_table(pa.table(columns), folder / "web.parquet")
    np.save(folder / "images.npy", images[image].astype(np.float32))
    np.save(folder / "texts.npy", texts[order].astype(np.float32))


def audit(folder, **options):
    vectors = (folder / "images.npy", folder / "texts.npy")
    given = {"output": folder / "out", "near_duplicates": False, "progress": False, **options}
    return robustcmr.audit_pairs(folder / "web.parquet", vectors, **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write(folder)
    found = audit(folder)
    return folder, found, found.suggest()


def source_of(caption):
    return int(caption.split()[1]) // CAPTIONS


def test_suggestions_name_a_partner_with_what_it_has_and_are_mostly_right(made):
    _, found, table = made
    assert table.column_names == ["id", "kind", "partner", "suggested", "probability"]
    rows = table.to_pylist()
    by_id = dict(zip(found.pairs.id, zip(found.pairs.image, found.pairs.caption, strict=True), strict=True))
    decisions = dict(zip(found.pairs.id, found.pairs.decision, strict=True))
    right = {"image": [], "caption": []}
    for row in rows:
        assert 0.5 <= row["probability"] <= 1
        assert decisions[row["id"]] in ("drop", "review")
        image, caption = by_id[row["partner"]]
        own_image, own_caption = by_id[row["id"]]
        if row["kind"] == "image":
            assert row["suggested"] == image != own_image
            right["image"].append(f"{source_of(own_caption)}.jpg" == image)
        else:
            assert row["suggested"] == caption != own_caption
            right["caption"].append(f"{source_of(caption)}.jpg" == own_image)
    for kind in right.values():
        assert len(kind) > 50
        assert np.mean(kind) > 0.6
    order = {key: place for place, key in enumerate(found.pairs.id)}
    places = [order[row["id"]] for row in rows]
    assert places == sorted(places)


def test_nothing_is_left_behind_and_the_same_call_writes_the_same(made):
    folder, found, table = made
    assert not (folder / "out" / "suggesting").exists()
    assert len(found.suggest(least=0.7)) < len(table)
    assert found.suggest().equals(table)


def test_the_page_shows_them(made):
    _, found, _ = made
    page = found.report().read_text()
    assert "Suggested caption, " in page
    assert "Suggested picture, " in page
    assert "likely right" in page


def test_a_filter_and_a_limit_of_pairs(made, tmp_path):
    write(tmp_path)
    found = audit(tmp_path, where="uid <> 'pair 7'")
    assert "pair 7" not in found.pairs.id
    told = suggest_partners(tmp_path / "out", Console(quiet=True), most=700)
    assert told.left_out > 0
    assert (
        told.images_of + told.left_out <= suggest_partners(tmp_path / "out", Console(quiet=True)).captions_of
    )


def test_sure_pairs_are_repaired_and_keep_what_was_given(made, tmp_path):
    folder, found, table = made
    better = {r["id"]: r for r in table.to_pylist() if r["kind"] == "caption" and r["probability"] >= 0.6}
    done = apply_audit(folder / "out", tmp_path / "clean", repair=0.6)
    assert done.rows == len(found.kept) + len(better)
    written = pq.read_table(tmp_path / "clean").to_pylist()
    given = dict(zip(found.pairs.id, found.pairs.caption, strict=True))
    assert [row["id"] for row in written] == [
        key for key in found.pairs.id if key in set(found.kept) | better.keys()
    ]
    for row in written:
        if row["id"] in better:
            assert row["caption"] == better[row["id"]]["suggested"]
            assert row["original_caption"] == given[row["id"]]
            assert row["repair_probability"] == pytest.approx(better[row["id"]]["probability"])
        else:
            assert (row["caption"], row["original_caption"]) == (given[row["id"]], None)
    would = apply_audit(folder / "out", tmp_path / "other", repair=0.6, dry_run=True)
    assert (would.rows, would.of) == (done.rows, done.of)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_repaired_pairs_in_text_formats(made, tmp_path, format):
    folder, _, table = made
    (written,) = apply_audit(folder / "out", tmp_path / "clean", "keep", format, repair=0.6).files
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file)) if format == "csv" else [json.loads(line) for line in file]
    repaired = {row["id"]: row["caption"] for row in rows if row.get("original_caption")}
    assert repaired == {
        r["id"]: r["suggested"]
        for r in table.to_pylist()
        if r["kind"] == "caption" and r["probability"] >= 0.6
    }


def test_what_cannot_be_repaired_is_refused(made, tmp_path):
    folder, _, _ = made
    to = tmp_path / "clean"
    with pytest.raises(ConfigError, match="cannot write webdataset, which has no column"):
        apply_audit(folder / "out", to, format="webdataset", repair=0.9)
    with pytest.raises(ConfigError, match="give --list keep"):
        apply_audit(folder / "out", to, "drop", repair=0.9)
    with pytest.raises(ConfigError, match="probability to repair from"):
        apply_audit(folder / "out", to, repair=0.0)
    assert not to.exists()


def test_pairs_that_were_repaired_before_are_refused(tmp_path):
    write(tmp_path, original_caption=["x"] * COUNT)
    audit(tmp_path).suggest()
    with pytest.raises(DataError, match="has a column original_caption already"):
        apply_audit(tmp_path / "out", tmp_path / "clean", repair=0.6)
    assert not (tmp_path / "clean").exists()


def test_refusals(tmp_path):
    quiet = Console(quiet=True)
    with pytest.raises(DataError, match="there is no audit"):
        suggest_partners(tmp_path / "gone", quiet)
    write(tmp_path)
    found = audit(tmp_path)
    with pytest.raises(DataError, match="robustcmr suggest"):
        apply_audit(tmp_path / "out", tmp_path / "clean", repair=0.9)
    assert suggestions_of(AuditFolder(tmp_path / "out"), ["pair 1"]) == {}
    with pytest.raises(ConfigError, match="least probability"):
        suggest_partners(tmp_path / "out", quiet, least=2)
    texts = np.load(tmp_path / "texts.npy")
    np.save(tmp_path / "texts.npy", texts[:, ::-1])
    with pytest.raises(UserError, match="text vectors are gone or have changed"):
        found.suggest()
    assert not (tmp_path / "out" / "suggestions.parquet").exists()
    (tmp_path / "out" / "suggestions.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="seek partners again"):
        sure_captions(AuditFolder(tmp_path / "out"), 0.5)
    np.save(tmp_path / "texts.npy", texts)
    audit(tmp_path, restart=True)
    assert not (tmp_path / "out" / "suggestions.parquet").exists()  # it was of the other audit
