"""The section on how words were moved to the regions of pictures, drawn over the pictures."""

from __future__ import annotations

from collections.abc import Sequence

from robustcmr.reporting.gallery import Alignment
from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.heat_map import heat_map
from robustcmr.reporting.page.html import Html, joined, tag
from robustcmr.reporting.page.parts import folded

_FAINTEST = 0.04  # share of a word's mass, below which its region is not drawn


def alignment_section(cards: Sequence[Alignment], note: str | None) -> Section:
    """Transport plans between regions and words.

    Args:
        cards: one a picture with its caption.
        note: why there are none, or None.
    """
    parts: list[Html | None] = []
    if cards:
        parts.append(
            tag(
                "p",
                "Over each word, the regions of the picture that its mass comes from: the deeper the tint, "
                "the more; the strongest has a bold frame. Pictures and captions belong to each other.",
            )
        )
    parts.append(sentence(note) if note is not None else None)
    parts += [_alignment(number, card) for number, card in enumerate(cards)]
    return Section("alignment", "From regions to words", joined(*parts))


def word_shares(card: Alignment) -> list[list[float]]:
    """(R, W) share of each word's mass that comes from each region; columns sum to 1."""
    total = card.plan.sum(axis=0)  # (W,)
    shares: list[list[float]] = (card.plan / total.clip(min=1e-30)).tolist()
    return shares


def _alignment(number: int, card: Alignment) -> Html:
    shares = word_shares(card)
    regions = [f"{index + 1}" for index in range(len(shares))]
    table = heat_map(
        "Share of each word's mass (column) that comes from each region (row), in percent",
        "region",
        regions,
        card.words,
        shares,
        lambda share: share**0.5,
        lambda share: tag("data", f"{100 * share:.0f}", value=repr(share)),
    )
    drawn = card.boxes is not None and card.shot.picture is not None
    return tag(
        "article",
        tag("h3", "“", card.caption, "”"),
        _pictures(number, card, shares) if drawn else None,
        folded("Plan as numbers", table) if drawn else table,
    )


def _pictures(number: int, card: Alignment, shares: Sequence[Sequence[float]]) -> Html:
    shot = card.shot.picture
    if shot is None or card.boxes is None:
        raise ValueError("there is nothing to draw on; give a picture and its boxes")
    key = f"scene-{number}"
    image = tag("image", id=key, href=shot.uri, width=shot.width, height=shot.height)
    tiles = []
    for place, word in enumerate(card.words):
        held = [line[place] for line in shares]
        best = max(range(len(held)), key=held.__getitem__)
        boxes = [
            _box(card.boxes[region].tolist(), shot.width, shot.height, held[region], region == best)
            for region in sorted(range(len(held)), key=held.__getitem__)
            if held[region] >= _FAINTEST or region == best
        ]
        said = f"{word}: {held[best]:.0%} of its mass from region {best + 1}"
        drawing = tag(
            "svg",
            image if place == 0 else tag("use", href=f"#{key}"),
            *boxes,
            viewBox=f"0 0 {shot.width} {shot.height}",
            role="img",
            aria_label=said,
        )
        tiles.append(tag("li", drawing, tag("strong", word), f" {held[best]:.0%}"))
    return tag("ul", *tiles, class_="words")


def _box(box: list[float], width: int, height: int, share: float, best: bool) -> Html:
    left, top, right, bottom = box
    at = {
        "x": left * width,
        "y": top * height,
        "width": (right - left) * width,
        "height": (bottom - top) * height,
    }
    tint = tag("rect", **at, class_="tint", fill_opacity=round(0.5 * share, 3))
    if not best:
        return joined(tint, tag("rect", **at, class_="box", stroke_opacity=round(min(1.0, 2 * share), 3)))
    return joined(tint, tag("rect", **at, class_="halo"), tag("rect", **at, class_="box"))
