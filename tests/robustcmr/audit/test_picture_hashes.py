from __future__ import annotations

import doctest
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from robustcmr.audit import picture_hashes as module
from robustcmr.audit.picture_hashes import difference_hash, equal_contents, hash_picture, near_equal
from robustcmr.data.picture_files import PictureError


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Smooth random shapes."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def bits(left: int | None, right: int | None) -> int:
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


def test_hash_is_that_of_a_slow_loop() -> None:
    image = picture(0)
    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    expected = 0
    for y in range(8):
        for x in range(8):
            expected = 2 * expected + (small.getpixel((x, y)) > small.getpixel((x + 1, y)))  # type: ignore[operator]
    assert difference_hash(image) == expected


def test_another_size_format_or_brightness_is_near_and_another_picture_is_not() -> None:
    for seed in range(10):
        image = picture(seed)
        first = hash_picture(encoded(image))
        for other in (
            encoded(image.resize((150, 113)), "JPEG", quality=60),
            encoded(image, "WEBP", quality=40),
            encoded(ImageEnhance.Brightness(image).enhance(0.8), "JPEG"),
        ):
            second = hash_picture(other)
            assert bits(first.difference, second.difference) <= module.DIFFERENT
            assert first.content != second.content
        assert bits(first.difference, difference_hash(picture(seed + 100))) > 10


def test_orientation_and_transparency_follow_the_rules_of_pictures() -> None:
    image, exif = picture(1), Image.Exif()
    exif[274] = 6  # turned
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    assert bits(hash_picture(turned).difference, difference_hash(image)) <= module.DIFFERENT
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert hash_picture(encoded(clear)).difference is None  # white


def test_flat_pictures_have_no_difference_hash_and_damaged_ones_no_hash() -> None:
    assert hash_picture(encoded(Image.new("RGB", (20, 20), "gray"))).difference is None
    with pytest.raises(PictureError, match="damaged"):
        hash_picture(b"no picture")


def by_loops(hashes: list[int], known: list[bool]) -> dict[int, int]:
    found: dict[int, int] = {}
    for row, value in enumerate(hashes):
        for other in range(row if known[row] else 0):
            if known[other] and other not in found and (value ^ hashes[other]).bit_count() <= 3:
                found[row] = other
                break
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_pair_of_at_most_three_bits_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 600, np.uint64)
    for row in range(200, 600):  # up to five bits from another
        hashes[row] = hashes[rng.integers(0, row)]
        for bit in rng.choice(64, rng.integers(0, 6), replace=False).tolist():
            hashes[row] ^= np.uint64(1 << bit)
    known = rng.random(600) < 0.9
    found = near_equal(hashes, known)
    expected = by_loops(hashes.tolist(), known.tolist())
    assert len(expected) > 100
    assert dict(zip(found.rows.tolist(), found.first.tolist(), strict=True)) == expected
    assert found.unfinished == 0


def test_large_groups_are_bounded_and_said() -> None:
    copies = np.zeros(5000, np.uint64)
    found = near_equal(copies)
    assert (found.rows.tolist(), set(found.first.tolist())) == (list(range(1, 5000)), {0})
    assert found.compared == found.unfinished == 0
    crowd = np.arange(2000, dtype=np.uint64) << np.uint64(52)  # all in the highest band
    found = near_equal(crowd)
    assert found.unfinished > 0
    assert found.compared < 10 * 256 * 2000


@pytest.mark.parametrize("n", [0, 1])
def test_few(n: int) -> None:
    assert len(near_equal(np.zeros(n, np.uint64))) == 0
    assert len(near_equal(np.zeros(4, np.uint64), np.zeros(4, bool))) == 0


def test_equal_contents_by_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    contents = np.array([f"{value:02x}" if value else "" for value in rng.integers(0, 40, 200)])
    rows, first = equal_contents(contents)
    listed = contents.tolist()
    expected = {
        row: listed.index(text) for row, text in enumerate(listed) if text and listed.index(text) < row
    }
    assert dict(zip(rows.tolist(), first.tolist(), strict=True)) == expected


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
