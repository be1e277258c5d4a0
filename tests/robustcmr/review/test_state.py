"""What the page is told, and what it may change."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from robustcmr.audit.labels import read_labels
from robustcmr.review.items import Item


def verdict(page, item, said="wrong", by="Ada", mark="1"):
    return page.post("verdict", pair=item.key, verdict=said, by=by, mark=mark)


def test_a_verdict_is_on_the_disk_when_it_is_answered(serve):
    page = serve()
    first = page.review.items[0]
    status, state = verdict(page, first)
    assert status == 200
    (label,) = read_labels(page.folder / "labels.jsonl")
    assert (label.id, label.verdict, label.by, label.stratum, label.probability) == (
        *(first.id, "wrong", "Ada"),
        *(first.stratum, first.probability),
    )
    assert label.at.endswith("+00:00")
    assert (state["judged"], state["mine"], state["total"], state["left"]) == (1, 1, 12, 11)
    assert [card["id"] for card in state["queue"]] == [item.id for item in page.review.items[1:5]]


def test_nothing_of_the_audit_s_opinion_is_shown(serve):
    page = serve()
    card = page.get("state?by=Ada")["queue"][0]
    assert sorted(card) == ["caption", "id", "link", "name", "pair", "picture", "said", "suggestions", "why"]
    verdict(page, page.review.items[0], "wrong", "Bo")
    assert page.get("state?by=Ada")["queue"][0]["said"] == []  # nor of others, before one has judged


def test_undo_brings_the_pair_back_first(serve):
    page = serve()
    for number, item in enumerate(page.review.items[:3]):
        verdict(page, item, mark=f"m{number}")
    last = page.get("state?by=Ada")["last"]
    assert last == {"pair": page.review.items[2].key, "mark": "m2"}
    status, state = page.post("undo", by="Ada", **last)
    assert status == 200
    assert (state["judged"], state["queue"][0]["id"]) == (2, page.review.items[2].id)
    assert state["last"]["mark"] == "m1"
    assert page.post("undo", by="Ada", **last)[1]["judged"] == 2  # sent twice, undone once
    assert page.post("undo", by="Bo", **state["last"]) == (
        404,
        "there is no such verdict to take back; load the page again",
    )


def test_disagreements_come_back_with_what_was_said(serve):
    page = serve(2)
    first, other = page.review.items
    verdict(page, first, "right", "Ada", "1")
    verdict(page, other, "right", "Ada", "2")
    state = verdict(page, first, "wrong", "Bo", "3")[1]
    assert state["queue"][0]["why"] == "again"
    assert state["queue"][0]["said"] == [{"by": "Ada", "verdict": "right"}, {"by": "Bo", "verdict": "wrong"}]
    assert state["agreements"][0]["share"] == 0
    state = verdict(page, first, "right", "Bo", "4")[1]
    assert state["queue"] == []
    assert state["agreements"][0]["share"] == 1


def test_the_interval_narrows_and_is_there_after_a_restart(serve):
    page = serve(60)
    for number, item in enumerate(page.review.items[:50]):
        state = verdict(page, item, "wrong" if number % 4 == 0 else "right", mark=f"m{number}")[1]
    assert state["estimate"]["value"] == pytest.approx(13 / 50)
    widths = [high - low for _, _, low, high in state["curve"]]
    assert widths[-1] < 0.5 * widths[0]
    again = serve(60).get("state")
    assert again["estimate"] == state["estimate"]
    assert [point[0] for point in again["curve"]] == sorted({point[0] for point in again["curve"]})
    state = page.post("undo", by="Ada", **state["last"])[1]
    assert state["curve"][-1][0] == 49
    assert state["estimate"]["value"] == pytest.approx(13 / 49)


def test_many_requests_at_once_lose_and_double_nothing(serve):
    page = serve(100)
    with ThreadPoolExecutor(8) as pool:
        done = [
            pool.submit(verdict, page, item, "right", name, f"{name}{place}")
            for place, item in enumerate(page.review.items[:40])
            for name in ("Ada", "Bo")
            for _ in range(2)
        ]
        assert {one.result()[0] for one in done} == {200}
    labels = read_labels(page.folder / "labels.jsonl")
    assert len(labels) == len({(label.id, label.by) for label in labels}) == 80


def test_two_servers_on_one_audit_see_each_other(serve):
    one, other = serve(), serve()
    verdict(one, one.review.items[0])
    assert other.get("state?by=Ada")["mine"] == 1
    verdict(other, other.review.items[1], mark="2")
    assert one.get("state?by=Ada")["mine"] == 2


def test_a_damaged_file_is_said_and_kept(serve):
    page = serve()
    path = page.folder / "labels.jsonl"
    path.write_text("nonsense\nnonsense\n")
    status, why = verdict(page, page.review.items[0])
    assert status == 503
    assert "labels.jsonl: line 1" in why
    assert path.read_text() == "nonsense\nnonsense\n"


def test_names_that_cannot_be_shown_are_refused(serve):
    page = serve(3)
    for name in ("", "  ", "a" * 81, "Ada\x1b[31m", "Ada\u202e"):
        status, why = verdict(page, page.review.items[0], by=name)
        assert status == 400
        assert why.startswith("the reviewer's name is ")


def test_marks_are_needed(serve):
    page = serve(3)
    for mark in ("", "a b", "a" * 65, "ü"):
        assert verdict(page, page.review.items[0], mark=mark)[0] == 400
    assert read_labels(page.folder / "labels.jsonl") == []


def test_addresses_are_links_and_suggestions_have_pictures(serve, make_items, audited_pictures, suggested):
    items = make_items(audited_pictures, 2, suggestions=suggested)
    items.append(Item("u", "https://example.org/a.jpg", "c", None, 0, 1.0))
    page = serve(items=items)
    state = json.loads(json.dumps(page.get("state?by=Ada")))
    image, caption = state["queue"][0]["suggestions"]
    assert (image["kind"], image["probability"], image["name"]) == ("image", 0.75, "0003.png")
    assert page.request(f"/{page.token}/picture/{image['picture']}")[0] == 200
    assert caption == {"kind": "caption", "probability": 0.5, "caption": "a better <caption>"}
    assert state["queue"][2]["link"] == "https://example.org/a.jpg"
    assert state["queue"][2]["picture"] is None
