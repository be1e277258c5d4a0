"""Precision of a batch's rematching, against chance and against choosing by score alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.types import Rematch


@dataclass(frozen=True)
class RematchQuality:
    """Sums over one or more batches; add batches with ``+`` and read shares from :meth:`to_dict`.

    A cell fits if its caption is true of its image.

    Attributes:
        batches: batches with something to rematch.
        mass: transported mass.
        mass_on_fits: mass on cells that fit.
        allowed: cells that may carry mass.
        allowed_fits: allowed cells that fit.
        rows: images with an allowed cell.
        row_hits: those whose best-scoring allowed caption fits.
        columns: captions with an allowed cell.
        column_hits: those whose best-scoring allowed image fits.
        chosen: number of images that the transported mass amounts to.
        chosen_hits: of that many images with the highest best score, those whose best caption fits.
        captions: captions to be rematched.
        reachable: those with an allowed image that fits.
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
        """Add the sums of both."""
        names = [field.name for field in dataclasses.fields(self)]
        return RematchQuality(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def to_dict(self) -> dict[str, float]:
        """Return the defined shares, in 0..1; empty if no batch was evaluated.

        Returns:
            ``plan``: share of the transported mass on cells that fit. For comparison: ``chance``, the mass
            spread evenly over all allowed cells; ``row_max``, every image to its best-scoring caption;
            ``column_max``, every caption to its best-scoring image; ``row_max_same_mass``, ``row_max`` for as
            many best-scoring images as the plan's mass amounts to. Also ``reachable``, the share of
            captions with a fitting image in the batch, and ``mass``, the mean transported mass.
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
    """Evaluate one batch's rematching, and rules that choose by score alone, against the truth.

    Cells that tie for the best of a row or column count in equal parts. Every image has the budget 1/n, so
    mass rho amounts to round(rho * n) images, at least one if anything was moved.

    Args:
        rematch: of n images and m captions, on any device.
        fits: (n, m) bool, True if the caption of the column is true of the image of the row; on any device.

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
    """Return each row's best allowed score, whether it has any, and which share of its best cells fits."""
    masked = scores.masked_fill(~allowed, -torch.inf)
    best = masked.amax(dim=1)
    ties = allowed & (masked == best[:, None])
    count = ties.sum(dim=1)
    return best, count > 0, (ties & fits).sum(dim=1) / count.clamp(min=1)


def _highest(values: Tensor, usable: Tensor, count: Tensor) -> Tensor:
    """Return (n,) weights that sum to ``count``: 1 for the highest values, equal parts for final ties."""
    masked = values.masked_fill(~usable, -torch.inf)
    last = (count.long() - 1).clamp(min=0)
    lowest = masked.sort(descending=True).values.index_select(0, last.reshape(1))  # (1,)
    above, tied = usable & (masked > lowest), usable & (masked == lowest)
    part = (count - above.sum()) / tied.sum().clamp(min=1)
    return above.float() + tied.float() * part.clamp(min=0)
