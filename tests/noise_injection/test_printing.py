"""What is printed cannot steer a terminal, and every stream and encoding takes it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from noise_injection.printing import message, one_line, plain_streams, visible

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = (
    "a\x1b[31m\x9b2J\x07\b\r\t\x00\x7f\x85 \u202e\u2066\u2069 \u200b\u200d\ufeff\u2028\u2029 \udcff "
    "\U000e0041"
)


def test_control_characters_become_escapes() -> None:
    assert visible(HOSTILE) == (
        r"a\x1b[31m\x9b2J\x07\x08\r\t\x00\x7f\x85 \u202e\u2066\u2069 \u200b\u200d\ufeff\u2028\u2029 \udcff "
        r"\U000e0041"
    )


def test_letters_of_all_languages_stay() -> None:
    for text in ("", "[b]bold[/b] \\n", "日本語 العربية हिन्दी é e\u0301 🏳 … ─ \u00a0\u3000", "two\nlines"):
        assert visible(text) == text
    assert one_line("two\nlines\x1b") == r"two\nlines\x1b"


@given(st.text(st.characters()))
def test_nothing_hidden_is_left_and_twice_is_as_once(text: str) -> None:
    shown = visible(text)
    assert not [letter for letter in shown if letter != "\n" and unicodedata.category(letter) in HIDDEN]
    assert visible(shown) == shown
    assert "\n" not in one_line(text)


def test_a_name_with_a_line_feed_does_not_look_like_a_message() -> None:
    assert message("no a\nprogram: all is well\n  b") == "no a\n  program: all is well\n  b"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    stream = io.TextIOWrapper(kept, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    with plain_streams(), plain_streams():  # the second finds the first
        print("…世\x1b", end="")
        sys.stdout.writelines(["a\x9b", "b"])
    assert sys.stdout is stream
    shown = kept.getvalue().decode(encoding)
    assert shown.endswith(r"\x1ba\x9bb")
    assert shown.startswith({"utf-8": "…世", "cp1252": "…\\u4e16"}.get(encoding, "\\u2026\\u4e16"))


def test_a_closed_stream_swallows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with plain_streams():
        print("nothing")
    assert sys.stdout is None


def program(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "noise_injection", *words],
        text=True,
        check=False,
        **options,  # type: ignore
    )


def test_names_are_shown_as_they_are_by_the_command_line() -> None:
    done = program("describe", "no [b]such[/b] \x1b[2J\u202e\nfile", capture_output=True, errors="strict")
    assert done.returncode == 2
    assert done.stderr == (
        "python -m noise_injection describe: there is no noise file no [b]such[/b] \\x1b[2J\\u202e\n"
        "  file; check the path\n"
    )


def test_a_full_disk_under_the_output_is_one_sentence(tmp_path: object) -> None:
    with Path("/dev/full").open("w") as full:
        done = program(
            *("make", "--captions", "50", "--ratio", "0.4", "-o", f"{tmp_path}/n.npz"),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "python -m noise_injection: the output: No space left on device; free some space or choose another "
        "folder\n"
    )


def test_a_reader_that_has_gone_is_no_mistake(tmp_path: object) -> None:
    read, write = os.pipe()
    os.close(read)
    done = program(
        *("make", "--captions", "50", "--ratio", "0.4", "-o", f"{tmp_path}/n.npz"),
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_gone_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(KeyError), plain_streams():  # noqa: PT012
            print("lost")
            raise KeyError
