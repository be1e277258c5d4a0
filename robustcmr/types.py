"""Records that pass between rooms.

Letters in shapes: N items, B batch, R regions, W words, L fragments (R or W), F feature width,
D embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # slow to load, and records of files need none
    import torch
    from torch import Tensor

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageBatch:
    """A batch of images: padded sets of regions, or pixels for matchers that read pictures.

    Attributes:
        features: (N, R, F) float, zero where padded; or (N, 3, H, W) float pixels.
        mask: (N, R) bool, True for real regions, at least one an image; (N, 1) with pixels.
    """

    features: Tensor
    mask: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> ImageBatch:
        """Return the batch on another device."""
        return ImageBatch(
            self.features.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        return self.features.shape[0]


@dataclass(frozen=True)
class TextBatch:
    """A batch of captions: word indices, padded at the end.

    Attributes:
        tokens: (N, W) int64, padded with the index of the padding word.
        mask: (N, W) bool, True for real words, at least one a caption.
        vectors: (N, V) float, one precomputed vector a caption; None where the data has none.
    """

    tokens: Tensor
    mask: Tensor
    vectors: Tensor | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> TextBatch:
        """Return the batch on another device."""
        return TextBatch(
            self.tokens.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
            None if self.vectors is None else self.vectors.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        return self.tokens.shape[0]


@dataclass(frozen=True)
class PairBatch:
    """A batch of given pairs: image i is given to text i.

    Attributes:
        images: B images.
        texts: B captions.
        pair_ids: (B,) int64, the caption row in the training set.
        same_image: (B, B) bool, True where the image given to pair i is the one given to pair j; its
            diagonal is True. Such cells are not negatives.
        labels: (B, M) int64, the given class, right or wrong: M = 1, or 2 where image and text have one
            each; None where pairs have no class.
    """

    images: ImageBatch
    texts: TextBatch
    pair_ids: Tensor
    same_image: Tensor
    labels: Tensor | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> PairBatch:
        """Return the batch on another device."""
        return PairBatch(
            self.images.to(device, non_blocking),
            self.texts.to(device, non_blocking),
            self.pair_ids.to(device, non_blocking=non_blocking),
            self.same_image.to(device, non_blocking=non_blocking),
            None if self.labels is None else self.labels.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        return self.pair_ids.shape[0]


@dataclass(frozen=True)
class PairContents:
    """What the given pairs hold, without a matcher.

    Attributes:
        words: (N, V) sparse, see :func:`robustcmr.selection.caption_words.rare_words`.
        features: (n images, Q) float16 of the images by their number, on the CPU, see
            :class:`robustcmr.selection.region_summary.RegionSummary`.
        image_of: (N,) int64, the image given to each caption.
        partner: (N,) int64, another pair, of which each caption is given the image on purpose.
        text_vectors: (N, V) float16, stored vectors of the captions; None where the data has none.
    """

    words: Any
    features: Tensor
    image_of: IntArray
    partner: IntArray
    text_vectors: Tensor | None = None


@dataclass(frozen=True)
class PairVectors:
    """One unit vector an image, by its number, (n images, D), and a caption, (N, D); float16, on the CPU."""

    images: Tensor  # zeros for an image that no pair has
    texts: Tensor


@dataclass(frozen=True)
class Fragments:
    """Encoded items of one modality.

    Attributes:
        features: (N, L, D) float.
        mask: (N, L) bool, True for real fragments.
        pooled: (N, D) float, one vector an item; None where the encoder makes none.
    """

    features: Tensor
    mask: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return self.features.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Fragments:
        """Return some of the N items, by slice, mask or index tensor."""
        return Fragments(
            self.features[index], self.mask[index], None if self.pooled is None else self.pooled[index]
        )

    def to(self, device: torch.device) -> Fragments:
        """Return the fragments on another device."""
        return Fragments(
            self.features.to(device),
            self.mask.to(device),
            None if self.pooled is None else self.pooled.to(device),
        )

    @staticmethod
    def concatenate(parts: Sequence[Fragments]) -> Fragments:
        """Join batches along N, padded to the longest L with zeros and False."""
        import torch

        longest = max(part.features.shape[1] for part in parts)
        features, masks = [], []
        for part in parts:
            missing = longest - part.features.shape[1]
            features.append(torch.nn.functional.pad(part.features, (0, 0, 0, missing)))
            masks.append(torch.nn.functional.pad(part.mask, (0, missing), value=False))
        pooled = [part.pooled for part in parts if part.pooled is not None]
        if pooled and len(pooled) != len(parts):
            raise ValueError("some parts have a pooled vector and some have none")
        return Fragments(torch.cat(features), torch.cat(masks), torch.cat(pooled) if pooled else None)


@dataclass(frozen=True)
class Correspondence:
    """The given pairing, right or wrong. Noise is only ever a different ``image_of_caption``.

    Attributes:
        image_of_caption: (N_captions,) int64, the image given to each caption.
        n_images: number of images in the split.
    """

    image_of_caption: IntArray
    n_images: int

    def __post_init__(self) -> None:
        given = self.image_of_caption
        if given.ndim != 1 or given.dtype != np.int64:
            raise ValueError(
                f"image_of_caption must be a vector of int64, got {given.dtype} of shape {given.shape}"
            )
        if given.size and (given.min() < 0 or given.max() >= self.n_images):
            raise ValueError(
                f"image_of_caption must lie in 0..{self.n_images - 1}, got {given.min()}..{given.max()}"
            )

    def __len__(self) -> int:
        return int(self.image_of_caption.shape[0])


@dataclass(frozen=True)
class MatcherInputs:
    """Pretrained inputs that replace region features or the run's own vocabulary.

    Attributes:
        tokenizer: folder or hub name of a transformers tokenizer; None for the run's vocabulary.
        image_processor: folder or hub name of a transformers image processor; None for region features.
    """

    tokenizer: str | None = None
    image_processor: str | None = None


@dataclass(frozen=True)
class DataSpec:
    """Properties of the data that a matcher is built from.

    Attributes:
        feature_width: F, numbers a region; 3 for pixels.
        n_regions: largest R; 1 for pixels.
        vocabulary_size: number of word indices, including padding and unknown.
        longest_caption: largest W, including start and end marks.
        padding_index: index of the padding word.
        unknown_index: index of the unknown word.
        words: the words by index; empty for a subword tokenizer.
        picture_size: (H, W) of the pixels; None for region features.
        text_width: V, width of a precomputed caption vector; None where the data has none.
    """

    feature_width: int
    n_regions: int
    vocabulary_size: int
    longest_caption: int
    padding_index: int = 0
    unknown_index: int = 3
    words: tuple[str, ...] = ()
    picture_size: tuple[int, int] | None = None
    text_width: int | None = None


@dataclass(frozen=True)
class FittedDensity:
    """The two fitted components of a division, as curves over the evidence.

    Attributes:
        evidence: (K,) float64, ascending.
        clean: (K,) density of the clean component (lower evidence) times its weight.
        noisy: (K,) the same for the noisy component; both together integrate to about 1.
    """

    evidence: npt.NDArray[np.float64]
    clean: npt.NDArray[np.float64]
    noisy: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Division:
    """Which pairs look clean.

    Attributes:
        clean_probability: (N,) float64 in [0, 1], non-increasing in the evidence; 1 where not ``bimodal``.
        threshold: clean means a probability above it.
        is_clean: (N,) bool.
        evidence: (N,) float64, evidence against each pair.
        bimodal: whether the evidence has two components; if not, every pair counts as clean.
        reason: one sentence saying why.
        noise_rate: estimated weight of the noisy component; None where not ``bimodal``.
        noise_interval: its 95% interval; None where not ``bimodal`` or unknown.
        density: the fitted components, for charts; None where not ``bimodal``.
    """

    clean_probability: npt.NDArray[np.float64]
    threshold: float
    is_clean: npt.NDArray[np.bool_]
    evidence: npt.NDArray[np.float64]
    bimodal: bool
    reason: str
    noise_rate: float | None
    noise_interval: tuple[float, float] | None
    density: FittedDensity | None = None


@dataclass(frozen=True)
class LabelEstimate:
    """The estimated class of every pair.

    Attributes:
        corrected: (N,) int64 in 0..K-1, the most likely class.
        confidence: (N,) float64 in 0..1, probability of that class.
        evidence: (N,) float64, finite, evidence against the given class or classes; larger is worse.
    """

    corrected: IntArray
    confidence: npt.NDArray[np.float64]
    evidence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledVectors:
    """The labelled training set as vectors, in the order of pair ids.

    Attributes:
        images: (N, D) float32, pooled vector of each image.
        texts: (N, D) float32, pooled vector of each text.
        labels: (N, M) int64, given classes; M = 1, or 2 where image and text have one each.
    """

    images: Tensor
    texts: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Rematch:
    """The rematching of one batch: mass moved from given images to suspected captions.

    Attributes:
        image_pairs: (n,) int64, the pairs whose given images are the rows.
        caption_pairs: (m,) int64, the pairs whose captions are the columns.
        plan: (n, m) >= 0, detached, mass moved.
        scores: (n, m) detached similarity, larger is closer.
        allowed: (n, m) bool, cells that may carry mass.
    """

    image_pairs: Tensor
    caption_pairs: Tensor
    plan: Tensor
    scores: Tensor
    allowed: Tensor


@dataclass(frozen=True)
class EpochPlan:
    """Which pairs an epoch visits. Each step draws one batch from every group.

    Attributes:
        groups: pair ids by group, such as ``{"all": ids}`` or ``{"clean": ids, "noisy": ids}``; each (n,)
            int64. The longest group sets the number of steps; shorter ones start over in a new order.
        metrics: figures of the planning, for the log.
        estimate: which pairs look clean, or which class each pair seems to have; None if not estimated.
        restart: before the epoch all networks return to the first weights of the run, and optimiser, learning
            rate and choice of the best epoch start over; what the method remembers stays. Only for a method
            that says so (``restarts``).
        image_from: (N,) int64, the pair whose given image each caption is learned with in this epoch; None
            for its own.
    """

    groups: Mapping[str, IntArray]
    metrics: Mapping[str, float] = field(default_factory=dict)
    estimate: Division | LabelEstimate | None = None
    restart: bool = False
    image_from: IntArray | None = None


@dataclass(frozen=True)
class StepResult:
    """Result of one training step.

    Attributes:
        loss: scalar with its graph.
        metrics: detached scalars, averaged over the epoch and logged.
        rematch: the rematching of this step; None where there was none.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)
    rematch: Rematch | None = None


@dataclass(frozen=True)
class TransportPlan:
    """Solution of a transport problem, or of a batch of them.

    Attributes:
        plan: (..., n, m) >= 0, mass moved from each row to each column.
        row_marginal: (..., n), sums of the rows of the plan.
        column_marginal: (..., m), sums of its columns.
        mass: (...), sum of the plan.
        iterations: scalings of rows and columns; 0 for an exact solver.
        marginal_error: (...), total violation of the row and column constraints, relative to the mass.
        converged: (...) bool, whether that error is within the tolerance.
    """

    plan: Tensor
    row_marginal: Tensor
    column_marginal: Tensor
    mass: Tensor
    iterations: int
    marginal_error: Tensor
    converged: Tensor
