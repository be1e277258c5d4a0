"""The sample of a review, its status, and what leaves and comes back."""

import csv
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustcmr.audit.labels import Label, LabelFile, read_labels
from robustcmr.errors import UserError
from robustcmr.jobs.review import open_review, read_items, review_status, sampled
from robustcmr.jobs.review_exchange import export_review, import_review
from robustcmr.runs.audits import AuditFolder


def scored(folder, count=1000, seed=0):
    """Give the pairs of an audit log odds as scores; returns which are wrong in truth, by id."""
    rng = np.random.default_rng(seed)
    table = pq.read_table(folder / "pairs.parquet")
    scores = rng.normal(2, 3, len(table)).astype(np.float32)
    chance = 1 / (1 + np.exp(scores.astype(float)))
    aside = np.array(table["decision"].to_pylist()) == "aside"
    values = pa.array(scores, pa.float32(), mask=aside)
    for name, column in (("score", values), ("p_mismatch", pa.array(chance, mask=aside))):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, folder / "pairs.parquet")
    return dict(zip(table["id"].to_pylist(), rng.random(len(table)) < chance, strict=True))


@pytest.fixture
def audit(tmp_path, make_audit, make_summary):
    return make_audit(tmp_path / "audit", make_summary(1000))


def give(folder, pairs, truth, by="Ada", **said):
    LabelFile(folder / "labels.jsonl").append(
        [
            Label(
                *(pair.id, said.get("verdict") or ("wrong" if truth[pair.id] else "right"), by),
                *("2026-01-01T00:00:00.000+00:00", pair.stratum, pair.probability),
                key=f"{by}{number}",
            )
            for number, pair in enumerate(pairs)
        ]
    )


def test_the_sample_is_drawn_once_and_grows(audit):
    truth = scored(audit)
    folder = AuditFolder(audit)
    first = sampled(folder, labels=60)
    assert len(first.pairs) == len({pair.id for pair in first.pairs}) == 60
    assert sampled(folder).pairs == first.pairs  # as it is on disk
    give(audit, first.pairs[:20], truth)
    larger = sampled(folder, labels=150)
    assert {pair.id for pair in first.pairs} <= {pair.id for pair in larger.pairs}
    assert len(larger.pairs) == 150
    counts = larger.design.counts
    for pair in larger.pairs:
        mine = sum(one.stratum == pair.stratum for one in larger.pairs)
        assert pair.probability == pytest.approx(mine / counts[pair.stratum])
    aside = {row["id"] for row in pq.read_table(folder.pairs).to_pylist() if row["decision"] == "aside"}
    assert not aside & {pair.id for pair in larger.pairs}


def test_each_stratum_gets_its_least(audit):
    scored(audit)
    found = sampled(AuditFolder(audit), labels=100, per_stratum=20)
    counts = np.bincount([pair.stratum for pair in found.pairs])
    assert (counts >= np.minimum(20, found.design.counts)).all()


def test_a_sample_that_would_lose_labels_is_refused(audit):
    truth = scored(audit)
    folder = AuditFolder(audit)
    first = sampled(folder, labels=60)
    sampled(folder, labels=80, seed=1)  # nobody has judged anything
    first = sampled(folder, labels=60, seed=0)
    give(audit, first.pairs[:30], truth)
    for change in ({"seed": 1}, {"labels": 20}):
        with pytest.raises(UserError, match=r"of 30 judged pairs would not count .* keep --seed 0"):
            sampled(folder, **change)
    assert sampled(folder).pairs == first.pairs


def test_status_estimates_the_share_of_wrong_pairs(audit):
    truth = scored(audit)
    folder = AuditFolder(audit)
    assert review_status(audit)["pairs"] == 0
    pairs = sampled(folder, labels=300).pairs
    assert review_status(audit)["estimate"] is None
    give(audit, pairs, truth)
    give(audit, pairs[:10], truth, "Bo")
    give(audit, pairs[:2], truth, "Cy", verdict="partly")
    found = review_status(audit)
    assert (found["pairs"], found["judged"], found["disagreements"]) == (300, 300, 2)
    assert found["reviewers"]["Cy"] == {"right": 0, "wrong": 0, "partly": 2, "unsure": 0}
    assert found["agreement"][0] == {"reviewers": ("Ada", "Bo"), "pairs": 10, "share": 1.0, "kappa": 1.0}
    estimate = found["estimate"]
    true = np.mean(
        [truth[row["id"]] for row in pq.read_table(folder.pairs).to_pylist() if row["score"] is not None]
    )
    assert estimate["low"] < true < estimate["high"] < estimate["low"] + 0.12
    json.dumps(found)


