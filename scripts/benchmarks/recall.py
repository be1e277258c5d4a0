"""Time of ranking 5,000 images against 25,000 captions, counted at once or sorted query by query.

    python scripts/benchmarks/recall.py

The loop is that of the released evaluation code: for every image all captions are sorted and each of its five
is looked for; for every caption all images are sorted and its own is looked for. NumPy sorts with one thread,
ours counts with as many as torch takes. Both give the same ranks, which is checked.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from common import (
    benchmark_parser,
    headline,
    machine_description,
    memory_floor,
    parsed,
    publish,
    stopwatch,
    timed,
)

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.types import FloatArray, IntArray

CAPTIONS_PER_IMAGE = 5


def tie_free_scores(n_images: int, n_captions: int) -> FloatArray:
    """Scattered scores without a tie in any row or column, so that sorting and counting must agree exactly.

    Multiples of a constant modulo a prime below 2**24: whole numbers that float32 holds exactly.
    """
    prime = 16_777_213
    row = np.arange(n_images, dtype=np.int64)[:, None] * n_captions
    return ((row + np.arange(n_captions, dtype=np.int64)) * 6_700_417 % prime).astype(np.float32)


def image_to_text_by_sorting(scores: FloatArray) -> IntArray:
    """Sort all captions for each image, then look for the first own one."""
    ranks = np.zeros(scores.shape[0], dtype=np.int64)
    for image in range(scores.shape[0]):
        order = np.argsort(scores[image])[::-1]
        own = range(CAPTIONS_PER_IMAGE * image, CAPTIONS_PER_IMAGE * (image + 1))
        ranks[image] = min(int(np.where(order == caption)[0][0]) for caption in own)
    return ranks


def text_to_image_by_sorting(scores: FloatArray) -> IntArray:
    """Sort all images for each caption, then look for the right one."""
    by_caption = scores.T
    ranks = np.zeros(by_caption.shape[0], dtype=np.int64)
    for caption in range(by_caption.shape[0]):
        order = np.argsort(by_caption[caption])[::-1]
        ranks[caption] = np.where(order == caption // CAPTIONS_PER_IMAGE)[0][0]
    return ranks


def main() -> int:
    """Measure both directions at once, and each by the loop, and write the rows."""
    parser = benchmark_parser(__doc__, "recall.csv")
    parser.add_argument("--images", type=int, default=5000, help="with five captions each")
    parser.add_argument("--repeats", type=int, default=9, help="of ours; the loop is run once")
    options = parsed(parser)
    n_images, n_captions = options.images, options.images * CAPTIONS_PER_IMAGE
    array = tie_free_scores(n_images, n_captions)
    scores, owner = torch.from_numpy(array), torch.arange(n_captions) // CAPTIONS_PER_IMAGE
    first = stopwatch(lambda: ranks_both_ways(scores, owner))  # what is compiled is compiled now
    seconds = timed(lambda: ranks_both_ways(scores, owner), options.repeats)["median"]
    loops = {"image to text": image_to_text_by_sorting, "text to image": text_to_image_by_sorting}
    rows: list[dict[str, object]] = []
    loop_seconds = {}
    for (direction, loop), found in zip(loops.items(), ranks_both_ways(scores, owner), strict=True):
        expected: list[IntArray] = []
        loop_seconds[direction] = stopwatch(lambda loop=loop, to=expected: to.append(loop(array)))  # type: ignore[misc]
        if not np.array_equal(found.numpy(), expected[0]):
            raise RuntimeError(
                f"{direction}: counting and sorting disagree, so their times cannot be compared"
            )
    read_once = memory_floor(array.nbytes)
    what = f"ranks of {n_images:,} x {n_captions:,} scores, both directions"
    total = sum(loop_seconds.values())
    rows.append(
        {
            **headline("recall", what, seconds, total, "sorting for every query", floor=read_once),
            "n_images": n_images,
            "n_captions": n_captions,
            "counting_seconds": f"{seconds:.4f}",
            "sorting_loop_seconds": f"{total:.2f}",
            **{f"sorting_{name.replace(' ', '_')}_seconds": f"{s:.2f}" for name, s in loop_seconds.items()},
            "first_call_seconds": f"{first:.2f}",
            "numpy": np.__version__,
            **machine_description(),
        }
    )
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
