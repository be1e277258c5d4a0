from __future__ import annotations

import numpy as np
import pytest
import torch

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.reporting.queries import extremes, leads_of, query_groups
from robustcmr.reporting.thumbnails import Thumbnails


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(12), 2)
    return torch.from_numpy(rng.normal(size=(12, 24)).astype(np.float32)), owner


def test_leads_by_a_slow_loop(scored):
    scores, owner = scored
    by_image, by_caption = leads_of(scores, torch.from_numpy(owner))
    for image in range(12):
        line = scores[image].tolist()
        right = max(value for value, own in zip(line, owner, strict=True) if own == image)
        wrong = max(value for value, own in zip(line, owner, strict=True) if own != image)
        assert float(by_image[image]) == pytest.approx(right - wrong)
    for row in range(24):
        column = scores[:, row].tolist()
        wrong = max(value for image, value in enumerate(column) if image != owner[row])
        assert float(by_caption[row]) == pytest.approx(column[owner[row]] - wrong)


def test_extremes_are_ordered_and_apart():
    ranks, leads = torch.tensor([0, 0, 3, 9, 9]), torch.tensor([0.1, 0.5, -1.0, -2.0, -3.0])
    assert extremes(ranks, leads, 2) == ([1, 0], [4, 3])
    best, worst = extremes(ranks, leads, 10)
    assert best == [1, 0, 2]
    assert worst == [4, 3]
    assert extremes(ranks[:1], leads[:1], 5) == ([0], [])


def test_cards_hold_the_ranks_and_the_five_best(scored):
    scores, owner = scored
    captions = [f"caption {row}" for row in range(24)]
    groups, in_turn = query_groups(scores, owner, captions, Thumbnails(), 3)
    ranks = ranks_both_ways(scores, owner)
    assert [len(cards) for _, cards in groups] == [3, 3, 3, 3]
    for card in groups[0][1] + groups[1][1]:
        row = captions.index(card.caption)
        assert card.rank == int(ranks[1][row]) + 1
        order = scores[:, row].argsort(descending=True)[:5].tolist()
        assert [answer.image.name for answer in card.answers] == [f"image {image}" for image in order]
        assert [answer.right for answer in card.answers] == [image == owner[row] for image in order]
    for card in groups[2][1] + groups[3][1]:
        image = int(card.image.name.split()[1])
        assert card.rank == int(ranks[0][image]) + 1
        order = scores[image].argsort(descending=True)[:5].tolist()
        assert [answer.caption for answer in card.answers] == [captions[row] for row in order]
    for _, cards in groups:
        for card in cards:
            assert (card.missed is None) == any(answer.right for answer in card.answers)
            if card.missed is not None:
                assert card.missed.right
                assert card.missed.score < min(answer.score for answer in card.answers)
                assert card.missed.score == pytest.approx(card.lead + card.answers[0].score)
    worst = max(int(rank) for rank in ranks[1]) + 1
    assert groups[1][1][0].rank == worst
    assert captions[in_turn[1]] == groups[1][1][0].caption


def test_fewer_answers_than_five():
    scores = torch.tensor([[0.5, 0.1], [0.2, 0.4]])
    groups, _ = query_groups(scores, np.array([0, 1]), ["a", "b"], Thumbnails(), 9)
    assert len(groups) == 4
    assert all(len(card.answers) == 2 for _, cards in groups for card in cards)