def test_the_estimate_outlives_a_change_of_the_probabilities(audit):
    truth = scored(audit)
    give(audit, sampled(AuditFolder(audit), labels=300).pairs, truth)
    before = review_status(audit)["estimate"]
    scored(audit, seed=5)
    assert review_status(audit)["estimate"] == before


def test_pairs_are_shown_with_their_pictures(audited_pictures):
    scored(audited_pictures)
    opened = open_review(audited_pictures, labels=60, by=" Ada ")
    assert len(opened.review.items) == 60
    for item in opened.review.items:
        with Image.open(io.BytesIO(opened.pictures.get(item.place))) as picture:
            assert abs(picture.getpixel((5, 5))[0] - 12 * (int(item.id[-4:]) // 5)) < 6
    assert opened.review.state(None)["reviewer"] == "Ada"
    with pytest.raises(UserError, match="reviewer's name"):
        open_review(audited_pictures, by="")


def test_suggestions_come_from_their_file(audited_pictures):
    scored(audited_pictures)
    folder = AuditFolder(audited_pictures)
    sample = sampled(folder, labels=60)
    first = sample.pairs[0].id
    rows = {
        "id": [first, first, first, "pair-0099"],
        "kind": ["image", "caption", "image", "image"],
        "partner": ["pair-0050", "pair-0051", "pair-0055", "pair-0001"],
        "probability": [0.4, 0.9, 0.8, 0.5],
    }
    pq.write_table(pa.table(rows), audited_pictures / "suggestions.parquet")
    item = read_items(folder, sample.pairs)[0]
    assert [(one.kind, one.text, one.probability) for one in item.suggestions] == [
        ("image", "0011.png", 0.8),
        ("image", "0010.png", 0.4),
        ("caption", "caption 51 <b>", 0.9),
    ]
    assert item.suggestions[0].place.row == 55
    pq.write_table(pa.table({"id": ["a"]}), audited_pictures / "suggestions.parquet")
    with pytest.raises(UserError, match=r"cannot read .*suggestions\.parquet"):
        read_items(folder, sample.pairs)


def test_a_source_that_has_changed_is_refused(audited_pictures):
    scored(audited_pictures)
    (audited_pictures.parent / "shop.parquet").unlink()
    with pytest.raises(UserError, match="there is no file or folder"):
        open_review(audited_pictures, labels=60)


@pytest.mark.parametrize("format", ["label-studio", "csv", "fiftyone"])
def test_a_review_goes_out_and_comes_back(audited_pictures, tmp_path, format):
    truth = scored(audited_pictures)
    to = tmp_path / {"label-studio": "out.json", "csv": "out.csv", "fiftyone": "out"}[format]
    pairs = sampled(AuditFolder(audited_pictures), labels=60).pairs
    give(audited_pictures, pairs[:12], truth)
    give(audited_pictures, pairs[:3], truth, "Bo")
    files, count = export_review(audited_pictures, to, format)
    assert count == 60
    assert all(file.is_file() for file in files)
    path = audited_pictures / "labels.jsonl"
    expected = read_labels(path)
    assert import_review(audited_pictures, to) == (0, 15)
    assert read_labels(path) == expected
    path.unlink()
    assert import_review(audited_pictures, to) == (15, 15)

    def told(labels):
        return {(x.id, x.by): (x.verdict, x.at, x.stratum, x.probability) for x in labels}

    assert told(read_labels(path)) == told(expected)


def test_fiftyone_gets_a_picture_a_pair(audited_pictures, tmp_path):
    scored(audited_pictures)
    export_review(audited_pictures, tmp_path / "look", "fiftyone", labels=60)
    labels = json.loads((tmp_path / "look" / "labels.json").read_text())
    pictures = {path.stem: path for path in (tmp_path / "look" / "data").iterdir()}
    assert labels["labels"].keys() == pictures.keys()
    assert len(pictures) == 60
    with Image.open(next(iter(pictures.values()))) as picture:
        assert picture.size == (300, 200)
    with pytest.raises(UserError, match="not an empty folder"):
        export_review(audited_pictures, tmp_path / "look", "fiftyone")


def test_a_table_filled_in_by_hand_is_added_whole_or_not_at_all(audited_pictures, tmp_path):
    scored(audited_pictures)
    to = tmp_path / "out.csv"
    export_review(audited_pictures, to, labels=60)
    rows = list(csv.DictReader(to.open(newline="")))
    rows[3]["verdict"], rows[9]["verdict"] = "wrong", "wrung"

    def write():
        with to.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    write()
    with pytest.raises(UserError, match=r"out\.csv, row 5: the verdict names no reviewer"):
        import_review(audited_pictures, to)
    with pytest.raises(UserError, match=r"out\.csv, row 11: the verdict is 'wrung'"):
        import_review(audited_pictures, to, by="Ada")
    assert not (audited_pictures / "labels.jsonl").exists()
    rows[9]["verdict"] = "right"
    write()
    assert import_review(audited_pictures, to, by="Ada") == (2, 2)
    (one, other) = read_labels(audited_pictures / "labels.jsonl")
    assert {one.id, other.id} == {rows[3]["id"], rows[9]["id"]}
    assert math.isclose(one.probability, float(next(r for r in rows if r["id"] == one.id)["probability"]))


def test_what_cannot_be_exchanged_is_said(audited_pictures, tmp_path):
    scored(audited_pictures)
    with pytest.raises(UserError, match="has no sample yet"):
        import_review(audited_pictures, tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"format of .*out\.txt is not known"):
        export_review(audited_pictures, tmp_path / "out.txt")
    with pytest.raises(UserError, match="there is no format 'cvs'"):
        export_review(audited_pictures, tmp_path / "out.txt", "cvs")
    with pytest.raises(UserError, match="is a folder, expected a file"):
        export_review(audited_pictures, tmp_path, "csv", labels=60)
    sampled(AuditFolder(audited_pictures), labels=60)
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    for name in ("a.csv", "gone.csv", "gone.json"):
        with pytest.raises(UserError, match=f"cannot read .*{name}"):
            import_review(audited_pictures, tmp_path / name)
    with pytest.raises(UserError, match="there is no audit in"):
        review_status(tmp_path / "nothing")


MUTATIONS = 30
PIECES = (
    b"",
    b"\0",
    b"\xff",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"[",
    b"{}",
    b'"',
    b"\n",
    b",",
    b"[[[[",
    b"9" * 40,
)


def damaged(data, rng):
    """Bytes with a few pieces cut out or put in."""
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(data) + 1))
        end = min(len(data), start + int(rng.choice([0, 1, 3, 30])))
        data = data[:start] + PIECES[rng.integers(len(PIECES))] + data[end:]
    return data


@pytest.mark.parametrize("name", ["labels.jsonl", "review.json", "out.json", "out.csv", "out/labels.json"])
def test_damaged_files_are_read_or_refused_in_one_sentence(audited_pictures, tmp_path, name):
    truth = scored(audited_pictures)
    give(audited_pictures, sampled(AuditFolder(audited_pictures), labels=60).pairs[:20], truth)
    ours = name in ("labels.jsonl", "review.json")
    path = audited_pictures / name if ours else tmp_path / name
    if not ours:
        format = {"out.json": "label-studio", "out.csv": "csv"}.get(name, "fiftyone")
        export_review(audited_pictures, tmp_path / name.split("/")[0], format, pictures=False)
    whole, labels = path.read_bytes(), (audited_pictures / "labels.jsonl").read_bytes()
    rng = np.random.default_rng(0)
    said = []
    for _ in range(MUTATIONS):
        path.write_bytes(damaged(whole, rng))
        try:
            if ours:
                review_status(audited_pictures)
            else:
                import_review(audited_pictures, path, by="Ada")
        except UserError as error:
            said.append(str(error))
        if not ours:
            (audited_pictures / "labels.jsonl").write_bytes(labels)
    assert said
    assert not any("\n" in sentence for sentence in said)
