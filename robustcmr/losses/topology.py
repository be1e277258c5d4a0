"""Agreement of a batch's structure among its images with that among its captions.

With A the similarities of the images to each other and B those of the captions, row i of A tells where image
i lies among the images, row i of B where caption i lies among the captions. The rows of a right pair are
alike:

    T = A B^T,   loss_i = -log softmax_j(T_ij / tau)_i

Any matrices will do, as tensors or NumPy arrays. Gradients reach both; values are at least float32, on their
device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import check_square
from robustcmr.losses.cross_entropy import log_matching_probabilities


@takes_arrays("temperature")
def topology_loss(
    images: Tensor, texts: Tensor, temperature: float = 1.0, same_image: Tensor | None = None
) -> Tensor:
    """Return how poorly the row of each image picks the row of its caption among all captions' rows.

    Args:
        images: A, (B, B) similarities among the images, of about the size 0..1.
        texts: B, (B, B) similarities among the captions, row i and column i for the caption of pair i.
        temperature: tau > 0, in units of a product of two rows, which grows with B.
        same_image: (B, B) bool, cells of T besides the diagonal that are excluded.

    Returns:
        (B,) one value a pair, >= 0, from images to captions alone.

    Example:
        >>> import torch
        >>> topology_loss(torch.eye(2), torch.eye(2))
        tensor([0.3133, 0.3133])

    References:
        Zhao et al., "Mitigating Noisy Correspondence by Geometrical Structure Consistency Learning", CVPR
        2024, intra-modal term.
    """
    check_square(images, same_image)
    check_square(texts, images)
    kind = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    products = images.to(kind) @ texts.to(kind).T  # (B, B)
    return -log_matching_probabilities(products, temperature, same_image)[0].diagonal()
