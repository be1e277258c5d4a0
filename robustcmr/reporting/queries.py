"""The queries of a split that were answered best and worst, with their five best answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.reporting.cards import Answer, QueryCard
from robustcmr.reporting.thumbnails import SMALL, Thumbnails
from robustcmr.types import IntArray

_ANSWERS = 5


def extremes(ranks: Tensor, leads: Tensor, count: int) -> tuple[list[int], list[int]]:
    """Return the queries answered best and worst, at most ``count`` of each, without overlap.

    Args:
        ranks: (n,) of the right answer, smaller is better.
        leads: (n,) by how much it leads over the best wrong one.
        count: >= 1.

    Returns:
        The best, by rank and then the largest lead; and the worst, in the reverse order.
    """
    n = len(ranks)
    numbers, ahead = ranks.tolist(), leads.tolist()
    order = sorted(range(n), key=lambda query: (numbers[query], -ahead[query], query))
    best = order[: min(count, (n + 1) // 2)]
    return best, order[::-1][: min(count, n - len(best))]


def leads_of(scores: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the best right answer leads over the best wrong one.

    Args:
        scores: (n_images, n_captions).
        owner: (n_captions,) int64, the image of each caption.

    Returns:
        (n_images,) for images and (n_captions,) for captions; infinite where nothing is wrong.
    """
    own = owner[None, :] == torch.arange(len(scores))[:, None]  # (n_images, n_captions)
    right, wrong = scores.masked_fill(~own, -torch.inf), scores.masked_fill(own, -torch.inf)
    return right.amax(1) - wrong.amax(1), right.amax(0) - wrong.amax(0)


def query_groups(
    scores: Tensor, image_of_caption: IntArray, captions: Sequence[str], thumbnails: Thumbnails, count: int
) -> tuple[list[tuple[str, list[QueryCard]]], list[int]]:
    """Return cards of the best and worst queries, both ways, at most ``count`` of each kind.

    Args:
        scores: (n_images, n_captions) on the CPU; every image has a caption.
        image_of_caption: (n_captions,) int64.
        captions: as written.
        thumbnails: pictures of the split.
        count: >= 1.

    Returns:
        Cards by heading, and the captions among the queries, best and worst in turn.
    """
    owner = torch.from_numpy(image_of_caption.copy())
    by_image, by_caption = leads_of(scores, owner)
    ranks = ranks_both_ways(scores, owner)
    texts_best, texts_worst = extremes(ranks[1], by_caption, count)
    images_best, images_worst = extremes(ranks[0], by_image, count)

    def answers(line: Tensor, right: Tensor, answer: Callable[[int], Answer]) -> dict[str, Any]:
        best = line.topk(min(_ANSWERS, len(line))).indices
        first = int(line.masked_fill(~right, -torch.inf).argmax())
        missed = None if bool(right[best].any()) else answer(first)
        return {"answers": tuple(map(answer, best.tolist())), "missed": missed}

    def text_card(row: int) -> QueryCard:
        line, own = scores[:, row], int(owner[row])

        def answer(image: int) -> Answer:
            return Answer(None, thumbnails.get(image, SMALL), float(line[image]), image == own)

        found = answers(line, torch.arange(len(line)) == own, answer)
        return QueryCard(captions[row], None, int(ranks[1][row]) + 1, float(by_caption[row]), **found)

    def image_card(image: int) -> QueryCard:
        line, right = scores[image], owner == image

        def answer(row: int) -> Answer:
            return Answer(captions[row], None, float(line[row]), bool(right[row]))

        found = answers(line, right, answer)
        picture = thumbnails.get(image)
        return QueryCard(None, picture, int(ranks[0][image]) + 1, float(by_image[image]), **found)

    groups = [
        ("Captions whose picture was found best", [text_card(row) for row in texts_best]),
        ("Captions whose picture was found worst", [text_card(row) for row in texts_worst]),
        ("Pictures whose caption was found best", [image_card(image) for image in images_best]),
        ("Pictures whose caption was found worst", [image_card(image) for image in images_worst]),
    ]
    in_turn = [row for pair in zip(texts_best, texts_worst, strict=False) for row in pair]
    return [(title, cards) for title, cards in groups if cards], in_turn
