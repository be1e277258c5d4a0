"""Rules for the scores of a matcher: shapes, padding, order, blocks, and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.evaluation.scoring import score_matrix
from robustcmr.testing.matcher_case import (
    N_IMAGES,
    N_TEXTS,
    MatcherCase,
    can_pad_regions,
    encoded,
    longer_images,
    longer_texts,
    rows_of_images,
    rows_of_texts,
    scored,
)
from robustcmr.testing.report import NotApplicable
from robustcmr.testing.samples import SPARE
from robustcmr.types import Fragments, MatcherInputs

_GARBAGE = 50.0  # far from any real feature, yet small enough to stay finite


def builds(case: MatcherCase) -> Iterator[str]:
    """It is built from only its config and a DataSpec."""
    made = case.build()
    if type(made) is not case.cls:
        yield f"building gave a {type(made).__name__}"


def inputs(case: MatcherCase) -> Iterator[str]:
    """The class method inputs returns MatcherInputs that fit the data."""
    found = case.cls.inputs(case.config)
    if not isinstance(found, MatcherInputs):
        yield f"inputs(config) returned a {type(found).__name__}"
        return
    for name, value in vars(found).items():
        if not (value is None or isinstance(value, str)):
            yield f"inputs(config).{name} is a {type(value).__name__}, not None or text"
    if (found.image_processor is None) != (case.spec.picture_size is None):
        reads = "pictures" if found.image_processor is not None else "region features"
        yield (
            f"inputs(config) asks for {reads} but it was checked with picture_size={case.spec.picture_size} "
            "in its spec"
        )


def shapes(case: MatcherCase) -> Iterator[str]:
    """Encoders return Fragments (N, L, D) with a bool mask (N, L), and score floats (N_images, N_texts)."""
    matcher = case.build()
    pooled: dict[str, set[bool]] = {"images": set(), "texts": set()}
    for n_images, n_texts in ((N_IMAGES, N_TEXTS), (1, 3), (3, 1), (1, 1)):
        images, texts = encoded(matcher, case.images(n_images), case.texts(n_texts))
        sides = (("images", n_images, images), ("texts", n_texts, texts))
        wrong = [bad for what, n, side in sides for bad in _misshapen(f"encode_{what}", n, side)]
        yield from wrong
        if wrong:
            return
        for what, _, side in sides:
            pooled[what].add(side.pooled is None)
        with torch.no_grad():
            scores = matcher.score(images, texts)
        if not isinstance(scores, Tensor) or scores.shape != (n_images, n_texts):
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            yield f"score returned {shape} for {n_images} images and {n_texts} captions"
            return
        if not scores.is_floating_point():
            yield f"score returned {scores.dtype}"
            return
    for what, seen in pooled.items():
        if len(seen) > 1:
            yield f"encode_{what} gave a pooled vector for some batches and none for others"


def _misshapen(what: str, n: int, side: object) -> Iterator[str]:
    if not isinstance(side, Fragments):
        yield f"{what} returned a {type(side).__name__}"
        return
    features, mask, pooled = side.features, side.mask, side.pooled
    if features.ndim != 3 or len(features) != n or not features.is_floating_point():
        yield f"{what} returned features {tuple(features.shape)} of {features.dtype} for {n} items"
    elif mask.shape != features.shape[:2] or mask.dtype != torch.bool:
        shape = tuple(features.shape)
        yield f"{what} returned a mask {tuple(mask.shape)} of {mask.dtype} for features {shape}"
    elif not mask.any(1).all():
        yield f"{what} returned an item without any real fragment"
    elif pooled is not None and pooled.shape != (n, features.shape[2]):
        yield f"{what} returned pooled {tuple(pooled.shape)} for features {tuple(features.shape)}"


def forward(case: MatcherCase) -> Iterator[str]:
    """Calling the matcher gives the score of both encodings."""
    matcher, images, texts, expected = case.sample()
    with torch.no_grad():
        called = matcher(images, texts)
    what = "matcher(images, texts) differed from score(encode_images, encode_texts)"
    yield from case.moved(what, called, expected)


def scale(case: MatcherCase) -> Iterator[str]:
    """Scores are about the size of a cosine, the unit of margins and temperatures."""
    largest = float(case.sample()[-1].abs().max())
    if not largest <= case.largest_score:
        yield f"a score of ordinary data was {largest:.3g}; the limit is {case.largest_score:g}"


def input_padding(case: MatcherCase) -> Iterator[str]:
    """More padding on either side never changes a score."""
    matcher, images, texts, expected = case.sample()
    tried = []
    if can_pad_regions(case.spec):
        tried.append(("regions an image", longer_images(images), texts))
    if case.spec.longest_caption > SPARE:
        tried.append(("words a caption", images, longer_texts(texts, case.spec.padding_index)))
    if not tried:
        raise NotApplicable("the spec leaves no room to pad")
    for what, more_images, more_texts in tried:
        found = scored(matcher, more_images, more_texts)
        yield from case.moved(f"with {SPARE - 1} more padded {what}, scores moved", found, expected)


def padded_garbage(case: MatcherCase) -> Iterator[str]:
    """The content of a padded place, region or word, never changes a score."""
    matcher, images, texts, expected = case.sample()
    generator = torch.Generator().manual_seed(1)
    tried = []
    if can_pad_regions(case.spec):
        noise = _GARBAGE * torch.randn(images.features.shape, generator=generator)
        features = torch.where(images.mask.unsqueeze(-1), images.features, noise)
        tried.append(("numbers in masked regions", replace(images, features=features), texts))
    words = torch.randint(case.spec.vocabulary_size, texts.tokens.shape, generator=generator)
    tokens = torch.where(texts.mask, texts.tokens, words)
    tried.append(("words in masked places", images, replace(texts, tokens=tokens)))
    for what, other_images, other_texts in tried:
        found = scored(matcher, other_images, other_texts)
        yield from case.moved(f"with other {what}, scores moved", found, expected)


def fragment_padding(case: MatcherCase) -> Iterator[str]:
    """Masked fragments are ignored by score, whatever they hold and however many they are."""
    matcher = case.build()
    images, texts = encoded(matcher, case.images(), case.texts())
    with torch.no_grad():
        expected = matcher.score(images, texts)
        for what, size in (("zeros", 0.0), ("other numbers", _GARBAGE)):
            for side, pair in (
                ("images", (_longer(images, size), texts)),
                ("captions", (images, _longer(texts, size))),
            ):
                sentence = f"with masked fragments of {what} appended to the {side}, scores moved"
                yield from case.moved(sentence, matcher.score(*pair), expected)


def _longer(side: Fragments, size: float) -> Fragments:
    generator = torch.Generator().manual_seed(2)
    n, _, dim = side.features.shape
    noise = size * torch.randn(n, 2, dim, generator=generator).to(side.features.dtype)
    return Fragments(torch.cat([side.features, noise], 1), F.pad(side.mask, (0, 2)), side.pooled)


def order(case: MatcherCase) -> Iterator[str]:
    """Another order of images or captions gives the same scores in that order."""
    matcher, images, texts, expected = case.sample()
    rows, columns = torch.arange(len(images)).roll(2), torch.arange(len(texts)).roll(2)
    for what, found, wanted in (
        ("images", scored(matcher, rows_of_images(images, rows), texts), expected[rows]),
        ("captions", scored(matcher, images, rows_of_texts(texts, columns)), expected[:, columns]),
    ):
        yield from case.moved(f"with the {what} in another order, their scores moved", found, wanted)


def independence(case: MatcherCase) -> Iterator[str]:
    """In evaluation mode, the encoding of an item does not depend on the rest of its batch."""
    matcher, images, texts = case.build(), case.images(), case.texts()
    encoded_images, encoded_texts = encoded(matcher, images, texts)
    with torch.no_grad():
        expected = matcher.score(encoded_images, encoded_texts)
        ones = [matcher.encode_images(rows_of_images(images, i[None])) for i in torch.arange(len(images))]
        others = [matcher.encode_texts(rows_of_texts(texts, j[None])) for j in torch.arange(len(texts))]
        for what, found in (
            ("image", matcher.score(Fragments.concatenate(ones), encoded_texts)),
            ("caption", matcher.score(encoded_images, Fragments.concatenate(others))),
        ):
            yield from case.moved(f"with every {what} encoded alone, scores moved", found, expected)


def blocks(case: MatcherCase) -> Iterator[str]:
    """Scores of a block are those of the whole, so that large matrices can be scored in parts."""
    matcher = case.build()
    images, texts = encoded(matcher, case.images(), case.texts())
    with torch.no_grad():
        expected = matcher.score(images, texts)
        rows = [matcher.score(images[i : i + 1], texts) for i in range(len(images))]
        columns = [matcher.score(images, texts[j : j + 1]) for j in range(len(texts))]
    for what, found in (
        ("every image alone", torch.cat(rows)),
        ("every caption alone", torch.cat(columns, 1)),
        ("score_matrix in blocks of a pair", score_matrix(matcher, images, texts, block_bytes=1)),
    ):
        yield from case.moved(f"scored as {what}, scores of the same fragments moved", found, expected)


def extremes(case: MatcherCase) -> Iterator[str]:
    """Scores are finite for extreme data."""
    matcher, images, texts = case.build(), case.images(), case.texts()
    single = replace(texts, tokens=texts.tokens[:, :1], mask=torch.ones(len(texts), 1, dtype=torch.bool))
    for what, some_images, some_texts in (
        ("features that are all zero", replace(images, features=torch.zeros_like(images.features)), texts),
        ("features 10,000 times as large", replace(images, features=1e4 * images.features), texts),
        ("captions of one word", images, single),
    ):
        bad = int((~scored(matcher, some_images, some_texts).isfinite()).sum())
        if bad:
            yield f"with {what}, {bad} of {len(images) * len(texts)} scores were not finite"


def bf16(case: MatcherCase) -> Iterator[str]:
    """Under bfloat16 autocast, scores stay near those of float32."""
    matcher, images, texts, expected = case.sample()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = scored(matcher, images, texts)
    what = f"under bfloat16 autocast scores moved (tolerance {case.bf16_tolerance:g})"
    yield from case.moved(what, found, expected, case.bf16_tolerance)
