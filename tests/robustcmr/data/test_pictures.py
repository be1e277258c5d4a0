from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor

from robustcmr.data.picture_files import PictureError, upright_rgb
from robustcmr.data.pictures import PicturePixels, open_processor
from robustcmr.data.scenes import Scenes
from robustcmr.errors import DataError

RED, GREEN = (200, 30, 20), (10, 180, 60)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def two_halves() -> Image.Image:
    """Red on the left, green on the right."""
    picture = Image.new("RGB", (40, 40), RED)
    picture.paste(GREEN, (20, 0, 40, 40))
    return picture


def edited(folder: Path, to: Path, **entries: object) -> Path:
    shutil.copytree(folder, to)
    settings = json.loads((to / "preprocessor_config.json").read_text())
    settings.update(entries)
    (to / "preprocessor_config.json").write_text(json.dumps(settings))
    return to


@pytest.mark.parametrize("shape", [(32, 32), (50, 40), (33, 90), (20, 20), (7, 64)])
def test_pixels_are_those_of_transformers(clip_folder: Path, shape: tuple[int, int]) -> None:
    processor = open_processor(str(clip_folder))
    pixels = processor(noise(*shape))
    reference = AutoImageProcessor.from_pretrained(clip_folder)(images=noise(*shape), return_tensors="np")
    assert processor.size == (32, 32)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels, reference["pixel_values"][0], atol=1e-6)


def test_pixels_by_hand(clip_folder: Path) -> None:
    pixels = open_processor(str(clip_folder))(Image.new("RGB", (32, 32), RED))
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    spread = np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(pixels[:, 5, 5], (np.array(RED) / 255 - mean) / spread, atol=1e-5)


def test_drawn_scenes_differ(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    split = Scenes(Scenes.Config(n_train=2, n_dev=1, n_test=1)).split("train")
    pixels = PicturePixels.of_split(split, open_processor(str(clip_folder))).take(np.array([1, 0, 1]))
    assert pixels.shape == (3, 3, 32, 32)
    assert np.array_equal(pixels[0], pixels[2])
    assert np.abs(pixels[0] - pixels[1]).mean() > 0.05


def test_oblong_sizes(clip_folder: Path, tmp_path: Path) -> None:
    folder = edited(
        clip_folder, tmp_path / "oblong", crop_size={"height": 24, "width": 40}, size={"shortest_edge": 40}
    )
    processor = open_processor(str(folder))
    assert processor.size == (24, 40)
    assert processor(noise(50, 60)).shape == (3, 24, 40)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "YCbCr", "PA"])
def test_every_mode_becomes_rgb(clip_folder: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.full((40, 40), 257 * 200, dtype=np.uint16))
    else:
        picture = (
            Image.new("L", (40, 40), 200).convert("RGB" if mode in ("YCbCr", "CMYK") else "L").convert(mode)
        )
    rgb = upright_rgb(picture)
    assert rgb.mode == "RGB"
    assert rgb.size == (40, 40)
    expected = 255 if mode == "1" and rgb.getpixel((0, 0)) == (255, 255, 255) else 200
    assert max(abs(value - expected) for value in rgb.getpixel((0, 0))) <= 2  # type: ignore[union-attr]
    assert open_processor(str(clip_folder))(picture).shape == (3, 32, 32)


def test_colours_stay(clip_folder: Path) -> None:
    processor = open_processor(str(clip_folder))
    expected = processor(two_halves())
    for mode, tolerance in (("RGBA", 1e-6), ("P", 0.15), ("CMYK", 1e-6)):
        picture = two_halves().quantize(8) if mode == "P" else two_halves().convert(mode)
        np.testing.assert_allclose(processor(picture), expected, atol=tolerance)


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (*RED, 0))
    assert upright_rgb(clear).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert upright_rgb(half).getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([*RED, *GREEN])
    palette.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=b"\x00\xff")  # the first colour is clear
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb = upright_rgb(Image.open(buffer))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert rgb.getpixel((1, 0)) == GREEN


def test_the_camera_is_turned_upright(clip_folder: Path) -> None:
    processor = open_processor(str(clip_folder))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    two_halves().save(buffer, "PNG", exif=exif)
    upright = two_halves().transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_allclose(processor(Image.open(buffer)), processor(upright), atol=1e-6)
    assert np.abs(processor(upright) - processor(two_halves())).max() > 1


def test_the_picture_given_stays_as_it_is(clip_folder: Path) -> None:
    picture = two_halves().convert("RGBA")
    open_processor(str(clip_folder))(picture)
    assert (picture.mode, picture.size) == ("RGBA", (40, 40))


def test_a_damaged_picture_says_so(clip_folder: Path) -> None:
    buffer = io.BytesIO()
    noise(64, 64).save(buffer, "JPEG")
    with pytest.raises(PictureError, match="truncated"):
        open_processor(str(clip_folder))(Image.open(io.BytesIO(buffer.getvalue()[:-500])))


def test_it_can_be_sent_to_workers(clip_folder: Path) -> None:
    processor = open_processor(str(clip_folder))
    copy = pickle.loads(pickle.dumps(processor))
    assert copy.size == processor.size
    assert np.array_equal(copy(noise(50, 40)), processor(noise(50, 40)))


def test_sizes_that_depend_on_the_picture_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = edited(clip_folder, tmp_path / "free", do_center_crop=False)
    with pytest.raises(DataError, match="makes 3x32x32, 3x32x64 and 3x64x32 of a square, a wide and a tall"):
        open_processor(str(folder))


def test_missing_and_damaged_files(bert_folder: Path, clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no preprocessor_config\.json; put the image processor"):
        open_processor(str(bert_folder))
    folder = edited(clip_folder, tmp_path / "damaged")
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match="cannot read the image processor in the folder") as caught:
        open_processor(str(folder))
    assert "\n" not in str(caught.value)


def test_it_is_silent(clip_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_processor(str(clip_folder))
    assert capfd.readouterr() == ("", "")
