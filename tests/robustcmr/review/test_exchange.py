"""Verdicts that go to other programs and come back, and what is not accepted."""

import base64
import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from robustcmr.audit.labels import Label
from robustcmr.errors import DataError, UserError
from robustcmr.files import parse_json
from robustcmr.review import fiftyone, label_studio, table
from robustcmr.review.exchange import Came, Sent, accepted
from robustcmr.review.items import Item
from robustcmr.review.sample import Drawn

FILE = Path("verdicts.csv")
STRANGE = 'id "1",\n=cmd|ü'
SAMPLE = [Drawn(STRANGE, 2, 1 / 3, 1.5), Drawn("b", 0, 1.0, -2.0), Drawn("c", 1, 0.25, 0.0)]


def sent(several=False):
    items = [
        Item(pair.id, f"{pair.id}.jpg", f"caption of {pair.id}", None, pair.stratum, pair.probability)
        for pair in SAMPLE
    ]
    labels = [Label(STRANGE, "wrong", "Ada Ö", "2026-01-01T10:00:00.123+00:00", 2, 1 / 3, key="k")]
    if several:
        labels.append(Label(STRANGE, "right", "Bo", "2026-01-02T10:00:00.000+00:00", 2, 1 / 3, key="l"))
    return [Sent(items[0], labels, b"\xff\xd8jpeg"), Sent(items[1], [], None), Sent(items[2], [], b"x")]


