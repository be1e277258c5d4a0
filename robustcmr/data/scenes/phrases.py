"""From the claims of a caption to a sentence: noun phrases, verbs and word choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from robustcmr.data.scenes import vocabulary as words
from robustcmr.data.scenes.truth import Entity, Meaning

VERBS: tuple[tuple[str, str], ...] = (("is", "are"), ("sits", "sit"), ("stands", "stand"), ("lies", "lie"))
TAIL_ODDS = 0.25
OPENER_ODDS = 0.45

T = TypeVar("T")


class Speaker:
    """Writes sentences; without ``synonyms``, always by the first word of each list."""

    def __init__(self, rng: np.random.Generator, synonyms: bool) -> None:
        self._rng = rng
        self._synonyms = synonyms

    def sentence(self, meaning: Meaning) -> str:
        """Return a caption in lower case, its words and commas separated by single spaces."""
        nouns = [self.noun_phrase(entity) for entity in meaning.entities]
        plural = [entity.count > 1 for entity in meaning.entities]
        relation = meaning.relations[0] if meaning.relations else None
        opened = self._chance(OPENER_ODDS) or relation is None
        opener = self._opener(plural[0]) if opened else ""
        if relation is None:
            text = opener + self._listing(nouns)
        elif relation.name == "between":
            verb = "" if opened else self._verb(plural[0]) + " "
            text = f"{opener}{nouns[0]} {verb}between {nouns[1]} and {nouns[2]}"
        else:
            phrase = self._word(words.RELATION_WORDS[relation.name])
            verb = "" if opened or phrase.startswith("partly") else self._verb(plural[0]) + " "
            text = f"{opener}{nouns[0]} {verb}{phrase} {nouns[1]}"
            if len(nouns) == 3:
                text += f" {self._word((', and', ', plus', 'with'))} {nouns[2]}"
        if meaning.background is not None:
            ground = self._word(words.BACKGROUND_WORDS[meaning.background])
            text += " " + self._word(words.BACKGROUND_PHRASES).format(ground)
        return text

    def noun_phrase(self, entity: Entity) -> str:
        """Return such as "a big red striped circle at the top" or "three triangles , one of them yellow"."""
        looks = entity.looks
        plural = entity.count > 1
        front: list[str] = []
        if "size" in looks:
            front.append(self._word(words.SIZE_WORDS[looks["size"]]))
        if "colour" in looks:
            front.append(self._word(words.COLOUR_WORDS[looks["colour"]]))
        tail = ""
        if "texture" in looks:
            texture = looks["texture"]
            if texture in words.TEXTURE_TAILS and self._chance(TAIL_ODDS):
                tail = " " + self._word(words.TEXTURE_TAILS[texture])
            else:
                front.append(self._word(words.TEXTURE_WORDS[texture]))
        forms = self._word(words.SHAPE_WORDS[looks["shape"]] if "shape" in looks else words.THING_WORDS)
        front.append(forms[1] if plural else forms[0])
        first = words.NUMBER_WORDS[entity.count] if plural else article(front[0])
        text = " ".join([first, *front]) + tail
        if "place" in looks:
            text += " " + self._word(words.PLACE_WORDS[looks["place"]])
        if entity.some is not None:
            text += f" , {words.NUMBER_WORDS[entity.some_count]} of them {self._predicate(entity)}"
        return text

    def _predicate(self, entity: Entity) -> str:
        (key, value), *_ = (entity.some or {}).items()
        if key == "shape":
            noun = self._word(words.SHAPE_WORDS[value])[0]
            return f"{article(noun)} {noun}"
        table = {"colour": words.COLOUR_WORDS, "size": words.SIZE_WORDS, "texture": words.TEXTURE_WORDS}[key]
        return self._word(table[value])

    def _listing(self, nouns: Sequence[str]) -> str:
        text = nouns[0]
        for position, noun in enumerate(nouns[1:], start=2):
            if " of them " in text.rpartition(" , ")[2]:
                text += " ,"
            last = position == len(nouns)
            if last:
                joint = " and " if text.endswith(",") else self._word((" and ", " with ", " together with "))
            else:
                joint = " " if text.endswith(",") else " , "
            text += joint + noun
        return text

    def _opener(self, plural: bool) -> str:
        return self._word(words.OPENERS).format(be="are" if plural else "is")

    def _verb(self, plural: bool) -> str:
        return self._word(VERBS)[1 if plural else 0]

    def _chance(self, odds: float) -> bool:
        return float(self._rng.random()) < odds

    def _word(self, choices: Sequence[T]) -> T:
        return choices[int(self._rng.integers(len(choices)))] if self._synonyms else choices[0]


def article(word: str) -> str:
    """Return the indefinite article of a word."""
    return "an" if word[0] in "aeiou" else "a"
