"""Search a whole set for the best-scoring images of captions, with any matcher, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.correction.candidates import Candidates, RunningBest, nearest_candidates, reranked
from robustcmr.evaluation.scoring import BLOCK_BYTES, encode_images, encode_texts, score_matrix
from robustcmr.matchers.base import Matcher
from robustcmr.types import Fragments, ImageBatch, TextBatch

FULL_PAIRS = 20_000_000
"""Most pairs that ``scoring="auto"`` scores in full with a matcher without vectors to search by."""

KEPT_BYTES = 2**30
"""Memory for the encoded images that each pass over the captions is scored with."""

SHORTLIST = 500
"""Default length of a shortlist: images per caption that are scored exactly."""

Scoring = Literal["auto", "all", "shortlist"]

_PROBED = 32  # images and captions that show whether scores are products of vectors
_SAME = 1e-4

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class Collection:
    """Captions and images to be matched; both can be iterated repeatedly.

    Attributes:
        images: starts a pass over all images in order, in batches.
        texts: starts a pass over the captions in order, in batches.
        n_images: number of images.
        excluded: (n,) int64 on the CPU, the image to exclude from each caption's candidates; -1 for none.
    """

    images: Callable[[], Iterable[ImageBatch]]
    texts: Callable[[], Iterable[TextBatch]]
    n_images: int
    excluded: Tensor


def search_candidates(
    matcher: Matcher,
    collection: Collection,
    k: int,
    device: torch.device,
    *,
    scoring: Scoring = "auto",
    shortlist: int = SHORTLIST,
    half: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Candidates:
    """Find the best-scoring images of every caption.

    If a few images and captions show that the score is the product of one vector a side, the search is a
    blocked matrix product. With other matchers, either all pairs are scored, or only a shortlist found by
    pooled vectors, which may miss images that pooling hides.

    Args:
        matcher: any matcher, on ``device``.
        collection: captions and images, at least one of each.
        k: candidates per caption, >= 1.
        device: where to compute.
        scoring: whether other matchers score all pairs or a shortlist; ``auto`` decides by ``FULL_PAIRS``.
        shortlist: length of the shortlist; at least k.
        half: search products in bfloat16, and score the best of them again in float32.
        block_bytes: memory of a block of scores, in bytes.

    Returns:
        The candidates, on the CPU, with the way of searching as ``search``.

    Raises:
        ValueError: there is nothing to search, or k is below 1.
        TrainingDivergedError: a score is NaN or infinite.
        PluginError: the matcher returns scores of the wrong shape.
    """
    n, m = len(collection.excluded), collection.n_images
    if n == 0 or m == 0 or k < 1:
        raise ValueError(f"expected captions, images and k of at least 1, got {n}, {m} and {k}")
    by_vectors = _scores_by_vectors(matcher, collection, device)
    if not by_vectors and (scoring == "all" or (scoring == "auto" and n * m <= FULL_PAIRS)):
        logger.info("scoring all %d x %d pairs of captions and images", n, m)
        return _score_all(matcher, collection, k, device, block_bytes)
    texts, images = _all_vectors(matcher, collection, device)
    excluded = collection.excluded.to(device)
    options = {"half": half, "block_bytes": block_bytes}
    if by_vectors:
        logger.info("searching %d images for %d captions by products of their vectors", m, n)
        return nearest_candidates(texts, images, k, excluded, **options).cpu()  # type: ignore[arg-type]
    size = max(k, shortlist)
    logger.info("scoring %d images of each of %d captions, chosen by pooled vectors of %d", size, n, m)
    listed = nearest_candidates(texts, images, size, excluded, **options)  # type: ignore[arg-type]
    del images, texts
    return _score_listed(matcher, collection, listed.images.cpu(), k, device, block_bytes)


def scoring_vectors(
    matcher: Matcher, collection: Collection, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Return the vectors whose products are a matcher's scores, or None if scores are no such products.

    Returns:
        (N, D) of the captions and (M, D) of the images, float32, on ``device``, where the matcher is.
    """
    if not _scores_by_vectors(matcher, collection, device):
        return None
    return _all_vectors(matcher, collection, device)


