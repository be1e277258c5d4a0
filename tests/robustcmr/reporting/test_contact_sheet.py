import weakref

import numpy as np
import pytest
from PIL import Image, ImageFont

from robustcmr.reporting.contact_sheet import (
    CARD,
    FRAME,
    GAP,
    HANG,
    INK,
    PADDING,
    SheetEntry,
    contact_sheet,
    wrap,
)

FONT = ImageFont.load_default(size=14)


def entry(colour=(200, 30, 30), lines=("a red card",), label="", size=(50, 50)):
    return SheetEntry(Image.new("RGB", size, colour), lines, label)


def test_pictures_stand_in_rows():
    tones = [(10 * i + 5, 200 - 10 * i, 90) for i in range(5)]
    sheet = contact_sheet([entry(tone) for tone in tones], columns=3, width=100)
    assert sheet.mode == "RGB"
    step = 100 + 2 * PADDING + GAP
    assert sheet.width == GAP + 3 * step
    row = (sheet.height - GAP) // 2
    for index, tone in enumerate(tones):
        x = GAP + PADDING + (index % 3) * step + 50
        y = GAP + PADDING + (index // 3) * row + 50
        assert sheet.getpixel((x, y)) == tone


def test_few_entries_make_a_narrow_sheet():
    assert contact_sheet([entry()], columns=4, width=100).width == 100 + 2 * PADDING + 2 * GAP


def test_form_of_the_picture_is_kept_and_any_mode_is_taken():
    wide = SheetEntry(Image.new("L", (80, 20), 77), [])
    sheet = np.asarray(contact_sheet([wide], width=200))
    rows, columns = np.nonzero((sheet == 77).all(axis=-1))
    assert np.ptp(columns) + 1 == 200
    assert np.ptp(rows) + 1 == 50


def test_pictures_are_turned_upright():
    picture = Image.new("RGB", (80, 20), (10, 160, 60))
    picture.getexif()[0x0112] = 6
    sheet = np.asarray(contact_sheet([SheetEntry(picture, [])], width=100))
    rows, columns = np.nonzero((sheet == (10, 160, 60)).all(axis=-1))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (300, 75)  # at most three widths high


def test_sixteen_bits_and_transparency_are_shown():
    deep = SheetEntry(Image.fromarray(np.full((9, 9), 200 * 257, dtype=np.uint16)), [])
    clear = SheetEntry(Image.new("RGBA", (9, 9), (200, 30, 20, 0)), [])
    for entry, colour in ((deep, (200, 200, 200)), (clear, (255, 255, 255))):
        assert contact_sheet([entry], width=100).getpixel((GAP + PADDING + 50, GAP + PADDING + 50)) == colour


def test_a_tall_picture_does_not_make_a_huge_sheet():
    assert contact_sheet([SheetEntry(Image.new("L", (1, 5000)), [])], width=100).height < 400


def test_a_text_of_a_million_letters_does_not_make_a_huge_sheet():
    sheets = [contact_sheet([entry(lines=["x" * length])], width=100) for length in (1100, 1_000_000)]
    assert sheets[0].height == sheets[1].height < 3000


def test_pictures_are_let_go_one_by_one():
    alive = set()

    def entries():
        for number in range(4):
            picture = Image.new("RGB", (9, 9))
            alive.add(number)
            weakref.finalize(picture, alive.discard, number)
            yield SheetEntry(picture, [])
            del picture
            assert len(alive) <= 2

    contact_sheet(entries(), width=100)


def ink_rows(sheet):
    """How many separate bands of writing there are."""
    dark = (np.asarray(sheet).astype(int).sum(axis=-1) < 300).any(axis=1).astype(int)
    return int((np.diff(np.concatenate([[0], dark])) == 1).sum())


def test_every_line_is_written():
    # letters without gaps between their parts, so that each line is one band
    blank = entry((255, 255, 255), [])
    assert ink_rows(contact_sheet([blank], width=200)) == 0
    for n in (1, 3, 5):
        lines = ["mmm nnn"] * n
        assert ink_rows(contact_sheet([entry((255, 255, 255), lines)], width=200)) == n


def test_long_captions_are_wrapped_not_cut():
    short = contact_sheet([entry((255, 255, 255), ["mmm"])], width=120)
    long = contact_sheet([entry((255, 255, 255), [" ".join(["mmm"] * 20)])], width=120)
    assert long.width == short.width
    assert ink_rows(long) >= 5
    # nothing is written in the padding at the right
    strip = np.asarray(long)[GAP + 3 : -GAP - 3, GAP + PADDING + 121 : GAP + 2 * PADDING + 118]
    assert (strip == CARD).all()


def test_cards_of_a_row_are_equally_high_and_rows_as_high_as_needed():
    tall = entry(lines=["word " * 40])
    assert contact_sheet([tall, entry()], columns=2).height == contact_sheet([tall], columns=2).height
    assert contact_sheet([tall, entry()], columns=1).height > contact_sheet([tall, entry()], columns=2).height


def test_label_and_title_take_room_and_are_written():
    plain = contact_sheet([entry((255, 255, 255))], width=200)
    labelled = contact_sheet([entry((255, 255, 255), label="mmm")], width=200)
    titled = contact_sheet([entry((255, 255, 255))], width=200, title="mmm")
    assert labelled.height > plain.height
    assert titled.height > plain.height
    band = np.asarray(titled)[: GAP + 25].astype(int).sum(axis=-1)
    assert band.min() < sum(INK) + 60


def test_larger_letters_need_more_room():
    lines = ["a small yellow star above a big blue ring on a dark background"]
    small, large = (contact_sheet([entry(lines=lines)], font_size=size) for size in (10, 24))
    assert large.height > small.height + 20


def test_wrapped_lines_fit_and_say_everything():
    text = "there are three triangles , one of them yellow , and a striped moon in the corner"
    lines = wrap(text, FONT, 120, hang=12)
    assert len(lines) > 3
    assert " ".join(lines) == text
    assert FONT.getlength(lines[0]) <= 120
    assert all(FONT.getlength(line) <= 108 for line in lines[1:])


def test_no_line_starts_with_a_comma():
    text = "mmmmmm , " * 20
    for width in range(100, 160, 5):
        assert not any(line.startswith(",") for line in wrap(text, FONT, width))


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_to_say_is_one_empty_line(text):
    assert wrap(text, FONT, 100) == [""]


def test_a_word_wider_than_the_room_is_broken():
    lines = wrap("so " + "x" * 80 + " end", FONT, 90)
    assert all(FONT.getlength(line) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == "so" + "x" * 80 + "end"


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"width": 10}, {"font_size": 2}])
def test_too_small_numbers_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        contact_sheet([entry()], **wrong)


