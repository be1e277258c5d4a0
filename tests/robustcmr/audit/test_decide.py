"""Decisions and reasons of single pairs, in order of precedence."""

import numpy as np
import pyarrow as pa

from robustcmr.audit.decide import NAMES, decide
from robustcmr.audit.tally import Tally

NAN = float("nan")


def one(problem=None, again=0, bad=(0, 0), twice=0, near=0, nothing=None, low=0.0, high=0.05, pasted=False):
    decision, reason = decide(
        pa.array([problem], pa.string()),
        np.array([again], np.uint8),
        np.array([[bad[0]], [bad[1]]], np.uint8),
        np.array([twice], np.uint8),
        np.array([near], np.uint8),
        pa.array([nothing], pa.string()),
        np.array([low], np.float32),
        np.array([high], np.float32),
        np.array([pasted]),
    )
    return NAMES[decision[0]], reason[0].as_py()


def test_probabilities_decide():
    assert one() == ("keep", "fits")
    assert one(high=0.3) == ("review", "may be mismatched")
    assert one(low=0.4, high=0.9) == ("review", "may be mismatched")
    assert one(low=0.6, high=0.9) == ("drop", "looks mismatched")
    assert one(low=0.6, high=0.9, pasted=True) == ("drop", "boilerplate caption")
    assert one(low=0.0, high=0.05, pasted=True) == ("keep", "fits")  # the picture that it is true of
    assert one(low=NAN, high=NAN) == ("review", "no probability")


def test_what_is_known_of_the_texts_comes_first():
    assert one(nothing="caption has no words") == ("drop", "caption has no words")
    assert one(near=1, nothing="x") == ("drop", "x")
    assert one(near=1) == ("review", "near picture and caption of an earlier pair")
    assert one(near=1, low=0.6, high=0.9) == ("drop", "looks mismatched")
    assert one(twice=1, near=1, nothing="x") == ("drop", "picture and caption of an earlier pair")
    assert one(bad=(0, 2), twice=1, nothing="x") == ("aside", "NaN or infinite numbers in the text vector")
    assert one(bad=(1, 2)) == ("aside", "no image vector")
    assert one(bad=(3, 0)) == ("aside", "only zeros in the image vector")
    assert one(again=1, bad=(1, 1)) == ("aside", "id of an earlier pair")
    assert one(problem="empty caption", again=1, nothing="x") == ("aside", "empty caption")


def test_counts_name_examples_of_problems():
    tally = Tally()
    for first in (0, 10):
        reasons = ["bad: " + str(n) if n % 2 else "fits" for n in range(first, first + 10)]
        ids, rows = [f"id{n}" for n in range(first, first + 10)], list(range(first, first + 10))
        table = pa.table({"id": ids, "file": ["a.csv"] * 10, "row": rows, "reason": reasons})
        tally.add(table, np.array([3 if n % 2 else 0 for n in range(first, first + 10)], np.uint8))
    assert tally.pairs == 20
    assert dict(tally.decisions) == {"keep": 10, "aside": 10}
    assert tally.problems() == [
        {
            "problem": "bad",
            "pairs": 10,
            "first": "a.csv row 1",
            "examples": ["id1", "id3", "id5", "id7", "id9"],
        }
    ]
