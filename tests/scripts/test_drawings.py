"""Pictures of the concept pages: those that need no trained run are drawn, and pages show all of them."""

import importlib
import re
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def drawings(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module = importlib.import_module("drawings")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    yield module
    for name in ("drawings", "house", "run_table"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["protocols", "noise_rate", "house"])
def test_a_picture_is_the_same_each_time_and_has_a_ground_of_its_own(drawings, name, tmp_path):
    found = []
    for _ in range(2):
        with mpl.rc_context({**drawings.STYLE, "svg.fonttype": "path"}):
            getattr(importlib.import_module("house") if name == "house" else drawings, name)()
        found.append((tmp_path / f"{name}.svg").read_bytes())
    assert found[0] == found[1]
    assert b"fill: #ffffff" in found[0]  # readable on a dark page


def test_pages_show_every_picture_and_each_says_what_it_shows():
    shown = {}
    for page in ROOT.glob("docs/**/*.md"):
        for text, name in re.findall(
            r"!\[([^\]]*)\]\((?:\.\./)?pictures/(\S+)\)", page.read_text(encoding="utf-8")
        ):
            shown[name] = text
    assert set(shown) == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert all(len(text) > 40 for text in shown.values())


def test_the_house_has_all_large_rooms_and_imports_lead_down(drawings):
    house = importlib.import_module("house")  # beside drawings, which the fixture puts on the path
    rooms = house.rooms_of((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    folders = {path.parent.name for path in ROOT.glob("robustcmr/*/__init__.py")}
    assert folders - rooms.keys() <= {"adapters", "pretrained"}
    for room, floor in rooms.items():
        assert all(rooms[other] < floor for other in house.imports(room, rooms)), room
    assert "transport" in house.imports("correction", rooms)
