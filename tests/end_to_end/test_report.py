"""The pages of runs and comparisons in a real browser: no errors, no requests, room on a phone, themes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.config.resolve import resolve
from robustcmr.jobs.report import write_run_report
from robustcmr.jobs.train import train
from robustcmr.reporting.cards import SuspectCard
from robustcmr.reporting.comparison import compare
from robustcmr.reporting.comparison_page import comparison_page
from robustcmr.reporting.pages import Section, render
from robustcmr.reporting.run_page import FIRST, Extras
from robustcmr.reporting.thumbnails import Thumbnails
from robustcmr.runs.read import read_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

TREE: dict[str, Any] = {
    "data": {"name": "scenes", "n_train": 24, "n_dev": 8, "n_test": 10},
    "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
    "method": {
        **{"name": "l2rm", "warmup_epochs": 1, "mixture": "gaussian"},
        **{"mass": 0.5, "epsilon": 0.1},
    },
    "noise": {"ratio": 0.4},
    "training": {"epochs": 2, "batch_size": 24, "device": "cpu"},
}
LABELS: dict[str, Any] = {
    "data": {"name": "scenes-labels", "n_train": 54, "n_dev": 18, "n_test": 18, "text_width": 8},
    "matcher": {"name": "two_tower"},
    "method": {"name": "uot_rcl", "warmup_epochs": 1},
    "noise": {"ratio": 0.4},
    "training": {"epochs": 3, "batch_size": 18, "device": "cpu"},
}


PLUMBER = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the ends of the pipes where Chromium looks for them."""


class Browser:
    """A headless Chromium, spoken to through a pipe."""

    def __init__(self, profile: Path) -> None:
        commands, write = os.pipe()
        read, answers = os.pipe()
        arguments = [
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PLUMBER, str(commands), str(answers), *arguments],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.write, self.read = os.fdopen(write, "wb", 0), os.fdopen(read, "rb", 0)
        self.rest, self.number, self.session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = self.read.read(1 << 16)
            assert part, "the browser has gone"
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        value: dict[str, Any] = json.loads(text)
        return value

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        asked = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            asked["sessionId"] = self.session
        self.write.write(json.dumps(asked).encode() + b"\0")
        while (answer := self.message()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, width: int, theme: str) -> None:
        self.ask(
            *("Emulation.setDeviceMetricsOverride",),
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def value(self, expression: str) -> Any:
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def close(self) -> None:
        self.session = None
        self.ask("Browser.close")
        self.process.wait(30)
        self.write.close()
        self.read.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    run = train(resolve(TREE), root / "run").path
    comparison = compare([read_run(run)], "test")
    sweep = root / "sweep.html"
    sweep.write_text(comparison_page(comparison, "A sweep", root), encoding="utf-8")
    labels = train(resolve(LABELS), root / "labels").path
    return {"run": write_run_report(run), "labels": write_run_report(labels), "sweep": sweep}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["run", "labels", "sweep"])
def test_a_page_opens_clean_offline_and_within_the_screen(
    browser: Browser, pages: dict[str, Path], name: str, width: int, theme: str
) -> None:
    browser.open(pages[name], width, theme)
    browser.value("document.querySelectorAll('details').forEach(e => e.open = true)")
    browser.value("new Promise(done => setTimeout(done, 150))")
    assert browser.value("document.documentElement.scrollWidth") <= width
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    told = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
    assert [event for event in browser.events if event["method"] in told] == []
    back = browser.value("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(245, 246, 248)", "dark": "rgb(17, 21, 26)"}[theme]


def test_all_pictures_can_be_decoded(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 1280, "light")
    broken = browser.value(
        "Promise.all([...document.images].map(i => { const j = new Image(); j.src = i.src;"
        " return j.decode().then(() => j.naturalWidth == i.getAttribute('width') ? 0 : 1, () => 1) }))"
        ".then(all => all.reduce((a, b) => a + b, 0))"
    )
    assert browser.value("document.images.length") > 100
    assert broken == 0


@pytest.mark.parametrize(("system", "presses", "chosen"), [("light", 2, "dark"), ("dark", 1, "light")])
def test_the_theme_can_be_chosen_by_keyboard_without_storage(
    browser: Browser, pages: dict[str, Path], system: str, presses: int, chosen: str
) -> None:
    colour = "getComputedStyle(document.body).color"
    browser.open(pages["run"], 390, chosen)
    expected = browser.value(colour)
    browser.open(pages["run"], 390, system)
    assert browser.value(colour) != expected
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(12):  # past the links of the contents
        browser.press("Tab", 9)
        if browser.value("document.activeElement.id"):
            break
    assert browser.value("document.activeElement.id") == "theme-auto"
    for _ in range(presses):
        browser.press("ArrowRight", 39)
    assert browser.value("document.activeElement.id") == f"theme-{chosen}"
    assert browser.value(colour) == expected


def test_the_numbers_a_reader_sees_are_the_runs(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 1280, "light")
    rows = "[...document.querySelectorAll('#results table')][0].querySelectorAll('tbody tr')"
    seen = browser.value(f"[...{rows}].map(r => [...r.querySelectorAll('data')].map(d => Number(d.value)))")
    results = json.loads((pages["run"].parent / "results.json").read_text())
    assert seen[0] == [measures["rsum"] for measures in results["splits"].values()]


def test_the_headline_is_seen_on_a_phone_at_once(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 390, "light")
    place = browser.value("JSON.stringify(document.querySelector('.big data').getBoundingClientRect())")
    box = json.loads(place)
    assert 0 <= box["left"] < box["right"] <= 390
    assert box["bottom"] <= 900
    bar = browser.value("document.querySelector('.bar').getBoundingClientRect().height")
    assert bar < 60  # theme and links share one line


def test_a_thousand_cards_open_without_decoding_what_is_folded_away(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    thumbnails = Thumbnails(
        lambda _: Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)), None
    )
    shots = [thumbnails.get(image) for image in range(50)]
    cards = [
        SuspectCard(i, "a caption", shots[i % 50], shots[i * 7 % 50], 0.1, 1.0, 0.2, 0.3, True, None)
        for i in range(1000)
    ]
    page = tmp_path / "many.html"
    section = Section(
        "suspects", "Suspects", (), "suspects", {"extras": Extras(suspects=cards), "first": FIRST}
    )
    page.write_text(render("run.html.j2", "Many", "", [section], ""), encoding="utf-8")
    browser.open(page, 390, "light")
    assert browser.value("document.querySelectorAll('.cards > li').length") == 1000
    assert browser.value("document.images.length") == 2000
    drawn = "[...document.querySelectorAll('.cards > li')].filter(card => card.checkVisibility()).length"
    assert browser.value(drawn) == FIRST
    folded = "[...document.querySelectorAll('details img')].filter(image => image.complete).length"
    assert browser.value(folded) < 1000  # those far below are not even read
