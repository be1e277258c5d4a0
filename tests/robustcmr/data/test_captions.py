from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from robustcmr.data.captions import TokenTable, low_coverage, read_captions, read_captions_tsv, read_ids
from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary
from robustcmr.errors import DataError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "content",
    [
        "a dog\nun café\n",
        "a dog\nun café",
        "a dog\r\nun café\r\n",
        "  a dog \nun café\n",
        "\ufeffa dog\nun café\n",
    ],
)
def test_line_ends_marks_and_spaces_do_not_matter(tmp_path, content):
    assert read_captions(put(tmp_path / "c.txt", content)) == ["a dog", "un café"]


def test_only_line_feeds_end_a_line(tmp_path):
    captions = ["one\u2028two", "three\x0bfour", "five\x85six", "seven\x1ceight"]
    assert read_captions(put(tmp_path / "c.txt", "\n".join(captions))) == captions


def test_empty_captions_are_named_and_counted(tmp_path):
    with pytest.raises(DataError, match=r"one line \(line 2\) without caption"):
        read_captions(put(tmp_path / "c.txt", "a\n\nb\n"))
    with pytest.raises(DataError, match=r"7 lines \(line 1, 2, 3, 4, 5, \.\.\.\)"):
        read_captions(put(tmp_path / "c.txt", " \r\n" * 7))
    with pytest.raises(DataError, match=r"one line \(line 3\)"):
        read_captions(put(tmp_path / "c.txt", "a\nb\n\n"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_captions(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot read"):
        read_captions(tmp_path)
    with pytest.raises(DataError, match="is empty"):
        read_captions(put(tmp_path / "c.txt", ""))
    with pytest.raises(DataError, match="not UTF-8 text, see line 3"):
        read_captions(put(tmp_path / "c.txt", b"a\nb\ncaf\xe9\nd\n"))


def test_identifiers(tmp_path):
    assert read_ids(put(tmp_path / "i.txt", "1.jpg\r\n2.jpg")) == ["1.jpg", "2.jpg"]
    with pytest.raises(DataError, match="without identifier"):
        read_ids(put(tmp_path / "i.txt", "1\n\n"))


def test_tab_separated_rows(tmp_path):
    rows = (
        '1_9\t"quoted" start and 5" disk\n'
        "2_9\tcafé © \thttp://example.org/a.jpg?x=1\r\n"
        "3_9\ttabs\\tinside\n"
        '4_9\tit\'s, "so"\t'
    )
    ids, captions = read_captions_tsv(put(tmp_path / "c.tsv", rows))
    assert ids == ["1_9", "2_9", "3_9", "4_9"]
    assert captions == ['"quoted" start and 5" disk', "café ©", "tabs\tinside", 'it\'s, "so"']


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\ta\nno tab\n3\tc\n", r"one line \(line 2\) without a tab"),
        ("1\ta\tu\textra\n", r"one line \(line 1\) with more than three columns"),
        ("1\ta\n2\t \n3\t\tu\n", r"2 lines \(line 2, 3\) without caption"),
        ("1\ta\n\n", r"one line \(line 2\) without a tab"),
    ],
)
def test_damaged_rows(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_captions_tsv(put(tmp_path / "c.tsv", rows))


def test_real_cc152k_rows():
    path = SHARED / "cc152k_urls" / "test_caps_img_urls.csv"
    if not path.exists():
        pytest.skip("the real CC152K rows are not here")
    ids, captions = read_captions_tsv(path)
    assert len(ids) == len(captions) == len(set(ids)) == 1000
    assert ids[0] == "1100_1931474802"
    assert captions[2] == "little boy saving his money in a piggy bank"
    assert not any("http" in caption for caption in captions)


VOCABULARY = Vocabulary([*SPECIAL_WORDS, *"abcdefgh"])


@settings(max_examples=60, deadline=None)
@given(
    captions=st.lists(
        st.lists(st.sampled_from("abcdxyz"), max_size=9).map(" ".join), min_size=1, max_size=12
    ),
    data=st.data(),
)
def test_padded_equals_a_loop(captions, data):
    table = TokenTable.from_captions(captions, VOCABULARY)
    rows = data.draw(st.lists(st.integers(0, len(captions) - 1), min_size=1, max_size=10))
    tokens, mask = table.padded(np.array(rows))
    rows_encoded = list(VOCABULARY.encode_many([captions[row] for row in rows]))
    width = max(len(encoded) for encoded in rows_encoded)
    assert tokens.shape == mask.shape == (len(rows), width)
    assert tokens.dtype == np.int64
    assert mask.dtype == np.bool_
    for line, encoded in enumerate(rows_encoded):
        assert tokens[line].tolist() == encoded + [0] * (width - len(encoded))
        assert mask[line].tolist() == [True] * len(encoded) + [False] * (width - len(encoded))


def test_lengths_and_longest_count_the_marks():
    table = TokenTable.from_captions(["a b c", "", "a"], VOCABULARY)
    assert len(table) == 3
    assert table.padded(np.arange(3))[1].sum(1).tolist() == [5, 2, 3]
    assert table.longest == 5
    assert table.padded(np.array([1, 2]))[0].tolist() == [[1, 2, 0], [1, 4, 2]]


def test_no_rows_and_no_captions():
    empty = TokenTable.from_captions([], VOCABULARY)
    assert (len(empty), empty.longest) == (0, 0)
    tokens, mask = TokenTable.from_captions(["a"], VOCABULARY).padded(np.array([], dtype=np.int64))
    assert tokens.shape == mask.shape == (0, 0)


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_outside_are_refused(row):
    with pytest.raises(IndexError, match=r"0\.\.1"):
        TokenTable.from_captions(["a", "b"], VOCABULARY).padded(np.array([row]))


def test_another_padding_index():
    table = TokenTable(np.array([5, 6, 7]), np.array([0, 1, 3]), padding_index=9)
    assert table.padded(np.array([0, 1]))[0].tolist() == [[5, 9], [6, 7]]


def test_share_of_known_words():
    table = TokenTable.from_captions(["a b x", "", "y z c"], VOCABULARY)
    assert table.known_share(VOCABULARY) == 3 / 6
    assert TokenTable.from_captions(["", "a"], VOCABULARY).known_share(VOCABULARY) == 1.0
    assert TokenTable.from_captions([], VOCABULARY).known_share(VOCABULARY) == 1.0
    assert [low_coverage(share, "--vocabulary FILE") is None for share in (None, 1.0, 0.85, 0.849, 0.0)] == [
        *(True, True, True, False, False),
    ]
