"""Forms of captions that are compared for equality, each as SQL of DuckDB and as a Python function.

====================  =============================  =======================
caption               plain                          template
====================  =============================  =======================
``A dog, running!``   ``a dog running``              ``a dog running``
``IMG_0012.jpg``      ``img 0012 jpg``               ``img # jpg``
``Lot 7A of 31``      ``lot 7a of 31``               ``lot # of #``
``?!``                ``?!``                         ``?!``
====================  =============================  =======================
"""

from __future__ import annotations

import re
import unicodedata

FILE_NAME = "caption is a file name"
ADDRESS = "caption is a web address"
NO_WORDS = "caption has no words"
PLACEHOLDER = "caption is a placeholder"

PLACEHOLDERS = (
    *("alt", "alt text", "alternative text", "caption", "caption here", "click here", "click to enlarge"),
    *("cover image", "default image", "description", "featured image", "icon", "image", "image alt text"),
    *("image description", "image may contain", "image not available", "image not found", "image result"),
    *("img", "insert caption", "logo", "no alt text", "no caption", "no description", "no image"),
    *("no image available", "photo", "photo of", "photograph", "pic", "picture", "placeholder"),
    *("placeholder image", "profile picture", "screenshot", "thumbnail", "title", "untitled"),
)
"""Plain forms of captions that programs fill in where nobody wrote one."""

_ENDINGS = "avif|bmp|gif|heic|jpe?g|png|svg|tiff?|webp"
_FILE_NAME = rf"^[ \t\n]*[^/ \t\n][^/]*\.({_ENDINGS})[ \t\n]*$"  # of lower-case letters
_ADDRESS = r"^[ \t\n]*(https?://|www\.)[^ \t\n]+[ \t\n]*$"
_NUMBERED = re.compile(r"[a-z\d]+")
_DIGIT = re.compile(r"\d")


def plain(caption: str) -> str:
    """Return a caption composed (NFC), in lower case, with one space for all between letters and digits.

    A caption of signs alone stays as it is.
    """
    lower = _lower(unicodedata.normalize("NFC", caption))
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in lower)
    return " ".join(kept.split()) or caption


def template(caption: str) -> str:
    """Return the plain form with ``#`` for every number, and the Latin letters next to it."""
    return _NUMBERED.sub(lambda run: "#" if _DIGIT.search(run[0]) else run[0], plain(caption))


def saying_nothing(caption: str) -> str | None:
    """Return why a caption describes no picture, whatever the picture; None where it may.

    Returns:
        :data:`FILE_NAME`, :data:`ADDRESS`, :data:`NO_WORDS`, :data:`PLACEHOLDER` or None.
    """
    lower = _lower(caption)
    if re.search(_FILE_NAME, lower):
        return FILE_NAME
    if re.search(_ADDRESS, lower):
        return ADDRESS
    form = plain(caption)
    if not any(unicodedata.category(letter)[0] == "L" for letter in form):
        return NO_WORDS
    return PLACEHOLDER if form in PLACEHOLDERS else None


def _lower(text: str) -> str:
    """Lower case letter by letter, as databases have it: Python looks at the place of a sigma in its word."""
    return text.replace("\u0130", "i").replace("\u03a3", "\u03c3").lower()


def plain_sql(caption: str) -> str:
    """Return the SQL of :func:`plain`; ``caption`` is an expression of text, such as a column."""
    kept = rf"trim(regexp_replace(lower(nfc_normalize({caption})), '[^\pL\pM\pN]+', ' ', 'g'))"
    return f"coalesce(nullif({kept}, ''), {caption})"


def template_sql(plain_form: str) -> str:
    """Return the SQL of :func:`template`; ``plain_form`` is an expression of plain captions."""
    return rf"regexp_replace({plain_form}, '[a-z\p{{Nd}}]*\p{{Nd}}[a-z\p{{Nd}}]*', '#', 'g')"


def saying_nothing_sql(caption: str, plain_form: str) -> str:
    """Return the SQL of :func:`saying_nothing`, null where that is None.

    Args:
        caption: an expression of text.
        plain_form: an expression of its plain form.
    """
    words = ", ".join(f"'{word}'" for word in PLACEHOLDERS)
    return (
        f"CASE WHEN regexp_matches(lower({caption}), '{_FILE_NAME}') THEN '{FILE_NAME}' "
        f"WHEN regexp_matches(lower({caption}), '{_ADDRESS}') THEN '{ADDRESS}' "
        rf"WHEN NOT regexp_matches({plain_form}, '\pL') THEN '{NO_WORDS}' "
        f"WHEN {plain_form} IN ({words}) THEN '{PLACEHOLDER}' END"
    )
