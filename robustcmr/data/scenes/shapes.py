"""Outlines of the shapes, in a unit box: x and y in [-1, 1], y downwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """A closed outline: (P, 2) corners of the outer edge, and (Q, 2) corners of the hole, if any."""

    rim: Points
    hole: Points | None = None


def _arc(
    radius: float, start: float, stop: float, steps: int, centre: tuple[float, float] = (0.0, 0.0)
) -> Points:
    angles = np.linspace(math.radians(start), math.radians(stop), steps)
    x, y = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return np.stack([x, y], axis=1)


def _fit(points: Points) -> Points:
    """Scale a point set uniformly so that its longer side fills the unit box, centred."""
    low, high = points.min(axis=0), points.max(axis=0)
    fitted: Points = (points - (low + high) / 2) / (float((high - low).max()) / 2)
    return fitted


def _star() -> Points:
    angles = np.radians(np.arange(10) * 36.0 - 90.0)
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    return _fit(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1))


def _heart() -> Points:
    t = np.linspace(0.0, 2 * math.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return _fit(np.stack([x, y], axis=1))


def _moon() -> Points:
    # the inner edge is a circle of radius 0.85 about (0.5, 0) that meets the outer one at two tips
    tip = math.degrees(math.acos((1 + 0.25 - 0.85**2) / (2 * 0.5)))
    outer = _arc(1.0, tip, 360 - tip, 32)
    x, y = outer[-1]
    bend = math.degrees(math.atan2(y, x - 0.5)) % 360
    return _fit(np.concatenate([outer, _arc(0.85, bend, 360 - bend, 22, (0.5, 0.0))[1:-1]]))


def _flower() -> Points:
    angles = np.linspace(0.0, 2 * math.pi, 60, endpoint=False)
    radii = 0.72 + 0.28 * np.cos(5 * (angles + math.pi / 2))
    return _fit(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1))


def _corners(*pairs: tuple[float, float]) -> Points:
    return np.array(pairs, dtype=np.float64)


def _cross() -> Points:
    arm = np.array([(-0.34, -1), (0.34, -1), (0.34, -0.34)])
    turns = [arm]
    for _ in range(3):
        turns.append(np.stack([-turns[-1][:, 1], turns[-1][:, 0]], axis=1))
    return np.concatenate(turns)


OUTLINES: Mapping[str, Outline] = {
    "circle": Outline(_arc(1.0, 0, 351, 40)),
    "square": Outline(_corners((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))),
    "triangle": Outline(_corners((0, -0.95), (1, 0.85), (-1, 0.85))),
    "star": Outline(_star()),
    "heart": Outline(_heart()),
    "moon": Outline(_moon()),
    "cross": Outline(_cross()),
    "diamond": Outline(_corners((0, -1), (0.72, 0), (0, 1), (-0.72, 0))),
    "ring": Outline(_arc(1.0, 0, 351, 40), _arc(0.5, 0, 350, 36)),
    "arrow": Outline(
        _corners((-1, -0.3), (0.1, -0.3), (0.1, -0.85), (1, 0), (0.1, 0.85), (0.1, 0.3), (-1, 0.3))
    ),
    "house": Outline(
        _corners((0, -1), (1, -0.15), (0.72, -0.15), (0.72, 1), (-0.72, 1), (-0.72, -0.15), (-1, -0.15))
    ),
    "flower": Outline(_flower()),
}
"""Outline of each shape."""


def placed(points: Points, x: float, y: float, half: float, angle: float) -> Points:
    """Rotate an outline (P, 2) by ``angle`` degrees clockwise, scale it by ``half`` and move it to (x, y).

    The centre and half width may be in any unit; the result (P, 2) is in that unit.
    """
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    moved: Points = points @ matrix * half + np.array([x, y])
    return moved
