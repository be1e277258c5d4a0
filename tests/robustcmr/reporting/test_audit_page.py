"""The page of an audit, and its sentences and charts."""

import re

import numpy as np
import pytest

from robustcmr.reporting.audit_charts import score_chart
from robustcmr.reporting.audit_page import LARGEST, AuditCard, ReasonGroup, audit_page
from robustcmr.reporting.audit_sentences import (
    apply_command,
    decisions_sentence,
    outcome_sentences,
    reasons_of,
)
from robustcmr.reporting.thumbnails import Thumbnail

CURVES = {
    "edges": [-1 + place / 10 for place in range(21)],
    "given": [0, 0, 0, 1, 4, 10, 40, 60, 40, 20, 20, 40, 90, 200, 200, 100, 60, 10, 1, 0],
    "random": [0, 0, 0, 3, 20, 80, 200, 300, 200, 80, 40, 9, 2, 0, 0, 0, 0, 0, 0, 0],
    "near": [0, 0, 0, 1, 6, 20, 70, 150, 220, 200, 150, 80, 40, 9, 2, 0, 0, 0, 0, 0],
}


def card(**changes):
    values = {
        "id": "pair-1",
        "image": Thumbnail("images/1.png"),
        "link": None,
        "caption": "a red star",
        "probability": (0.93, 0.9, 0.96),
        "score": -0.2,
        "duplicate_of": None,
        "caption_count": 1,
    }
    return AuditCard(**{**values, **changes})


def group(*cards, decision="drop", reason="caption of another picture", total=7):
    return ReasonGroup(decision, reason, total, cards)


@pytest.fixture
def page(parse, tmp_path, make_summary, make_about):
    def make(*groups, summary=None, about=None, note="", curves=CURVES):
        told = summary or make_summary(), about or make_about()
        return parse(audit_page(tmp_path / "web", *told, groups, note, curves))

    return make


def test_the_outcome_comes_first_then_the_command_that_applies_it(page, tmp_path):
    made = page(group(card()))
    text = " ".join(made.text.split())
    places = [
        text.index(words)
        for words in (
            "21.0 % look mismatched" if "21.0 %" in text else "21.0% look mismatched",
            "Of 1,000 pairs, 200 (20.0%) are to be dropped",
            f"robustcmr apply {tmp_path / 'web'} --list keep --to {tmp_path / 'web-clean'} --dry-run",
            "Pairs by decision",
            "Pairs set aside",
            "Caption of another picture (drop, 7)",
        )
    ]
    assert places == sorted(places)


def test_counts_are_tables(page):
    tables = page().tables
    rows = tables["Pairs by decision"]
    assert [row[:2] for row in rows[1:]] == [["drop", 200], ["review", 50], ["keep", 740], ["set aside", 10]]
    reasons = tables["Pairs by reason"]
    assert [row[0] for row in reasons[1:]] == [
        *("looks mismatched", "boilerplate caption"),
        *("may be mismatched", "empty caption"),
    ]
    assert tables["Pairs set aside"][1] == ["empty caption", 10, "a.csv row 3"]


def test_what_users_wrote_is_shown_and_never_obeyed(page, make_summary, make_about):
    evil = '<img src=x onerror=alert(1)></p><script>alert("caption")</script>'
    made = page(
        group(card(caption=evil, id=evil, image=Thumbnail(evil), duplicate_of=evil), reason=evil),
        summary=make_summary(
            problems=[{"problem": evil, "pairs": 1, "first": evil}],
            reasons={"drop": {evil: 7}},
            says=[evil],
        ),
        about=make_about(command=evil, source={"format": evil}, settings={"sources": [evil]}),
        note=evil,
    )
    assert not any(tag in ("script", "img") for tag, _ in made.elements)
    assert made.text.count('<script>alert("caption")</script>') >= 8


def test_addresses_are_links_that_nothing_loads(page):
    url = "https://example.org/cat.jpg?a=1&b=2"
    made = page(group(card(link=url, image=Thumbnail(url))))
    links = [a["href"] for tag, a in made.elements if tag == "a" and a["href"].startswith("http")]
    assert links == [url]
    for tag, attributes in made.elements:
        assert tag not in ("iframe", "object", "embed", "video")
        for name in ("src", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)


