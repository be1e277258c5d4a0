"""Sections with pictures: suspects, corrected labels, and the best and worst queries."""

from __future__ import annotations

from collections.abc import Sequence

from robustcmr.reporting.gallery import Answer, DoubtCard, Moved, QueryCard, Shot, SuspectCard
from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.html import Html, joined, rounded, shown, tag
from robustcmr.reporting.page.parts import folded

FIRST, PAGE = 12, 48
"""Cards shown at once, and of each further list, which is folded away and costs nothing until opened."""


def suspects_section(cards: Sequence[SuspectCard], total: int | None, note: str | None) -> Section:
    """The worst suspects.

    Args:
        cards: worst first.
        total: how many pairs are suspected in all; None where that is not known.
        note: why there are none, or a word on what is missing; None for nothing to say.
    """
    head = None
    if cards and total is not None:
        text = f"The worst {len(cards):,} of {total:,} suspected pairs, worst first."
        if any(card.plan for card in cards) and any(card.plan is None for card in cards):
            text += " Pairs without a rematching were in no rematched batch of the last epoch."
        head = tag("p", text)
    parts = [head, sentence(note) if note is not None else None, paged([_suspect(card) for card in cards])]
    return Section("suspects", "Worst suspects", joined(*parts))


def doubts_section(cards: Sequence[DoubtCard], total: int | None, note: str | None) -> Section:
    """The labels that are doubted most; see :func:`suspects_section`."""
    head = None
    if cards and total is not None:
        head = tag("p", f"The {len(cards):,} most doubted of {total:,} corrected labels.")
    parts = [head, sentence(note) if note is not None else None, paged([_doubt(card) for card in cards])]
    return Section("doubts", "Doubted labels", joined(*parts))


def queries_section(
    groups: Sequence[tuple[str, Sequence[QueryCard]]], split: str, note: str | None
) -> Section:
    """The best and worst queries of a split with their five best answers."""
    parts: list[Html | None] = []
    if groups:
        parts.append(
            tag(
                "p",
                f"On the {split} split, with the best epoch. Best: the right answer leads by most. Worst: "
                "it ranks lowest. Right answers are marked.",
            )
        )
    parts.append(sentence(note) if note is not None else None)
    for title, cards in groups:
        parts.append(tag("h3", title))
        parts.append(paged([_query(card) for card in cards], FIRST // 4))
    return Section("queries", "Best and worst queries", joined(*parts))


def paged(cards: Sequence[Html], first: int = FIRST) -> Html | None:
    """Cards as a list, those behind the first few folded away in lists of :data:`PAGE`."""
    if not cards:
        return None
    parts = [tag("ul", *cards[:first], class_="cards")]
    for start in range(first, len(cards), PAGE):
        page = cards[start : start + PAGE]
        parts.append(folded(f"{start + 1:,} to {start + len(page):,}", tag("ul", *page, class_="cards")))
    return joined(*parts)


def picture(shot: Shot, alt: str, *lines: Html | str) -> Html:
    """A picture with its name and what is said of it; the name alone where there is no picture."""
    image = None
    if shot.picture is not None:
        image = tag(
            "img",
            src=shot.picture.uri,
            width=shot.picture.width,
            height=shot.picture.height,
            alt=alt,
            loading="lazy",
            decoding="async",
        )
    caption = tag("figcaption", *(joined(line, tag("br")) for line in lines), shot.name)
    return tag("figure", image, caption, class_="shot")


def _suspect(card: SuspectCard) -> Html:
    truth = None
    if card.mismatched is not None:
        wrong = card.mismatched
        truth = tag(
            "p",
            tag("span", "mismatched in truth", class_="good")
            if wrong
            else tag("span", "right in truth", class_="bad"),
        )
    shots = [
        picture(card.given, f"Given picture, {card.given.name}", joined("given, score ", shown(card.score)))
    ]
    if card.suggested is not None:
        score = joined("suggested, score ", shown(card.suggested_score))
        shots.append(picture(card.suggested, f"Suggested picture, {card.suggested.name}", score))
    margin = [] if card.margin is None else [", margin ", shown(card.margin, 3)]
    return tag(
        "li",
        tag("h3", f"Pair {card.pair}"),
        tag("div", *shots, class_="pair"),
        tag("p", "“", card.caption, "”"),
        tag(
            "p",
            "P(clean) ",
            shown(card.clean_probability, 3),
            ", evidence ",
            shown(card.evidence, 3),
            *margin,
        ),
        truth,
        _plan(card.plan),
    )


def _plan(plan: tuple[Moved, ...] | None) -> Html | None:
    if plan is None:
        return None
    if not plan:
        return sentence("In its batch no mass was moved to this caption.")
    items = []
    for moved in plan:
        lines: list[Html | str] = [tag("data", f"{100 * moved.share:.1f}%", value=repr(moved.share))]
        if moved.fits is not None:
            lines.append(
                tag("span", "fits", class_="good") if moved.fits else tag("span", "does not", class_="bad")
            )
        items.append(tag("li", picture(moved.shot, f"Rematched picture, {moved.shot.name}", *lines)))
    return tag(
        "details",
        tag("summary", "Rematched in its batch with"),
        tag("ul", *items, class_="five"),
    )


def _doubt(card: DoubtCard) -> Html:
    evidence = [] if card.evidence is None else [", evidence ", shown(card.evidence, 3)]
    return tag(
        "li",
        tag("h3", f"Pair {card.pair}"),
        picture(card.shot, f"Picture of pair {card.pair}") if card.shot.picture is not None else None,
        tag("p", "given ", tag("strong", card.given), ", taken for ", tag("strong", card.corrected)),
        tag("p", "confidence ", shown(card.confidence, 3), *evidence),
        tag("p", "“", card.caption, "”") if card.caption is not None else None,
    )


def _query(card: QueryCard) -> Html:
    lead = f"right answer at rank {card.rank:,}, lead {rounded(card.lead, 3)}"
    asked = (
        tag("p", "“", card.caption, "”")
        if card.shot is None
        else picture(card.shot, f"Query picture, {card.shot.name}")
    )
    by_text = all(answer.shot is None for answer in card.answers)
    draw = _text_answer if by_text else _picture_answer
    answers = [draw(answer, f"Answer {number}") for number, answer in enumerate(card.answers, 1)]
    kind = "texts" if by_text else "five"
    parts = [asked, tag("p", lead), tag("ol", *answers, class_=kind)]
    if card.missed is not None:
        parts.append(tag("p", "Right would have been:"))
        parts.append(tag("ul", draw(card.missed, "Right answer"), class_=kind))
    return tag("li", *parts)


def _text_answer(answer: Answer, name: str) -> Html:
    del name
    return tag("li", answer.caption, " ", _verdict(answer))


def _picture_answer(answer: Answer, name: str) -> Html:
    if answer.shot is None:
        raise ValueError("this answer is a caption; give one that is an image")
    alt = f"{name}{', right' if answer.right else ''}: {answer.shot.name}"
    return tag("li", picture(answer.shot, alt, _verdict(answer)), class_="right" if answer.right else None)


def _verdict(answer: Answer) -> Html:
    return joined(shown(answer.score, 3), tag("span", " right", class_="good") if answer.right else None)
