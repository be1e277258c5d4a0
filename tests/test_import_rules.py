"""Rooms import only what they may: read from the source, lazy imports included."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

UPPER = {
    "methods",
    "training",
    "tracks",
    "cli",
    "sweeps",
    "reporting",
    "config",
    "plugins",
    "jobs",
    "runs",
    "testing",
    "conversion",
}
FORBIDDEN = {
    "transport": UPPER | {"matchers", "data", "evaluation", "correction", "selection", "losses"},
    "losses": UPPER | {"matchers", "data", "evaluation", "correction"},
    "selection": UPPER | {"matchers", "data", "evaluation", "correction"},
    "matchers": UPPER | {"data", "evaluation", "correction", "selection", "losses"},
    "correction": UPPER | {"matchers", "data", "evaluation"},
    "methods": (UPPER - {"methods"}) | {"data", "evaluation"},
    "evaluation": UPPER | {"data"},
    "reporting": {"methods", "training", "matchers", "tracks", "cli", "conversion"},
    "data": UPPER | {"matchers", "evaluation", "correction", "selection", "losses", "transport"},
    "training": {"cli", "sweeps", "reporting", "plugins", "jobs", "conversion"},
    "tracks": {"cli", "sweeps", "reporting", "methods", "jobs", "conversion"},
    "config": {"cli", "training", "tracks", "jobs", "conversion"},
    "conversion": {"tracks", "cli", "sweeps", "reporting", "jobs", "evaluation", "correction", "selection"}
    | {"losses", "transport"},
}
# of these rooms conversion may know one module alone
PARTS_FOR_CONVERSION = {"training": "robustcmr.training.checkpoint.", "methods": "robustcmr.methods.base."}
TRUTH = "robustcmr.evaluation.truth"


def imported(source: str) -> set[str]:
    """Full dotted names of everything a module imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def violations(room: str, source: str) -> list[str]:
    found = []
    for name in sorted(imported(source)):
        parts = name.split(".")
        if parts[0] == "robustcmr" and len(parts) > 1:
            if parts[1] in FORBIDDEN.get(room, set()):
                found.append(name)
            # the loop may know what a method is, but none by name
            if (
                room == "training"
                and parts[1] == "methods"
                and not name.startswith("robustcmr.methods.base.")
            ):
                found.append(name)
            one = PARTS_FOR_CONVERSION.get(parts[1])
            if room == "conversion" and one is not None and not name.startswith(one):
                found.append(name)
        if name.startswith(TRUTH) and room not in {"evaluation", "tracks"}:
            found.append(name)
        if room in {"transport", "losses", "selection", "matchers", "correction", "methods", "training"} and (
            parts[0] == "noise_injection"
        ):
            found.append(name)
        if room == "noise_injection" and parts[0] not in {
            "numpy",
            "noise_injection",
            *sys.stdlib_module_names,
        }:
            found.append(name)
    return found


def modules() -> list[tuple[str, Path]]:
    paths = [("noise_injection", path) for path in (ROOT / "noise_injection").rglob("*.py")]
    for path in (ROOT / "robustcmr").rglob("*.py"):
        parts = path.relative_to(ROOT / "robustcmr").parts
        paths.append((parts[0] if len(parts) > 1 else "", path))
    return paths


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(getattr(value, "name", value)))
def test_room_imports_only_what_it_may(room: str, path: Path) -> None:
    assert violations(room, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("transport", "from robustcmr.config.schema import Settings"),
        ("losses", "def f():\n    from robustcmr.methods.base import Method"),
        ("matchers", "import robustcmr.training.loop"),
        ("correction", "from robustcmr.methods.base import Method"),
        ("correction", "from robustcmr.matchers.base import Matcher"),
        ("losses", "from robustcmr.correction import Targets"),
        ("methods", "from robustcmr.training.loop import Trainer"),
        ("training", "from robustcmr.methods.baseline import Hinge"),
        ("methods", "from robustcmr.evaluation.truth import HiddenTruth"),
        ("methods", "from noise_injection import NoiseRecord"),
        ("conversion", "from robustcmr.training.loop import Trainer"),
        ("conversion", "from robustcmr.methods.baseline import Hinge"),
        ("conversion", "from robustcmr.tracks.pairs import PairsTrack"),
        ("matchers", "from robustcmr.conversion.keys import KeyMap"),
        ("tracks", "from robustcmr.conversion.keys import KeyMap"),
        ("noise_injection", "import torch"),
        ("noise_injection", "from robustcmr.types import Fragments"),
    ],
)
def test_the_rule_catches(room: str, source: str) -> None:
    assert violations(room, source)


def test_the_rooms_are_there() -> None:
    """A renamed room must not fall out of the rule unseen."""
    rooms = {room for room, _ in modules()}
    known = {"transport", "losses", "selection", "correction", "matchers", "methods"}
    assert known | {"training", "evaluation", "data", "tracks"} <= rooms
