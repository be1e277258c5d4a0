"""The precision-scope curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from robustcmr.reporting.scope_plot import draw_scopes, plot_precision_scope

from robustcmr.reporting import scope_plot


def measures(scopes: list[int], level: float = 90.0) -> dict[str, Any]:
    falling = [level / (1 + i) for i in range(len(scopes))]
    return {"map": 1.0, "scopes": scopes, "precision_i2t": falling, "precision_t2i": falling[::-1]}


def test_every_split_has_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    original = scope_plot.blank_axes

    def kept(*texts: str) -> Any:
        figures.append(original(*texts))
        return figures[-1]

    monkeypatch.setattr(scope_plot, "blank_axes", kept)
    path = tmp_path / "plots" / "precision_scope.png"
    found = draw_scopes({"dev": measures([1, 5, 50]), "test": measures([1, 5, 50, 300])}, path.parent)
    assert found == path
    axes = figures[0][1]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 5, 50]] * 2 + [[1, 5, 50, 300]] * 2
    assert list(axes.lines[0].get_ydata()) == [90.0, 45.0, 30.0]
    assert list(axes.lines[3].get_ydata()) == [22.5, 30.0, 45.0, 90.0]
    words = {text.get_text() for text in axes.texts}
    assert {"image to text, dev  30.0", "text to image, test  90.0", "at its largest K:"} <= words
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [1, 2, 5, 10, 20, 50, 100, 200]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 255).all()  # nothing is cut off at the edge


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_a_single_length_and_extreme_levels(tmp_path: Path, level: float) -> None:
    plot_precision_scope({"dev": measures([1], level)}, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_nothing_to_draw(tmp_path: Path) -> None:
    assert draw_scopes({"dev": {"rsum": 3.0}, "test": {"map": 1.0, "scopes": []}}, tmp_path / "none") is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="got 0 splits"):
        plot_precision_scope({}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="the dev split has no scopes"):
        plot_precision_scope({"dev": measures([])}, tmp_path / "x.png")
