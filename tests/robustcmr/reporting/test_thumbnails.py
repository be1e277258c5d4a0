from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from robustcmr.reporting.thumbnails import CARD, Thumbnail, Thumbnails, thumbnail


def opened(uri):
    head, _, text = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("size", "expected"), [((800, 400), (100, 50)), ((30, 20), (30, 20)), ((10, 500), (2, 100))]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_picture_is_shrunk_and_never_stretched(size, expected, mode):
    made = thumbnail("a", Image.new(mode, size), 100)
    assert (made.width, made.height) == expected
    assert opened(made.uri).size == expected


def test_the_picture_is_the_one_that_was_given():
    made = thumbnail("a", Image.new("RGB", (64, 64), (200, 40, 40)), 32)
    assert np.abs(np.asarray(opened(made.uri).convert("RGB")).mean((0, 1)) - (200, 40, 40)).max() < 8


def test_pictures_are_turned_upright_and_stay_as_they_are():
    picture = Image.new("RGB", (80, 20))
    picture.getexif()[0x0112] = 8
    made = thumbnail("a", picture, 40)
    assert (made.width, made.height) == (10, 40)
    assert picture.size == (80, 20)
    plain = Image.new("RGB", (80, 20))
    thumbnail("a", plain, 40)
    assert plain.size == (80, 20)


def test_each_picture_is_made_once_and_counted_every_time():
    asked = []

    def picture(image):
        asked.append(image)
        return Image.new("RGB", (20, 20))

    thumbnails = Thumbnails(picture, ["a", "b"])
    assert thumbnails.get(1) is thumbnails.get(1)
    assert thumbnails.size == 2 * len(thumbnails.get(1).uri)
    assert thumbnails.get(1, 10).width == 10
    assert asked == [1, 1]
    assert thumbnails.get(0, CARD).name == "a"


def test_without_pictures_there_are_names():
    thumbnails = Thumbnails()
    assert thumbnails.get(7) == Thumbnail("image 7")
    assert thumbnails.size == 0
