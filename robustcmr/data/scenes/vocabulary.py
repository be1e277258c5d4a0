"""Shapes, colours, sizes and textures of the drawn objects, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = {
    "red": (214, 39, 40),
    "orange": (245, 138, 28),
    "yellow": (248, 216, 42),
    "green": (45, 158, 62),
    "turquoise": (38, 190, 190),
    "blue": (45, 88, 215),
    "purple": (138, 58, 182),
    "pink": (246, 128, 190),
    "brown": (132, 80, 44),
    "black": (34, 34, 40),
}
"""Name of each object colour and its tone."""

BACKGROUNDS: Mapping[str, Rgb] = {
    "white": (246, 246, 244),
    "grey": (166, 167, 170),
    "dark": (62, 64, 80),
    "sandy": (228, 208, 166),
    "mint": (188, 228, 196),
    "sky": (184, 214, 241),
    "lilac": (214, 198, 236),
}
"""Name of each background and its tone."""

SIZES: Mapping[str, float] = {"small": 0.085, "medium": 0.135, "big": 0.205}
"""Half the width of an object of each size, as a share of the picture's width."""

TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checked")

SHAPE_WORDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs"), ("ball", "balls")),
    "square": (("square", "squares"), ("box", "boxes")),
    "triangle": (("triangle", "triangles"), ("wedge", "wedges")),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
    "moon": (("moon", "moons"), ("crescent", "crescents")),
    "cross": (("cross", "crosses"), ("plus", "pluses")),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "arrow": (("arrow", "arrows"),),
    "house": (("house", "houses"), ("hut", "huts")),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
}
"""Singular and plural nouns of each shape, the usual one first."""

SHAPES: tuple[str, ...] = tuple(SHAPE_WORDS)

THING_WORDS: tuple[tuple[str, str], ...] = (("shape", "shapes"), ("thing", "things"), ("object", "objects"))
"""Nouns for an object of unnamed shape."""

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden", "lemon"),
    "green": ("green", "emerald"),
    "turquoise": ("turquoise", "teal", "aqua"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "brown": ("brown", "chestnut"),
    "black": ("black", "jet-black"),
}

SIZE_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "tiny", "little"),
    "medium": ("medium", "mid-sized"),
    "big": ("big", "large", "huge"),
}

TEXTURE_WORDS: Mapping[str, tuple[str, ...]] = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy", "banded"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}

TEXTURE_TAILS: Mapping[str, tuple[str, ...]] = {
    "striped": ("with stripes",),
    "dotted": ("with dots", "with spots"),
    "checked": ("with a checked pattern", "with checks"),
}
"""Words for textures after the noun."""

BACKGROUND_WORDS: Mapping[str, tuple[str, ...]] = {
    "white": ("a white", "a bright"),
    "grey": ("a grey", "an ashen"),
    "dark": ("a dark", "a gloomy"),
    "sandy": ("a sandy", "a beige"),
    "mint": ("a mint", "a pale green"),
    "sky": ("a sky-blue", "a pale blue"),
    "lilac": ("a lilac", "a pale purple"),
}

BACKGROUND_PHRASES: tuple[str, ...] = ("on {} background", "against {} backdrop", "on {} ground")

PLACE_WORDS: Mapping[str, tuple[str, ...]] = {
    "top left": ("in the top left corner", "in the upper left"),
    "top right": ("in the top right corner", "in the upper right"),
    "bottom left": ("in the bottom left corner", "in the lower left"),
    "bottom right": ("in the bottom right corner", "in the lower right"),
    "top": ("at the top", "near the top edge"),
    "bottom": ("at the bottom", "near the bottom edge"),
    "left": ("on the left", "near the left edge"),
    "right": ("on the right", "near the right edge"),
    "middle": ("in the middle", "in the centre"),
}

RELATION_WORDS: Mapping[str, tuple[str, ...]] = {
    "left_of": ("left of", "to the left of"),
    "right_of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "next_to": ("next to", "beside", "close to"),
    "in_front_of": ("in front of", "partly covering"),
    "behind": ("behind", "partly hidden by"),
}
"""Words of each relation between two objects; those that start with "partly" take no verb before them."""

NUMBER_WORDS: Mapping[int, str] = dict(
    enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight"), start=1)
)

OPENERS: tuple[str, ...] = (
    "there {be} ",
    "here {be} ",
    "a picture of ",
    "an image with ",
    "we see ",
    "you can see ",
    "a drawing of ",
    "this scene shows ",
)
