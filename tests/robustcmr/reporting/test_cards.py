from __future__ import annotations

import numpy as np
import pytest

from robustcmr.reporting.cards import Alignment, SuspectCard
from robustcmr.reporting.thumbnails import Thumbnail

IMAGE = Thumbnail("a", "data:,", 100, 50)


def test_the_margin_of_a_suspect():
    card = SuspectCard(1, "c", IMAGE, IMAGE, 0.1, 2.0, 0.25, 0.75, None, None)
    assert card.margin == 0.5
    assert SuspectCard(1, "c", IMAGE, None, 0.1, 2.0, 0.25, None, None, None).margin is None


def test_words_are_drawn_over_the_regions_their_mass_comes_from():
    plan = np.array([[0.3, 0.0], [0.1, 0.2], [0.0, 0.0]])
    boxes = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    card = Alignment("red star", ("red", "star"), plan, boxes, IMAGE)
    np.testing.assert_allclose(card.shares, [[0.75, 0.0], [0.25, 1.0], [0.0, 0.0]])
    assert card.table.rows[0] == ("1", pytest.approx(0.75), 0.0)
    assert card.table.columns == ("region", "red", "star")
    red, star = card.words_drawn
    assert (red["name"], red["share"], red["region"]) == ("red", "75.0%", 1)
    assert [box["best"] for box in red["boxes"]] == [False, True]  # the strongest is drawn last
    assert red["boxes"][1]["place"].__html__() == 'x="0.00" y="0.00" width="50.00" height="50.00"'
    assert [box["tint"] for box in red["boxes"]] == pytest.approx([0.125, 0.375])
    assert (star["share"], len(star["boxes"])) == ("100.0%", 1)
    assert Alignment("red star", ("red", "star"), plan, None, IMAGE).words_drawn == []
    assert Alignment("red star", ("red", "star"), plan, boxes, Thumbnail("a")).words_drawn == []
