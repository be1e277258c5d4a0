"""Finding plug-ins: by entry point, by decorator and by place; each mistake is told with its reason."""

import importlib.metadata
import sys
from importlib.metadata import EntryPoint

import pytest

from robustcmr import plugins
from robustcmr.errors import PluginError
from robustcmr.plugins import Registry, did_you_mean

GOOD = """
from robustcmr.matchers.omit import Omit
from robustcmr.matchers.base import Matcher
from robustcmr.options import Options

class Mine(Omit):
    "A third party's matcher."

class Outer:
    class Inner(Omit):
        pass

class NotOne:
    Config = Options

class Half(Matcher):
    Config = Options
    def encode_images(self, images): ...

class Plain(Matcher):
    def encode_images(self, images): ...
    def encode_texts(self, texts): ...
    def score(self, images, texts): ...

class Announced(Plain):
    Config: type[Options]

class Wrong(Plain):
    class Config:
        pass

class Named(Plain):
    class Config(Options):
        name: str = "x"

instance = 3
"""


@pytest.fixture
def points(monkeypatch, tmp_path):
    """A list of entry points that stands for the installed ones, and two modules to point at."""
    found = []
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [p for p in found if p.group == group]
    )
    (tmp_path / "third_party_good.py").write_text(GOOD)
    (tmp_path / "third_party_broken.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "third_party_angry.py").write_text("raise RuntimeError('needs a licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield found
    for name in [name for name in sys.modules if name.startswith("third_party_")]:
        del sys.modules[name]


@pytest.fixture
def registry():
    return Registry("matcher", "test.matchers", "robustcmr.matchers.base:Matcher")


def point(name, value, group="test.matchers"):
    return EntryPoint(name, value, group)


def message(registry, name):
    with pytest.raises(PluginError) as caught:
        registry.load(name)
    return str(caught.value)


def test_the_built_in_ones_come_through_entry_points():
    assert "omit" in plugins.matchers.names()
    assert {"hinge", "infonce", "rce"} <= set(plugins.methods.names())
    assert {"scenes", "precomp", "f8k", "f30k", "coco", "cc152k"} <= set(plugins.datasets.names())
    for registry in (plugins.matchers, plugins.methods, plugins.datasets):
        for name in registry.names():
            assert registry.load(name).Config is not None


def test_by_entry_point(points, registry):
    points += [point("mine", "third_party_good:Mine"), point("else", "nowhere:X", group="other")]
    assert registry.names() == ["mine"]
    assert "third_party_good" not in sys.modules  # listing imports nothing
    assert registry.load("mine").__name__ == "Mine"


@pytest.mark.parametrize("place", ["third_party_good:Mine", "third_party_good:Outer.Inner"])
def test_by_place(points, registry, place):
    assert registry.load(place).__qualname__ == place.partition(":")[2]


def test_by_decorator(points, registry):
    from robustcmr.matchers.omit import Omit

    @registry.register("own")
    class Own(Omit):
        pass

    assert registry.names() == ["own"]
    assert registry.load("own") is Own


def test_the_same_class_may_be_announced_again(points, registry):
    from robustcmr.matchers.omit import Omit

    def define():
        @registry.register("own")
        class Own(Omit):
            pass

        return Own

    define()
    second = define()  # as when a notebook cell runs again
    assert registry.load("own") is second


def test_two_decorated_classes_of_one_name(points, registry):
    registry.register("own")(type("A", (), {"__module__": "a"}))
    with pytest.raises(
        PluginError, match="matcher 'own' is offered twice, by a:A and b:B; rename one of them"
    ):
        registry.register("own")(type("B", (), {"__module__": "b"}))


def test_a_decorated_class_of_an_installed_name(points, registry):
    points.append(point("mine", "third_party_good:Mine"))
    with pytest.raises(PluginError, match="offered twice, by third_party_good:Mine and b:B"):
        registry.register("mine")(type("B", (), {"__module__": "b"}))


def test_an_entry_point_that_appears_after_a_decorated_class(points, registry):
    registry.register("mine")(type("B", (), {"__module__": "b"}))
    points.append(point("mine", "third_party_good:Mine"))
    assert "offered twice, by b:B and third_party_good:Mine" in message(registry, "mine")


def test_two_entry_points_of_one_name(points, registry):
    points += [point("mine", "third_party_good:Mine"), point("mine", "other:Mine")]
    expected = (
        "matcher 'mine' is offered twice, by third_party_good:Mine and other:Mine; "
        "uninstall or rename one of them"
    )
    assert message(registry, "mine") == expected
    points.append(point("other", "third_party_good:Mine"))
    assert registry.names() == ["mine", "other"]
    assert registry.load("other").__name__ == "Mine"  # what is not concerned still works


def test_the_same_entry_point_found_twice_is_fine(points, registry):
    points += [point("mine", "third_party_good:Mine")] * 2
    assert registry.names() == ["mine"]
    assert registry.load("mine").__name__ == "Mine"


def test_a_broken_import_gives_its_reason(points, registry):
    points += [point("broken", "third_party_broken:X"), point("angry", "third_party_angry:X")]
    assert registry.names() == ["angry", "broken"]
    assert message(registry, "broken") == (
        "matcher 'broken' cannot be loaded from third_party_broken:X: "
        "it needs the package no_such_package_at_all, which is not installed"
    )
    assert message(registry, "angry").endswith("RuntimeError: needs a licence")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("third_party_good:Absent", "AttributeError: module 'third_party_good' has no attribute 'Absent'"),
        ("third_party_good:", "AttributeError"),
        (":Mine", "ValueError: Empty module name"),
        ("no.such.module:Mine", "there is no module no, neither installed nor in "),
        ("third_party_broken:X", "it needs the package no_such_package_at_all, which is not installed"),
    ],
)
def test_a_place_where_nothing_is(points, registry, place, reason):
    assert f"cannot be loaded from {place}: {reason}" in message(registry, place)


