"""What a run can be told, section by section, with the defaults of the embedded data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from robustcmr.options import Options


class NoiseOptions(Options):
    """Which pairs are made wrong before training."""

    ratio: float = Field(0.0, ge=0.0, lt=1.0, description="share of the pairs to mismatch, in [0, 1)")
    protocol: Literal["caption", "image"] = Field(
        "caption", description="caption: single captions move; image: an image's captions all move together"
    )
    seed: int | None = Field(None, ge=0, lt=2**32, description="seed of the noise; the run's seed when null")
    derange: bool = Field(False, description="no chosen pair stays right by chance")
    file: Path | None = Field(
        None, description="published or saved noise file to use instead of making noise"
    )


class TextOptions(Options):
    """How captions become word indices."""

    vocabulary: Path | None = Field(
        None, description="vocabulary JSON; built from the training captions when null"
    )
    min_count: int = Field(1, ge=1, description="rarer words become <unk> in a vocabulary built here")


class AugmentationOptions(Options):
    """What is hidden from the matcher during training."""

    drop_regions: float = Field(0.2, ge=0.0, lt=1.0, description="chance that a region is left out")
    corrupt_words: float = Field(
        0.2,
        ge=0.0,
        lt=1.0,
        description="chance that a word is corrupted: half to <unk>, a tenth replaced, the rest deleted",
    )


class OptimOptions(Options):
    """The optimiser and its schedule."""

    name: Literal["adamw", "adam"] = Field("adamw", description="optimiser")
    lr: float = Field(2e-3, gt=0.0, description="learning rate")
    weight_decay: float = Field(0.01, ge=0.0, description="weight decay")
    milestones: tuple[int, ...] = Field(
        (8,), description="epochs (from 0) at which the learning rate is multiplied by decay"
    )
    decay: float = Field(0.1, gt=0.0, le=1.0, description="factor at each milestone")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate grows linearly from 0")
    clip: float | None = Field(
        2.0, gt=0.0, description="largest gradient norm of a matcher or other network; null does not clip"
    )


class TrainingOptions(Options):
    """Length, size and place of the training."""

    epochs: int = Field(12, ge=1, description="passes over the training pairs")
    batch_size: int = Field(128, ge=2, description="pairs a batch")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the matcher")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    checkpoint_minutes: float = Field(5.0, gt=0.0, description="a checkpoint is written at least this often")
    workers: int = Field(
        0, ge=0, description="processes that read batches ahead; 0 reads in the main process"
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        kind, _, number = value.partition(":")
        if kind not in {"auto", "cpu", "cuda", "mps"} or (
            number and not (kind == "cuda" and number.isdigit())
        ):
            raise ValueError(f"unknown device '{value}', expected auto, cpu, cuda, cuda:N or mps")
        return value


class EvaluationOptions(Options):
    """How retrieval is measured."""

    select: str = Field("dev", description="split whose rSum chooses the best epoch")
    test: str | None = Field(
        "test",
        description="split measured once at the end with the best epoch; skipped, and said so, if it has no "
        "files",
    )
    batch_size: int = Field(256, ge=1, description="images or captions encoded at once")
    rematch_images: int = Field(
        2000,
        ge=2,
        description="images of the training set that pairs.csv may suggest; more are sampled down to so many",
    )
    block_mib: int = Field(256, ge=1, description="memory for one block of scores, MiB")


class Settings(Options):
    """Every section that does not depend on a plug-in."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, batches and, unless set apart, noise")
    noise: NoiseOptions = NoiseOptions()
    text: TextOptions = TextOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    optim: OptimOptions = OptimOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
