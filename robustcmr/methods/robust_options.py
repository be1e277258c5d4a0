"""Options of the method ``robust``: those that an ablation supports, and those of learned costs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from robustcmr.methods.rematching import RematchingOptions


class RobustOptions(RematchingOptions):
    """Options of ``robust``, besides those shared with ``l2rm``."""

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
    warmup_loss: Literal["infonce", "rce"] = Field(
        "infonce", description="loss of the warm-up: InfoNCE or robust cross entropy"
    )
    # teacher
    teacher_decay: float | None = Field(
        0.99,
        gt=0.0,
        lt=1.0,
        description="decay of the teacher, a running mean of the matcher; null scores by the matcher itself",
    )
    agreement: float = Field(
        1.0,
        ge=0.0,
        description="weight of the cross entropy to the teacher's matching probabilities; needs a teacher",
    )
    agreement_epoch: int = Field(2, ge=0, description="first epoch with the agreement loss")
    # division
    divide_first: bool = Field(
        True, description="divide before training, too, by a linear model of words and image features"
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
    cost: Literal["network", "similarity"] = Field(
        "network", description="learned from synthetic matches, or 1 - score"
    )
    contrast: float = Field(
        1.0, ge=0.0, description="weight of telling synthetic matches from other cells (cost: network)"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.agreement > 0 and self.teacher_decay is None:
            raise ValueError(
                f"agreement is {self.agreement} but there is no teacher to agree with; "
                "add --set method.teacher_decay=0.99, or --set method.agreement=0"
            )
        return self
