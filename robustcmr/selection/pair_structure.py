"""Do other pairs confirm a pair? Agreement of a caption and an image with the pairs believed to be clean.

With unit vectors v_i of images, t_i of captions, rare words x_i, the belief p_i in each pair and the other
captions G of image i's group:

    words of siblings      x_i . sum_{j in G} p_j x_j
    vectors of siblings    t_i . sum_{j in G} p_j t_j
    images of neighbours   v_i . sum_{j in K} a_j v_j,  a = softmax((t_i . t_j + x_i . x_j) / tau + log p_j)

K are the clean pairs whose captions are nearest to caption i, itself excepted. The given image does not enter
the search, so a matcher that has memorised a wrong pair hides it less than by its score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.selection.normalise import Values
from robustcmr.types import PairTable

NEIGHBOURS, MOST_KEYS, TEMPERATURE = 32, 2048, 0.1
_ROWS = 512  # captions that are compared with the keys at a time
_LEAST_BELIEF = 1e-3


def pair_agreement(table: PairTable, belief: Values, seed: int = 0) -> tuple[Values, Values]:
    """Return how far other pairs confirm every given pair, and every pair mismatched on purpose.

    The latter give caption i the image of pair ``table.partner[i]``, in place of that pair's own caption.

    Args:
        table: of N pairs.
        belief: (N,) in 0..1, how surely each pair is clean.
        seed: chooses ``MOST_KEYS`` of the clean pairs where there are more, which bounds the cost.

    Returns:
        (N, 3) each, float64, by the formulas above; 0 for a pair without siblings or neighbours.
    """
    of_given, of_mismatched = _siblings(table, belief)
    near, near_partner = _neighbours(table, belief, np.random.default_rng(seed))
    return np.column_stack([of_given, near]), np.column_stack([of_mismatched, near_partner])


def _siblings(table: PairTable, belief: Values) -> list[Values]:
    """Agreement of caption i with other captions, (N, 2) each: of its own image, and of its partner's."""
    n = len(table.partner)
    groups, group, sizes = np.unique(table.image_of, return_inverse=True, return_counts=True)
    if sizes.max(initial=0) < 2:
        return [np.zeros((n, 2))] * 2
    from scipy import sparse  # slow to import

    trust = belief.astype(np.float32)
    spoken = (sparse.csr_array((trust, (group, np.arange(n))), shape=(len(groups), n)) @ table.words).tocsr()
    members, weights = torch.from_numpy(group), torch.from_numpy(trust)
    sums = torch.zeros(len(groups), table.texts.shape[1])
    for rows in _blocks(n):
        sums.index_add_(0, members[rows], weights[rows, None] * table.texts[rows].float())
    found = []
    for pairs in (np.arange(n), table.partner):
        with_group = np.asarray(table.words.multiply(spoken[group[pairs]]).sum(axis=1)).ravel()
        with_pair = np.asarray(table.words.multiply(table.words[pairs]).sum(axis=1)).ravel()
        vectors = np.empty(n)
        for rows in _blocks(n):
            of = torch.from_numpy(pairs[rows])
            others = sums[members[of]] - weights[of, None] * table.texts[of].float()
            vectors[rows] = (table.texts[rows].float() * others).sum(1).double().numpy()
        found.append(np.column_stack([with_group - trust[pairs] * with_pair, vectors]))
    return found


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]


def _neighbours(table: PairTable, belief: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """Agreement of the image given to caption i, and of its partner's, with those of its neighbours."""
    n = len(table.partner)
    keys = np.flatnonzero(belief > 0.5)
    if len(keys) > MOST_KEYS:
        keys = np.sort(rng.choice(keys, MOST_KEYS, replace=False))
    near, near_partner = np.zeros(n), np.zeros(n)
    if len(keys) < 2:
        return near, near_partner
    texts, images = table.texts[keys].float(), table.images[keys].float()
    prior = torch.from_numpy(np.log(np.maximum(belief[keys], _LEAST_BELIEF))).float()
    words = table.words[keys].T.tocsc()
    place = np.full(n, -1)
    place[keys] = np.arange(len(keys))
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(start + _ROWS, n))
        alike = table.texts[rows].float() @ texts.T + _dense(table.words[rows] @ words)  # (b, keys)
        itself = np.flatnonzero(place[rows] >= 0)
        alike[itself, place[rows[itself]]] = -torch.inf
        best = alike.topk(min(NEIGHBOURS, len(keys) - 1), dim=1)
        weights = torch.softmax(best.values / TEMPERATURE + prior[best.indices], dim=1)
        prototypes = (weights.unsqueeze(2) * images[best.indices]).sum(1)  # (b, D)
        near[rows] = (prototypes * table.images[rows].float()).sum(1).double().numpy()
        partners = table.images[table.partner[rows]].float()
        near_partner[rows] = (prototypes * partners).sum(1).double().numpy()
    return near, near_partner


def _dense(block: Any) -> Tensor:
    found: npt.NDArray[np.float32] = block.toarray()
    return torch.from_numpy(found)
