"""Tables, progress and log records are printed verbatim; there is one console and no other way out."""

import ast
import io
import logging
from pathlib import Path

import pytest
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from robustcmr.terminal import Console, LineFormatter

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "[red]x[/b]\x1b[31m\u202e :smile: \r\n[link=http://a]y"
SHOWN = r"[red]x[/b]\x1b[31m\u202e :smile: \r\n[link=http://a]y"


def printed(what, **options):
    file = io.StringIO()
    Console(file=file, width=200, **options).print(what)
    return file.getvalue()


def test_strings_are_printed_verbatim():
    assert printed(HOSTILE) == f"{SHOWN}\n"


def test_cells_headings_and_titles_too_and_columns_are_as_wide_as_they_need():
    table = Table(HOSTILE, "n", title=HOSTILE)
    table.add_row(HOSTILE, "1")
    lines = printed(table).splitlines()
    assert [line.count(SHOWN) for line in lines] == [1, 0, 1, 0, 1, 0]
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1


def test_ready_made_texts_have_no_control_characters_either():
    assert printed(Text("a\x1b[2Jb\u2066", style="bold")) == "a\\x1b[2Jb\\u2066\n"


def test_colours_are_those_of_the_console_alone():
    text = printed(Text("[red]x\x1b[31my", style="bold"), force_terminal=True, color_system="standard")
    assert text == "\x1b[1m[red]x\\x1b[31my\x1b[0m\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_tables_are_drawn_in_any_encoding(encoding):
    table = Table("name")
    table.add_row("…")
    kept = io.BytesIO()
    file = io.TextIOWrapper(kept, encoding=encoding, errors="backslashreplace")
    Console(file=file, width=40).print(table)
    file.flush()
    text = kept.getvalue().decode(encoding)
    assert "+------+" in text
    assert ("…" if encoding == "cp1252" else "\\u2026") in text


@pytest.mark.parametrize("rich", [True, False])
def test_log_records_are_one_line(rich):
    file = io.StringIO()
    options = {"show_path": False, "show_level": False, "show_time": False}
    handler = (
        RichHandler(console=Console(file=file, width=200), **options) if rich else logging.StreamHandler(file)
    )
    handler.setFormatter(LineFormatter("%(message)s"))
    handler.handle(logging.makeLogRecord({"msg": "read %s", "args": (HOSTILE,)}))
    assert file.getvalue().rstrip(" \n") == f"read {SHOWN}"


def test_nothing_else_opens_a_console_or_obeys_markup():
    for path in (ROOT / "robustcmr").rglob("*.py"):
        if path.name == "terminal.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not [name for name in imported if name.startswith("rich.markup")], path
        assert "print" not in called, path
        assert not ("Console" in called and "rich.console.Console" in imported), path
