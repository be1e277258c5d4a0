"""Tables in a notebook: nothing of the data is taken for markup, pictures are inside."""

from __future__ import annotations

from PIL import Image

from robustcmr.reporting.hits import Hit, Hits
from robustcmr.reporting.notebook import notebook_html, small_picture

EVIL = "<script>alert(1)</script>"


def picture(row):
    return Image.new("RGB", (300, 200), (row, 0, 0))


def test_texts_are_escaped():
    html = notebook_html(
        EVIL, (EVIL,), [(EVIL,), ((EVIL, "second"),), (small_picture(EVIL, None, 0),)], [EVIL]
    )
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 6
    assert "<br>second" in html


def test_numbers_and_pictures():
    html = notebook_html("title", ("a", "b"), [(3, small_picture("name", picture, 7))])
    assert 'text-align: right; vertical-align: top">3<' in html
    assert html.count('<img src="data:image/webp;base64,') == 1
    assert 'width="112"' in html
    assert 'alt="name"' in html


def test_hits_are_a_sequence_with_two_views():
    hits = Hits(
        f"a {EVIL}\nstar",
        "images",
        (Hit(1, 0.512, 4, EVIL, ("one", "two")), Hit(2, -0.1, 0, "b.png", ())),
        searched=9,
        search="faiss",
        unknown_words=("zebra",),
        _pictures=(picture, lambda: picture(0)),
    )
    assert [hit.index for hit in hits] == [4, 0]
    assert len(hits[:1]) == 1
    text = repr(hits)
    assert "The best 2 of 9 images for 'a <script>alert(1)</script> star'" in text
    assert "0.51" in text
    assert "one; two" in text
    assert "never seen the words 'zebra'" in text
    assert "may miss some" in text
    html = hits._repr_html_()
    assert "<script>" not in html
    assert html.count("<img") == 3
    assert hits.values()["hits"][1] == {"rank": 2, "score": -0.1, "index": 0, "name": "b.png", "captions": ()}
