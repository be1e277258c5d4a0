"""The file of verdicts: what counts, what a kill leaves, and how far reviewers agree."""

import json
import multiprocessing
import os
import random

import pytest
from sklearn.metrics import cohen_kappa_score

from robustcmr.audit.labels import (
    VERDICTS,
    Label,
    LabelFile,
    agreements,
    cohen,
    counted,
    disagreements,
    read_labels,
    settled,
    tally,
)
from robustcmr.errors import DataError


def label(id="a", verdict="right", by="Ada", key="", undo=False, at="2026-01-01T00:00:00.000+00:00"):
    return Label(id, verdict, by, at, 3, 0.25, undo, key)


def test_labels_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "labels.jsonl"
    given = [label('a"\n\u2028', key="1"), label("ü", "wrong", "Bo", "2"), label("c", "unsure")]
    assert LabelFile(path).append(given) == given
    assert read_labels(path) == given
    lines = path.read_bytes().decode("ascii").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [one.id for one in given]
    assert json.loads(lines[0]) == {
        **{"id": 'a"\n\u2028', "verdict": "right", "by": "Ada", "at": "2026-01-01T00:00:00.000+00:00"},
        **{"stratum": 3, "probability": 0.25, "undo": False, "key": "1"},
    }


def test_no_file_is_no_labels(tmp_path):
    assert read_labels(tmp_path / "labels.jsonl") == []


def test_a_verdict_sent_twice_is_there_once(tmp_path):
    file = LabelFile(tmp_path / "labels.jsonl")
    file.append([label(key="1")])
    assert file.append([label(key="1"), label("b", key="2"), label("b", key="2")]) == [label("b", key="2")]
    assert LabelFile(file.path).append([label(key="1")]) == []
    file.append([label(key="1", undo=True)])
    assert file.append([label(key="1", undo=True)]) == []
    assert file.append([label(key="1")]) == []  # a late repetition does not bring it back
    assert [one.id for one in counted(file.read())] == ["b"]


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_cut_short_by_a_kill_is_replaced_by_the_next(tmp_path, cut):
    path = tmp_path / "labels.jsonl"
    LabelFile(path).append([label("a"), label("b")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    expected = ["a", "b"] if cut == 1 else ["a"]  # only the end of the line is gone
    assert [one.id for one in read_labels(path)] == expected
    file = LabelFile(path)
    file.append([label("c")])
    assert [one.id for one in read_labels(path)] == [*expected, "c"] == [one.id for one in file.read()]
    assert path.read_bytes().count(b"\n") == len(expected) + 1


def test_what_another_process_appends_is_read(tmp_path):
    path = tmp_path / "labels.jsonl"
    first, other = LabelFile(path), LabelFile(path)
    first.append([label("a", key="1")])
    assert [one.id for one in other.read()] == ["a"]
    other.append([label("b", key="2")])
    assert first.append([label("b", key="2"), label("c", key="3")]) == [label("c", key="3")]
    assert [one.id for one in first.read()] == ["a", "b", "c"] == [one.id for one in read_labels(path)]


def _many(path, name):
    file = LabelFile(path)
    for number in range(30):
        file.append([label(f"{name}{number}", by=name)])


def test_processes_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "labels.jsonl"
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    work = [context.Process(target=_many, args=(path, name)) for name in "xyz"]
    for one in work:
        one.start()
    for one in work:
        one.join()
        assert one.exitcode == 0
    assert sorted(one.id for one in read_labels(path)) == sorted(f"{n}{i}" for n in "xyz" for i in range(30))
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.jsonl"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", r"line 2: "),
        ('{"id": "a"}', r"line 2: verdict is missing"),
        ('{"id": "a", "verdict": "maybe", "by": "A", "at": "t", "stratum": 0, "probability": 1}', "verdict"),
        ('{"id": "a", "verdict": "right", "by": "A", "at": "t", "stratum": 0, "probability": 7}', "prob"),
        ('{"id": "a", "verdict": "right", "by": "A", "at": "t", "stratum": 0, "probability": 1}', "no time"),
        (
            '{"id": "a", "verdict": "right", "by": "A", "at": "2026-01-01", "stratum": 0, "probability": 1}',
            "is no time with its zone",
        ),
    ],
)
def test_damage_is_named_with_its_line(tmp_path, line, why):
    path = tmp_path / "labels.jsonl"
    LabelFile(path).append([label("a")])
    with path.open("a") as file:
        file.write(f"{line}\n")
    LabelFile(tmp_path / "other.jsonl").append([label("z")])
    with path.open("ab") as file:
        file.write((tmp_path / "other.jsonl").read_bytes())
    with pytest.raises(DataError, match=rf"labels\.jsonl: .*{why}"):
        read_labels(path)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "labels.jsonl"
    file = LabelFile(path)
    file.append([label("a")])
    before = path.read_bytes()
    real = os.write

    def half(descriptor, data):
        if len(data) > 30 and b'"b"' in bytes(data):
            real(descriptor, data[:20])
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DataError, match="nothing was added"):
        file.append([label("b", key="1")])
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert file.append([label("b", key="1")])
    assert [one.id for one in read_labels(path)] == ["a", "b"]


