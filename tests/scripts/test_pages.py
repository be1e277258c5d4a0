"""Pages that follow from the code: they are as the code gives them, and say so when they are not."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from pydantic import Field

from robustcmr.options import Options

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MODULES = (
    *("pages", "cards", "reference_pages", "methods_page"),
    *("leaderboard", "leaderboard_plan", "leaderboard_rows", "leaderboard_page", "run_table"),
)
AGAIN = "write it anew with: python scripts/pages.py"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(SCRIPTS))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    sys.path.remove(str(SCRIPTS))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def folder(modules, monkeypatch, tmp_path):
    """A copy of the cards that may be changed."""
    for path in modules.cards.FOLDER.glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(modules.cards, "FOLDER", tmp_path)
    return tmp_path


def test_pages_are_what_the_code_gives(modules):
    found = modules.pages.pages()
    wrong = [str(path) for path, text in found.items() if path.read_text(encoding="utf-8") != text]
    assert not wrong, AGAIN
    assert len(found) > 30


def test_a_changed_card_is_noticed_where_it_is_generated_and_kept_where_it_is_not(modules, folder):
    card = folder / "ncr.md"
    kept = card.read_text(encoding="utf-8").replace("# NCR", "# NCR by hand")
    card.write_text(kept.replace("| 2 | yes |", "| 1 | yes |"), encoding="utf-8")
    assert modules.cards.pages()[card] == kept


@pytest.mark.parametrize(("name", "said"), [("ncr", "ncr.md has no lines"), ("omit", "omit.md has no lines")])
def test_every_method_and_matcher_has_a_card(modules, folder, name, said):
    (folder / f"{name}.md").unlink()
    with pytest.raises(ValueError, match=said):
        modules.cards.pages()


def test_a_card_of_nothing_is_refused(modules, folder):
    (folder / "gone.md").write_text("# Gone\n")
    with pytest.raises(ValueError, match="gone, which names no method or matcher"):
        modules.cards.pages()


def test_details_are_the_docstring_without_its_first_paragraph_and_references(modules):
    class Part:
        """Do something.

        With ``x`` of :class:`Part`

            x + 1

        it departs.

        References:
            Somebody, 2025.
        """

    assert modules.cards.details(Part) == "With `x` of `Part`\n\n```text\nx + 1\n```\n\nit departs."


def test_keys_have_bounds_defaults_and_those_of_sections_within_them(modules):
    class Place(Options):
        """A place."""

        file: str | None = Field(None, description="its <file>")

    class Some(Options):
        """Some options."""

        share: float = Field(0.5, ge=0, lt=1, description="a share")
        kinds: tuple[Literal["a", "b"], ...] = Field((), description="a | b")
        places: dict[str, Place] = Field(default_factory=dict, description="by name")
        root: Path = Field(description="a folder")

    assert modules.reference_pages.keys(Some, "part.").splitlines()[2:] == [
        "| `part.share` | a number in [0, 1) | `0.5` | a share |",
        r"| `part.kinds` | a list of a or b | `[]` | a \| b |",
        "| `part.places` | `dict[str, section]` | `{}` | by name |",
        r"| `part.places.NAME.file` | a text or null | `null` | its \<file> |",
        "| `part.root` | a path | required | a folder |",
    ]


def test_keys_of_a_base_are_left_out_unless_their_default_differs(modules):
    class Base(Options):
        """Base."""

        same: int = 1
        other: int = 1

    class Derived(Base):
        """Derived."""

        other: int = 2
        own: int = 3

    assert list(modules.reference_pages.own_fields(Derived, Base)) == ["other", "own"]


def test_every_command_and_every_option_of_the_parser_is_on_the_page(modules):
    from typer.main import get_command

    from robustcmr.cli.main import app

    page = modules.reference_pages.commands()

    def named(command, name):
        if hasattr(command, "commands"):
            context = command.make_context(name, [], resilient_parsing=True)
            for part in command.list_commands(context):
                named(command.get_command(context, part), f"{name} {part}")
            return
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        for param in command.params:
            if param.param_type_name == "option" and param.name != "help":
                assert all(f"`{spelling}`" in section for spelling in param.opts), (name, param.opts)

    named(get_command(app), "robustcmr")
