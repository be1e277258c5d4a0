"""What is seen of a sweep."""

import dataclasses
import io

from robustcmr.sweeps.display import Display, board_view, ended_line, status_table
from robustcmr.sweeps.progress import Standing, counts
from robustcmr.terminal import Console

ROW = Standing("hinge-seed0", "running", 2, 6, "dev", "rsum", 123.44, 0.0, None)


def drawn(view, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    return console.file.getvalue()


def board(running=((ROW, 61.0),), **changes):
    counted = counts(["finished"] * 3 + ["running", "failed", "waiting"])
    return board_view(**{"title": "noise", "counted": counted, "running": running, "left": 125.0, **changes})


def test_the_board_names_what_runs_and_what_is_left():
    text = drawn(board())
    assert "noise" in text
    assert "3 finished, 1 running, 1 failed, 1 waiting of 6  about 2 min left" in text
    assert "hinge-seed0" in text
    assert "2/6" in text
    assert "dev rsum 123.4" in text
    assert "61 s" in text


def test_many_running_trials_are_counted():
    text = drawn(board(running=[(ROW, 1.0)] * 25))
    assert text.count("hinge-seed0") == 20
    assert "and 5 more" in text


def test_the_title_and_an_unknown_end_are_said():
    text = drawn(board(title="stopping, trials save themselves", running=(), left=None))
    assert "stopping, trials save themselves" in text
    assert "left" not in text


def test_lines():
    failed = dataclasses.replace(ROW, state="failed", reason="out of [bold] luck")
    assert ended_line(failed, 3.0, 2, 6, 60.0) == (
        "[2/6] hinge-seed0 failed: out of [bold] luck, 3 s, about 60 s left"
    )
    finished = dataclasses.replace(ROW, state="finished")
    assert ended_line(finished, 3.0, 6, 6, 0.0) == "[6/6] hinge-seed0 finished: dev rsum 123.4, 3 s"
    assert ended_line(finished, 3.0, 5, 6, 0.4).endswith("dev rsum 123.4, 3 s")
    early = dataclasses.replace(ROW, state="interrupted", best=None)
    assert ended_line(early, 3.0, 0, 6, None) == "[0/6] hinge-seed0 interrupted, 3 s"


def test_a_terminal_is_drawn_on_and_a_file_gets_lines_alone():
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with Display(console) as display:
            display.show(board())
            display.say("a line with [brackets]")
        text = console.file.getvalue()
        assert "a line with [brackets]" in text
        assert ("hinge-seed0" in text) == terminal


def test_the_table_of_a_status():
    rows = [
        ROW,
        dataclasses.replace(ROW, trial="b", state="waiting", best=None, epoch=0),
        dataclasses.replace(ROW, trial="c", state="failed", seconds=30.0, reason="[red] reason"),
    ]
    lines = drawn(status_table(rows)).splitlines()
    assert lines[1].split() == ["hinge-seed0", "running", "2/6", "dev", "rsum", "123.4"]
    assert lines[2].split() == ["b", "waiting"]
    assert lines[3].rstrip().endswith("30 s  [red] reason")
