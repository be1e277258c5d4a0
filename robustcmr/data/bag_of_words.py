"""Text vectors without a pretrained model: TF-IDF weights, projected to fewer numbers by random signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from robustcmr.types import FloatArray


class BagOfWords:
    """Turns texts into vectors of ``width`` numbers, by the words of the training texts.

    The weight of a word w in a text is (1 + log tf) (1 + log((1 + n) / (1 + df))), where tf is its count in
    the text and df the number of the n training texts with it. Weights are scaled to length 1 and projected
    by random signs, which approximately keeps distances (Achlioptas, 2003). Unknown words are ignored.
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
        """Return weights (n, n_words), of length 1 each; zeros for a text without a known word."""
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
        """Return projected weights, (n, V) float32."""
        projected: FloatArray = (self.weights(texts) @ self._projection).astype(np.float32)
        return projected


def words_of(text: str) -> Iterable[str]:
    """Return the blank-separated words of a text in lower case, without separate punctuation."""
    return (word for word in text.lower().split() if any(mark.isalnum() for mark in word))