def test_cards_say_what_is_known(page):
    text = page(group(card(duplicate_of="pair-0", caption_count=1200))).text
    for words in ("93.0% likely wrong (90.0% to 96.0%)", "repeats pair-0", "1,200 pairs have this caption"):
        assert words in text
    sure = card(probability=(0.99999, 0.0001, 1.0))
    assert sure.chance == "over 99.9% likely wrong (below 0.1% to over 99.9%)"
    bare = page(group(card(probability=None, score=None))).text
    assert "likely wrong (" not in bare
    assert "pair-1, score" in text
    assert "pair-1, score" not in bare


def test_a_rate_that_is_not_known_is_not_made_up(page, make_summary):
    text = page(summary=make_summary(noise_rate=None), curves=None).text
    assert "could not be estimated" in text
    assert "look mismatched" not in text
    assert "No pair has a score." in text


def test_a_page_too_large_keeps_the_worst(tmp_path, make_summary, make_about):
    picture = Thumbnail("a.png", "data:image/webp;base64," + "A" * 200_000, 10, 10)
    groups = [group(*(card(id=f"{name}-{i}", image=picture) for i in range(40))) for name in ("a", "b")]
    made = audit_page(tmp_path / "web", make_summary(), make_about(), groups)
    assert len(made.encode()) <= LARGEST
    shown = re.findall(r"Picture of pair ([ab])-(\d+)", made)
    assert {name for name, _ in shown} == {"a", "b"}
    assert [int(i) for name, i in shown if name == "a"] == list(range(sum(name == "a" for name, _ in shown)))
    assert len(shown) > 30


def test_decisions_are_counted_in_the_grammar_of_their_number(make_summary):
    one = make_summary(pairs=4, decisions={"keep": 2, "drop": 1, "aside": 1})
    assert decisions_sentence(one) == (
        "Of 4 pairs, 1 (25.0%) is to be dropped, 2 (50.0%) are kept and 1 (25.0%) was set aside, as it could "
        "not be judged."
    )
    assert decisions_sentence(make_summary(pairs=0, decisions={})) == (
        "Of 0 pairs, 0 are to be dropped and 0 are kept."
    )


def test_sentences_start_with_how_many_and_how_sure(make_summary):
    first, second, third = outcome_sentences(make_summary())
    assert first == "Looks randomly mismatched: 21.0% (19.0 to 23.0)."
    assert second.startswith("Of 1,000 pairs")
    assert third == "Set aside: 10 pairs with empty caption, first a.csv row 3."
    assert len(outcome_sentences(make_summary(), problems=False)) == 2


def test_reasons_are_ordered_by_list_and_number(make_summary):
    assert [(decision, count) for decision, _, count in reasons_of(make_summary())] == [
        *(("drop", 150), ("drop", 50)),
        *(("review", 50), ("aside", 10)),
    ]


def test_paths_in_commands_are_quoted(tmp_path):
    command = apply_command(tmp_path / "my audits" / "a;b")
    assert f"'{tmp_path}/my audits/a;b'" in command
    assert f"--to '{tmp_path}/my audits/a;b-clean'" in command


def test_the_chart_holds_the_counts():
    curves = CURVES
    chart = score_chart(curves)
    rows = chart.tables[0].rows
    assert [row[1] for row in rows] == curves["given"]
    assert chart.tables[0].columns == ("score", "given pairs", "random partners", "near partners")
    bars = chart.figure.axes[0].patches[: len(curves["given"])]
    areas = [bar.get_width() * bar.get_height() for bar in bars]
    np.testing.assert_allclose(areas, np.array(curves["given"]) / sum(curves["given"]))


def test_bars_are_divided_by_the_probability():
    curves = CURVES
    wrong = [count / 4 for count in curves["given"]]
    chart = score_chart({**curves, "mismatched": wrong, "random": None, "near": None})
    assert chart.tables[0].columns == ("score", "likely right", "likely mismatched")
    assert [row[2] for row in chart.tables[0].rows] == wrong
    assert [sum(row[1:]) for row in chart.tables[0].rows] == curves["given"]
    bars = chart.figure.axes[0].patches
    area = sum(bar.get_width() * bar.get_height() for bar in bars)
    assert area == pytest.approx(1)
    assert "224 of 896 likely mismatched" in chart.description


def test_a_chart_without_nulls_or_pairs():
    curves = CURVES
    assert score_chart({**curves, "near": None}).tables[0].columns == (
        *("score", "given pairs"),
        "random partners",
    )
    assert score_chart({**curves, "given": [0] * 20}) is None
