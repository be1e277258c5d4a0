"""The schema of a run, section by section, with the defaults of the pairs track."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from robustcmr.device_names import EXPECTED, is_device_name
from robustcmr.options import Options


class NoiseOptions(Options):
    """Noise injected before training."""

    ratio: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the pairs to mismatch, or of the labels to make wrong"
    )
    kind: Literal["mismatch", "symmetric", "asymmetric", "instance"] | None = Field(
        None,
        description="kind of noise; mismatch: captions go to other images (pairs); symmetric: labels become "
        "any other class, asymmetric: the class of class_map, instance: a class that looks alike (labels); "
        "by default mismatch or symmetric",
    )
    protocol: Literal["caption", "image", "shared", "per_modality"] | None = Field(
        None,
        description="unit of noise; caption: single captions move, image: all captions of an image move "
        "together (pairs); shared: image and text of a pair have one label, per_modality: each its own "
        "(labels); by default caption or shared",
    )
    seed: int | None = Field(None, ge=0, lt=2**32, description="seed of the noise; by default the run's seed")
    derange: bool = Field(False, description="no chosen pair keeps its image by chance (pairs)")
    redraw_true: bool = Field(False, description="a chosen label may be drawn right again (symmetric)")
    class_map: tuple[int, ...] | None = Field(
        None, description="class that labels of each class become; by default the next (asymmetric)"
    )
    file: Path | None = Field(
        None, description="published or saved noise file, used instead of injecting noise"
    )


class TextOptions(Options):
    """How captions become word indices."""

    vocabulary: Path | None = Field(
        None, description="vocabulary JSON; built from the training captions when null"
    )
    min_count: int = Field(1, ge=1, description="rarer words become <unk> in a vocabulary built here")


class AugmentationOptions(Options):
    """Training augmentation."""

    drop_regions: float = Field(
        0.2, ge=0.0, lt=1.0, description="probability that a region is dropped (pairs)"
    )
    corrupt_words: float = Field(
        0.2,
        ge=0.0,
        lt=1.0,
        description="probability that a word is corrupted: half become <unk>, a tenth another word, the rest "
        "are deleted (pairs)",
    )
    feature_noise: float = Field(
        0.0, ge=0.0, description="standard deviation of Gaussian noise added to the vectors (labels)"
    )


class OptimOptions(Options):
    """The optimiser and its schedule."""

    name: Literal["adamw", "adam"] = Field("adamw", description="optimiser")
    lr: float = Field(2e-3, gt=0.0, description="learning rate")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="decay of the running means of the gradient and of its square, in [0, 1)"
    )
    weight_decay: float = Field(0.01, ge=0.0, description="weight decay")
    schedule: Literal["milestones", "cosine"] = Field(
        "milestones",
        description="cosine: the learning rate falls to 0 as half a cosine over the whole training",
    )
    milestones: tuple[int, ...] = Field(
        (8,), description="epochs (from 0) at which the learning rate is multiplied by decay (milestones)"
    )
    decay: float = Field(0.1, gt=0.0, le=1.0, description="factor at each milestone")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate grows linearly from 0")
    clip: float | None = Field(
        2.0, gt=0.0, description="largest gradient norm of a matcher or other network; null does not clip"
    )

    @field_validator("betas")
    @classmethod
    def _decays(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0.0 <= beta < 1.0 for beta in value):
            raise ValueError(f"got {list(value)}, expected two numbers in [0, 1)")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_schedule(cls, given: Any) -> Any:
        """A cosine has no milestones, not even the default ones; setting some is a contradiction."""
        if not isinstance(given, Mapping) or given.get("schedule") != "cosine":
            return given
        if given.get("milestones"):
            raise ValueError(
                f"schedule is cosine and milestones are {given['milestones']}, which only the schedule "
                "milestones reads; leave one of them out"
            )
        return {**given, "milestones": ()}


class TrainingOptions(Options):
    """Length, batch size, device and precision of the training."""

    epochs: int = Field(12, ge=1, description="passes over the training pairs")
    batch_size: int = Field(128, ge=2, description="pairs a batch")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the matcher")
    compile: bool = Field(
        False,
        description="fuse parts of the matcher and losses by torch.compile; the first steps are slow, and "
        "parts that cannot be compiled run as they are",
    )
    device: str = Field("auto", description="device: auto, cpu, cuda, cuda:N or mps")
    checkpoint_minutes: float = Field(5.0, gt=0.0, description="longest time between checkpoints, in minutes")
    workers: int = Field(
        0, ge=0, description="processes that read batches ahead; 0 uses a thread of the main process"
    )
    store: Literal["auto", "disk", "memory", "device"] = Field(
        "auto",
        description="where the training features are kept: disk reads each batch, memory and device load "
        "all; auto chooses device or memory where they fit, and logs the choice",
    )
    half_features: bool = Field(
        False,
        description="round training features to half precision (float16), which halves their size",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not is_device_name(value):
            raise ValueError(f"unknown device '{value}', expected {EXPECTED}")
        return value


class EvaluationOptions(Options):
    """How retrieval is evaluated."""

    select: str = Field("dev", description="split whose rSum, or mAP with labels, chooses the best epoch")
    test: str | None = Field(
        "test",
        description="split measured once at the end with the best epoch; skipped with a log line if it has "
        "no files",
    )
    batch_size: int = Field(256, ge=1, description="images or captions encoded at once")
    rematch_images: int | None = Field(
        None,
        ge=2,
        description="most training images that pairs.csv may suggest, sampled if there are more; by default "
        "2,000, fewer if they would make over 20 million pairs with the captions, at least 256 (pairs)",
    )
    map_at: tuple[int, ...] = Field(
        (50,), description="lengths R of the ranking at which mAP@R is reported (labels)"
    )
    block_mib: int = Field(256, ge=1, description="memory for one block of scores, MiB")

    @field_validator("map_at")
    @classmethod
    def _lengths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(length < 1 for length in value):
            raise ValueError(f"got {list(value)}, expected whole numbers of at least 1")
        return value


TrackerName = Literal["tensorboard", "wandb", "mlflow", "comet_ml", "aim", "clearml", "dvclive"]


class TrackingOptions(Options):
    """Experiment trackers that receive the measures of every epoch; none by default."""

    names: tuple[TrackerName, ...] = Field(
        (),
        description="tensorboard, wandb, mlflow, comet_ml, aim, clearml or dvclive; each needs its package",
    )
    project: str = Field("robustcmr", min_length=1, description="project name in the trackers")

    @field_validator("names")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"got {list(value)}, expected each tracker once")
        return value


class Settings(Options):
    """All sections that do not depend on a plug-in."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, batches and noise")
    noise: NoiseOptions = NoiseOptions()
    text: TextOptions = TextOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    optim: OptimOptions = OptimOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    tracking: TrackingOptions = TrackingOptions()
