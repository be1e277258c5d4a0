"""How much of what a method rematches really fits, beside what simpler rules would get right."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.types import Rematch


@dataclass(frozen=True)
class RematchQuality:
    """Sums over one or more batches; add those of an epoch with ``+`` and read the shares at the end.

    Attributes:
        batches: batches in which something was to be rematched.
        mass: transported mass.
        mass_on_fits: of it, on cells that fit.
        allowed: cells that might carry mass.
        allowed_fits: of them, cells that fit.
        rows: images with an allowed cell.
        row_hits: of them, images whose best-scoring allowed caption fits.
        columns: captions with an allowed cell.
        column_hits: of them, captions whose best-scoring allowed image fits.
        chosen: images that are as many as the transported mass stands for.
        chosen_hits: of so many images with the highest best score, those whose best caption fits.
        captions: captions to be rematched.
        reachable: of them, captions with an allowed image that fits.
    """

    batches: float = 0.0
    mass: float = 0.0
    mass_on_fits: float = 0.0
    allowed: float = 0.0
    allowed_fits: float = 0.0
    rows: float = 0.0
    row_hits: float = 0.0
    columns: float = 0.0
    column_hits: float = 0.0
    chosen: float = 0.0
    chosen_hits: float = 0.0
    captions: float = 0.0
    reachable: float = 0.0

    def __add__(self, other: RematchQuality) -> RematchQuality:
        """The sums of both."""
        names = [field.name for field in dataclasses.fields(self)]
        return RematchQuality(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def to_dict(self) -> dict[str, float]:
        """Shares in 0..1, those that are defined; empty where no batch was judged.

        Returns:
            ``plan``: of the transported mass, on cells that fit. To be compared with it: ``chance``, the same
            mass spread evenly over all allowed cells; ``row_max``, every image to its best-scoring caption;
            ``column_max``, every caption to its best-scoring image; ``row_max_same_mass``, only as many of
            the best-scoring images as carry the plan's mass, each to its best-scoring caption. Further
            ``reachable``, captions for which the batch has an image that fits, and ``mass``, the mean
            transported mass.
        """
        shares = {
            "plan": (self.mass_on_fits, self.mass),
            "chance": (self.allowed_fits, self.allowed),
            "row_max": (self.row_hits, self.rows),
            "column_max": (self.column_hits, self.columns),
            "row_max_same_mass": (self.chosen_hits, self.chosen),
            "reachable": (self.reachable, self.captions),
            "mass": (self.mass, self.batches),
        }
        return {name: part / whole for name, (part, whole) in shares.items() if whole > 0}


def evaluate_rematch(rematch: Rematch, fits: Tensor) -> RematchQuality:
    """Compare one batch's rematching with the truth, and with rules that pick by score alone.

    Where several cells score best in their row or column, each counts in part. Every image has the budget
    1/n, so mass rho stands for round(rho * n) images, at least one where anything was moved.

    Args:
        rematch: what was rematched, n images and m captions, on any device.
        fits: (n, m) bool, True where the image of the row fits the caption of the column; on any device.

    Returns:
        The sums of this batch; all 0 where there are no images or no captions.

    Raises:
        ValueError: ``fits`` is not (n, m) bool.
    """
    plan = rematch.plan.detach().float()
    if fits.shape != plan.shape or fits.dtype != torch.bool:
        raise ValueError(
            f"fits must be bool of the plan's shape {tuple(plan.shape)}, got {fits.dtype} of shape "
            f"{tuple(fits.shape)}"
        )
    if plan.numel() == 0:
        return RematchQuality()
    n, m = plan.shape
    fits, allowed = fits.to(plan.device), rematch.allowed
    right = allowed & fits
    scores = rematch.scores.detach().float()
    row_best, row_open, row_hits = _best(scores, allowed, fits)
    _, column_open, column_hits = _best(scores.T, allowed.T, fits.T)
    mass = plan.sum()
    wanted = torch.where(mass > 0, (mass * n).round().clamp(min=1), 0.0)
    chosen = torch.minimum(wanted, row_open.sum())
    sums = {
        "batches": torch.ones_like(mass),
        "mass": mass,
        "mass_on_fits": (plan * fits).sum(),
        "allowed": allowed.sum(),
        "allowed_fits": right.sum(),
        "rows": row_open.sum(),
        "row_hits": row_hits.sum(),
        "columns": column_open.sum(),
        "column_hits": column_hits.sum(),
        "chosen": chosen,
        "chosen_hits": (_highest(row_best, row_open, chosen) * row_hits).sum(),
        "captions": torch.full_like(mass, m),
        "reachable": right.any(dim=0).sum(),
    }
    values = torch.stack([value.float() for value in sums.values()]).tolist()  # one transfer a batch
    return RematchQuality(**dict(zip(sums, values, strict=True)))


def _best(scores: Tensor, allowed: Tensor, fits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row: its best allowed score, whether it has any, and how much of its best cells fits; (n,)."""
    held = scores.masked_fill(~allowed, -torch.inf)
    best = held.amax(dim=1)
    ties = allowed & (held == best[:, None])
    count = ties.sum(dim=1)
    return best, count > 0, (ties & fits).sum(dim=1) / count.clamp(min=1)


def _highest(values: Tensor, usable: Tensor, count: Tensor) -> Tensor:
    """(n,) weights that sum to ``count``: 1 for the highest values, equal parts for ties at the end."""
    held = values.masked_fill(~usable, -torch.inf)
    last = (count.long() - 1).clamp(min=0)
    level = held.sort(descending=True).values.index_select(0, last.reshape(1))  # (1,)
    above, level_with = usable & (held > level), usable & (held == level)
    left = (count - above.sum()) / level_with.sum().clamp(min=1)
    return above.float() + level_with.float() * left.clamp(min=0)
