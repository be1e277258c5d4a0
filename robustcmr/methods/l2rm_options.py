"""Options of the method ``l2rm``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from robustcmr.options import Options


class L2RMOptions(Options):
    """Options of L2RM; the defaults are the released recipe for Flickr30K (MS-COCO, CC152K: epsilon 0.07).

    Epochs count from 0, temperatures and costs are in units of the score.
    """

    mixture: Literal["beta", "gaussian"] = Field("beta", description="shape of the two groups of evidence")
    evidence_margin: float = Field(0.2, gt=0.0, description="margin of the hinge that is the evidence")
    margin: float = Field(0.2, gt=0.0, description="margin of the hinge of clean pairs, hardest negatives")
    warmup_epochs: int = Field(5, ge=0, description="epochs on all given pairs before the first division")
    temperature: float = Field(0.05, gt=0.0, description="tau of every softmax")
    floor: float = Field(1e-7, gt=0.0, lt=1.0, description="replaces 0 inside a logarithm")
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is clean if its probability exceeds this"
    )
    rematch_weight: float = Field(1.0, ge=0.0, description="weight of the rematched targets; 0 turns it off")
    mass: float = Field(0.1, gt=0.0, le=1.0, description="rho, share of the suspected captions' mass to move")
    solver: Literal["entropic", "exact"] = Field(
        "entropic", description="with entropy and dummy points, as released, or exact on the CPU"
    )
    epsilon: float = Field(0.01, gt=0.0, description="smoothing of the plan (entropic)")
    cost_lr: float = Field(2e-6, gt=0.0, description="learning rate of the cost network")
    synthetic_least: float = Field(0.01, gt=0.0, le=1.0, description="least share of synthetic matches")
    synthetic_most: float = Field(0.10, gt=0.0, le=1.0, description="largest share of synthetic matches")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.synthetic_least > self.synthetic_most:
            raise ValueError(
                f"synthetic_least is {self.synthetic_least} but synthetic_most is {self.synthetic_most}; "
                "expected synthetic_least to be no larger"
            )
        return self
