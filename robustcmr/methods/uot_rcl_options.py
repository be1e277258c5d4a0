"""Options of UOT-RCL: every choice that its abstract leaves open."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from robustcmr.methods.label_baselines import MRLOptions


class UotRclOptions(MRLOptions):
    """Options of UOT-RCL; lengths are in epochs, temperatures in units of the cosine."""

    semantic: bool = Field(True, description="semantic alignment: correct classes by partial transport")
    relation: bool = Field(True, description="relation alignment: match all pairs of one class in a batch")
    # the losses of MRL, alone during the warm-up
    warmup_epochs: int = Field(
        10, ge=1, description="epochs on the given classes before the first correction"
    )
    contrast_temperature: float = Field(0.8, gt=0.0, description="temperature of the contrast between pairs")
    # estimated classes
    posterior_temperature: float = Field(
        0.1, gt=0.0, description="temperature of the class probabilities used for correction"
    )
    neighbours: int = Field(60, ge=1, description="nearest neighbours of an image or text")
    neighbour_share: float = Field(
        0.8, ge=0.0, le=1.0, description="weight of the neighbours within a modality"
    )
    neighbour_temperature: float = Field(0.1, gt=0.0, description="temperature of the neighbours' weights")
    trust: bool = Field(
        True, description="weight a modality by its agreement with the other's neighbours; false: equally"
    )
    transitions: Literal["classes", "common", "none"] = Field(
        "classes",
        description="weigh given labels by estimated rates of each class, by one common rate, or not at all",
    )
    pseudo_counts: float = Field(
        200.0, gt=0.0, description="weight of the common rate, in labels of each class (classes)"
    )
    # transport of samples to classes
    prior: Literal["given", "estimated", "uniform"] = Field(
        "given", description="largest share of a class: that of given labels, of estimates, or uniform"
    )
    epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of that transport, in units of the largest cost"
    )
    mass_start: float = Field(0.3, gt=0.0, le=1.0, description="share of the samples moved at first")
    mass_end: float = Field(0.95, gt=0.0, le=1.0, description="share of the samples moved at the end")
    mass_epochs: int = Field(10, ge=1, description="epochs over which the share grows")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="decay of the running mean of targets")
    # relation alignment
    relation_weight: float = Field(0.1, ge=0.0, description="weight of the relation alignment")
    relation_temperature: float = Field(0.3, gt=0.0, description="temperature of the softmax over the batch")
    relation_epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of the plan in the batch, in units of the agreement"
    )
    relation_cost: Literal["classes", "both"] = Field(
        "classes", description="cost of the plan: classes alone, or their mean with the cosines (both)"
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.mass_start > self.mass_end:
            raise ValueError(
                f"mass_start is {self.mass_start:g} and mass_end {self.mass_end:g}, expected mass_end to be "
                "no smaller; raise mass_end or lower mass_start"
            )
        return self
