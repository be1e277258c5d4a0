"""Atomic writing: a reader sees the old file or the new one. Bounded reading: no file takes too much."""

import errno
import fcntl
import json
import os
import signal
import stat
from pathlib import Path

import pytest

from robustcmr.errors import UserError
from robustcmr.files import (
    DEEPEST,
    LimitError,
    atomic_file,
    fitting,
    identity,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_json_lines,
    read_yaml,
    regular_file,
    to_yaml,
    write_json,
    write_text,
    write_with,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json(tmp_path):
    write_text(tmp_path / "new" / "folder" / "a.txt", "grün\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "grün\n".encode()
    write_json(tmp_path / "b.json", {"word": "grün", "n": [1, None]})
    assert (tmp_path / "b.json").read_text(encoding="utf-8").endswith("}\n")
    assert "grün" in (tmp_path / "b.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "b.json").read_bytes()) == {"word": "grün", "n": [1, None]}


def test_bytes_of_names_that_are_not_utf8_are_kept_in_json_and_shown_in_text(tmp_path):
    write_json(tmp_path / "a.json", {"root": "caf\udce9"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"root": "caf\udce9"}
    write_text(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\\udce9"


def test_write_with(tmp_path):
    write_with(tmp_path / "a.bin", lambda file: file.write(b"\x00\x01"))
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\x01"
    assert names(tmp_path) == ["a.bin"]


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), UserError("y")])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "write", "replace"])
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    path.write_text("old")
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(UserError) as caught, atomic_file(path) as file:  # noqa: PT012
        file.write(b"new")
        if where == "write":
            full_disk()
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device; free some space or choose another folder"
    )
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_real_full_device():
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"), device.open("wb", buffering=0) as file:
        file.write(b"x")  # what the test above imitates


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/a\.txt: (File exists|Not a directory)"):
        write_text(tmp_path / "file" / "a.txt", "x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("given", [".", "folder"])
def test_a_target_that_is_a_folder(tmp_path, monkeypatch, given):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        write_text(Path(given), "x")
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


@pytest.mark.parametrize("through_link", [False, True])
def test_a_target_that_is_a_pipe_or_device_stays(tmp_path, through_link):
    os.mkfifo(tmp_path / "pipe")
    target = tmp_path / "pipe"
    if through_link:  # as /dev/stdout is one
        target = tmp_path / "link"
        target.symlink_to(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(UserError, match=r"cannot write .*: it is a named pipe, expected a regular file"):
        write_text(target, "x")
    assert names(tmp_path) == before
    assert (tmp_path / "pipe").is_fifo()
    assert target.is_symlink() == through_link


def test_a_link_that_leads_nowhere_is_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").read_text() == "x"
    assert names(tmp_path) == ["link"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_respect_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(mask) == mask  # and it is left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_what_is_no_json_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert names(tmp_path) == []


def test_leftovers_of_killed_writers_go_at_the_next_write_and_others_stay(tmp_path):
    path = tmp_path / "a[1].txt"
    if (child := os.fork()) == 0:
        with atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = names(tmp_path)
    others = [left.replace("a[1]", "a1"), left[:-5] + ".tmp", left[1:], f"{left}.mine", ".a[1].txt.tmp"]
    for name in others:
        (tmp_path / name).write_text("mine")
    with atomic_file(path) as first:
        first.write(b"first")
        with atomic_file(path) as second:  # another writer of the same file leaves that of the first alone
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == sorted([*others, "a[1].txt"])


def test_a_file_taken_for_a_leftover_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def late(file, how):
        calls.append(how)
        if len(calls) == 1:
            for path in tmp_path.iterdir():
                path.unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with atomic_file(tmp_path / "a.txt") as file:
        file.write(b"whole")
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
    assert len(calls) == 2
    assert names(tmp_path) == ["a.txt"]


def test_a_file_system_without_locks_is_written_and_keeps_leftovers(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = f".a.txt.{'0' * 32}.tmp"
    (tmp_path / left).write_text("perhaps another machine writes it")
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == [left, "a.txt"]


def test_identity_tells_a_file_from_its_successor(tmp_path):
    path = tmp_path / "a.txt"
    assert identity(path) is None
    write_text(path, "one")
    first = identity(path)
    assert first == identity(path)
    write_text(path, "one")
    assert identity(path) not in (None, first)


def nested(levels, opening="[", closing="]"):
    return opening * levels + closing * levels


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_the_deepest_document_is_read_and_a_deeper_one_is_not(parse):
    value = parse(nested(DEEPEST))
    for _ in range(DEEPEST - 1):
        (value,) = value
    assert value == []
    for levels in (DEEPEST + 1, 500, 200_000):
        with pytest.raises(ValueError, match="nested more than 64 levels deep"):
            parse(nested(levels))
    with pytest.raises(ValueError, match="nested more than 64"):
        parse('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1))


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "&a {b: *a}",
        "a: &a [1]\n"
        + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "a: &a {k: v}\n"
        + "".join(
            f"{b}: &{b} {{<<: [{f'*{a}, ' * 9}]}}\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "- &a " + nested(40) + "\n- " + "[" * 30 + "*a" + "]" * 30,
        "- 1\n" * 150_000,
        "x" * (2**20 + 1),
    ],
    ids=["list", "mapping", "laughs", "merged", "deep alias", "many", "long"],
)
def test_yaml_that_grows_is_refused(text):
    with pytest.raises(LimitError):
        parse_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "!!bool x",
        "!!timestamp x",
        "!!int ''",
        "!!float x",
        "2024-13-01",
        "a: 1\na: 2",
        "? [a]\n: 1",
        "*x",
        "\0",
        "!!python/object/apply:os.system [ls]",
        "0x" + "f" * 20,
        '"\\ud800"',
        "a: [",
        "a\n---\nb",
        "!!binary %",
    ],
)
def test_what_is_no_plain_yaml_is_one_sentence(text):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_yaml(text)
    assert type(caught.value) is ValueError
    assert len(str(caught.value).splitlines()) == 1


def test_aliases_of_a_reasonable_size_are_read():
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        **{"a": {"x": 1}, "b": {"x": 1, "y": 2}},
        "c": [{"x": 1}, {"x": 1}],
    }
    tree = {"b": [1, 2.5, None, True, "grün", "1"], "a": {"c": {}}}
    assert parse_yaml(to_yaml(tree)) == tree
    assert list(parse_yaml(to_yaml(tree))) == ["b", "a"]


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff": 1}', '[["a\\udc80b"]]'])
def test_half_a_character_is_refused(text):
    with pytest.raises(ValueError, match="lone surrogate"):
        parse_json(text)
    assert parse_json('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("text", [str(2**63), f"[-{2**63}]", '{"a": 1' + "0" * 400 + "}"])
def test_a_whole_number_beyond_64_bits_is_refused(text):
    with pytest.raises(ValueError, match="beyond 64 bits"):
        parse_json(text)
    assert parse_json(str(2**63 - 1)) == 2**63 - 1


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path, words in (
        (tmp_path / "pipe", "it is a named pipe, expected a regular file"),
        (Path("/dev/zero"), "it is a device, expected a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0b", "no file can have such a name"),
        (tmp_path / "\ud800", "no file can have such a name"),
        (tmp_path / ("x" * 5000), "File name too long"),
    ):
        with pytest.raises(OSError, match=words) as caught, regular_file(path):
            pass
        assert caught.value.strerror == words
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is a device"):
        read_bytes(tmp_path / "link")


def test_a_file_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # of no blocks
    with pytest.raises(OSError, match=r"it has 1,099,511,627,776 bytes, expected at most 67,108,864"):
        read_json(path)
    with pytest.raises(OSError, match="expected at most 1,048,576"):
        read_yaml(path)
    path.write_bytes(b"123")
    with pytest.raises(OSError, match="it has 3 bytes, expected at most 2"):
        read_bytes(path, 2)
    assert read_bytes(path, 3) == b"123"


def test_content_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"b": ["1"]}}')
    assert read_json(path, dict[str, dict[str, list[str]]]) == {"a": {"b": ["1"]}}
    with pytest.raises(ValueError, match=r"^a\.b\.0: expected a valid integer, got '1'$"):
        read_json(path, dict[str, dict[str, list[int]]])
    path.write_text('{"a": 1}\n[]\n')
    with pytest.raises(ValueError, match=r"^line 2: expected a mapping of names to values, got \[\]$"):
        read_json_lines(path, dict[str, int])
    assert fitting([1, "a"], list[int | str]) == [1, "a"]
