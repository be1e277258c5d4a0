"""A sheet of pictures with their captions underneath, to look at data or at what a model retrieved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

PAPER = (255, 255, 255)
CARD = (244, 245, 248)
FRAME = (206, 209, 218)
INK = (28, 30, 38)
FAINT = (96, 101, 116)
GAP = 14
PADDING = 12
LINE_SPACING = 1.25
"""Height of a line of text, in font sizes."""

HANG = 12
"""How far the lines of a caption after its first are moved to the right, in pixels."""


@dataclass(frozen=True)
class SheetEntry:
    """One picture of a sheet, or two to be compared.

    Attributes:
        picture: any size and mode; shown as RGB, shrunk or enlarged to fit.
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
    entries: Sequence[SheetEntry], columns: int = 4, width: int = 300, font_size: int = 14, title: str = ""
) -> Image.Image:
    """Lay out pictures in rows, each, or each two, over their captions.

    Args:
        entries: the pictures, row by row; at least one.
        columns: pictures a row, at least 1; fewer where there are fewer entries.
        width: width of a picture, or of two side by side, on the sheet in pixels, at least 64.
        font_size: height of the caption letters in pixels, at least 6.
        title: a heading over the whole sheet; empty for none.

    Returns:
        An RGB image, as large as it needs to be; all cards of a row are equally high.

    Raises:
        ValueError: there are no entries, or a number is too small.
    """
    if not entries:
        raise ValueError("a contact sheet needs at least one entry, got none")
    for name, value, least in (("columns", columns, 1), ("width", width, 64), ("font_size", font_size, 6)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    font = ImageFont.load_default(size=font_size)
    bold = ImageFont.load_default(size=font_size + 2)
    cards = [_card(entry, width, font, bold, font_size) for entry in entries]
    columns = min(columns, len(cards))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    heading = ImageFont.load_default(size=font_size + 6)
    title_lines = wrap(title, heading, columns * (width + 2 * PADDING + GAP) - GAP) if title else []
    top = GAP + round(len(title_lines) * (font_size + 6) * LINE_SPACING) + (GAP if title_lines else 0)
    size = (GAP + columns * (width + 2 * PADDING + GAP), top + sum(heights) + GAP * len(rows))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, line in enumerate(title_lines):
        pen.text((GAP, GAP + round(index * (font_size + 6) * LINE_SPACING)), line, fill=INK, font=heading)
    y = top
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            x = GAP + column * (width + 2 * PADDING + GAP)
            pen.rectangle((x, y, x + card.width - 1, y + height - 1), fill=CARD)
            sheet.paste(card, (x, y))
            pen.rectangle((x, y, x + card.width - 1, y + height - 1), outline=FRAME)
        y += height + GAP
    return sheet


def _card(entry: SheetEntry, width: int, font: Font, bold: Font, font_size: int) -> Image.Image:
    top = _pictures(entry, width, font, font_size)
    # (text, indent, font, colour, gap above)
    written: list[tuple[str, int, Font, tuple[int, int, int], int]] = []
    if entry.label:
        written.extend((line, 0, bold, FAINT, 0) for line in wrap(entry.label, bold, width))
    for caption in entry.lines:
        lines = wrap(caption, font, width, HANG)
        written.extend(
            (line, 0 if index == 0 else HANG, font, INK, 4 if index == 0 else 0)
            for index, line in enumerate(lines)
        )
    step = round(font_size * LINE_SPACING)
    text_height = sum(step + gap + (2 if used is bold else 0) for _, _, used, _, gap in written)
    card = Image.new("RGB", (width + 2 * PADDING, top.height + text_height + 3 * PADDING), CARD)
    card.paste(top, (PADDING, PADDING))
    pen = ImageDraw.Draw(card)
    y = top.height + 2 * PADDING
    for text, indent, used, colour, gap in written:
        y += gap
        pen.text((PADDING + indent, y), text, fill=colour, font=used)
        y += step + (2 if used is bold else 0)
    return card


def _pictures(entry: SheetEntry, width: int, font: Font, font_size: int) -> Image.Image:
    """The picture of a card, or both of them side by side, with their names underneath."""
    shown = [entry.picture] if entry.beside is None else [entry.picture, entry.beside]
    each = (width - PADDING * (len(shown) - 1)) // len(shown)
    sized = [
        picture.convert("RGB").resize(
            (each, max(1, round(each * picture.height / picture.width))), Image.Resampling.LANCZOS
        )
        for picture in shown
    ]
    names = [wrap(name, font, each) if name else [] for name in entry.names]
    step = round(font_size * LINE_SPACING)
    bottom = max(picture.height for picture in sized)
    lowest = max(map(len, names), default=0)
    area = Image.new("RGB", (width, bottom + step * lowest + (6 if lowest else 0)), CARD)
    pen = ImageDraw.Draw(area)
    for place, picture in enumerate(sized):
        area.paste(picture, (place * (each + PADDING), 0))
    for place, lines in enumerate(names):
        for index, line in enumerate(lines):
            pen.text((place * (each + PADDING), bottom + 2 + index * step), line, fill=FAINT, font=font)
    return area


def wrap(text: str, font: Font, width: int, hang: int = 0) -> list[str]:
    """Break a text into lines that fit.

    Args:
        text: any text; runs of white space count as one space, and no line starts with a lone comma.
        font: the font it is written in.
        width: room for a line in pixels; a word wider than that is broken too.
        hang: room the lines after the first have less, in pixels.

    Returns:
        The lines, at least one; an empty text gives one empty line.
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
    """The pieces a text may be broken into: words, with the punctuation that follows them."""
    words: list[str] = []
    for piece in text.split():
        if words and not any(letter.isalnum() for letter in piece):
            words[-1] += " " + piece
        else:
            words.append(piece)
    return words
