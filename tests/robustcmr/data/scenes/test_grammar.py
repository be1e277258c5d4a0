import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from robustcmr.data.scenes.grammar import LONGEST, SHORTEST, GrammarOptions, write_captions
from robustcmr.data.scenes.layout import Scene, Thing
from robustcmr.data.scenes.phrases import Speaker, article
from robustcmr.data.scenes.truth import Entity, Meaning, Relation, satisfies
from robustcmr.data.scenes.vocabulary import (
    BACKGROUND_WORDS,
    BACKGROUNDS,
    COLOUR_WORDS,
    COLOURS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SIZES,
    TEXTURE_WORDS,
    TEXTURES,
)


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def options(**changes):
    return GrammarOptions(
        **({"attribute_dropout": 0.35, "background_mentions": 0.2, "synonyms": True} | changes)
    )


def test_every_attribute_has_words():
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert set(SIZE_WORDS) == set(SIZES)
    assert set(TEXTURE_WORDS) == set(TEXTURES)
    assert set(BACKGROUND_WORDS) == set(BACKGROUNDS)
    words = [*COLOUR_WORDS.values(), *SIZE_WORDS.values(), *TEXTURE_WORDS.values()]
    words.extend(tuple(singular for singular, _ in forms) for forms in SHAPE_WORDS.values())
    counts = Counter(word for group in words for word in group)
    assert max(counts.values()) == 1, "one word, two meanings"


def test_every_caption_is_true_of_its_own_scene(many):
    assert all(satisfies(scene, caption.meaning) for scene, captions in many for caption in captions)


def test_five_different_captions_a_scene_of_fitting_length(many):
    for _, captions in many:
        assert len(captions) == 5
        assert len({caption.text for caption in captions}) == 5
        assert all(SHORTEST <= len(caption.text.split()) <= LONGEST for caption in captions)
    mean = np.mean([len(caption.text.split()) for _, captions in many for caption in captions])
    assert 10 <= mean <= 16


def test_captions_leave_something_unsaid(many):
    for scene, captions in many:
        for caption in captions:
            assert sum(entity.count for entity in caption.meaning.entities) < len(scene.things)


def test_every_kind_of_claim_occurs(many):
    meanings = [caption.meaning for _, captions in many for caption in captions]
    names = Counter(relation.name for meaning in meanings for relation in meaning.relations)
    assert set(names) == {
        "left_of", "right_of", "above", "below", "next_to", "in_front_of", "behind", "between",
    }  # fmt: skip
    entities = [entity for meaning in meanings for entity in meaning.entities]
    assert any(entity.some is not None for entity in entities)
    assert {entity.count for entity in entities} >= {1, 2, 3}
    assert any("place" in entity.looks for entity in entities)
    assert any("shape" not in entity.looks for entity in entities)
    assert 0.1 < np.mean([meaning.background is not None for meaning in meanings]) < 0.3
    assert all(len(entity.looks) >= 2 for entity in entities if entity.count == 1)


def test_the_words_say_what_the_meaning_claims(many):
    for _, captions in many:
        for caption in captions:
            for entity in caption.meaning.entities:
                looks = dict(entity.looks)
                shape = looks.pop("shape", None)
                if shape is not None:
                    nouns = [forms[entity.count > 1] for forms in SHAPE_WORDS[shape]]
                    assert any(re.search(rf"\b{noun}\b", caption.text) for noun in nouns), caption
                if "colour" in looks:
                    assert any(word in caption.text for word in COLOUR_WORDS[looks["colour"]]), caption
                if "size" in looks:
                    assert any(word in caption.text for word in SIZE_WORDS[looks["size"]]), caption


def test_vocabulary_size(many):
    words = {word for _, captions in many for caption in captions for word in caption.text.split()}
    assert 120 <= len(words) <= 200


def test_articles_fit(many):
    for _, captions in many:
        for caption in captions:
            words = caption.text.split()
            for first, second in pairwise(words):
                if first in ("a", "an"):
                    assert (first == "an") == (second[0] in "aeiou"), caption.text
    assert article("orange") == "an"
    assert article("house") == "a"


