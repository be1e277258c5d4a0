from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import pytest

from robustcmr.data.scan import scan_captions
from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary
from robustcmr.errors import DataError, UserError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def published(words: list[str]) -> dict:
    return {
        "word2idx": {word: index for index, word in enumerate(words)},
        "idx2word": {str(index): word for index, word in enumerate(words)},
        "idx": len(words),
    }


def small() -> dict:
    return published([*SPECIAL_WORDS, "a", "dog", "café"])


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_encode_adds_marks_and_maps_unknown_words():
    vocabulary = Vocabulary([*SPECIAL_WORDS, "a", "dog", "."])
    captions = ["A dog barks .", "", "dog cat dog"]
    assert list(vocabulary.encode_many(captions)) == [[1, 4, 5, 3, 6, 2], [1, 2], [1, 5, 3, 5, 2]]
    assert (vocabulary.padding_index, vocabulary.unknown_index) == (0, 3)
    assert (len(vocabulary), "dog" in vocabulary, "cat" in vocabulary) == (7, True, False)
    assert vocabulary.words[4:] == ("a", "dog", ".")


def test_coverage_is_the_share_of_words():
    vocabulary = Vocabulary([*SPECIAL_WORDS, "a", "dog"])
    assert scan_captions(["a dog barks", "a cat"], vocabulary).known_share == pytest.approx(3 / 5)
    assert scan_captions([""], vocabulary).known_share == 1.0


def test_build_counts_words_and_orders_them():
    captions = ["a dog , a cat", "a dog", "an owl"]
    assert Vocabulary.build(captions).words[4:] == ("a", "dog", ",", "an", "cat", "owl")
    assert Vocabulary.build(captions, min_count=2).words[4:] == ("a", "dog")
    assert Vocabulary.build(reversed(captions)) == Vocabulary.build(captions)
    assert len(Vocabulary.build([])) == 4
    with pytest.raises(ValueError, match="min_count"):
        Vocabulary.build(captions, min_count=0)


def test_save_and_load_round_trip(tmp_path):
    vocabulary = Vocabulary.build(["the café — “naïve”", "a dog"])
    vocabulary.save(tmp_path / "new" / "v.json")
    loaded = Vocabulary.load(tmp_path / "new" / "v.json")
    assert loaded == vocabulary
    assert hash(loaded) == hash(vocabulary)
    assert loaded != Vocabulary(SPECIAL_WORDS)
    assert json.loads((tmp_path / "new" / "v.json").read_text()) == published(list(vocabulary.words))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["v.json"]


def test_saving_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        Vocabulary(SPECIAL_WORDS).save(tmp_path / "file" / "v.json")


def test_order_in_the_file_does_not_matter(tmp_path):
    document = small()
    for key in ("word2idx", "idx2word"):
        document[key] = dict(reversed(document[key].items()))
    assert Vocabulary.load(write(tmp_path / "v.json", document)).words == tuple(small()["word2idx"])


@pytest.mark.parametrize("name", ["<pad>", "<start>", "<end>", "<unk>"])
def test_a_missing_special_word_is_named(tmp_path, name):
    document = published([word for word in [*SPECIAL_WORDS, "a", "dog"] if word != name])
    with pytest.raises(DataError, match=f"has no {name} word"):
        Vocabulary.load(write(tmp_path / "v.json", document))


def test_special_words_elsewhere(tmp_path):
    document = published(["<start>", "<pad>", "<end>", "<unk>", "a"])
    with pytest.raises(DataError, match="has <pad> at index 1"):
        Vocabulary.load(write(tmp_path / "v.json", document))


def broken(**changes: object) -> dict:
    return {**small(), **changes}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "holds a JSON list"),
        ({"word2idx": {}}, "has no idx2word and no idx"),
        (broken(word2idx=["a"]), "must be JSON objects"),
        (broken(word2idx={**small()["word2idx"], "dog": "5"}), "index of 'dog' is '5'"),
        (broken(word2idx={**small()["word2idx"], "dog": True}), "index of 'dog' is True"),
        (broken(word2idx={**small()["word2idx"], "dog": 4}), r"not 0\.\.6, each once"),
        (broken(word2idx={**small()["word2idx"], "cat": 9}), r"not 0\.\.7, each once"),
        (
            broken(idx2word={**small()["idx2word"], "5": "cat"}),
            "disagrees with word2idx on 1 of 7 words.*'dog'",
        ),
        (broken(idx2word={**small()["idx2word"], "7": "cat"}), "idx2word 8"),
        (broken(idx=8), "idx says 8"),
    ],
)
def test_damaged_documents(tmp_path, document, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.load(write(tmp_path / "v.json", document))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no vocabulary file"):
        Vocabulary.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot read"):
        Vocabulary.load(tmp_path)
    (tmp_path / "v.json").write_text("{'word2idx'", encoding="utf-8")
    with pytest.raises(DataError, match="not a JSON file"):
        Vocabulary.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a JSON file"):
        Vocabulary.load(tmp_path / "v.json")


def test_the_constructor_refuses_other_beginnings_and_repeated_words():
    with pytest.raises(ValueError, match="starts with"):
        Vocabulary(["a", "b"])
    with pytest.raises(ValueError, match="once"):
        Vocabulary([*SPECIAL_WORDS, "a", "a"])


@pytest.mark.parametrize(
    ("name", "words"), [("f30k", 8481), ("coco", 11353), ("cc152k", 12072), ("f8k", 3159)]
)
def test_published_vocabularies_round_trip(tmp_path, name, words):
    path = SHARED / "vocab" / f"{name}_precomp_vocab.json"
    if not path.exists():
        pytest.skip("the published vocabularies are not here")
    vocabulary = Vocabulary.load(path)
    assert len(vocabulary) == words
    document = json.loads(path.read_text(encoding="utf-8"))
    assert {word: index for index, word in enumerate(vocabulary.words)} == document["word2idx"]
    vocabulary.save(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8")) == document


def test_words_are_looked_up_in_either_unicode_form(tmp_path):
    captions = ["un café", "une crème brûlée"]
    forms = [[normalize(form, caption) for caption in captions] for form in ("NFC", "NFD")]
    assert Vocabulary.build(forms[0]) == Vocabulary.build(forms[1])
    words = [*SPECIAL_WORDS, "cafe\u0301", "caf\u00e9", "dog"]  # a published vocabulary with both
    Vocabulary(words).save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    assert loaded.words == tuple(words)  # a row of the embedding each
    assert list(loaded.encode_many(["caf\u00e9 cafe\u0301 dog"])) == [[1, 4, 4, 6, 2]]
    assert "caf\u00e9" in loaded
    assert "cafe\u0301" in loaded


def test_words_of_text_that_was_cut_before_are_kept():
    cut = Vocabulary([*SPECIAL_WORDS, "一只", "狗", "dog"])
    assert list(cut.encode_many(["一只 狗 跑", "一只狗"])) == [[1, 4, 5, 3, 2], [1, 3, 2]]
    assert scan_captions(["一只 狗 跑"], cut).known_share == pytest.approx(2 / 3)
    single = Vocabulary([*SPECIAL_WORDS, "一", "只", "狗"])
    assert list(single.encode_many(["一只 狗", "一只狗"])) == [[1, 4, 5, 6, 2]] * 2
