"""A sheet of pictures with their captions underneath, to look at data or at what a model retrieved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from noise_injection.printing import visible
from robustcmr.data.picture_files import upright_rgb

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Colour = tuple[int, int, int]

PAPER = (255, 255, 255)
CARD = (244, 245, 248)
FRAME = (206, 209, 218)
INK = (28, 30, 38)
FAINT = (96, 101, 116)
GAP = 14
PADDING = 12
LINE_SPACING = 1.25
"""Height of a line of text, in font sizes."""

TALLEST = 3
"""Largest height of a picture on a sheet, in its widths."""

LONGEST = 1000
"""Letters of a text that are written; the rest becomes an ellipsis."""

HANG = 12
"""How far the lines of a caption after its first are moved to the right, in pixels."""


@dataclass(frozen=True)
class SheetEntry:
    """One picture of a sheet, or two to be compared.

    Attributes:
        picture: any size and mode; shown upright in RGB, shrunk or enlarged to fit.
        lines: captions, each wrapped by itself.
        label: a short heading over the captions; empty for none.
        beside: a second picture at the right of the first, both then half as wide; None for none.
        names: what stands under each picture, at most one a picture; empty for nothing.
    """

    picture: Image.Image
    lines: Sequence[str]
    label: str = ""
    beside: Image.Image | None = None
    names: Sequence[str] = ()


def contact_sheet(
    entries: Iterable[SheetEntry], columns: int = 4, width: int = 300, font_size: int = 14, title: str = ""
) -> Image.Image:
    """Lay out pictures in rows, each, or each two, over their captions.

    Args:
        entries: the pictures, row by row; at least one. Each is let go once it is drawn.
        columns: pictures a row, at least 1; fewer where there are fewer entries.
        width: width of a picture, or of two side by side, on the sheet in pixels, at least 64.
        font_size: height of the caption letters in pixels, at least 6.
        title: a heading over the whole sheet; empty for none.

    Returns:
        An RGB image, as large as it needs to be; all cards of a row are equally high.

    Raises:
        ValueError: there are no entries, or a number is too small.
    """
    for name, value, least in (("columns", columns, 1), ("width", width, 64), ("font_size", font_size, 6)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    cards = [_card(entry, width, font_size) for entry in entries]
    if not cards:
        raise ValueError("a contact sheet needs at least one entry, got none")
    columns = min(columns, len(cards))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    each = width + 2 * PADDING + GAP
    heading = _written(title, font_size + 6, columns * each - GAP, INK, PAPER) if title else None
    y = GAP if heading is None else heading.height + 2 * GAP
    sheet = Image.new("RGB", (GAP + columns * each, y + sum(heights) + GAP * len(rows)), PAPER)
    if heading is not None:
        sheet.paste(heading, (GAP, GAP))
    pen = ImageDraw.Draw(sheet)
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            x = GAP + column * each
            pen.rectangle((x, y, x + card.width - 1, y + height - 1), fill=CARD)
            sheet.paste(card, (x, y))
            pen.rectangle((x, y, x + card.width - 1, y + height - 1), outline=FRAME)
        y += height + GAP
    return sheet


def _card(entry: SheetEntry, width: int, font_size: int) -> Image.Image:
    parts = [_pictures(entry, width, font_size), Image.new("RGB", (width, PADDING), CARD)]
    if entry.label:
        parts.append(_written(entry.label, font_size + 2, width, FAINT))
    parts += [_written(line, font_size, width, INK, hang=HANG, above=4) for line in entry.lines]
    card = Image.new("RGB", (width + 2 * PADDING, sum(part.height for part in parts) + 2 * PADDING), CARD)
    y = PADDING
    for part in parts:
        card.paste(part, (PADDING, y))
        y += part.height
    return card


def _pictures(entry: SheetEntry, width: int, font_size: int) -> Image.Image:
    """The picture of a card, or both of them side by side, with their names underneath."""
    shown = [entry.picture] if entry.beside is None else [entry.picture, entry.beside]
    each = (width - PADDING * (len(shown) - 1)) // len(shown)
    sized = [_fitted(upright_rgb(picture), each) for picture in shown]
    names = [_written(name, font_size, each, FAINT, above=2) for name in entry.names]
    bottom = max(picture.height for picture in sized)
    area = Image.new("RGB", (width, bottom + max((name.height + 4 for name in names), default=0)), CARD)
    for place, picture in enumerate(sized):
        area.paste(picture, (place * (each + PADDING), 0))
    for place, name in enumerate(names):
        area.paste(name, (place * (each + PADDING), bottom))
    return area


def _fitted(picture: Image.Image, width: int) -> Image.Image:
    """A picture resized to a width, or to the largest height where that would be exceeded."""
    scale = min(width / picture.width, TALLEST * width / picture.height)
    size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _written(
    text: str, size: int, width: int, ink: Colour, paper: Colour = CARD, hang: int = 0, above: int = 0
) -> Image.Image:
    """A text of a font size in lines, as wide as is said, below some empty pixels."""
    font, step = ImageFont.load_default(size=size), round(size * LINE_SPACING)
    shown = visible(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")
    lines = wrap(shown, font, width, hang)
    area = Image.new("RGB", (width, above + step * len(lines)), paper)
    pen = ImageDraw.Draw(area)
    for place, line in enumerate(lines):
        pen.text((hang if place else 0, above + place * step), line, fill=ink, font=font)
    return area


def wrap(text: str, font: Font, width: int, hang: int = 0) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, those after the first ``hang`` narrower.

    Runs of white space count as one space, no line starts with a lone comma, a word too wide is broken, and
    an empty text gives one empty line.
    """
    lines = [""]
    for word in _words(text):
        room = width - (hang if len(lines) > 1 else 0)
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= room:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            room = width - (hang if len(lines) > 1 else 0)
            if lines[-1] and font.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    return lines


def _words(text: str) -> list[str]:
    """The words of a text, each with the punctuation that follows it."""
    words: list[str] = []
    for piece in text.split():
        if words and not any(letter.isalnum() for letter in piece):
            words[-1] += " " + piece
        else:
            words.append(piece)
    return words
