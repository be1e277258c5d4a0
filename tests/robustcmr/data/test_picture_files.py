"""Picture files: a rule for every mode, and one sentence for every picture that has none."""

from __future__ import annotations

import io
import os
import struct
import unicodedata
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from robustcmr.data.picture_files import (
    MAX_PIXELS,
    PictureError,
    decode_picture,
    find_picture,
    open_picture,
    shown,
    upright_rgb,
)

STEPS = np.array([[0, 100, 255, 256], [32768, 40000, 65279, 65535]], dtype=np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "images"
    path.mkdir()
    return path


def put(folder: Path, content: bytes, name: str = "a") -> str:
    (folder / name).write_bytes(content)
    return name


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def grey(folder: Path, content: bytes) -> list[list[int]]:
    """The values of a picture that must come out grey."""
    picture = open_picture(folder, put(folder, content))
    assert picture.mode == "RGB"
    assert picture.info == {}
    pixels = np.asarray(picture)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def noise(width: int = 24, height: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def ifd(tags: list[tuple[int, int, int, bytes]], start: int = 8) -> bytes:
    """A little-endian TIFF header and directory: (tag, type, count, bytes of the value)."""
    place = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, count, value in sorted(tags):
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", place + len(values))
        values += b"" if len(value) <= 4 else value
        entries += struct.pack("<HHI", tag, kind, count) + field
    return b"II*\0" + struct.pack("<IH", start, len(tags)) + entries + b"\0\0\0\0" + values


def tiff(
    values: bytes,
    bits: int,
    sample_format: int = 1,
    white_is_zero: bool = False,
    size: tuple[int, int] = (4, 2),
) -> bytes:
    """An uncompressed TIFF file of one grey channel."""

    def short(tag: int, value: int) -> tuple[int, int, int, bytes]:
        return tag, 3, 1, struct.pack("<H", value)

    tags = [short(256, size[0]), short(257, size[1]), short(258, bits), short(259, 1)]
    tags += [short(262, 0 if white_is_zero else 1), short(277, 1), short(278, size[1])]
    tags += [short(339, sample_format), (279, 4, 1, struct.pack("<I", len(values)))]
    tags.append((273, 4, 1, struct.pack("<I", 8 + 2 + 12 * (len(tags) + 1) + 4)))
    return ifd(tags) + values


def png(bits: int, colour: int, row: bytes, width: int, key: bytes | None = None) -> bytes:
    """A PNG file of one row; ``key`` is the transparent colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))]
    parts += [] if key is None else [chunk(b"tRNS", key)]
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def big_endian(values: np.ndarray) -> bytes:
    return values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"P5 4 2 65535\n" + big_endian(STEPS),
        saved(Image.fromarray(STEPS), "PNG"),
        saved(Image.fromarray(STEPS), "TIFF"),
        saved(Image.fromarray(STEPS), "TIFF", compression="tiff_lzw"),
        saved(Image.fromarray(STEPS), "JPEG2000", irreversible=False),
        tiff(STEPS.tobytes(), 16),
    ],
    ids=["pgm", "png", "tiff", "lzw", "jpeg2000", "tiff by hand"],
)
def test_sixteen_bits_keep_their_upper_eight(folder: Path, content: bytes) -> None:
    assert grey(folder, content) == (STEPS // 256).tolist()


def test_twelve_bits_reach_white(folder: Path) -> None:
    assert grey(folder, tiff(bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x64]), 12, size=(2, 2))) == [
        [0, 255],
        [128, 6],
    ]
    assert grey(folder, b"P5 2 2 4095\n" + big_endian(np.array([[0, 4095], [2048, 100]]))) == [
        [0, 255],
        [128, 6],
    ]


def test_white_is_zero_is_inverted_at_any_depth(folder: Path) -> None:
    inverted = (255 - STEPS // 256).tolist()
    assert grey(folder, tiff(STEPS.tobytes(), 16, white_is_zero=True)) == inverted
    assert grey(folder, tiff((STEPS // 256).astype(np.uint8).tobytes(), 8, white_is_zero=True)) == inverted


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (tiff(STEPS.astype(np.int32).tobytes(), 32, 2), "I"),
        (tiff(STEPS.astype(np.uint32).tobytes(), 32, 1), "I"),
        (tiff(STEPS.astype(np.int16).tobytes(), 16, 2), "I"),
        (tiff((STEPS / 65535).astype(np.float32).tobytes(), 32, 3), "F"),
        (b"Pf 4 2 -1.0\n" + (STEPS / 65535).astype("<f4").tobytes(), "F"),
    ],
    ids=["int32", "uint32", "int16", "float", "pfm"],
)
def test_numbers_without_a_stated_white_are_refused(folder: Path, content: bytes, mode: str) -> None:
    with pytest.raises(PictureError, match=rf"mode {mode}\), of which no value .* save it with 8 or 16 bits"):
        open_picture(folder, put(folder, content))


def test_lab_is_refused(folder: Path) -> None:
    with pytest.raises(PictureError, match=r"mode LAB.*save it as RGB"):
        open_picture(folder, put(folder, saved(Image.new("LAB", (2, 2)), "TIFF")))


RED = (200, 30, 20)


@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_of_pillow_has_a_rule_or_is_refused(mode: str) -> None:
    if mode in ("I", "F", "LAB"):
        with pytest.raises(PictureError, match=f"mode {mode}"):
            upright_rgb(Image.new(mode, (3, 2)))
        return
    base = Image.new("RGB", (3, 2), RED)
    if mode.startswith("I;16"):
        picture, expected = Image.new(mode, (3, 2), 200 * 257), (200, 200, 200)
    elif mode in ("1", "L", "LA", "La"):
        value = 255 if mode == "1" else 200
        picture, expected = Image.new("L", (3, 2), value), (value,) * 3
        picture = picture.convert("LA").convert(mode) if mode == "La" else picture.convert(mode)
    elif mode == "RGBa":
        picture, expected = base.convert("RGBA").convert("RGBa"), RED
    else:
        start = base.quantize(4) if mode in ("P", "PA") else base
        picture, expected = start if start.mode == mode else start.convert(mode), RED
    assert picture.mode == mode
    rgb = upright_rgb(picture)
    assert (rgb.mode, rgb.size) == ("RGB", (3, 2))
    assert np.abs(np.asarray(rgb).astype(int) - expected).max() <= 2


def test_transparency_is_laid_on_white() -> None:
    shades, opacity = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([shades, shades, shades, opacity], axis=-1).astype(np.uint8)
    laid = np.asarray(upright_rgb(Image.fromarray(pixels))).astype(float)[..., 0]
    assert np.abs(laid - (shades * opacity + 255.0 * (255 - opacity)) / 255).max() < 0.51


def test_a_transparent_colour_of_sixteen_bits_is_white(folder: Path) -> None:
    row, key = np.array([0x1234, 0x5678, 0x9ABC, 65535, 0, 0]), np.array([0x1234, 0x5678, 0x9ABC])
    put(folder, png(16, 2, big_endian(row), 2, big_endian(key)))
    assert np.asarray(open_picture(folder, "a")).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    row = np.array([100, 40000])
    assert grey(folder, png(16, 0, big_endian(row), 2, big_endian(row[:1]))) == [[255, 156]]


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_upright_once(folder: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    picture = open_picture(folder, put(folder, saved(noise(), form, exif=exif, **options)))
    assert np.array_equal(np.asarray(picture), TURNED[orientation](np.asarray(noise())))
    assert picture.info == {}
    assert not picture.getexif()
    assert upright_rgb(picture) is picture


def rational(top: int, bottom: int) -> bytes:
    return struct.pack("<II", top, bottom)


SIX = (0x0112, 3, 1, struct.pack("<H", 6))  # the orientation


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (ifd([SIX, (0x011A, 2, 5, b"many\0"), (0x011B, 2, 5, b"many\0")]), True),
        (ifd([SIX, (0x011A, 5, 1, rational(72, 0)), (0x011B, 5, 1, rational(0, 0))]), True),
        (ifd([SIX, (0x0128, 2, 4, b"cm\0\0"), (0x011A, 5, 1, rational(72, 1))]), True),
        (ifd([SIX, (0x0128, 3, 1, b"\3\0"), (0x011A, 2, 5, b"many\0")]), True),
        (ifd([SIX, (0x8769, 4, 1, b"\xff\xff\xff\x7f")]), True),  # the next directory lies outside
        (ifd([SIX, (0x8769, 4, 1, b"\x08\0\0\0")]), True),  # a directory within itself
        (ifd([SIX, (0x010F, 2, 1 << 30, b"\xff\xff\xff\x7f")]), True),
        (ifd([SIX])[:-6], False),
        (ifd([(0x0112, 2, 2, b"6\0")]), False),
        (ifd([(0x0112, 3, 2, struct.pack("<HH", 6, 6))]), None),  # Pillow takes the first of two
        (ifd([(0x0112, 3, 1, b"\x63\0")]), False),
        (ifd([(0x0112, 5, 1, rational(6, 0))]), False),
        (b"nothing of use", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_is_ignored(folder: Path, form: str, exif: bytes, turned: bool | None) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    plain = open_picture(folder, put(folder, saved(noise(), form, **options)))
    content = saved(noise(), form, exif=b"Exif\0\0" + exif, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about the same damage
        picture = open_picture(folder, put(folder, content))
    upright = TURNED[6](np.asarray(plain))
    if turned is None:
        turned = picture.size == (16, 24)
    assert np.array_equal(np.asarray(picture), upright if turned else np.asarray(plain))


def test_too_many_pixels_are_named_with_the_option(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = {side: saved(Image.new("L", (10, side), 7), "PNG") for side in (10, 11, 30)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert open_picture(folder, put(folder, content[10]), 100).size == (10, 10)
        with pytest.raises(PictureError, match=r"10 x 11 = 110 pixels, expected at most 100.*max_pixels=110"):
            open_picture(folder, put(folder, content[11]), 100)
        with pytest.raises(PictureError, match=r"more than 200 pixels, expected at most 100.*max_pixels=400"):
            open_picture(folder, put(folder, content[30]), 100)
        with pytest.raises(PictureError, match=r"at most 40; .*max_pixels=100"):
            open_picture(folder, put(folder, content[10]), 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(folder, put(folder, content[30]), 300).size == (10, 30)


def test_the_limit_is_pillows_and_needs_no_decoding(folder: Path) -> None:
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    header = b"P6 12000 12000 255\n"  # without pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(PictureError, match="144,000,000 pixels"):
            open_picture(folder, put(folder, header))


def test_strips_are_refused(folder: Path) -> None:
    assert open_picture(folder, put(folder, saved(Image.new("L", (300, 3)), "PNG"))).size == (300, 3)
    with pytest.raises(PictureError, match="301 x 3 pixels, expected sides of at most 100 to 1"):
        open_picture(folder, put(folder, saved(Image.new("L", (301, 3)), "PNG")))


@pytest.mark.parametrize("form", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_truncated_pictures_are_refused(folder: Path, form: str) -> None:
    if form not in Image.SAVE:
        Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this build of Pillow has no {form}")
    content = saved(noise(64, 48), form)
    whole = np.asarray(open_picture(folder, put(folder, content)))
    assert whole.shape == (48, 64, 3)
    reasons = []
    for end in np.linspace(0, len(content) - 1, 40).astype(int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = open_picture(folder, put(folder, content[:end]))
            except PictureError as error:
                reasons.append(str(error))
            else:  # only a trailer is missing
                assert np.array_equal(np.asarray(picture), whole)
    assert len(reasons) >= 38
    assert all(reason and reason.isprintable() for reason in reasons)


def test_changed_bytes_never_raise_anything_else(folder: Path) -> None:
    rng = np.random.default_rng(0)
    Image.init()
    forms = [form for form in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP") if form in Image.SAVE]
    whole = [saved(noise(), form) for form in forms]
    exif = Image.Exif()
    exif[0x0112] = 6
    whole += [saved(noise(), form, exif=exif) for form in ("JPEG", "TIFF")]
    reasons = []
    for turn in range(200):
        content = bytearray(whole[turn % len(whole)])
        for place in rng.integers(0, len(content) if turn % 2 else 60, 4):
            content[place] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = open_picture(folder, put(folder, bytes(content)))
            except PictureError as error:
                reasons.append(str(error))
            else:
                assert picture.mode == "RGB"
    assert len(reasons) > 25
    assert all(reason and reason.isprintable() for reason in reasons)


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_counts(folder: Path, form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    picture = open_picture(folder, put(folder, content))
    assert picture.getpixel((4, 4)) == (255, 0, 0)


def test_links_may_stay_but_not_leave(folder: Path) -> None:
    outside = folder.parent / "private"
    outside.mkdir()
    put(outside, saved(noise(), "PNG"), "secret.png")
    put(folder, saved(noise(), "PNG"), "own.png")
    (folder / "inside.png").symlink_to("own.png")
    (folder / "linked.png").symlink_to(outside / "secret.png")
    (folder / "sub").symlink_to(outside)
    (folder / "dangling.png").symlink_to(outside / "nothing.png")
    (folder / "loop.png").symlink_to("loop.png")
    assert open_picture(folder, "inside.png").size == (24, 16)
    for name in ("linked.png", "sub/secret.png"):
        with pytest.raises(PictureError, match=r"a link to .*secret\.png, outside the pictures folder"):
            open_picture(folder, name)
    with pytest.raises(PictureError, match="no such file"):
        open_picture(folder, "dangling.png")
    with pytest.raises(PictureError, match="too many levels of symbolic links"):
        open_picture(folder, "loop.png")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "its name is empty"),
        (".", "its name is empty"),
        ("../a.png", "its name is outside the pictures folder"),
        ("sub/../a.png", "its name is outside the pictures folder"),
        ("/etc/hostname", "its name is outside the pictures folder"),
        ("a\0b.png", "null byte"),
        ("x" * 5000, "file name too long"),
        ("\ud800.png", "surrogates"),
        ("sub", "it is not a regular file"),
        ("pipe", "it is not a regular file"),
        ("a.png/b.png", "there is no such file"),
        ("c.png", "there is no such file"),
    ],
)
def test_bad_names_are_one_sentence(folder: Path, name: str, reason: str) -> None:
    put(folder, b"", "a.png")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(PictureError) as caught:
        open_picture(folder, name)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


def test_composed_and_decomposed_names_find_the_same_file(folder: Path) -> None:
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        name = unicodedata.normalize(form, f"café{form}.png")
        put(folder, saved(noise(), "PNG"), name)
        assert find_picture(folder, unicodedata.normalize(other, name)) == folder / name


def test_other_programs_are_not_started(folder: Path) -> None:
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    with pytest.raises(PictureError, match="of no format that is read"):
        open_picture(folder, put(folder, content, "a.jpg"))


def test_a_picture_given_stays_as_it_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(io.BytesIO(saved(noise(), "PNG", exif=exif)))
    assert upright_rgb(picture).size == (16, 24)
    assert picture.size == (24, 16)
    assert picture.info["exif"]


def test_damage_of_a_lazy_picture_is_a_picture_error() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    whole = saved(noise(64, 48), "JPEG")
    with pytest.raises(PictureError, match="truncated"):
        upright_rgb(Image.open(io.BytesIO(whole[:-500])))


def test_names_are_shown_on_one_printable_line() -> None:
    assert shown("a\x1b[31m\n\u202eb") == r"a\x1b[31m\n\u202eb"
    assert shown("x" * 5000) == "x" * 80 + "... (5,000 letters)"
    assert shown("café") == "café"


def test_a_picture_in_memory_is_read_as_from_its_file(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    from_memory = decode_picture((tmp_path / "a.png").read_bytes())
    from_file = open_picture(tmp_path.resolve(), "a.png")
    assert from_memory.mode == "RGB"
    assert from_memory.tobytes() == from_file.tobytes()
    with pytest.raises(PictureError, match="7 x 9"):
        decode_picture((tmp_path / "a.png").read_bytes(), max_pixels=10)
    with pytest.raises(PictureError, match="damaged"):
        decode_picture(b"no picture")
