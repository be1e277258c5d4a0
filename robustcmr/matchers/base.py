"""The matcher contract: three methods to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.errors import DataError
from robustcmr.options import Options
from robustcmr.types import Fragments, ImageBatch, MatcherInputs, PairBatch, TextBatch


class Pretrained(ABC):
    """Mix-in for modules whose weights can be loaded from files; see :meth:`Matcher.load_pretrained`."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Load the module's weights from its files.

        Raises:
            DataError: the files are missing or do not fit.
        """


class Backbone(Pretrained, nn.Module):
    """A pretrained network inside a matcher, trained at a lower learning rate or frozen.

    Args:
        lr_factor: multiplies the learning rate of its weights; 0 freezes them.
    """

    def __init__(self, lr_factor: float) -> None:
        super().__init__()
        self.lr_factor = lr_factor

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; a frozen network stays in evaluation mode."""
        super().train(mode and self.lr_factor > 0)
        return self


class Matcher(nn.Module, ABC):
    """A similarity model, built as ``cls(config: cls.Config, spec: DataSpec)``."""

    Config: ClassVar[type[Options]]
    pairwise: ClassVar[bool] = True
    """Whether a pair's score in training depends on that pair alone, as it always must in evaluation."""

    @abstractmethod
    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D)."""

    @abstractmethod
    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D)."""

    @abstractmethod
    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Score every image with every caption, (N_images, N_texts); larger is closer.

        Methods expect the range of a cosine, about -1..1: margins and temperatures are in that unit.
        """

    def forward(self, images: ImageBatch, texts: TextBatch) -> Tensor:
        """Encode both sides and score all pairs, (N_images, N_texts)."""
        return self.score(self.encode_images(images), self.encode_texts(texts))

    @classmethod
    def inputs(cls, config: Any) -> MatcherInputs:
        """Return the inputs it reads; by default region features and the run's vocabulary."""
        del config
        return MatcherInputs()

    def load_pretrained(self) -> None:
        """Load pretrained weights, by default those of every :class:`Pretrained` part.

        Called once when a run starts, never when weights come from a checkpoint.

        Raises:
            DataError: files are missing or do not fit.
        """
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.load_pretrained()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trained parameters as torch parameter groups.

        A group's ``lr_factor`` multiplies the learning rate. By default each :class:`Backbone` has its own
        factor, and all other parameters form one group.
        """
        by_factor: dict[float, list[nn.Parameter]] = {1.0: []}
        backbones = [module for module in self.modules() if isinstance(module, Backbone)]
        owned: set[nn.Parameter] = set()
        for backbone in backbones:
            fresh = [p for p in backbone.parameters() if p not in owned]
            owned.update(fresh)
            by_factor.setdefault(backbone.lr_factor, []).extend(p for p in fresh if p.requires_grad)
        rest = [p for p in self.parameters() if p not in owned and p.requires_grad]
        by_factor[1.0] = rest + by_factor[1.0]
        return [
            {"params": parameters, "lr_factor": factor}
            for factor, parameters in by_factor.items()
            if parameters and factor > 0
        ]


def pooled_vectors(side: Fragments) -> Tensor:
    """Return one vector an item, (N, D).

    Raises:
        DataError: the encoder makes none.
    """
    if side.pooled is None:
        raise DataError(
            "this matcher gives no single vector of an image or text, and learning with class labels needs "
            "one; use a matcher that does, such as --matcher two_tower"
        )
    return side.pooled


def item_vectors(side: Fragments) -> Tensor:
    """Return one unit vector an item, (N, D): the pooled vector, or the mean of its real fragments.

    At least float32.
    """
    if side.pooled is not None:
        return F.normalize(_at_least_float32(side.pooled), dim=-1)
    features = _at_least_float32(side.features)
    return F.normalize((features * side.mask.unsqueeze(-1)).sum(1), dim=-1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def evaluation_mode(matcher: nn.Module) -> Iterator[None]:
    """Switch a matcher to evaluation mode for a while, then restore the mode of every submodule."""
    modes = [(module, module.training) for module in matcher.modules()]
    matcher.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def vector_width(matcher: Matcher, batch: PairBatch) -> int:
    """Return the width D of a matcher's item vectors, found by encoding a batch in evaluation mode.

    Raises:
        DataError: vectors of images and texts differ in width.
    """
    with evaluation_mode(matcher):
        sides = (matcher.encode_images(batch.images), matcher.encode_texts(batch.texts))
    images, texts = (item_vectors(side).shape[1] for side in sides)
    if images != texts:
        raise DataError(
            f"the matcher's image vectors have {images} numbers and its text vectors {texts}; expected the "
            "same, as the method compares them"
        )
    return images


Items = TypeVar("Items", ImageBatch, TextBatch)


def two_views(
    encode: Callable[[Items], Fragments], items: Items, wanted: bool = True
) -> tuple[Fragments, Fragments]:
    """Encode items twice, each time with other dropout.

    One pass serves as both views if it draws no random numbers, as a second would give the same, or if a
    second view is not wanted.
    """
    before = random_state()
    first = encode(items)
    return first, encode(items) if wanted and random_state() != before else first


def random_state() -> bytes:
    """Return the state of torch's generators; code that leaves it unchanged has drawn nothing."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states).numpy().tobytes()
