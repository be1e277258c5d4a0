"""The nearest clean item against a loop, and which replacements are the same."""

import math

import pytest
import torch

from robustcmr.correction.replacement import nearest_clean, replaced_texts, same_replacement
from robustcmr.types import TextBatch


def vectors(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (4, 9)])
def test_equals_the_loop(n, m):
    queries, references = vectors(n, 3, 0), vectors(m, 3, 1) * 7
    found = nearest_clean(queries, references)
    for i in range(n):
        cosines = [cosine(queries[i].tolist(), r) for r in references.tolist()]
        assert int(found.index[i]) == cosines.index(max(cosines))
        assert float(found.cosine[i]) == pytest.approx(max(cosines))


def test_details():
    queries = vectors(3, 4, 0).requires_grad_()
    found = nearest_clean(queries, queries.detach() * 2)
    assert found.index.tolist() == [0, 1, 2]
    assert (found.cosine <= 1).all()
    assert not found.cosine.requires_grad
    assert nearest_clean(queries.half(), queries.half()).cosine.dtype == torch.float32
    assert nearest_clean(torch.zeros(1, 4), torch.ones(2, 4)).cosine.tolist() == [0.0]
    assert nearest_clean(queries.detach().numpy(), queries.detach().numpy()).index.tolist() == [0, 1, 2]


def test_of_equal_references_the_first_is_taken():
    """However a product of matrices rounds equal columns."""
    references = torch.randn(40, 9, generator=torch.Generator().manual_seed(3)).repeat_interleave(5, 0)
    nudged = references * (1 + 1e-7 * torch.arange(5).repeat(40).unsqueeze(1))
    found = nearest_clean(references[::5] + 0.01, nudged)
    assert torch.equal(found.index, torch.arange(0, 200, 5))


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match=r"\(n, D\) and \(m, D\), got \(2, 3\) and \(2, 4\)"):
        nearest_clean(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="at least one clean item"):
        nearest_clean(torch.ones(2, 3), torch.ones(0, 3))


def test_same_replacements():
    index = torch.tensor([3, 0, 3, 1])
    image_of_reference = [7, 7, 8, 9]  # references 0 and 1 are of one image
    same_image = torch.tensor([[a == b for b in image_of_reference] for a in image_of_reference])
    alone, with_images = same_replacement(index), same_replacement(index, same_image)
    for i, a in enumerate(index.tolist()):
        for j, b in enumerate(index.tolist()):
            assert bool(alone[i, j]) == (a == b)
            assert bool(with_images[i, j]) == (image_of_reference[a] == image_of_reference[b])


@pytest.mark.parametrize("with_vectors", [False, True])
def test_replaced_texts(with_vectors):
    tokens = torch.arange(6).view(3, 2)
    given = TextBatch(tokens, tokens > 0, tokens.float() if with_vectors else None)
    found = replaced_texts(given, torch.tensor([2, 0, 2, 2]))
    assert found.tokens.tolist() == [[4, 5], [0, 1], [4, 5], [4, 5]]
    assert found.mask.tolist() == (found.tokens > 0).tolist()
    assert (found.vectors is None) == (not with_vectors)
    if with_vectors:
        assert found.vectors.tolist() == found.tokens.float().tolist()
