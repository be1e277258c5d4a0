"""Every constant of L2RM, with our defaults and, under ``legacy``, those of the release."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from robustcmr.options import Options

RELEASED = MappingProxyType(
    {
        "warmup_epochs": 5,
        "warmup_extension": 0,
        "warmup_loss": "rce",
        "teacher_decay": None,
        "agreement": 0.0,
        "mixture": "beta",
        "always_divide": True,
        "most_wrong": 1.0,
        "streams": "split",
        "clean_loss": "hinge",
        "clean_weights": "equal",
        "cost": "positional",
        "cost_lr": 2e-6,
        "solver": "dummies",
        "mass": 0.1,
        "epsilon": 0.01,
        "weighting": "uniform",
        "rematch_loss": "kl",
        "rematch_weight": 1.0,
        "mask_same_image": False,
    }
)
"""What ``legacy: true`` sets wherever nothing else is said."""


class L2RMOptions(Options):
    """Options of L2RM; ``legacy: true`` changes the defaults of the others to the released recipe."""

    legacy: bool = Field(
        False,
        strict=True,  # the preset below is chosen before pydantic turns a 1 into true
        description="start from the released recipe: what is not set takes its value",
    )
    # warm-up
    warmup_epochs: int = Field(4, ge=0, description="epochs on all given pairs before the first division")
    warmup_extension: int = Field(
        2, ge=0, description="epochs that the warm-up may last longer while too many pairs look wrong"
    )
    unclear: float = Field(
        0.7,
        gt=0.0,
        le=1.0,
        description="share of pairs that look wrong above which the matcher knows too little to divide",
    )
    warmup_loss: Literal["infonce", "rce"] = Field(
        "infonce", description="loss of the warm-up: cross entropy, or with its reverse as released"
    )
    temperature: float = Field(0.05, gt=0.0, description="tau of every softmax, in units of the score")
    floor: float = Field(1e-7, gt=0.0, lt=1.0, description="stands in for 0 where a logarithm is taken")
    teacher_decay: float | None = Field(
        0.99,
        gt=0.0,
        lt=1.0,
        description="how much of itself the teacher, a running mean of the matcher, keeps at each step; "
        "null judges by the matcher itself",
    )
    agreement: float = Field(
        1.0,
        ge=0.0,
        description="weight of the cross entropy to the teacher's matching probabilities; needs a teacher",
    )
    agreement_epoch: int = Field(2, ge=0, description="epoch (from 0) from which on agreement counts")
    # division
    mixture: Literal["anchored", "beta", "gaussian"] = Field(
        "anchored",
        description="two groups of mean hinges by a Beta (as released) or normal mixture, or of cross "
        "entropies by a mixture whose noisy part is that of pairs mismatched on purpose",
    )
    evidence_margin: float = Field(0.2, gt=0.0, description="margin of the hinge evidence (beta, gaussian)")
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="clean means a posterior above it")
    always_divide: bool = Field(
        False, description="divide even where two groups are not believed (beta, gaussian)"
    )
    most_wrong: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="share of wrong pairs that training assumes at most when it weighs the evidence of each; "
        "1 assumes what was estimated",
    )
    # steps
    streams: Literal["auto", "mixed", "split"] = Field(
        "auto",
        description="one batch of all pairs a step, or one of clean and one of suspected pairs; auto splits "
        "where most pairs look wrong",
    )
    split_above: float = Field(
        0.65, gt=0.0, le=1.0, description="share of pairs that look wrong above which auto splits"
    )
    clean_loss: Literal["infonce", "rce", "hinge"] = Field("infonce", description="loss of the clean pairs")
    clean_weights: Literal["posterior", "equal"] = Field(
        "posterior",
        description="all pairs count by their probability of being clean, or the clean ones all the same",
    )
    margin: float = Field(0.2, gt=0.0, description="margin of the hinge with the hardest negatives")
    mask_same_image: bool = Field(
        True,
        description="captions given to the same image are no negatives, and none of them is rematched to it",
    )
    # rematching
    rematch_weight: float = Field(
        1.0, ge=0.0, description="weight of the rematched targets; 0 leaves suspected pairs without any"
    )
    rematch_loss: Literal["cross_entropy", "kl"] = Field(
        "cross_entropy", description="distance to the rematched targets; kl is symmetric, as released"
    )
    cost: Literal["network", "similarity", "positional"] = Field(
        "network", description="learned from planted matches, 1 - score, or the released linear layer"
    )
    cost_lr: float = Field(1e-3, gt=0.0, description="learning rate of a learned cost")
    planted_least: float = Field(0.01, gt=0.0, le=1.0, description="least share of planted matches")
    planted_most: float = Field(0.10, gt=0.0, le=1.0, description="largest share of planted matches")
    contrast: float = Field(
        1.0, ge=0.0, description="weight of telling planted matches from others (cost: network)"
    )
    solver: Literal["partial", "dummies"] = Field(
        "partial", description="partial transport as such, or balanced with dummy points as released"
    )
    mass: float = Field(0.1, gt=0.0, le=1.0, description="rho, share of the suspected captions' mass to move")
    epsilon: float = Field(0.01, gt=0.0, description="smoothing of the plan, in units of the cost")
    weighting: Literal["mass", "uniform"] = Field(
        "mass", description="targets count by the mass moved for them, or all the same as released"
    )

    @model_validator(mode="before")
    @classmethod
    def _released(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("legacy") is True:
            return {**RELEASED, **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.agreement > 0 and self.teacher_decay is None:
            raise ValueError(
                f"agreement is {self.agreement} but there is no teacher to agree with; "
                "set teacher_decay, or agreement to 0"
            )
        if self.cost == "positional" and self.streams != "split" and self.rematch_weight > 0:
            raise ValueError(
                f"cost is positional but streams is {self.streams}, and that cost knows full batches of "
                "suspected pairs alone; set streams to split, or another cost"
            )
        if self.planted_least > self.planted_most:
            raise ValueError(
                f"planted_least is {self.planted_least} but planted_most is {self.planted_most}; "
                "expected planted_least to be no larger"
            )
        return self