def test_the_last_verdict_of_a_reviewer_counts():
    lines = [label(key="1"), label("a", "wrong", key="2"), label("b", key="3"), label("a", "partly", "Bo")]
    assert {(one.id, one.by): one.verdict for one in counted(lines)} == {
        ("a", "Ada"): "wrong",
        ("b", "Ada"): "right",
        ("a", "Bo"): "partly",
    }
    undone = [*lines, label("a", "wrong", key="2", undo=True), label("b", key="3", undo=True)]
    assert {(one.id, one.by): one.verdict for one in counted(undone)} == {
        ("a", "Ada"): "right",
        ("a", "Bo"): "partly",
    }
    without_key = [label("a"), label("a", "wrong"), label("a", "wrong", undo=True)]
    assert [one.verdict for one in counted(without_key)] == ["right"]


def test_most_reviewers_settle_a_pair():
    def said(*verdicts):
        lines = [label("a", verdict, str(number)) for number, verdict in enumerate(verdicts)]
        return settled(lines)[0].verdict

    assert said("wrong") == "wrong"
    assert said("wrong", "right") == "unsure"
    assert said("wrong", "right", "wrong") == "wrong"
    assert said("wrong", "unsure") == "wrong"
    assert said("unsure", "unsure") == "unsure"
    assert list(disagreements([label("a"), label("a", "wrong", "Bo"), label("b")])) == ["a"]
    assert disagreements([label("a"), label("a", "unsure", "Bo")]) == {}


def test_kappa_is_that_of_scikit_learn():
    rng = random.Random(0)
    for _ in range(20):
        first = rng.choices(VERDICTS[:3], k=40)
        second = [one if rng.random() < 0.6 else rng.choice(VERDICTS[:3]) for one in first]
        share, kappa = cohen(first, second)
        assert share == sum(a == b for a, b in zip(first, second, strict=True)) / 40
        assert kappa == pytest.approx(cohen_kappa_score(first, second))
    assert cohen(["right"], ["right"]) == (1.0, None)


def test_agreement_is_over_pairs_that_both_are_sure_of():
    lines = [
        label(id, verdict) for id, verdict in zip("abcd", ("right", "wrong", "right", "unsure"), strict=True)
    ]
    lines += [
        label(id, verdict, "Bo")
        for id, verdict in zip("abde", ("right", "right", "wrong", "wrong"), strict=True)
    ]
    lines += [label("z", by="Cy")]
    (found,) = agreements(lines)
    assert (found.reviewers, found.pairs, found.share, found.kappa) == (("Ada", "Bo"), 2, 0.5, 0.0)
    assert tally(lines)["Bo"] == {"right": 2, "wrong": 2, "partly": 0, "unsure": 0}
