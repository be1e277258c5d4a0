"""Options of the method ``robust``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustcmr.options import Options


class RobustOptions(Options):
    """Options of ``robust``; epochs count from 0, temperatures are in units of the score."""

    temperature: float = Field(0.05, gt=0.0, description="tau of every softmax")
    reverse_floor: float = Field(
        0.1,
        gt=0.0,
        lt=1.0,
        description="replaces 0 inside the logarithm of the reverse cross entropy; the lower, the less do "
        "pairs count that the matcher does not understand",
    )
    # warm-up
    warmup_epochs: int = Field(4, ge=0, description="epochs on all given pairs before the first division")
    warmup_extension: int = Field(
        2,
        ge=0,
        description="most epochs by which the warm-up is extended while the noise rate exceeds unclear",
    )
    unclear: float = Field(
        0.7, gt=0.0, le=1.0, description="estimated noise rate above which the warm-up is extended"
    )
    # teacher
    teacher_decay: float | None = Field(
        0.99,
        gt=0.0,
        lt=1.0,
        description="decay of the teacher, a running mean of the matcher; null scores by the matcher itself",
    )
    # division
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is clean if its probability exceeds this"
    )
    divide_first: bool = Field(True, description="divide by a linear model of words and image features, too")
    divide_every: int = Field(
        2,
        ge=1,
        description="passes over the pairs that a division and its draws serve, from the second division on",
    )
    most_wrong: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="largest noise rate that training assumes when it weighs pairs; 1 uses the estimate",
    )
    groups: Literal["auto", "mixed", "split"] = Field(
        "auto",
        description="one batch of all pairs a step (mixed), or one of clean and one of suspected pairs "
        "(split); auto splits above split_above",
    )
    split_above: float = Field(
        0.65, gt=0.0, le=1.0, description="estimated noise rate above which auto splits the batches"
    )
    # rematching
    rematch_weight: float = Field(
        1.0,
        ge=0.0,
        description="weight of suspected captions with the images drawn for them; 0 draws none",
    )
    least_findable: float = Field(
        0.25,
        ge=0.0,
        le=1.0,
        description="rematches, and joins the linear model's evidence to the matcher's, where that model "
        "ranks the image of at least this share of the clean pairs among the best hundredth; 0 always does",
    )
    vectors_on_disk: bool = Field(
        False,
        description="keep the vectors by which images are drawn in a temporary file instead of memory",
    )
