"""The page in a real browser: keys, mouse, phone, reload, two tabs, and a server that dies."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustcmr.audit.labels import counted, read_labels
from robustcmr.review.items import Item

_SPEC = importlib.util.spec_from_file_location("webdriver", Path(__file__).with_name("webdriver.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
webdriver: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(webdriver)

pytestmark = pytest.mark.skipif(
    webdriver.CHROMIUM is None or webdriver.DRIVER is None,
    reason="Chromium and chromedriver are not installed",
)

HOSTILE = "<img src=x onerror=\"document.title='pwned'\"> &amp; \u202eevil\nsecond line"


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    with webdriver.driver() as address:
        yield address


@pytest.fixture(scope="module")
def desktop(driver: str) -> Iterator[Any]:
    browser = webdriver.Browser(driver)
    yield browser
    browser.close()


@pytest.fixture
def browser(desktop: Any) -> Iterator[Any]:
    desktop.complaints()  # of earlier tests
    yield desktop
    for message in desktop.complaints():
        gone = "/picture/" in message and "404" in message
        assert gone or "ERR_CONNECTION_" in message, message


def enter(browser: Any, address: str, name: str = "Ada") -> None:
    browser.open(address)
    browser.wait(lambda: browser.text("#name h2"), "the question for a name")
    browser.press(*name, "Enter")
    browser.wait(lambda: browser.text("#caption"), "a caption")


def judge(browser: Any, key: str) -> None:
    before = browser.text("#count"), browser.text("#id")
    browser.press(key)
    browser.wait(lambda: (browser.text("#count"), browser.text("#id")) != before, f"the verdict of key {key}")


def verdicts(page: Any) -> dict[str, str]:
    return {label.id: label.verdict for label in counted(read_labels(page.folder / "labels.jsonl"))}


def test_keys_judge_and_undo(serve, browser):
    page = serve(30)
    enter(browser, page.address, "wrAda")  # letters of the name are no verdicts
    assert verdicts(page) == {}
    ids = [item.id for item in page.review.items]
    for key in "1234rwpu":
        assert browser.text("#id") == f"id {ids[len(verdicts(page))]}"
        judge(browser, key)
    assert list(verdicts(page).items()) == list(
        zip(ids[:8], ("right", "wrong", "partly", "unsure") * 2, strict=True)
    )
    assert browser.text("#count") == "8 of 30"
    assert {label.by for label in read_labels(page.folder / "labels.jsonl")} == {"wrAda"}
    judge(browser, "z")
    judge(browser, "Backspace")
    assert list(verdicts(page)) == ids[:6]
    assert browser.text("#id") == f"id {ids[6]}"
    judge(browser, "2")
    assert verdicts(page)[ids[6]] == "wrong"
    assert browser.run("return document.querySelectorAll('#curve path').length") == 3
    assert "95% interval" in browser.text("#interval")


def test_the_picture_is_that_of_the_pair_and_can_be_enlarged(serve, browser):
    page = serve(12)
    enter(browser, page.address)
    loaded = "const p = document.getElementById('picture'); return p.complete ? p.naturalWidth : 0"
    assert browser.wait(lambda: browser.run(loaded)) == 300
    judge(browser, "1")
    browser.press(" ")
    browser.wait(lambda: browser.text("#zoom"), "the enlarged picture")
    width = browser.run("return document.getElementById('large').getBoundingClientRect().width")
    browser.press("+", "+")
    assert browser.run("return document.getElementById('large').getBoundingClientRect().width") > 2 * width
    judge(browser, "2")  # judged while enlarged
    assert browser.text("#zoom") == ""
    browser.click("#enlarge")
    browser.wait(lambda: browser.text("#zoom"), "the enlarged picture")
    browser.press("Escape")
    browser.wait(lambda: not browser.text("#zoom"), "the page again")
    browser.click("[data-verdict=partly]")
    browser.wait(lambda: len(verdicts(page)) == 3, "the verdict of a click")
    assert list(verdicts(page).values()) == ["right", "wrong", "partly"]
    browser.click("#undo")
    browser.wait(lambda: len(verdicts(page)) == 2, "the undo of a click")


def test_a_reload_in_the_middle_goes_on(serve, browser):
    page = serve(12)
    enter(browser, page.address)
    for key in "121":
        judge(browser, key)
    browser.call("POST", "/refresh", {})
    browser.wait(lambda: browser.text("#count") == "3 of 12", "the count")
    assert browser.text("#name") == ""  # asked once
    assert browser.text("#id") == f"id {page.review.items[3].id}"
    judge(browser, "z")
    assert len(verdicts(page)) == 2


def test_two_tabs_lose_and_double_nothing(serve, browser):
    page = serve(12)
    enter(browser, page.address)
    first = browser.here()
    second = browser.tab()
    browser.open(page.address)
    browser.wait(lambda: browser.text("#caption"), "a caption in the second tab")
    for number in range(12):
        browser.go(first if number % 2 else second)
        expected = f"id {page.review.items[number].id}"
        browser.wait(lambda: browser.text("#id") == expected, f"the pair {number} in this tab too")  # noqa: B023
        judge(browser, "1" if number % 3 else "2")
    for tab in (first, second):
        browser.go(tab)
        browser.wait(lambda: browser.text("#done-title") == "All pairs have a verdict.", "the end")
    lines = read_labels(page.folder / "labels.jsonl")
    assert [label.id for label in lines] == [item.id for item in page.review.items]
    browser.call("DELETE", "/window")
    browser.go(first)


def test_disagreements_come_back_at_the_end(serve, browser):
    page = serve(6)
    for place, item in enumerate(page.review.items):
        page.post("verdict", pair=item.key, verdict="wrong", by="Bo", mark=f"b{place}")
    enter(browser, page.address)
    judge(browser, "1")
    judge(browser, "2")  # of 6 pairs two are shared
    browser.wait(lambda: "disagree" in browser.text("#again"), "the disagreement")
    assert "Ada said right" in browser.text("#again")
    assert "Bo said wrong" in browser.text("#again")
    judge(browser, "2")
    browser.wait(lambda: browser.text("#done-title"), "the end")
    assert "agree on 100.0% of 2" in browser.text("#people")
    browser.click("#more")
    browser.wait(lambda: "second opinion" in browser.text("#again"), "a second opinion")


def test_text_is_text_and_nothing_is_loaded_from_elsewhere(
    serve, browser, make_items, audited_pictures, suggested
):
    items = make_items(audited_pictures, 2, suggestions=suggested)
    items[0] = replace(items[0], caption=HOSTILE)
    items.insert(1, Item("<b>", "https://192.0.2.1/a.jpg", "far away", None, 0, 1.0))
    page = serve(items=items)
    enter(browser, page.address)
    assert browser.run("return document.getElementById('caption').textContent") == HOSTILE
    assert "A picture that may fit the caption better (fits with 75.0%)" in browser.text("#suggestions")
    assert "a better <caption>" in browser.text("#suggestions")
    shown = "const p = document.querySelector('#suggestions img'); return p.complete ? p.naturalWidth : 0"
    assert browser.wait(lambda: browser.run(shown)) == 300
    judge(browser, "1")
    assert browser.text("#link") == "Open https://192.0.2.1/a.jpg"
    assert browser.text("#enlarge") == ""
    assert "pwned" not in browser.run("return document.title")
    loaded = browser.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert loaded
    assert all(name.startswith(page.address) for name in loaded)


def test_pictures_by_address_are_loaded_on_request(serve, browser, audited_pictures):
    other = serve(3)  # stands for another server
    far = f"http://127.0.0.1:{other.port}/{other.token}/picture/{other.get('state?by=B')['queue'][0]['picture']}"
    for load in (False, True):
        page = serve(items=[Item("a", far, "c", None, 0, 1.0)], load_urls=load)
        enter(browser, page.address)
        assert browser.run("return document.getElementById('picture').hasAttribute('src')") is load
    browser.complaints()  # that server lets no other page show its pictures


def test_a_picture_that_is_gone_is_said(serve, browser, audited_pictures):
    (audited_pictures.parent / "0000.png").unlink()
    page = serve(12)
    enter(browser, page.address)
    browser.wait(lambda: "0000.png cannot be shown" in browser.text("#nopicture"), "a sentence")
    judge(browser, "4")


def test_a_verdict_waits_for_a_server_that_is_away(serve, browser):
    page = serve(12)
    enter(browser, page.address)
    judge(browser, "1")
    browser.run("window.real = window.fetch; window.fetch = () => Promise.reject(new TypeError('away'))")
    browser.press("2", "3", "3")
    browser.wait(lambda: "Not saved yet: wrong." in browser.text("#trouble"), "what is wrong")
    assert len(verdicts(page)) == 1
    browser.run("window.fetch = window.real")
    browser.wait(lambda: len(verdicts(page)) == 2, "the verdict")
    browser.wait(lambda: not browser.text("#trouble"), "no trouble")
    assert list(verdicts(page).values()) == ["right", "wrong"]


def test_it_fits_a_phone(driver, serve, tmp_path):
    metrics = {"width": 390, "height": 844, "pixelRatio": 2, "touch": True}
    phone = webdriver.Browser(driver, mobileEmulation={"deviceMetrics": metrics})
    page = serve(12)
    try:
        enter(phone, page.address)
        assert phone.run("return document.documentElement.scrollWidth") == 390
        boxes = phone.run(
            "return [...document.querySelectorAll('#verdicts button, #picture')].map((one) => {"
            " const b = one.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] })"
        )
        assert len(boxes) == 6
        for left, top, right, bottom in boxes:
            assert left >= 0
            assert right <= 390
            assert bottom <= 844
            assert bottom - top >= 44
        phone.click("[data-verdict=wrong]")
        phone.wait(lambda: list(verdicts(page).values()) == ["wrong"], "the verdict of a tap")
        phone.click("#enlarge")
        phone.wait(lambda: phone.text("#zoom"), "the enlarged picture")
        assert phone.complaints() == []
    finally:
        phone.close()


def test_a_kill_of_the_server_loses_at_most_the_last(audited_pictures, browser):
    command = [sys.executable, "-m", "robustcmr", "review", str(audited_pictures), "--labels", "40"]
    command += ["--no-browser", "--seed", "3"]
    path = audited_pictures / "labels.jsonl"
    for given in (0, 7):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            enter(browser, address)
            assert browser.text("#count").startswith(f"{given} of")
            for key in "1212121":
                judge(browser, key)
            browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '3'}))")  # and at once:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            browser.wait(
                lambda: "does not answer" in browser.text("#trouble") or len(read_labels(path)) > 7, ""
            )
        finally:
            process.kill()
        kept = read_labels(path)
        assert [label.verdict for label in kept][given : given + 7] == ["right", "wrong"] * 3 + ["right"]
        assert len(kept) in (given + 7, given + 8)
        if len(kept) == given + 8:  # it was written before the kill: take it back for the second round
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: given + 7]))
        time.sleep(0.1)
    assert len({label.id for label in read_labels(path)}) == 14