WAYS = {
    "label-studio": (label_studio.tasks, lambda text: label_studio.read_tasks(parse_json(text))),
    "csv": (table.table, table.read_table),
    "fiftyone": (fiftyone.labels_json, lambda text: fiftyone.read_labels_json(parse_json(text))),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_verdicts_come_back_with_all_that_belongs_to_them(way, several):
    write, read = WAYS[way]
    given = sent(several)
    back = accepted(read(write(given)), SAMPLE, [], None, FILE)
    expected = [label for one in given for label in one.labels]
    assert [(x.id, x.verdict, x.by, x.at, x.stratum, x.probability) for x in back] == [
        (x.id, x.verdict, x.by, x.at, x.stratum, x.probability) for x in expected
    ]
    assert accepted(read(write(given)), SAMPLE, expected, None, FILE) == []  # nothing new


def test_label_studio_gets_tasks_that_fit_its_interface():
    tasks = json.loads(label_studio.tasks(sent()))
    interface = ElementTree.fromstring(label_studio.CONFIG)
    names = {tag.get("name"): tag for tag in interface if tag.get("name")}
    for name in ("picture", "caption"):
        field = names[name].get("value").removeprefix("$")
        assert all(field in task["data"] for task in tasks)
    (result,) = tasks[0]["annotations"][0]["result"]
    assert names[result["from_name"]].get("toName") == result["to_name"] == "picture"
    assert result["type"] == "choices"
    assert names["verdict"].tag == "Choices"
    choices = [choice.get("value") for choice in names["verdict"]]
    assert result["value"]["choices"][0] in choices == ["right", "wrong", "partly", "unsure"]
    prefix, data = tasks[0]["data"]["image"].split(",")
    assert prefix == "data:image/jpeg;base64"
    assert base64.b64decode(data) == b"\xff\xd8jpeg"
    assert tasks[1]["data"]["image"] == "b.jpg"
    assert tasks[1]["annotations"] == []


def test_annotations_made_in_label_studio_are_read():
    # as its documentation lays them out: an export with users as numbers or records, one skipped, one drafted
    result = [
        {
            "id": "x",
            "type": "choices",
            "value": {"choices": ["partly"]},
            "from_name": "verdict",
            "to_name": "picture",
        }
    ]
    base = {
        "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T23:16:08Z",
    }
    tasks = [
        {
            **{
                "id": 1,
                "project": 83,
                "predictions": [],
                "data": {"pair": "b", "image": "i", "probability": 1.0},
            },
            "annotations": [
                {**base, "result": result, "completed_by": 10, "was_cancelled": False},
                {**base, "result": result, "completed_by": {"id": 3, "email": "bo@x.org"}},
                {**base, "result": result, "completed_by": 11, "was_cancelled": True},
                {**base, "result": [], "completed_by": 12},
            ],
        },
        {"id": 2, "data": {"pair": "c"}, "annotations": []},
    ]
    back = accepted(label_studio.read_tasks(tasks), SAMPLE, [], None, FILE)
    assert [(x.id, x.verdict, x.by, x.at, x.stratum, x.probability) for x in back] == [
        ("b", "partly", by, "2026-03-09T23:16:08.000+00:00", 0, 1.0)
        for by in ("Label Studio user 10", "bo@x.org")
    ]
    small = [
        {
            "pair": "c",
            "image": "i",
            "id": 4,
            "verdict": "wrong",
            "annotator": 2,
            "created_at": "2026-03-09T22:16:08Z",
        }
    ]
    (one,) = accepted(label_studio.read_tasks([*small, {"pair": "b", "id": 5}]), SAMPLE, [], None, FILE)
    assert (one.id, one.verdict, one.by) == ("c", "wrong", "Label Studio user 2")


def test_labels_changed_in_fiftyone_are_read():
    given = json.loads(fiftyone.labels_json(sent()))
    keys = list(given["labels"])
    assert given["classes"] == ["right", "wrong", "partly", "unsure"]
    # without attributes, by number of the class, and by plain text
    given["labels"] = {keys[0]: {"label": 2}, f"sub/{keys[1]}": "right", keys[2]: None}
    back = accepted(fiftyone.read_labels_json(given), SAMPLE, [], "Cy", FILE)
    assert [(x.id, x.verdict, x.by) for x in back] == [(STRANGE, "partly", "Cy"), ("b", "right", "Cy")]


def test_the_table_has_a_row_for_each_pair_to_be_filled_in():
    rows = list(csv.DictReader(io.StringIO(table.table(sent()))))
    assert [row["id"] for row in rows] == [STRANGE, "b", "c"]
    assert [row["verdict"] for row in rows] == ["wrong", "", ""]
    filled = table.table(sent()).replace(
        "b.jpg,caption of b,0,1.0,,,", "b.jpg,caption of b,0,1.0,Unsure ,Cy,2026-05-01 12:00"
    )
    assert [(x.id, x.verdict, x.at) for x in accepted(table.read_table(filled), SAMPLE, [], None, FILE)][
        1
    ] == (
        "b",
        "unsure",
        "2026-05-01T12:00:00.000+00:00",
    )


def test_a_verdict_that_its_reviewer_has_replaced_since_is_left_out():
    old = Came("b", "wrong", "Ada", "2026-01-01T00:00:00Z", "row 2")
    new = Label("b", "right", "Ada", "2026-01-02T00:00:00.000+00:00", 0, 1.0)
    assert accepted([old], SAMPLE, [new], None, FILE) == []
    (found,) = accepted([old], SAMPLE, [Label(**{**vars(new), "by": "Bo"})], None, FILE)
    assert found.verdict == "wrong"
    timeless = [Came("b", verdict, "Ada", None, "row 2") for verdict in ("right", "partly")]
    assert [one.verdict for one in accepted(timeless, SAMPLE, [new], None, FILE)] == ["partly"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pair": "other"}, "the pair 'other' is not in the sample"),
        ({"verdict": "wrng"}, "the verdict is 'wrng', did you mean 'wrong'|the verdict is 'wrng'"),
        ({"by": None}, "names no reviewer; say who it was with --by NAME"),
        ({"by": "a\x1b[0m"}, "the reviewer's name is"),
        ({"at": "yesterday"}, "the time is 'yesterday'; expected such as"),
        ({"probability": 0.5}, "was sampled with probability 0.5"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change, why):
    came = Came(**{"pair": "b", "verdict": "wrong", "by": "Ada", "at": None, "where": "row 7", **change})
    with pytest.raises(UserError, match=rf"verdicts\.csv, row 7: .*({why})"):
        accepted([came], SAMPLE, [], None, FILE)


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("csv", "a,b\n1,2\n"),
        ("csv", ""),
        ("csv", 'id,verdict\n"a,wrong\n'),
        ("csv", "id,verdict,probability\na,wrong,many\n"),
        ("label-studio", "{}"),
        ("label-studio", "[3]"),
        ("label-studio", '[{"data": {"image": "a"}}]'),
        ("label-studio", '[{"data": {"pair": "b"}, "annotations": 3}]'),
        (
            "label-studio",
            '[{"data": {"pair": "b"}, "annotations": [{"result": [{"from_name": "verdict"}]}]}]',
        ),
        ("fiftyone", "[]"),
        ("fiftyone", '{"labels": {"a": 3}}'),
        ("fiftyone", '{"labels": {"a": {"confidence": 1}}}'),
    ],
)
def test_other_layouts_are_refused(way, text):
    with pytest.raises(ValueError, match=r"expected|no column|no CSV|'pair'"):
        list(WAYS[way][1](text))


def test_errors_of_names_are_of_data():
    came = Came("b", "wrong", "x" * 100, None, "row 2")
    with pytest.raises(DataError, match="100 letters"):
        accepted([came], SAMPLE, [], None, FILE)
