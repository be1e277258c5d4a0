"""Word vectors from text files, and the caption reader that starts from one."""

import logging

import numpy as np
import pytest
import torch

from robustcmr.errors import DataError
from robustcmr.matchers.encoders import BiGRU
from robustcmr.matchers.encoders.word_vectors import WordEmbedding, read_word_vectors
from robustcmr.matchers.fragment_matcher import FragmentOptions, build_text_encoder
from robustcmr.types import DataSpec, TextBatch

WORDS = ("<pad>", "<start>", "<end>", "<unk>", "dog", "café", "runs", "zzz")
SPEC = DataSpec(feature_width=3, n_regions=1, vocabulary_size=len(WORDS), longest_caption=5, words=WORDS)


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "vectors.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_only_what_is_asked_for_is_kept(written):
    path = written("the 9 9 9\nruns 1 2 3\nDog 8 8 8\ndog 0.5 -1e-3 2\ncafé 4 5 6\n<unk> 7 7 7\n")
    rows, vectors = read_word_vectors(path, WORDS, 3)
    assert rows.tolist() == [3, 4, 5, 6]
    expected = np.array([[7, 7, 7], [0.5, -1e-3, 2], [4, 5, 6], [1, 2, 3]], dtype=np.float32)
    assert np.array_equal(vectors.numpy(), expected)
    assert vectors.dtype == torch.float32


def test_a_random_file_is_read_as_numpy_reads_it(written):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 5)).astype(np.float32)
    names = [f"w{k}" for k in range(40)]
    path = written("".join(f"{n} {' '.join(map(str, row))}\n" for n, row in zip(names, table, strict=True)))
    asked = ["<pad>", *rng.permutation(names)[:17]]
    rows, vectors = read_word_vectors(path, asked, 5)
    truth = np.loadtxt(path, dtype=str)
    for row, vector in zip(rows.tolist(), vectors, strict=True):
        line = truth[truth[:, 0] == asked[row]][0, 1:].astype(np.float32)
        assert np.array_equal(vector.numpy(), line)
    assert len(rows) == 17


def test_first_lines_windows_ends_tabs_empty_lines_and_trailing_spaces(written):
    rows, vectors = read_word_vectors(written("2 3\r\n\r\ndog\t1\t2\t3 \r\n\r\nruns 4 5 6\r\n\n"), WORDS, 3)
    assert rows.tolist() == [4, 6]
    assert vectors.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_first_of_several_lines_counts(written):
    _, vectors = read_word_vectors(written("a 0 0\nb 0 0\ndog 1 2\ndog 3 4\n"), WORDS, 2)
    assert vectors.tolist() == [[1, 2]]


def test_words_may_hold_spaces(written):
    path = written("new york 3 4\na 0 0\nb 0 0\n. . . 5 6\ndog days 7 8\ndog 1 2\n 9 9\n")
    rows, vectors = read_word_vectors(path, ["new york", "dog", ". . ."], 2)
    assert rows.tolist() == [0, 1, 2]
    assert vectors.tolist() == [[3, 4], [1, 2], [5, 6]]


def test_padding_is_never_looked_up(written):
    rows, _ = read_word_vectors(written("<pad> 1 2\ndog 3 4\n"), WORDS, 2)
    assert rows.tolist() == [4]


@pytest.mark.parametrize(
    ("content", "width", "message"),
    [
        ("dog 1 2\n", 3, "line 1: 2 numbers where matcher.word_dim is 3; add --set matcher.word_dim=2"),
        ("dog 1 2 3\n", 2, "line 1: more than 2 numbers.*add --set matcher.word_dim=3"),
        ("2 4\nthe 1 2 3 4\n", 2, "line 2: more than 2 numbers"),
        ("a 1 2\nb 1 2\ndog 1\n", 2, "line 3: 1 numbers.*may be cut short"),
        ("dog 1 x\n", 2, "line 1: .*expected 'word number number ...'"),
        ("dog 1 nan\n", 2, "line 1 holds a number that is not finite"),
        ("dog 1 1e99\n", 2, "line 1 holds a number that is not finite"),
        ("perro 1 2\n", 2, "has none of the 7 words"),
        ("", 2, "has none of the 7 words"),
        (b"\x1f\x8b\x08\x00\x01\x02", 2, "line 1: 0 numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(written, content, width, message):
    with pytest.raises(DataError, match=message):
        read_word_vectors(written(content), WORDS, width)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_word_vectors(tmp_path / "none.txt", WORDS, 2)
    with pytest.raises(DataError, match="directory"):
        read_word_vectors(tmp_path, WORDS, 2)


def test_an_embedding_of_another_type_starts_from_a_file(written, caplog):
    embedding = WordEmbedding(SPEC, 2, written("dog 1 2\n<pad> 3 4\n")).double()
    before = embedding.weight.detach().clone()
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        embedding.load_pretrained()
    assert "vectors for 1 of 7 words (14.3%)" in caplog.text
    assert embedding.weight[4].tolist() == [1, 2]
    assert torch.equal(embedding.weight[:4], before[:4])
    assert torch.equal(embedding.weight[5:], before[5:])
    assert embedding.weight.requires_grad


def reader(path, seed=0):
    torch.manual_seed(seed)
    return build_text_encoder(FragmentOptions(word_dim=3, dim=4, word_vectors=path), SPEC)


def test_a_caption_reader_starts_from_a_file(written, caplog):
    path = written("<pad> 9 9 9\ndog 1 2 3\nruns 4 5 6\n")
    model = reader(path)
    assert isinstance(model, BiGRU)
    before = model.embedding.weight.detach().clone()
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        model.embedding.load_pretrained()
    assert f"{path} has vectors for 2 of 7 words (28.6%)" in caplog.text
    assert model.embedding.weight[[4, 6]].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (model.embedding.weight[0] == 0).all()
    others = [1, 2, 3, 5, 7]
    assert torch.equal(model.embedding.weight[others], before[others])
    tokens = torch.tensor([[1, 4, 6, 2, 0], [1, 5, 2, 0, 0]])
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    model(TextBatch(tokens, tokens != 0)).pooled.square().sum().backward()
    optimiser.step()
    assert (model.embedding.weight[0] == 0).all()
    assert (model.embedding.weight[4] != torch.tensor([1.0, 2.0, 3.0])).any()


def test_building_a_reader_does_not_touch_the_file(tmp_path):
    model = reader(tmp_path / "gone.txt")  # as when weights come from a checkpoint
    with pytest.raises(DataError, match=r"gone\.txt"):
        model.embedding.load_pretrained()


def test_without_a_file_nothing_changes():
    model = reader(None)
    before = model.embedding.weight.detach().clone()
    model.embedding.load_pretrained()
    assert torch.equal(model.embedding.weight, before)
