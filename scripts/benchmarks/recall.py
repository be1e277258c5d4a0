"""Time of ranking 5,000 images against 25,000 captions, counted at once or sorted query by query.

    python scripts/benchmarks/recall.py

Both give the same ranks, which is checked, and both use one thread. Rows go to scripts/results/recall.csv.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from common import RESULTS, machine_description, timed, write_rows

from robustcmr.evaluation.ranking import image_to_text_ranks, text_to_image_ranks
from robustcmr.types import FloatArray, IntArray

N_IMAGES = 5000
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
    """Measure both directions both ways and write the rows."""
    torch.set_num_threads(1)  # sorting in NumPy uses one, and a shared machine disturbs one less than many
    n_captions = N_IMAGES * CAPTIONS_PER_IMAGE
    array = tie_free_scores(N_IMAGES, n_captions)
    scores, owner = torch.from_numpy(array), torch.arange(n_captions) // CAPTIONS_PER_IMAGE
    rows = []
    for direction, count, sort in (
        ("image to text", image_to_text_ranks, image_to_text_by_sorting),
        ("text to image", text_to_image_ranks, text_to_image_by_sorting),
    ):
        ours = timed(lambda count=count: count(scores, owner))  # type: ignore[misc]
        start = time.perf_counter()
        expected = sort(array)
        loop = time.perf_counter() - start
        if not np.array_equal(count(scores, owner).numpy(), expected):
            raise RuntimeError(
                f"{direction}: counting and sorting disagree, so their times cannot be compared"
            )
        rows.append(
            {
                "direction": direction,
                "n_images": N_IMAGES,
                "n_captions": n_captions,
                "counting_seconds": f"{ours['median']:.4f}",
                "sorting_loop_seconds": f"{loop:.2f}",
                "ratio": f"{loop / ours['median']:.1f}",
                **machine_description(),
            }
        )
        sys.stdout.write(
            f"{direction}: counting {ours['median']:.3f} s, sorting query by query {loop:.1f} s, "
            f"{loop / ours['median']:.0f} times as long, same ranks\n"
        )
    path = RESULTS / "recall.csv"
    write_rows(path, rows)
    sys.stdout.write(f"written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
