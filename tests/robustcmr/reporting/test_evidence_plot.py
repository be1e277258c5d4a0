from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from robustcmr.reporting.evidence_plot import bar_limit, evidence_range, plot_evidence
from scipy.stats import norm

from robustcmr.types import Division, FittedDensity


def two_groups(n: int = 2000) -> tuple[Division, np.ndarray]:
    rng = np.random.default_rng(0)
    wrong = rng.random(n) < 0.4
    evidence = np.where(wrong, rng.normal(0.6, 0.08, n), rng.normal(0.2, 0.08, n))
    low, high = 0.6 * norm.pdf(evidence, 0.2, 0.08), 0.4 * norm.pdf(evidence, 0.6, 0.08)
    grid = np.linspace(evidence.min(), evidence.max(), 200)
    density = FittedDensity(grid, 0.6 * norm.pdf(grid, 0.2, 0.08), 0.4 * norm.pdf(grid, 0.6, 0.08))
    clean = evidence < 0.4
    return (
        Division(low / (low + high), 0.5, clean, evidence, True, "two groups", 0.4, (0.38, 0.42), density),
        wrong,
    )


def one_group(evidence: np.ndarray, reason: str = "too few pairs") -> Division:
    n = len(evidence)
    return Division(np.ones(n), 0.5, np.ones(n, bool), np.asarray(evidence, float), False, reason, None, None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Draw, and return the axes and all words on the figure."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, file: Any, **options: Any) -> None:
        figures.append(self)
        save(self, file, **options)

    def draw(*arguments: Any) -> tuple[Any, list[str]]:
        monkeypatch.setattr(Figure, "savefig", keep)
        path = tmp_path / "plots" / "evidence.png"
        plot_evidence(arguments[0], path, *arguments[1:])
        with Image.open(path) as image:
            assert image.size == (960, 540)
            picture = np.asarray(image.convert("RGB"))
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all()  # nothing is cut off at the edge
        axes = figures[-1].axes[0]
        texts = [*figures[-1].texts, *axes.texts, *axes.get_legend().get_texts()]
        return axes, [text.get_text() for text in texts]

    return draw


def heights(axes: Any, place: int) -> np.ndarray:
    return np.array([bar.get_height() for bar in axes.containers[place]])


def test_bars_are_a_density_parted_by_the_truth(drawn: Any) -> None:
    division, wrong = two_groups()
    axes, words = drawn(division, wrong)
    edges = np.array([*(bar.get_x() for bar in axes.containers[0]), axes.get_xlim()[1]])
    assert axes.get_xlim() == pytest.approx((division.evidence.min(), division.evidence.max()))
    for place, chosen in enumerate((~wrong, wrong)):
        expected = [
            ((division.evidence[chosen] >= a) & (division.evidence[chosen] < b)).sum() / 2000 / (b - a)
            for a, b in itertools.pairwise(edges)
        ]
        expected[-1] += (division.evidence[chosen] == edges[-1]).sum() / 2000 / (edges[-1] - edges[-2])
        np.testing.assert_allclose(heights(axes, place), expected)
    bottoms = [bar.get_y() for bar in axes.containers[1]]
    np.testing.assert_allclose(bottoms, heights(axes, 0))  # one stands on the other
    assert {f"right ({(~wrong).sum():,})", f"mismatched ({wrong.sum():,})"} <= set(words)
    assert "Evidence against 2,000 pairs" in axes.get_title(loc="left")
    assert f"{np.mean(~division.is_clean):.1%} suspected" in axes.get_title(loc="left")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("evidence against the pair", "density")


def test_without_the_truth_there_is_one_kind_of_bars(drawn: Any) -> None:
    axes, words = drawn(two_groups()[0])
    assert len(axes.containers) == 1
    widths = [bar.get_width() for bar in axes.containers[0]]
    assert (heights(axes, 0) * widths).sum() == pytest.approx(1)
    assert "all pairs (2,000)" in words


def test_fitted_groups_and_the_decision_are_drawn(drawn: Any) -> None:
    division, _ = two_groups()
    axes, words = drawn(division)
    lower, upper, cut = axes.lines
    assert division.density is not None
    np.testing.assert_allclose(lower.get_ydata(), division.density.clean)
    np.testing.assert_allclose(upper.get_ydata(), division.density.noisy)
    below, above = division.evidence[division.is_clean].max(), division.evidence[~division.is_clean].min()
    assert below < cut.get_xdata()[0] < above
    assert {"lower group, fitted", "upper group, fitted"} <= set(words)
    assert f"suspected above {(below + above) / 2:.3g}" in words
    assert not any("Not divided" in word for word in words)


def test_a_density_without_end_at_its_border_is_drawn(drawn: Any) -> None:
    division, _ = two_groups()
    assert division.density is not None
    division.density.clean[0] = np.inf
    axes, _ = drawn(division)
    assert np.isnan(axes.lines[0].get_ydata()[0])
    assert axes.get_ylim()[1] < 10


def test_why_nothing_is_divided_is_said(drawn: Any) -> None:
    axes, words = drawn(one_group(np.random.default_rng(0).random(50), "one group: " + "because " * 60))
    assert axes.get_title(loc="left") == "Evidence against 50 pairs: none suspected"
    (reason,) = (word for word in words if word.startswith("Not divided: one group"))
    assert reason.count("\n") == 1
    assert reason.endswith("[...]")
    assert not axes.lines


@pytest.mark.parametrize(
    "evidence",
    [
        [0.0],
        [7.0] * 30,
        [-3.0] * 4,
        [1e20, 1e20 * (1 + 1e-15)],
        [1e-12, 3e-12],
        [0.0] * 997 + [1.0, 2.0, 3e8],
        list(np.random.default_rng(0).standard_cauchy(5000)),
        [0.0] * 600 + list(np.random.default_rng(0).random(400)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_extreme_evidence_is_drawn(drawn: Any, evidence: list[float]) -> None:
    axes, _ = drawn(one_group(np.array(evidence)))
    low, high = axes.get_xlim()
    assert low < high
    assert 0 < axes.get_ylim()[1] < np.inf
    shown = sum(low <= value <= high for value in evidence)
    widths = np.array([bar.get_width() for bar in axes.containers[0]])
    assert (heights(axes, 0) * widths).sum() == pytest.approx(shown / len(evidence))


def test_what_is_cut_off_is_said(drawn: Any) -> None:
    rng = np.random.default_rng(0)
    axes, words = drawn(one_group(np.array([*rng.normal(0.5, 0.05, 3000), 900.0, -900.0, 800.0])))
    assert axes.get_xlim()[1] < 2
    assert "3 pairs further out" in words
    _, words = drawn(one_group(np.array([*rng.normal(0.5, 0.05, 3000), 900.0])))
    assert "1 pair further out" in words
    heap = np.concatenate([np.zeros(1000), rng.random(1000)])
    axes, words = drawn(one_group(heap))
    tallest = heights(axes, 0).max()
    assert axes.get_ylim()[1] < tallest
    assert f"the highest bar, cut off here, reaches {tallest:.3g}" in words


def test_limits() -> None:
    assert evidence_range(np.array([0.0, 1.0, 2.0])) == (0, 2)
    assert evidence_range(np.zeros(3)) == (-0.5, 0.5)
    assert evidence_range(np.full(3, -2.0)) == pytest.approx((-2.1, -1.9))
    low, high = evidence_range(np.array([*np.linspace(0, 1, 1000), 50.0]))
    assert low == 0
    assert 1 < high < 1.4
    assert bar_limit(np.array([1.0, 2.0, 3.0])) == pytest.approx(3.24)
    assert bar_limit(np.array([1.0, 1.0, 1.0, 40.0])) == 2
    assert bar_limit(np.array([0.0, 0.0, 5.0])) == pytest.approx(5.4)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pairs to draw"):
        plot_evidence(one_group(np.zeros(0)), tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"shape \(2,\) for 3 pairs"):
        plot_evidence(one_group(np.zeros(3)), tmp_path / "x.png", np.zeros(2, bool))
    assert list(tmp_path.iterdir()) == []