def test_spaces_and_commas_are_single(many):
    for _, captions in many:
        for caption in captions:
            assert re.fullmatch(r"[a-z-]+( ([a-z-]+|,(?! ,)))*", caption.text), caption.text
            assert not caption.text.endswith(",")


def test_without_synonyms_each_meaning_has_one_noun(many):
    said = Counter()
    for scene, _ in many[:80]:
        for caption in write_captions(scene, rng(), options(synonyms=False)):
            said.update(caption.text.split())
    other = {
        word
        for forms in SHAPE_WORDS.values()
        for singular, plural in forms[1:]
        for word in (singular, plural)
    }
    other |= {word for words in (*COLOUR_WORDS.values(), *SIZE_WORDS.values()) for word in words[1:]}
    assert not other & set(said)


def test_dropout_takes_words_away(many):
    def attributes(dropout):
        meanings = [
            caption.meaning
            for scene, _ in many[:80]
            for caption in write_captions(scene, rng(), options(attribute_dropout=dropout))
        ]
        return np.mean(
            [len(e.looks) - ("place" in e.looks) for m in meanings for e in m.entities if e.count == 1]
        )

    assert attributes(0.0) > attributes(0.35) + 0.3
    assert attributes(0.35) > attributes(0.8) + 0.3


def test_background_is_named_always_or_never(many):
    for odds in (0.0, 1.0):
        captions = write_captions(many[0][0], rng(), options(background_mentions=odds))
        assert [caption.meaning.background is not None for caption in captions] == [bool(odds)] * 5


def test_a_scene_of_equals_still_gets_five_captions():
    things = tuple(Thing("star", "red", "medium", "plain", 0.5, 0.5, 0.13, 0.0) for _ in range(3))
    captions = write_captions(
        Scene("white", things, ()),
        rng(),
        options(attribute_dropout=0.0, background_mentions=0.0, synonyms=False),
    )
    assert len(captions) == 5


@pytest.mark.parametrize(
    ("meaning", "text"),
    [
        (
            Meaning(
                (Entity({"shape": "circle", "colour": "red", "size": "big"}), Entity({"shape": "star"}, 2)),
                (Relation("above", (0, 1)),),
            ),
            "a big red circle is above two stars",
        ),
        (
            Meaning(
                (Entity({"shape": "star"}, 2), Entity({"colour": "orange"})),
                (Relation("behind", (0, 1)),),
                "dark",
            ),
            "two stars are behind an orange shape on a dark background",
        ),
        (
            Meaning(
                tuple(Entity({"shape": s}) for s in ("moon", "house", "arrow")),
                (Relation("between", (0, 1, 2)),),
            ),
            "a moon is between a house and an arrow",
        ),
        (
            Meaning(
                tuple(Entity({"shape": s}) for s in ("moon", "house", "arrow")),
                (Relation("next_to", (0, 1)),),
            ),
            "a moon is next to a house , and an arrow",
        ),
        (
            Meaning(
                (
                    Entity({"shape": "triangle"}, 3, {"colour": "yellow"}, 1),
                    Entity({"shape": "moon", "texture": "striped", "place": "top left"}),
                )
            ),
            "there are three triangles , one of them yellow , and a striped moon in the top left corner",
        ),
        (
            Meaning((Entity({"shape": "ring"}), Entity({"shape": "cross"}, 2, {"shape": "arrow"}, 1))),
            "there is a ring and two crosses , one of them an arrow",
        ),
        (
            Meaning(tuple(Entity({"shape": s}) for s in ("moon", "house", "arrow"))),
            "there is a moon , a house and an arrow",
        ),
    ],
)
def test_plain_sentences(meaning, text):
    class Never:
        """Chance that never adds an opener or a tail where there is a choice."""

        def random(self):
            return 0.99

    assert Speaker(Never(), synonyms=False).sentence(meaning) == text


def test_openers_replace_the_verb_and_tails_follow_the_noun():
    class Always:
        def random(self):
            return 0.0

    meaning = Meaning(
        (Entity({"shape": "star", "texture": "striped"}), Entity({"shape": "ring"})),
        (Relation("above", (0, 1)),),
    )
    assert Speaker(Always(), synonyms=False).sentence(meaning) == "there is a star with stripes above a ring"
