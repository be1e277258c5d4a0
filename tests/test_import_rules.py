"""The floors of the package, read from the source: a room imports only from rooms on lower floors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    **dict.fromkeys(("noise_injection", "errors", "lazy", "arrays"), 0),
    **dict.fromkeys(("losses", "types", "options", "files", "locks", "signals", "ctrl_c"), 1),
    **dict.fromkeys(("terminal", "device_names", "environment"), 1),
    **dict.fromkeys(("transport", "selection", "runs", "sources", "plugins", "pretrained", "torch_files"), 2),
    **dict.fromkeys(("data", "matchers", "correction", "config"), 3),
    **dict.fromkeys(("methods", "evaluation", "audit"), 4),
    **dict.fromkeys(("tracks", "reporting"), 5),
    **dict.fromkeys(("training", "sweeps", "review"), 6),
    **dict.fromkeys(("jobs", "testing", "conversion", "adapters"), 7),
    **dict.fromkeys(("cli", "__init__"), 8),
    "__main__": 9,
}
"""Floor of each room: a folder or module of ``robustcmr``, and ``noise_injection``."""

APART = {
    "transport": {"losses", "plugins", "files"},  # pure functions of tensors
    "selection": {"plugins", "files"},
    "matchers": {"losses", "selection", "runs"},  # a matcher knows neither loss nor noise
    "data": {"losses", "transport", "selection"},
    "methods": {"data", "runs", "config", "plugins"},
    "evaluation": {"data", "runs", "config"},
    "reporting": {"methods", "matchers"},  # shows what was measured, never trains
    "training": {"reporting", "plugins"},
    "tracks": {"plugins"},
    "conversion": {
        *("tracks", "reporting", "sweeps", "evaluation", "correction", "selection", "losses", "transport")
    },
}
"""Rooms on lower floors that a room must not know either."""

ONLY = {
    ("training", "methods"): ("robustcmr.methods.base",),  # what a method is, but none by name
    ("tracks", "methods"): ("robustcmr.methods.base",),
    ("conversion", "methods"): ("robustcmr.methods.base",),
    ("conversion", "training"): ("robustcmr.training.checkpoint",),
    # one atomic writer, one bounded reader and one advice by error for both packages
    ("files", "noise_injection"): (
        *("noise_injection.atomic", "noise_injection.reading", "noise_injection.reasons"),
    ),
}
"""The modules that a room may know of another; all others are closed to it."""

NO_NOISE = {"transport", "losses", "selection", "matchers", "correction", "methods", "training"}
"""Rooms that must not know how noise is made."""

TRUTH = ("robustcmr.evaluation.truth", "robustcmr.tracks.labels.HiddenLabels")
KNOWS_TRUTH = {"evaluation", "tracks"}
"""The hidden truth, and the rooms that may hold it."""


def imported(source: str) -> set[str]:
    """Full dotted names of everything a module imports, at any depth of its code."""
    return {name for node in ast.walk(ast.parse(source)) for name in _names(node)}


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(room: str, source: str) -> list[str]:
    """Imports that break a rule."""
    return sorted(name for name in imported(source) if not allowed(room, name))


def allowed(room: str, name: str) -> bool:
    first, _, rest = name.partition(".")
    if first not in ("robustcmr", "noise_injection"):
        return room != "noise_injection" or first == "numpy" or first in sys.stdlib_module_names
    if name == "robustcmr":
        return True  # its version, which every room may report
    other = rest.partition(".")[0] if first == "robustcmr" else first
    if other == room:
        return True
    if other not in FLOORS:  # a public name of the package itself
        other = "__init__"
    only = ONLY.get((room, other), (name,))
    return (
        FLOORS[other] < FLOORS[room]
        and other not in APART.get(room, ())
        and not (other == "noise_injection" and room in NO_NOISE)
        and not (name.startswith(TRUTH) and room not in KNOWS_TRUTH)
        and any(f"{name}.".startswith(f"{one}.") for one in only)
    )


def modules() -> dict[str, Path]:
    """Every product module by its dotted name."""
    found = {}
    for top in ("noise_injection", "robustcmr"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


def room_of(module: str) -> str:
    first, second, *_ = module.split(".")
    return first if first == "noise_injection" else second


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in modules()} <= FLOORS.keys()


@pytest.mark.parametrize("room", sorted({room_of(module) for module in modules()}))
def test_rooms_import_only_from_lower_floors(room: str) -> None:
    found = {
        module: broken
        for module, path in modules().items()
        if room_of(module) == room and (broken := violations(room, path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("transport", "from robustcmr.config.schema import Settings"),
        ("transport", "from robustcmr.losses.hinge import hinge_loss"),
        ("losses", "def f():\n    from robustcmr.methods.base import Method"),
        ("losses", "from robustcmr.correction import Targets"),
        ("runs", "from robustcmr.config.resolve import resolve"),
        ("runs", "from robustcmr.selection.divide import divide"),  # of the same floor
        ("matchers", "import robustcmr.training.loop"),
        ("matchers", "from robustcmr.conversion.keys import KeyMap"),
        ("correction", "from robustcmr.methods.base import Method"),
        ("correction", "from robustcmr.matchers.base import Matcher"),
        ("methods", "from robustcmr.training.loop import Trainer"),
        ("methods", "from robustcmr.evaluation.truth import HiddenTruth"),
        ("methods", "from noise_injection import NoiseRecord"),
        ("tracks", "from robustcmr.methods.baseline import Hinge"),
        ("tracks", "from robustcmr.reporting.plots import draw_run_plots"),
        ("reporting", "from robustcmr.jobs.open import open_run"),
        ("reporting", "from robustcmr.matchers.base import Matcher"),
        ("training", "from robustcmr.methods.baseline import Hinge"),
        ("training", "from robustcmr.tracks.labels import HiddenLabels"),
        ("jobs", "from robustcmr.evaluation.truth import HiddenTruth"),
        ("jobs", "from robustcmr import train"),
        ("conversion", "from robustcmr.training.loop import Trainer"),
        ("conversion", "from robustcmr.methods.baseline import Hinge"),
        ("conversion", "from robustcmr.tracks.pairs import PairsTrack"),
        ("files", "from noise_injection import NoiseRecord"),
        ("noise_injection", "import torch"),
        ("noise_injection", "from robustcmr.types import Fragments"),
    ],
)
def test_the_rule_catches(room: str, source: str) -> None:
    assert violations(room, source)


def imports_at_load(source: str) -> set[str]:
    """Names imported when a module is loaded: neither within functions nor for type checkers alone."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        found.update(_names(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))
    return found


