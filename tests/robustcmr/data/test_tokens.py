from __future__ import annotations

import sys
from pathlib import Path
from unicodedata import category, normalize

import pytest
from hypothesis import given, settings, strategies as st
from nltk.tokenize import word_tokenize

from robustcmr.data import tokens
from robustcmr.data.tokens import is_joined, split_at_spaces, tokenize

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def by_nltk(caption: str) -> list[str]:
    return word_tokenize(caption.lower(), preserve_line=True)


PIECES = st.sampled_from(
    [
        *"abzé7 ,.-'\"`()&$!?:;\t\u2019\u201c\u2013\xa0",
        *("cannot", "gonna", "wanna", "gimme", "gotta", "lemme", "whatcha", "d'ye", "'tis", "more'n"),
        *(" dog", "n't", "--", "...", ", ", " .", ". ", "U.S.", "3,000", "Mr."),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_equal_to_nltk_on_made_up_text(caption):
    assert tokenize(caption) == by_nltk(caption)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab0 ,.-", max_size=14))
def test_equal_to_nltk_on_text_close_to_plain(caption):
    assert tokenize(caption) == by_nltk(caption)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", []),
        ("  ", []),
        ("A dog, running.", ["a", "dog", ",", "running", "."]),
        ("Two wind - driven fires .", ["two", "wind", "-", "driven", "fires", "."]),
        ("a well-known man can't move", ["a", "well-known", "man", "ca", "n't", "move"]),
        ("I cannot", ["i", "can", "not"]),
        ('the "big" one', ["the", "``", "big", "''", "one"]),
        ("a u.s. flag. here", ["a", "u.s.", "flag.", "here"]),
        ("Café, 3,000 people", ["café", ",", "3,000", "people"]),
    ],
)
def test_words_known_beforehand(caption, words):
    assert tokenize(caption) == words


def test_plain_captions_do_without_nltk(monkeypatch):
    def refuse():
        raise RuntimeError("NLTK was called")

    monkeypatch.setattr(tokens, "_nltk", refuse)
    assert tokenize("Two men, one woman .") == ["two", "men", ",", "one", "woman", "."]
    with pytest.raises(RuntimeError):
        tokenize("it isn't")


def test_equal_to_nltk_on_real_captions():
    captions: list[str] = []
    for path in sorted((SHARED / "f8k_precomp").glob("*_caps.txt")):
        captions.extend(path.read_text(encoding="utf-8").split("\n")[::4])
    for path in sorted((SHARED / "cc152k_urls").glob("*.csv")):
        captions.extend(line.split("\t")[1] for line in path.read_text(encoding="utf-8").split("\n") if line)
    if not captions:
        pytest.skip("the real captions are not here")
    assert [caption for caption in captions if tokenize(caption) != by_nltk(caption)] == []


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("两只狗在草地上跑。", "两 只 狗 在 草 地 上 跑 。"),
        ("一只狗，两只Cats！", "一 只 狗 ， 两 只 cats ！"),
        ("犬2匹abc", "犬 2 匹 abc"),
        ("東京タワーへ行く。「Tシャツ」", "東 京 タワー へ 行 く 。 「 tシャツ 」"),
        ("タワー。", "タワー 。"),
        ("สุนัขวิ่ง 2", "สุ นั ข วิ่ ง 2"),
        ("ຫມາ", "ຫ ມ າ"),
        ("ខ្មែរ", "ខ្ មែ រ"),
        ("မြန်မာ", "မြ န် မာ"),
        ("སྐད་ཡིག", "སྐད ཡིག"),
        ("개가 달린다", "개가 달린다"),
        ("Собака бежит", "собака бежит"),
        ("कुत्ता दौड़ता है", "कुत्ता दौड़ता है"),
        ("狗\u200b猫 \u3000鸟", "狗 猫 鸟"),
        ("葛\U000e0100城", "葛\U000e0100 城"),
    ],
)
def test_scripts_without_spaces_are_split_by_character(caption, words):
    assert tokenize(caption) == normalize("NFC", words).split(" ")


def test_the_characters_split_are_those_of_their_scripts():
    regex = pytest.importorskip("regex", reason="NLTK brings it")
    scripts = regex.compile(
        r"[\p{Han}\p{Hiragana}\p{Yi}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}"
        r"\p{Tai_Viet}]"
    )
    every = "".join(chr(c) for c in range(sys.maxunicode + 1) if category(chr(c)) not in ("Cn", "Co", "Cs"))
    letters = [c for c in scripts.findall(every) if category(c) not in ("Mn", "Mc", "Nd")]
    expected = set(letters)
    found = {c for c in tokens._APART.findall(every) if tokens._UNSPACED.match(c) and category(c)[0] != "M"}
    assert found - expected == {"\u3006"}  # an ideographic mark that Unicode shares between scripts
    assert expected - found == {"\U00016fe2", "\U00016fe3"}  # Chinese marks of no caption
    assert all(len(tokenize(f"{c}{c}")) == 2 for c in letters[::500])


TEXT = st.text(
    alphabet=st.sampled_from("aé ÅǅİΣσ\u0301\u0323\u030a犬いター2.,'\u0e01\u0e35。'ﬁﾊ\u3099は"), max_size=12
)


@settings(max_examples=200, deadline=None)
@given(TEXT | st.text(max_size=8))
def test_unicode_forms_give_the_same_words(caption):
    words = tokenize(caption)
    assert words == tokenize(normalize("NFC", caption)) == tokenize(normalize("NFD", caption))
    assert all(normalize("NFC", word) == word for word in words)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_no_word_is_joined_and_nothing_is_lost(caption):
    words = tokenize(caption)
    assert not any(map(is_joined, words))
    if "'" not in caption:  # quotes are rewritten by NLTK
        assert "".join(words) == "".join(split_at_spaces(caption))


def test_joined_words():
    assert [is_joined(word) for word in ("狗", "只狗", "タワー", "dog", "ตั", "ตัว", "a犬", "。")] == [
        *(False, True, False, False, False, True, True, False),
    ]
