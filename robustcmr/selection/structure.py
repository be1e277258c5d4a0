"""Evidence for a given pair in the structure of its batch, high where image and caption fit.

Row i of the similarities among the images tells where image i lies among them, row i of those among the
captions where caption i lies. The given caption of an image lies where the image does; a wrong one lies
elsewhere. No score of an image with a caption is used, so a matcher that has memorised a wrong pair does not
hide it.

Any matrices will do, as tensors or NumPy arrays. Values are at least float32, on their device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import check_square


@takes_arrays()
def row_agreement(images: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of each image's row with its caption's row.

    Args:
        images: (B, B) similarities among the images of a batch.
        texts: (B, B) similarities among its captions, in the same order.

    Returns:
        (B,) in -1..1, in 0..1 for similarities of at least 0, with the gradient of both.

    Raises:
        ValueError: the matrices are not square or differ in shape.

    Example:
        >>> import torch
        >>> images = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
        >>> row_agreement(images, torch.eye(3))
        tensor([0.8944, 0.8944, 1.0000])

    References:
        Zhao et al., "Mitigating Noisy Correspondence by Geometrical Structure Consistency Learning", CVPR
        2024.
    """
    check_square(images)
    check_square(texts, images)
    kind = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    return F.cosine_similarity(images.to(kind), texts.to(kind), dim=1)
