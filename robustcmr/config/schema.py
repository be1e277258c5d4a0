"""What a run can be told, section by section, with the defaults of the pairs track."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from robustcmr.device_names import EXPECTED, is_device_name
from robustcmr.options import Options


class NoiseOptions(Options):
    """Which pairs or labels are made wrong before training."""

    ratio: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the pairs to mismatch, or of the labels to draw, in [0, 1)"
    )
    kind: Literal["mismatch", "symmetric", "asymmetric", "instance"] | None = Field(
        None,
        description="mismatch: captions go to other images (pairs); symmetric: labels become any other "
        "class, asymmetric: the class of class_map, instance: a class that looks alike (labels); null takes "
        "mismatch or symmetric by the data",
    )
    protocol: Literal["caption", "image", "shared", "per_modality"] | None = Field(
        None,
        description="caption: single captions move, image: an image's captions all move together (pairs); "
        "shared: image and text of a pair have one label, per_modality: each its own (labels); null takes "
        "caption or shared by the data",
    )
    seed: int | None = Field(None, ge=0, lt=2**32, description="seed of the noise; the run's seed when null")
    derange: bool = Field(False, description="no chosen pair stays right by chance (pairs)")
    redraw_true: bool = Field(False, description="a chosen label may be drawn right again (symmetric)")
    class_map: tuple[int, ...] | None = Field(
        None, description="class that labels of each class become; the next one when null (asymmetric)"
    )
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
    """What is hidden from the matcher or blurred during training."""

    drop_regions: float = Field(0.2, ge=0.0, lt=1.0, description="chance that a region is left out (pairs)")
    corrupt_words: float = Field(
        0.2,
        ge=0.0,
        lt=1.0,
        description="chance that a word is corrupted: half to <unk>, a tenth replaced, the rest deleted "
        "(pairs)",
    )
    feature_noise: float = Field(
        0.0, ge=0.0, description="standard deviation of the noise added to each number of a vector (labels)"
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
        """A cosine has no milestones, not even those of the default; setting some is a contradiction."""
        if not isinstance(given, Mapping) or given.get("schedule") != "cosine":
            return given
        if given.get("milestones"):
            raise ValueError(
                f"schedule is cosine and milestones are {given['milestones']}, which only the schedule "
                "milestones has; leave one of them out"
            )
        return {**given, "milestones": ()}


class TrainingOptions(Options):
    """Length, size and place of the training."""

    epochs: int = Field(12, ge=1, description="passes over the training pairs")
    batch_size: int = Field(128, ge=2, description="pairs a batch")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the matcher")
    compile: bool = Field(
        False,
        description="fuse parts of the matcher and losses by torch.compile; the first steps take long, "
        "and what cannot be compiled runs as it is",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    checkpoint_minutes: float = Field(5.0, gt=0.0, description="a checkpoint is written at least this often")
    workers: int = Field(
        0, ge=0, description="processes that read batches ahead; 0 reads by a thread of the main process"
    )
    store: Literal["auto", "disk", "memory", "device"] = Field(
        "auto",
        description="where the training features stay: disk reads each batch, memory and device hold all of "
        "them; auto takes a GPU or the memory where they fit well, and says so",
    )
    half_features: bool = Field(
        False,
        description="round training features to half precision (float16), which halves the room they take",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not is_device_name(value):
            raise ValueError(f"unknown device '{value}', expected {EXPECTED}")
        return value


class EvaluationOptions(Options):
    """How retrieval is measured."""

    select: str = Field("dev", description="split whose rSum, or mAP with labels, chooses the best epoch")
    test: str | None = Field(
        "test",
        description="split measured once at the end with the best epoch; skipped, and said so, if it has no "
        "files",
    )
    batch_size: int = Field(256, ge=1, description="images or captions encoded at once")
    rematch_images: int | None = Field(
        None,
        ge=2,
        description="images of the training set that pairs.csv may suggest; more are sampled down to so "
        "many. By default 2,000, or as many as make 20 million pairs with the captions if those are fewer, "
        "but at least 256 (pairs)",
    )
    map_at: tuple[int, ...] = Field(
        (50,), description="lengths R of the ranking at which mAP@R is given (labels)"
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
    """Where else the measures of every epoch go; nowhere by default."""

    names: tuple[TrackerName, ...] = Field(
        (),
        description="trackers that are told of every epoch: tensorboard, wandb, mlflow, comet_ml, aim, "
        "clearml, dvclive; each needs its package",
    )
    project: str = Field("robustcmr", min_length=1, description="what trackers file the run under")

    @field_validator("names")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"got {list(value)}, expected each tracker once")
        return value


class Settings(Options):
    """Every section that does not depend on a plug-in."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, batches and, unless set apart, noise")
    noise: NoiseOptions = NoiseOptions()
    text: TextOptions = TextOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    optim: OptimOptions = OptimOptions()
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    tracking: TrackingOptions = TrackingOptions()
