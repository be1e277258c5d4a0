"""Pictures of the sample: right ones, each file read once, bounded memory."""

import io
import tarfile
import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustcmr.review.items import Place
from robustcmr.review.pictures import MissingPictureError, Pictures
from robustcmr.sources.guess import open_source


def encoded(value, size=(40, 30), form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(buffer, form)
    return buffer.getvalue()


def red(data):
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG"
        return picture.getpixel((3, 3))[0]


@pytest.fixture
def tars(tmp_path):
    """Two tars of 30 samples; the picture of sample i is red by 4 i, and one of them is damaged."""
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for i in range(30):
                number = 30 * shard + i
                data = b"damaged" if number == 7 else encoded(4 * number)
                for suffix, content in (("png", data), ("txt", b"a caption")):
                    member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return open_source([tmp_path / "0.tar", tmp_path / "1.tar"])


@dataclass(frozen=True)
class Counting:
    """A source that counts which rows are read how often."""

    source: object
    reads: list

    def __getattr__(self, name):
        return getattr(self.source, name)

    def pictures(self, shard, rows=None):
        self.reads.append((shard.path.name, rows.tolist()))
        return self.source.pictures(shard, rows)


def places(*numbers):
    return [Place(f"{n // 30}.tar", n % 30) for n in numbers]


def test_a_tar_is_read_once_for_all_its_pictures(tars):
    wanted = places(*range(0, 60, 3))
    counting = Counting(tars, [])
    pictures = Pictures(counting, wanted)
    rng = np.random.default_rng(0)
    for place in rng.permutation(np.array(wanted, dtype=object)):
        number = 30 * int(place.file[0]) + place.row
        assert abs(red(pictures.get(place)) - 4 * number) < 5
    assert Counter(name for name, _ in counting.reads) == {"0.tar": 1, "1.tar": 1}


def test_many_threads_share_one_pass(tars):
    wanted = places(*range(30))
    counting = Counting(tars, [])
    pictures = Pictures(counting, wanted)
    found = {}

    def fetch(place):
        try:
            found[place.row] = red(pictures.get(place))
        except MissingPictureError as error:
            found[place.row] = str(error)

    threads = [threading.Thread(target=fetch, args=(place,)) for place in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(counting.reads) == 1
    assert found.pop(7).startswith("it is damaged")
    assert all(abs(value - 4 * row) < 5 for row, value in found.items())


def test_memory_is_bounded_and_dropped_pictures_come_back(tars):
    wanted = places(*(n for n in range(30) if n != 7))
    size = len(Pictures(tars, wanted).get(wanted[0]))
    counting = Counting(tars, [])
    pictures = Pictures(counting, wanted, limit=5 * size)
    for place in wanted + wanted:
        assert abs(red(pictures.get(place)) - 4 * place.row) < 5
        assert sum(len(data) for data in pictures._kept.values()) == pictures._size <= 5 * size + size
    assert [len(rows) for _, rows in counting.reads[1:]] == [1] * (len(counting.reads) - 1)


def test_large_pictures_are_made_small_and_turned_upright(tmp_path):
    picture = Image.new("RGB", (3000, 1500), "blue")
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    table = pa.table({"image": [buffer.getvalue()], "caption": ["a"]})
    pq.write_table(table, tmp_path / "a.parquet")
    data = Pictures(open_source(tmp_path / "a.parquet"), [Place("a.parquet", 0)]).get(Place("a.parquet", 0))
    with Image.open(io.BytesIO(data)) as small:
        assert small.size == (800, 1600)
        assert not small.getexif()


def test_only_pictures_of_the_sample_are_read(tars):
    pictures = Pictures(tars, places(1, 2))
    for place in (*places(3), Place("9.tar", 1), Place("../../etc/passwd", 1)):
        with pytest.raises(MissingPictureError, match="no such picture"):
            pictures.get(place)
    with pytest.raises(MissingPictureError, match="no such picture"):
        Pictures(None, places(1)).get(places(1)[0])


def test_pictures_of_the_next_pairs_are_read_ahead(tars):
    counting = Counting(tars, [])
    wanted = places(31, 1, 40)
    pictures = Pictures(counting, wanted)
    pictures.prepare(wanted).join(20)
    assert [name for name, _ in counting.reads] == ["1.tar", "0.tar"]
    pictures.get(wanted[2])
    assert len(counting.reads) == 2


def test_a_file_that_is_gone_is_said(tars, tmp_path):
    (tmp_path / "0.tar").unlink()
    with pytest.raises(MissingPictureError, match="cannot be read"):
        Pictures(tars, places(1)).get(places(1)[0])
