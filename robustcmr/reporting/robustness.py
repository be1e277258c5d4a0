"""Robustness of a method: its curve over noise ratios, and the normalised area below it as one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from scipy.integrate import trapezoid

from robustcmr.reporting.agreement import Setting
from robustcmr.reporting.compared import CEILINGS, ComparedRow, Robustness, labelled
from robustcmr.reporting.significance import SeedTest, seed_test


def normalised_area(ratios: Sequence[float], values: Sequence[float], ceiling: float) -> float:
    """Return the area under straight lines between values at rising ratios, in percent of the largest."""
    return 100.0 * float(trapezoid(values, ratios)) / ((ratios[-1] - ratios[0]) * ceiling)


def robustness(rows: Sequence[ComparedRow], against: str | None = None) -> tuple[list[Robustness], list[str]]:
    """Return the curves of methods with at least two noise ratios, and notes on areas over only some.

    Args:
        rows: of a comparison.
        against: label of the reference method; the first in rank of each setting if None.
    """
    noisy = dict.fromkeys(row.setting for row in rows if row.setting.kind is not None)
    found: list[Robustness] = []
    notes: list[str] = []
    for setting in noisy:
        curves: dict[tuple[str, int], dict[float, ComparedRow]] = {}
        for row in rows:
            if row.ratio is not None and row.setting in (setting, setting.clean):
                curves.setdefault((row.method, row.n_models), {})[row.ratio] = row
        curves = {key: dict(sorted(points.items())) for key, points in curves.items() if len(points) > 1}
        counts = sorted({n_models for _, n_models in curves})  # single models and ensembles have ranks apart
        for chosen in [{key: curves[key] for key in curves if key[1] == count} for count in counts]:
            over, said = _common(chosen)
            notes += [sentence for sentence in said if sentence not in notes]
            found.extend(_in_setting(setting, chosen, over, against))
    return found, notes


def _common(curves: Mapping[tuple[str, int], Mapping[float, ComparedRow]]) -> tuple[list[float], list[str]]:
    """The ratios that all curves have, if at least two, and a note where some have more."""
    every = sorted({ratio for points in curves.values() for ratio in points})
    common = [ratio for ratio in every if all(ratio in points for points in curves.values())]
    over = common if len(common) > 1 else []
    if len(over) == len(every):
        return over, []
    what = ", ".join(f"{ratio:g}" for ratio in over) if over else "no two ratios"
    return over, [f"not all methods have the same noise ratios; the area is over {what}, which all have"]


def _in_setting(
    setting: Setting,
    curves: Mapping[tuple[str, int], Mapping[float, ComparedRow]],
    over: Sequence[float],
    against: str | None,
) -> list[Robustness]:
    areas = {key: _area(points, over) for key, points in curves.items()}
    order = sorted(curves, key=lambda key: (-(areas[key][0] or 0.0), key))
    reference = next((key for key in order if against in (None, key[0])), None)
    found = []
    for key in order:
        points, (area, deviation) = curves[key], areas[key]
        base = None if key == reference else reference
        rank = None if area is None else 1 + sum((other or 0.0) > area for other, _ in areas.values())
        found.append(
            Robustness(
                method=key[0],
                setting=setting,
                n_models=key[1],
                ratios=tuple(points),
                means=tuple(fmean(row.values) for row in points.values()),
                stds=tuple(row.std for row in points.values()),
                over=tuple(over),
                area=area,
                area_std=deviation,
                rank=rank,
                over_seeds=None if base is None else _paired(curves[base], points),
                reference=None if base is None else labelled(*base),
                marks=next((row.marks for row in points.values() if row.setting == setting), ()),
            )
        )
    return found


def _area(points: Mapping[float, ComparedRow], over: Sequence[float]) -> tuple[float | None, float | None]:
    if not over:
        return None, None
    rows = [points[ratio] for ratio in over]
    ceiling = CEILINGS[rows[0].headline]
    area = normalised_area(over, [fmean(row.values) for row in rows], ceiling)
    by_seed = [dict(zip(row.seeds, row.values, strict=True)) for row in rows]
    whole = [seed for seed in by_seed[0] if all(seed in values for values in by_seed)]
    each = [normalised_area(over, [values[seed] for values in by_seed], ceiling) for seed in whole]
    return area, stdev(each) if len(each) > 1 else None


def _paired(own: Mapping[float, ComparedRow], other: Mapping[float, ComparedRow]) -> SeedTest | None:
    differences = []
    for ratio, row in other.items():
        if ratio in own:
            reference = dict(zip(own[ratio].seeds, own[ratio].values, strict=True))
            differences += [
                value - reference[seed]
                for seed, value in zip(row.seeds, row.values, strict=True)
                if seed in reference
            ]
    return seed_test(differences) if differences else None
