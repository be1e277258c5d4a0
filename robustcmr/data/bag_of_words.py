"""Text vectors without a pretrained model: weighted words, projected to fewer numbers by fixed signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from robustcmr.types import FloatArray


class BagOfWords:
    """Turns texts into vectors by the words of the training texts alone.

    A word counts 1 + log(its count in the text), times log((1 + n) / (1 + texts with it)) + 1; the weights
    of a text are scaled to length 1 and projected by random signs, which keeps distances approximately
    (Achlioptas, 2003). Words that no training text has are left out.

    Args:
        training_texts: at least one text; words are what blanks separate, marks without a letter or digit
            left out.
        width: V, numbers of a vector.
        seed: of the signs.
    """

    def __init__(self, training_texts: Sequence[str], width: int, seed: int) -> None:
        words = [set(words_of(text)) for text in training_texts]
        self.words = tuple(sorted(set().union(*words)))
        self._index = {word: column for column, word in enumerate(self.words)}
        spread = np.zeros(len(self.words))
        for present in words:
            spread[[self._index[word] for word in present]] += 1
        self._rarity = np.log((1 + len(words)) / (1 + spread)) + 1  # (n_words,)
        chance = np.random.Generator(np.random.PCG64(seed))
        signs = np.where(chance.random((len(self.words), width)) < 0.5, -1.0, 1.0)
        self._projection = signs / np.sqrt(width)  # (n_words, V)

    def weights(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Weighted words, (n, n_words), of length 1 each; zeros for a text without a known word."""
        counts = np.zeros((len(texts), len(self.words)))
        for row, text in enumerate(texts):
            for word in words_of(text):
                if word in self._index:
                    counts[row, self._index[word]] += 1
        weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * self._rarity
        length = np.linalg.norm(weights, axis=1, keepdims=True)
        scaled: npt.NDArray[np.float64] = weights / np.where(length == 0, 1, length)
        return scaled

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Projected weights, (n, V) float32."""
        projected: FloatArray = (self.weights(texts) @ self._projection).astype(np.float32)
        return projected


def words_of(text: str) -> Iterable[str]:
    """The words of a text, lower case; punctuation that stands alone is left out."""
    return (word for word in text.lower().split() if any(mark.isalnum() for mark in word))
