from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.reporting.gallery import CARD, Album, Shot, SuspectCard, embedded
from robustcmr.reporting.gallery_queries import extremes, leads_of, query_groups

from robustcmr.evaluation.ranking import image_to_text_ranks, text_to_image_ranks


def opened(uri):
    head, _, text = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("size", "expected"), [((800, 400), (100, 50)), ((30, 20), (30, 20)), ((10, 500), (2, 100))]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_picture_is_shrunk_and_never_stretched(size, expected, mode):
    made = embedded(Image.new(mode, size), 100)
    assert (made.width, made.height) == expected
    assert opened(made.uri).size == expected


def test_the_picture_is_the_one_that_was_given():
    made = embedded(Image.new("RGB", (64, 64), (200, 40, 40)), 32)
    assert np.abs(np.asarray(opened(made.uri).convert("RGB")).mean((0, 1)) - (200, 40, 40)).max() < 8


def test_an_album_makes_each_picture_once():
    asked = []

    def picture(image):
        asked.append(image)
        return Image.new("RGB", (20, 20))

    album = Album(picture, ["a", "b"])
    assert album.has_pictures
    assert album.shot(1).picture is album.shot(1).picture
    assert album.shot(1, 10).picture.width == 10
    assert asked == [1, 1]
    assert album.shot(0, CARD).name == "a"


def test_an_album_without_pictures_has_names():
    album = Album(None, None)
    assert not album.has_pictures
    assert album.shot(7) == Shot("image 7", None)


def test_the_margin_of_a_suspect():
    shot = Shot("a", None)
    card = SuspectCard(1, "c", shot, shot, 0.1, 2.0, 0.25, 0.75, None, None)
    assert card.margin == 0.5
    assert SuspectCard(1, "c", shot, None, 0.1, 2.0, 0.25, None, None, None).margin is None


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
    groups, in_turn = query_groups(scores, owner, captions, Album(None, None), 3)
    ranks = ranks_both_ways(scores, owner)
    assert [len(cards) for _, cards in groups] == [3, 3, 3, 3]
    for card in groups[0][1] + groups[1][1]:
        row = captions.index(card.caption)
        assert card.rank == int(ranks[1][row]) + 1
        order = scores[:, row].argsort(descending=True)[:5].tolist()
        assert [answer.shot.name for answer in card.answers] == [f"image {image}" for image in order]
        assert [answer.right for answer in card.answers] == [image == owner[row] for image in order]
    for card in groups[2][1] + groups[3][1]:
        image = int(card.shot.name.split()[1])
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
    groups, _ = query_groups(scores, np.array([0, 1]), ["a", "b"], Album(None, None), 9)
    assert len(groups) == 4
    assert all(len(card.answers) == 2 for _, cards in groups for card in cards)