def circles(sources: dict[str, str]) -> list[list[str]]:
    """Modules that import each other when they are loaded, in groups."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = {name if name in sources else name.rpartition(".")[0] for name in imports_at_load(source)}
        edges[module] = (found & sources.keys()) - {module}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(edges[start])
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo.extend(edges[module])
        return seen

    reached = {module: reach(module) for module in sources}
    looped = [module for module in sources if module in reached[module]]
    groups = {
        tuple(sorted(other for other in looped if other in reached[m] and m in reached[other]))
        for m in looped
    }
    return [list(group) for group in sorted(groups)]


def test_no_modules_import_each_other() -> None:
    assert circles({module: path.read_text(encoding="utf-8") for module, path in modules().items()}) == []


def test_circles_are_found() -> None:
    sources = {
        "a": "import b",
        "b": "if True:\n    from c import x",
        "c": "from a import y\nimport d",
        "d": "def f():\n    import d2\n",
        "d2": "import d\nif TYPE_CHECKING:\n    import e",
        "e": "import d2",
    }
    assert circles(sources) == [["a", "b", "c"]]


def test_no_module_is_long() -> None:
    lengths = {
        module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules().items()
    }
    assert {module: lines for module, lines in lengths.items() if lines > 400} == {}


def test_reading_runs_and_naming_rooms_loads_no_torch() -> None:
    program = (
        "import sys\nfrom robustcmr.runs import *\nassert PairsTable and LabelsTable and read_run\n"
        "import robustcmr.jobs, robustcmr.tracks, robustcmr.training\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