def test_no_entries_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_lines_after_the_first_are_moved_to_the_right():
    sheet = np.asarray(contact_sheet([entry((255, 255, 255), ["mmm " * 12])], width=150)).astype(int)
    dark = sheet.sum(axis=-1) < 300
    starts = np.concatenate([[0], np.flatnonzero(np.diff(dark.any(axis=1).astype(int)) == 1) + 1])[1:]
    first, second = (int(np.flatnonzero(dark[row : row + 8].any(axis=0))[0]) for row in starts[:2])
    assert second - first == HANG


def test_cards_are_framed_with_paper_between_them():
    sheet = np.asarray(contact_sheet([entry()] * 2, columns=1, width=100))
    framed = (sheet[:, GAP + 5] == FRAME).all(axis=-1)
    first, second, third, fourth = np.flatnonzero(framed)
    assert first == GAP
    assert third - second == GAP + 1
    assert fourth == len(sheet) - GAP - 1
    assert (sheet[second + 1 : third] == 255).all()


def test_two_pictures_stand_side_by_side():
    red, blue = Image.new("RGB", (50, 50), (200, 30, 30)), Image.new("RGB", (40, 80), (30, 30, 200))
    sheet = np.asarray(contact_sheet([SheetEntry(red, [], beside=blue)], width=200))
    each = (200 - PADDING) // 2
    for colour, left, height in (((200, 30, 30), 0, each), ((30, 30, 200), each + PADDING, 2 * each)):
        rows, columns = np.nonzero((sheet == colour).all(axis=-1))
        assert columns.min() == GAP + PADDING + left
        assert np.ptp(columns) + 1 == each
        assert rows.min() == GAP + PADDING
        assert np.ptp(rows) + 1 == height


def test_names_stand_under_their_pictures():
    white = Image.new("RGB", (50, 50), (255, 255, 255))
    plain, left, right, both, long = (
        contact_sheet([SheetEntry(white, [], beside=white, names=names)], width=200)
        for names in ((), ("mmm",), ("", "mmm"), ("mmm", "mmm"), ("mmm " * 6, "mmm"))
    )
    assert plain.height < left.height == right.height == both.height < long.height
    half = GAP + PADDING + 100

    def inked(sheet):
        dark = np.asarray(sheet).astype(int).sum(axis=-1)[GAP + PADDING + 94 :, GAP + 2 : -GAP - 2] < 600
        return bool(dark[:, : half - GAP - 2].any()), bool(dark[:, half - GAP - 2 :].any())

    assert [inked(sheet) for sheet in (left, right, both)] == [(True, False), (False, True), (True, True)]


def test_letters_of_a_name_are_not_cut_at_their_feet():
    white = Image.new("RGB", (50, 50), (255, 255, 255))

    def depth(name):
        sheet = np.asarray(contact_sheet([SheetEntry(white, [], names=(name,))], width=100)).astype(int)
        return int(np.flatnonzero((sheet.sum(axis=-1)[:, GAP + 2 : -GAP - 2] < 500).any(axis=1)).max())

    assert depth("ggg") > depth("mmm") + 2
