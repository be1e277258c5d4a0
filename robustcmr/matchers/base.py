"""What a matcher is: three methods. This is all a third party writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from robustcmr.options import Options
from robustcmr.types import Fragments, ImageBatch, TextBatch


class Matcher(nn.Module, ABC):
    """A similarity model, built as ``cls(config: cls.Config, spec: DataSpec)``."""

    Config: ClassVar[type[Options]]

    @abstractmethod
    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D)."""

    @abstractmethod
    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into fragments (N, W, D)."""

    @abstractmethod
    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Similarity of every image with every caption, (N_images, N_texts); larger is closer."""

    def forward(self, images: ImageBatch, texts: TextBatch) -> Tensor:
        """Encode both sides and score all pairs, (N_images, N_texts)."""
        return self.score(self.encode_images(images), self.encode_texts(texts))