def _all_vectors(matcher: Matcher, collection: Collection, device: torch.device) -> tuple[Tensor, Tensor]:
    """The vectors to search by, of the captions and of the images."""
    images = torch.cat(
        [search_vectors(encode_images(matcher, [batch], device)) for batch in collection.images()]
    )
    texts = torch.cat(
        [search_vectors(encode_texts(matcher, [batch], device)) for batch in collection.texts()]
    )
    return texts, images


def _scores_by_vectors(matcher: Matcher, collection: Collection, device: torch.device) -> bool:
    """Whether scores of a few images and captions are products of one vector a side."""
    images = encode_images(matcher, [next(iter(collection.images()))], device)[:_PROBED]
    texts = encode_texts(matcher, [next(iter(collection.texts()))], device)[:_PROBED]
    return scores_are_products(matcher, images, texts)


def scores_are_products(matcher: Matcher, images: Fragments, texts: Fragments) -> bool:
    """Return whether a matcher's scores of some images and captions are products of their pooled vectors."""
    if images.pooled is None or texts.pooled is None or images.pooled.shape[1] != texts.pooled.shape[1]:
        return False
    scores = score_matrix(matcher, images, texts)
    products = images.pooled.float() @ texts.pooled.float().T
    return torch.allclose(products.cpu(), scores, rtol=_SAME, atol=_SAME)


def search_vectors(side: Fragments) -> Tensor:
    """Return one vector an item, (N, D) float32: pooled, or the normalised mean of normalised fragments."""
    if side.pooled is not None:
        return side.pooled.float()
    shares = side.mask.unsqueeze(-1).float()
    return F.normalize((F.normalize(side.features.float(), dim=-1) * shares).sum(1), dim=-1)


def _image_chunks(
    matcher: Matcher, collection: Collection, device: torch.device
) -> Iterator[tuple[int, Fragments]]:
    """Yield encoded images in chunks of at most ``KEPT_BYTES``, with the index of the first."""
    start, kept, count = 0, list[Fragments](), 0
    for batch in collection.images():
        part = encode_images(matcher, [batch], device)
        size = part.features.element_size() * part.features[0].numel()  # bytes an image
        if kept and (count + len(part)) * size > KEPT_BYTES:
            yield start, Fragments.concatenate(kept)
            start, kept, count = start + count, [], 0
        kept.append(part)
        count += len(part)
    yield start, Fragments.concatenate(kept)


def _text_chunks(
    matcher: Matcher, collection: Collection, device: torch.device
) -> Iterator[tuple[slice, Fragments]]:
    start = 0
    for batch in collection.texts():
        yield slice(start, start + len(batch)), encode_texts(matcher, [batch], device)
        start += len(batch)


def _score_all(
    matcher: Matcher, collection: Collection, k: int, device: torch.device, block_bytes: int
) -> Candidates:
    best = RunningBest(len(collection.excluded), min(k, collection.n_images), collection.excluded)
    for first, images in _image_chunks(matcher, collection, device):
        for rows, texts in _text_chunks(matcher, collection, device):
            best.add(rows, first, score_matrix(matcher, images, texts, block_bytes).T)
    return best.candidates()


def _score_listed(
    matcher: Matcher, collection: Collection, listed: Tensor, k: int, device: torch.device, block_bytes: int
) -> Candidates:
    """Score the images (n, s) listed for each caption; -1 for none."""
    scores = torch.full(listed.shape, -torch.inf)
    for first, images in _image_chunks(matcher, collection, device):
        here = (listed >= first) & (listed < first + len(images))  # (n, s)
        for rows, texts in _text_chunks(matcher, collection, device):
            for row in range(rows.start, rows.stop):
                places = here[row].nonzero().squeeze(1)
                if len(places):
                    one = texts[row - rows.start : row - rows.start + 1]
                    some = images[(listed[row, places] - first).to(device)]
                    scores[row, places] = score_matrix(matcher, some, one, block_bytes)[:, 0]
    return reranked(Candidates(listed, scores, 0, "shortlist"), scores, k)
