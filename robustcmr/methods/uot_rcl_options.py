"""Every choice of UOT-RCL that its abstract leaves open, with our defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from robustcmr.options import Options


class UotRclOptions(Options):
    """Options of UOT-RCL; lengths are in epochs, temperatures in units of the cosine."""

    semantic: bool = Field(True, description="semantic alignment: correct classes by partial transport")
    relation: bool = Field(True, description="relation alignment: match all that are of one class in a batch")
    # the losses of MRL, which warm-up consists of
    warmup_epochs: int = Field(
        10, ge=1, description="epochs on the given classes before the first correction"
    )
    temperature: float = Field(1.0, gt=0.0, description="temperature of class probabilities in the loss")
    beta: float = Field(
        0.7, ge=0.0, le=1.0, description="weight of the loss against the anchors; the contrast has the rest"
    )
    contrast_temperature: float = Field(
        0.8, gt=0.0, description="temperature of the contrast between instances"
    )
    # what is said of a pair's class
    belief_temperature: float = Field(
        0.1, gt=0.0, description="temperature of class probabilities that corrections are made from"
    )
    neighbours: int = Field(60, ge=1, description="neighbours of an image or text whose opinion counts")
    neighbour_share: float = Field(
        0.8, ge=0.0, le=1.0, description="how much of a modality's opinion is its neighbours'"
    )
    neighbour_temperature: float = Field(0.1, gt=0.0, description="temperature of the neighbours' weights")
    trust: bool = Field(
        True, description="a modality counts more where the other's neighbours agree with it; false: alike"
    )
    transitions: Literal["classes", "common", "none"] = Field(
        "classes",
        description="how given labels speak: by estimated rates of each class, by one rate for all, or not "
        "at all",
    )
    pseudo_counts: float = Field(
        200.0, gt=0.0, description="labels of each class that the common rate counts for (classes)"
    )
    # transport of samples to classes
    prior: Literal["given", "estimated", "uniform"] = Field(
        "given", description="most that a class receives: its share of given labels, of beliefs, or all alike"
    )
    epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of that transport, in units of the largest cost"
    )
    mass_start: float = Field(0.3, gt=0.0, le=1.0, description="share of the samples moved at first")
    mass_end: float = Field(0.95, gt=0.0, le=1.0, description="share of the samples moved in the end")
    mass_epochs: int = Field(10, ge=1, description="epochs over which the share grows")
    momentum: float = Field(
        0.9, ge=0.0, lt=1.0, description="how much of itself a target keeps when it is corrected again"
    )
    # relation alignment
    relation_weight: float = Field(0.1, ge=0.0, description="weight of the relation alignment")
    relation_temperature: float = Field(
        0.3, gt=0.0, description="temperature of the softmax over the batch that is aligned"
    )
    relation_epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of the plan in the batch, in units of the agreement of classes"
    )
    relation_cost: Literal["classes", "both"] = Field(
        "classes", description="what the plan goes by: classes alone, or the mean with the cosines"
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.mass_start > self.mass_end:
            raise ValueError(
                f"mass_start is {self.mass_start:g} and mass_end {self.mass_end:g}, expected a share that "
                "does not shrink; raise mass_end or lower mass_start"
            )
        return self
