from __future__ import annotations

import doctest
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from robustcmr.audit import picture_hashes as module
from robustcmr.audit.duplicate_groups import grouped
from robustcmr.audit.picture_hashes import (
    COLUMNS,
    PictureHashes,
    content_hash,
    difference_hash,
    read_hashes,
)
from robustcmr.data.picture_files import decode_picture
from robustcmr.errors import DataError


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Smooth random shapes."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def hashed(data: bytes) -> int | None:
    return difference_hash(decode_picture(data))


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
        first = encoded(image)
        for other in (
            encoded(image.resize((150, 113)), "JPEG", quality=60),
            encoded(image, "WEBP", quality=40),
            encoded(ImageEnhance.Brightness(image).enhance(0.8), "JPEG"),
        ):
            assert bits(hashed(first), hashed(other)) <= module.DIFFERENT
            assert content_hash(first) != content_hash(other)
        assert bits(hashed(first), difference_hash(picture(seed + 100))) > 10


def test_orientation_and_transparency_follow_the_rules_of_pictures() -> None:
    image, exif = picture(1), Image.Exif()
    exif[274] = 6  # turned
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    assert bits(hashed(turned), difference_hash(image)) <= module.DIFFERENT
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert hashed(encoded(clear)) is None  # white


def test_plain_pictures_have_no_difference_hash() -> None:
    """Else all shirts of one cut would be the same picture, whatever their colour."""
    assert difference_hash(Image.new("RGB", (20, 20), "gray")) is None
    shirt = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(shirt).polygon(
        [(100, 80), (300, 80), (370, 150), (290, 340), (110, 340), (30, 150)], "red"
    )
    assert difference_hash(shirt) is None


def first_ones(hashes: PictureHashes) -> tuple[dict[int, int], int]:
    """The first row of the group of each row that has an earlier one, and the unfinished places."""
    connected, unfinished = hashes.connected()
    rows, first, left = grouped(connected, hashes.alike)
    assert left == 0
    return dict(zip(rows.tolist(), first.tolist(), strict=True)), unfinished


def of_differences(values: Any, known: Any = None) -> PictureHashes:
    known = np.ones(len(values), np.bool_) if known is None else known
    return PictureHashes(np.zeros(len(values), np.uint64), values, known)


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
    found, unfinished = first_ones(of_differences(hashes, known))
    expected = by_loops(hashes.tolist(), known.tolist())
    assert len(expected) > 100
    assert found == expected
    assert unfinished == 0


def test_large_groups_are_bounded_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, near = [0], module._near

    def counting(left: Any, right: Any) -> Any:
        compared[0] += len(left)
        return near(left, right)

    monkeypatch.setattr(module, "_near", counting)
    assert first_ones(of_differences(np.zeros(5000, np.uint64))) == (dict.fromkeys(range(1, 5000), 0), 0)
    assert compared[0] < 10_000  # with the first one
    crowd = np.arange(2000, dtype=np.uint64) << np.uint64(52)  # all in the highest band
    _, unfinished = of_differences(crowd).connected()
    assert unfinished > 0
    assert compared[0] < 10 * 256 * 2000


@pytest.mark.parametrize("n", [0, 1])
def test_few(n: int) -> None:
    assert first_ones(of_differences(np.zeros(n, np.uint64))) == ({}, 0)
    assert first_ones(of_differences(np.zeros(4, np.uint64), np.zeros(4, np.bool_))) == ({}, 0)


def test_equal_contents_by_a_slow_loop() -> None:
    contents = np.random.default_rng(0).integers(0, 40, 200).astype(np.uint64)
    found, _ = first_ones(PictureHashes(contents, contents * np.uint64(0), np.zeros(200, np.bool_)))
    listed = contents.tolist()
    expected = {
        row: listed.index(value) for row, value in enumerate(listed) if value and listed.index(value) < row
    }
    assert found == expected


def test_hashes_are_read_by_the_numbers_of_their_vectors(tmp_path: Path) -> None:
    """A file that was made before there were hashes has none; the others keep their places."""
    paths = [tmp_path / f"metadata_{number}.parquet" for number in range(3)]
    pq.write_table(pa.table([[5, 6], [None, 2**64 - 1]], COLUMNS), paths[0])
    pq.write_table(pa.table({"id": ["a", "b", "c"]}), paths[1])
    pq.write_table(pa.table([[7], [0]], COLUMNS), paths[2])
    found = read_hashes([(0, paths[0]), (2, paths[1]), (5, paths[2])], 6)
    assert found.contents.tolist() == [5, 6, 0, 0, 0, 7]
    assert found.differences.tolist() == [0, 2**64 - 1, 0, 0, 0, 0]
    assert found.known.tolist() == [False, True, False, False, False, True]
    paths[2].write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*metadata_2.parquet: .*; make the vectors again"):
        read_hashes([(5, paths[2])], 6)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