def test_a_missing_extra_says_what_to_install(points, registry, tmp_path):
    """Read from the metadata of the package that announces the plug-in."""
    info = tmp_path / "nice_matchers-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: nice-matchers\nVersion: 1.0\n"
        "Requires-Dist: numpy\n"
        "Requires-Dist: No_Such.Package-at-all>=2; python_version > '3' and extra == 'fast'\n"
    )
    info.joinpath("entry_points.txt").write_text("[test.matchers]\nbroken = third_party_broken:X\n")
    (announced,) = importlib.metadata.PathDistribution(info).entry_points
    points.append(announced)
    assert message(registry, "broken").endswith(
        "it needs the package no_such_package_at_all, which comes with pip install 'nice-matchers[fast]'"
    )


def test_a_module_in_the_current_folder(points, registry, tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "third_party_here.py").write_text(GOOD)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(folder))])
    assert registry.load("third_party_here:Mine").__name__ == "Mine"


def test_not_a_class(points, registry):
    assert message(registry, "third_party_good:instance") == (
        "matcher 'third_party_good:instance' at third_party_good:instance is not a class"
    )


def test_a_class_of_the_wrong_kind(points, registry):
    points.append(point("odd", "third_party_good:NotOne"))
    assert message(registry, "odd") == (
        "matcher 'odd' is third_party_good.NotOne, not a robustcmr.matchers.base:Matcher"
    )


def test_a_decorated_class_of_the_wrong_kind(points, registry):
    registry.register("odd")(type("B", (), {"__module__": "b"}))
    assert message(registry, "odd") == "matcher 'odd' is b.B, not a robustcmr.matchers.base:Matcher"


def test_methods_left_out_are_named(points, registry):
    assert message(registry, "third_party_good:Half") == (
        "matcher 'third_party_good:Half' leaves out encode_texts, score; "
        "robustcmr.matchers.base:Matcher asks for it"
    )


@pytest.mark.parametrize("name", ["Plain", "Announced", "Wrong"])
def test_options_are_needed(points, registry, name):
    assert "has no Config class; give it one derived from robustcmr.options.Options" in message(
        registry, f"third_party_good:{name}"
    )


def test_an_option_called_name_would_be_hidden(points, registry):
    assert "has an option called 'name', which chooses the matcher" in message(
        registry, "third_party_good:Named"
    )


def test_unknown_names_are_answered_with_the_nearest(points, registry):
    points += [point("omit", "third_party_good:Mine"), point("sgraf", "third_party_good:Mine")]
    assert message(registry, "omitt") == (
        "unknown matcher 'omitt'; did you mean 'omit'? (known: omit, sgraf)"
    )
    assert message(registry, "zzz") == "unknown matcher 'zzz' (known: omit, sgraf)"


def test_unknown_where_nothing_is_installed(points, registry):
    assert "(known: none; is robustcmr installed?)" in message(registry, "omit")


def test_did_you_mean():
    assert did_you_mean("scnes", ["scenes", "coco"]) == "; did you mean 'scenes'?"
    assert did_you_mean("zzz", ["scenes", "coco"]) == ""
    assert did_you_mean("zzz", []) == ""
