from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast, RobertaConfig

from robustcmr.data.captions import TokenTable
from robustcmr.data.pretrained_tokenizer import AT_ONCE, PretrainedTokenizer, open_tokenizer
from robustcmr.errors import DataError

CAPTIONS = ["A small red circle.", "", "   ", "two ÉLÉPHANTS, 漢字 & a dog's 🙂", "the river " * 100]


def plain(vocabulary: dict[str, int], **marks: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that adds no marks."""
    pieces = Tokenizer(models.WordLevel(vocabulary, unk_token=marks.get("unk_token")))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **marks)


@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_indices_are_those_of_transformers(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    reference = AutoTokenizer.from_pretrained(folder)
    encoded = list(open_tokenizer(str(folder)).encode_many(CAPTIONS))
    expected = [reference(caption, truncation=True, max_length=64)["input_ids"] for caption in CAPTIONS]
    assert encoded == expected
    start, end = ("<|startoftext|>", "<|endoftext|>") if kind == "clip" else ("[CLS]", "[SEP]")
    for row in encoded:
        assert row[0] == reference.convert_tokens_to_ids(start)
        assert row[-1] == reference.convert_tokens_to_ids(end)  # also where it was cut
        assert 2 <= len(row) <= 64
    assert len(encoded[4]) == 64


def test_captions_stream_in_order_across_batches(bert_folder: Path) -> None:
    tokenizer = open_tokenizer(str(bert_folder))
    n = AT_ONCE + 3
    words = ["red", "blue square", "a green triangle"]
    encoded = list(tokenizer.encode_many(words[i % 3] for i in range(n)))
    assert len(encoded) == n
    distinct = list(tokenizer.encode_many(words))
    assert all(row == distinct[i % 3] for i, row in enumerate(encoded))
    taken: list[int] = []

    def source() -> object:
        for i in range(3 * AT_ONCE):
            taken.append(i)
            yield "red"

    next(tokenizer.encode_many(source()))  # type: ignore[arg-type]
    assert len(taken) == AT_ONCE  # no more is read than needed


def test_marks_of_bert(bert_folder: Path) -> None:
    tokenizer = open_tokenizer(str(bert_folder))
    reference = AutoTokenizer.from_pretrained(bert_folder)
    assert tokenizer.padding_index == reference.pad_token_id
    assert tokenizer.unknown_index == reference.mask_token_id
    assert len(tokenizer) == len(reference) == tokenizer.is_word.shape[0]
    assert tokenizer.is_word.dtype == np.bool_
    assert tokenizer.words == ()
    marks = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    not_words = {reference.convert_ids_to_tokens(int(i)) for i in np.flatnonzero(~tokenizer.is_word)}
    assert not_words == marks


def test_marks_of_clip(clip_folder: Path) -> None:
    tokenizer = open_tokenizer(str(clip_folder))
    end = len(tokenizer) - 1  # which stands for the unknown word and the padding too
    assert tokenizer.unknown_index == tokenizer.padding_index == end
    assert np.flatnonzero(~tokenizer.is_word).tolist() == [end - 1, end]


def test_no_mark_is_ever_a_word(bert_folder: Path, clip_folder: Path) -> None:
    for folder in (bert_folder, clip_folder):
        tokenizer = open_tokenizer(str(folder))
        for row in tokenizer.encode_many(CAPTIONS):
            assert not tokenizer.is_word[[row[0], row[-1]]].any()
        assert tokenizer.is_word[next(tokenizer.encode_many(["a small circle"]))[1:-1]].all()


def test_places_that_no_text_has_are_no_words() -> None:
    vocabulary = {"[unk]": 0, "[unused0]": 1, "[unused17]": 2, "dog": 3, "unused3": 4, "cat": 9}
    tokenizer = PretrainedTokenizer(plain(vocabulary, unk_token="[unk]"))
    assert len(tokenizer) == 10  # up to the highest index, holes included
    assert np.flatnonzero(tokenizer.is_word).tolist() == [3, 4, 9]
    assert (tokenizer.unknown_index, tokenizer.padding_index) == (0, 0)


def test_added_marks_are_no_words() -> None:
    made = plain({"[unk]": 0, "dog": 1}, unk_token="[unk]")
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    made.add_tokens(["snark"])
    tokenizer = PretrainedTokenizer(made)
    assert tokenizer.is_word.tolist() == [False, True, False, True]
    assert list(tokenizer.encode_many(["dog snark <image>"])) == [[1, 3, 2]]


def test_marks_without_a_role_are_no_words() -> None:
    pieces = Tokenizer(models.WordLevel({"[unk]": 0, "dog": 1}, unk_token="[unk]"))
    pieces.add_special_tokens(["<image>"])  # known to the file alone
    made = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[unk]")
    assert 2 not in made.all_special_ids
    assert PretrainedTokenizer(made).is_word.tolist() == [False, True, False]


def test_an_empty_caption_has_a_token_even_without_marks() -> None:
    tokenizer = PretrainedTokenizer(plain({"[unk]": 0, "dog": 1}, unk_token="[unk]"))
    assert list(tokenizer.encode_many(["dog", "", " "])) == [[1], [0], [0]]


def test_without_a_limit_nothing_is_cut() -> None:
    tokenizer = PretrainedTokenizer(plain({"[unk]": 0, "dog": 1}, unk_token="[unk]"))
    assert len(next(tokenizer.encode_many(["dog " * 3000]))) == 3000
    cut = PretrainedTokenizer(plain({"[unk]": 0, "dog": 1}, unk_token="[unk]"), longest=7)
    assert len(next(cut.encode_many(["dog " * 3000]))) == 7


@pytest.mark.parametrize(
    ("marks", "unknown", "padding"),
    [
        ({"unk_token": "u", "mask_token": "m", "eos_token": "e", "pad_token": "p"}, 1, 3),
        ({"unk_token": "u", "eos_token": "e"}, 0, 2),
        ({"eos_token": "e"}, 2, 2),
    ],
)
def test_what_stands_for_hidden_words(marks: dict[str, str], unknown: int, padding: int) -> None:
    tokenizer = PretrainedTokenizer(plain({"u": 0, "m": 1, "e": 2, "p": 3, "dog": 4}, **marks))
    assert (tokenizer.unknown_index, tokenizer.padding_index) == (unknown, padding)


def test_a_tokenizer_that_can_hide_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no mask, unknown or end token"):
        PretrainedTokenizer(plain({"dog": 0}))


def test_captions_are_cut_to_what_the_model_reads(bert_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    BertConfig(vocab_size=1000, max_position_embeddings=9).save_pretrained(folder)
    assert len(next(open_tokenizer(str(folder)).encode_many(["dog " * 50]))) == 9
    RobertaConfig(vocab_size=1000, max_position_embeddings=12, pad_token_id=1).save_pretrained(folder)
    assert len(next(open_tokenizer(str(folder)).encode_many(["dog " * 50]))) == 10


def test_a_tokenizer_of_another_model_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    BertConfig(vocab_size=50).save_pretrained(folder)
    with pytest.raises(DataError, match=r"has \d+ indices but its model has 50"):
        open_tokenizer(str(folder))


def test_missing_and_damaged_files(bert_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    (folder / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(DataError, match="cannot read the tokenizer in the folder") as caught:
        open_tokenizer(str(folder))
    assert "\n" not in str(caught.value)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"has no tokenizer\.json; put the tokenizer of the model there"):
        open_tokenizer(str(folder))


def test_it_can_be_sent_to_workers(clip_folder: Path) -> None:
    tokenizer = open_tokenizer(str(clip_folder))
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert list(copy.encode_many(CAPTIONS)) == list(tokenizer.encode_many(CAPTIONS))
    assert (copy.is_word == tokenizer.is_word).all()


def _encode(tokenizer: PretrainedTokenizer, n: int, pipe: Connection) -> None:
    pipe.send(list(tokenizer.encode_many(["a dog"] * n)))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_worker_can_encode(clip_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = open_tokenizer(str(clip_folder))
    expected = list(tokenizer.encode_many(["a dog"] * 200))  # with threads, which a fork loses
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_encode, args=(tokenizer, 200, theirs))
    worker.start()
    try:
        assert ours.poll(30)
        assert ours.recv() == expected
    finally:
        worker.kill()
        worker.join()
    assert capfd.readouterr() == ("", "")


def test_either_unicode_form_gives_the_same_indices() -> None:
    tokenizer = PretrainedTokenizer(plain({"[unk]": 0, "caf\u00e9": 1}, unk_token="[unk]"))
    assert list(tokenizer.encode_many(["caf\u00e9", "cafe\u0301"])) == [[1], [1]]


def test_share_of_known_words(bert_folder: Path, clip_folder: Path) -> None:
    tokenizer = PretrainedTokenizer(plain({"[unk]": 0, "dog": 1}, unk_token="[unk]"))
    assert TokenTable.from_captions(["dog cat", "dog dog"], tokenizer).known_share(tokenizer) == 3 / 4
    for folder, known in ((bert_folder, 0.5), (clip_folder, 1.0)):  # CLIP's knows all bytes
        reader = open_tokenizer(str(folder))
        assert TokenTable.from_captions(["red \u6f22"], reader).known_share(reader) == known
