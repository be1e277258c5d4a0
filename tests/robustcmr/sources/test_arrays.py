"""Folders of arrays are read with their captions, and what is kept reads the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from robustcmr.errors import DataError
from robustcmr.sources import arrays
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns, Source
from robustcmr.sources.vectors import own_vectors

D = 4


def write_split(folder: Path, split: str, n: int, each: int, ids: str = "", flat: bool = True) -> None:
    """Write a split of ``n`` images with ``each`` captions; image i is filled with i, caption j with j."""
    folder.mkdir(exist_ok=True)
    images = np.arange(n, dtype=np.float16)[:, None] * np.ones(D, np.float16)
    texts = np.arange(n * each, dtype=np.float32)[:, None] * np.ones(D, np.float32)
    names = (f"{split}_ims.npy", f"{split}_txts.npy", f"{split}_caps.txt")
    if not split:
        names = ("images.npy", "texts.npy", "captions.txt")
    np.save(folder / names[0], images if flat else images[:, None])
    np.save(folder / names[1], texts)
    (folder / names[2]).write_bytes(b"".join(b"  caption %d\r\n" % row for row in range(n * each)))
    if ids:
        lines = [ids.format(row // each, row % each) for row in range(n * each)]
        (folder / f"{split}_ids.txt").write_text("\n".join(dict.fromkeys(lines)) + "\n")


def read(source: Source) -> tuple[pa.Table, npt.NDArray[Any], npt.NDArray[Any]]:
    """The pairs, and the first number of the vectors of each."""
    found = pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard)])
    sides = []
    for side in ("image", "text"):
        vectors = own_vectors(source, side)  # type: ignore[arg-type]
        assert vectors is not None
        if vectors.by == "row":
            at = vectors.at_rows(found["shard"].to_numpy(), found["row"].to_numpy())
        else:
            assert vectors.by == "image position"
            order = {image: number for number, image in enumerate(dict.fromkeys(found["image"].to_pylist()))}
            at = np.array([order[image] for image in found["image"].to_pylist()])
        sides.append(vectors.take(at)[:, 0])
    return found, sides[0], sides[1]


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("each", "ids"), [(1, ""), (5, ""), (5, "{0}.jpg"), (5, "{0}.jpg#{1}"), (1, "{0}.jpg")]
)
def test_captions_belong_to_their_image_before_and_after(
    tmp_path: Path, each: int, ids: str, flat: bool
) -> None:
    for split, n in (("train", 6), ("dev", 3)):
        write_split(tmp_path / "in", split, n, each, ids, flat)
    source = arrays.open([tmp_path / "in"], Columns())
    assert [shard.path.name for shard in source.shards] == ["dev_caps.txt", "train_caps.txt"]
    found, image, text = read(source)
    row = found["row"].to_numpy()
    np.testing.assert_array_equal(image, row // each)
    np.testing.assert_array_equal(text, row)
    assert found["caption"].to_pylist() == [f"caption {number}" for number in row]
    rng = np.random.default_rng(0)
    keeps = [rng.random(shard.rows or 0) < 0.6 for shard in source.shards]
    for shard, keep in zip(source.shards, keeps, strict=True):
        source.write(shard, keep, tmp_path / "out")
    kept_rows = np.concatenate([np.flatnonzero(keep) for keep in keeps])
    found, image, text = read(arrays.open([tmp_path / "out"], Columns()))
    np.testing.assert_array_equal(image, kept_rows // each)
    np.testing.assert_array_equal(text, kept_rows)
    expected = b"".join(b"  caption %d\r\n" % row for row in np.flatnonzero(keeps[0]))
    assert (tmp_path / "out/dev_caps.txt").read_bytes() == expected
    assert np.load(tmp_path / "out/dev_ims.npy").ndim == (2 if flat else 3)
    assert np.load(tmp_path / "out/dev_ims.npy").dtype == np.float16


def test_images_texts_and_captions_of_plain_names(tmp_path: Path) -> None:
    write_split(tmp_path / "in", "", 8, 2)
    assert arrays.recognises([tmp_path / "in"])
    source = arrays.open([tmp_path / "in"], Columns())
    assert source.says == ("captions.txt: 2 consecutive captions for each image",)
    keep = np.ones(16, bool)
    keep[[0, 6, 7]] = False
    source.write(source.shards[0], keep, tmp_path / "out")
    _, image, text = read(arrays.open([tmp_path / "out"], Columns()))
    np.testing.assert_array_equal(text, np.flatnonzero(keep))
    np.testing.assert_array_equal(image, np.flatnonzero(keep) // 2)
    assert len(np.load(tmp_path / "out/images.npy")) == 7


def test_reading_starts_at_any_row_and_a_blank_line_is_a_row(tmp_path: Path) -> None:
    write_split(tmp_path, "", 4, 1)
    (tmp_path / "captions.txt").write_bytes(b"\xef\xbb\xbfone\n\nthree\nfour")
    source = arrays.open([tmp_path], Columns())
    (batch,) = source.batches(source.shards[0], 2)
    assert batch.column("caption").to_pylist() == ["three", "four"]
    (batch,) = pairs(source, source.shards[0])
    assert batch.column("caption").to_pylist() == ["one", "", "three", "four"]
    assert batch.column("problem").to_pylist() == [None, "empty caption", None, None]
    source.write(source.shards[0], np.array([True, False, False, True]), tmp_path / "out")
    assert (tmp_path / "out/captions.txt").read_bytes() == b"\xef\xbb\xbfone\nfour"


def test_counts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 4, 2)
    np.save(tmp_path / "train_ims.npy", np.ones((3, D), np.float32))
    with pytest.raises(DataError, match=r"has 3 images and .* 8 captions; expected one image a caption"):
        arrays.open([tmp_path], Columns())
    with pytest.raises(DataError, match="is no folder of arrays; expected one with"):
        arrays.open([tmp_path / "train_caps.txt"], Columns())


def test_the_project_itself_reads_what_is_written(tmp_path: Path) -> None:
    from robustcmr.data.precomp import Precomputed

    write_split(tmp_path / "in", "train", 6, 2)
    source = arrays.open([tmp_path / "in"], Columns())
    keep = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1], bool)
    source.write(source.shards[0], keep, tmp_path / "out")
    split = Precomputed(Precomputed.Config(root=tmp_path / "out", captions_per_image=2)).split("train")
    rows = split.features.take(split.image_of_caption)[:, 0, 0].tolist()
    assert rows == (np.flatnonzero(keep) // 2).tolist()
