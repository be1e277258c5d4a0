"""The memory of clean pairs and its prototypes against lists, full sorts and loops."""

import math

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from robustcmr.correction import candidates
from robustcmr.correction.memory import AttentionRefiner, PairMemory, nearest_values, pooled_values
from robustcmr.errors import TrainingDivergedError


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def numbered(first, n):
    """Pairs whose vectors hold their number: images (1, number), texts (number, 1, 0)."""
    numbers = torch.arange(first, first + n).float()
    ones = torch.ones(n)
    return torch.stack([ones, numbers], 1), torch.stack([numbers, ones, 0 * ones], 1)


def held(memory):
    """Numbers of the stored pairs, by place; those of images and texts must agree."""
    n = len(memory)
    by_image = (memory.images[:n, 1] / memory.images[:n, 0]).round().int().tolist()
    by_text = (memory.texts[:n, 0] / memory.texts[:n, 1]).round().int().tolist()
    assert by_image == by_text
    return by_image


@pytest.mark.parametrize("capacity", [1, 3, 7])
def test_first_in_first_out_with_wrap_around(capacity):
    memory, places, count = PairMemory(capacity, 2, 3), [None] * capacity, 0
    for n in (2, 0, 1, 5, 3, 4, 20, 1):
        memory.push(*numbered(count, n))
        for number in range(count, count + n):
            places[number % capacity] = number
        count += n
        assert len(memory) == min(count, capacity)
        assert held(memory) == [number for number in places if number is not None]
        assert sorted(held(memory)) == list(range(max(0, count - capacity), count))


def test_it_stores_detached_unit_vectors_in_float32():
    memory = PairMemory(4, 3)
    images = drawn(2, 3, dtype=torch.float64).requires_grad_()
    memory.push(images, drawn(2, 3, seed=1).half())
    assert memory.images.dtype == memory.texts.dtype == torch.float32
    assert not memory.images.requires_grad
    torch.testing.assert_close(memory.images[:2], F.normalize(images.detach().float(), dim=-1))
    torch.testing.assert_close(memory.texts[:2].norm(dim=1), torch.ones(2))


def test_its_memory_is_the_stated_bound_from_the_beginning():
    memory = PairMemory(100, 5, 7)

    def size():
        return sum(buffer.nbytes for buffer in (memory.images, memory.texts))

    assert size() == 4 * 100 * (5 + 7)
    for seed in range(9):
        memory.push(drawn(64, 5, seed=seed), drawn(64, 7, seed=seed))
    assert size() == 4 * 100 * (5 + 7)
    with pytest.raises(ValueError, match="capacity of a memory is 0"):
        PairMemory(0, 2)


def test_a_checkpoint_continues_where_it_was():
    one, other = PairMemory(5, 2, 3), PairMemory(5, 2, 3)
    one.push(*numbered(0, 7))
    other.load_state_dict(load(save(one.state_dict())))
    assert held(other) == held(one)
    for memory in (one, other):
        memory.push(*numbered(7, 2))
    assert held(other) == held(one)
    assert list(one.parameters()) == []


@pytest.mark.parametrize("by", ["image", "text"])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_neighbours_are_found_in_the_own_modality_and_give_the_other(by, k):
    memory, pairs = PairMemory(30, 4, 6), (drawn(20, 4), drawn(20, 6, seed=1))
    memory.push(*pairs)
    queries = drawn(7, 4 if by == "image" else 6, seed=2)
    keys, values = pairs if by == "image" else pairs[::-1]
    found = memory.neighbours(5.0 * queries, k, by)  # the norm does not matter
    assert found.shape == (7, min(k, 20), values.shape[1])
    for query, row in zip(queries.double(), found, strict=True):
        cosines = [float(query @ key / key.norm()) for key in keys.double()]
        best = sorted(range(20), key=cosines.__getitem__, reverse=True)[:k]
        torch.testing.assert_close(row, F.normalize(values[best], dim=-1))


def test_unfilled_places_are_never_found():
    memory = PairMemory(30, 4)
    assert memory.neighbours(drawn(3, 4), 5, "image").shape == (3, 0, 4)
    memory.push(-torch.ones(2, 4), torch.ones(2, 4))  # a zero vector would be nearer
    assert memory.neighbours(torch.ones(1, 4), 5, "image").shape == (1, 2, 4)
    torch.testing.assert_close(memory.neighbours(torch.ones(1, 4), 5, "image"), torch.full((1, 2, 4), 0.5))


@pytest.mark.parametrize("block_bytes", [1, 300, 2**20])
def test_blocks_change_nothing(block_bytes):
    queries, keys, values = drawn(23, 8), drawn(41, 8, seed=1), drawn(41, 3, seed=2)
    whole = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T
    expected = values[whole.argsort(dim=1, descending=True)[:, :4]]
    torch.testing.assert_close(nearest_values(queries, keys, values, 4, block_bytes), expected)


def test_the_whole_matrix_of_cosines_is_never_held(monkeypatch):
    rows = []
    best = candidates._best
    monkeypatch.setattr(candidates, "_best", lambda scores, k: rows.append(len(scores)) or best(scores, k))
    nearest_values(drawn(64, 4), drawn(100, 4, seed=1), drawn(100, 2, seed=2), 3, block_bytes=5 * 100 * 8)
    assert rows == [8] * 8


def test_a_query_has_the_same_prototype_in_any_batch():
    memory, refiner = PairMemory(50, 8), AttentionRefiner(8).eval()
    memory.push(drawn(40, 8), drawn(40, 8, seed=1))
    queries = drawn(9, 8, seed=2)
    together = refiner(memory.neighbours(queries, 5, "image"))
    for i in range(9):
        alone = refiner(memory.neighbours(queries[i : i + 1], 5, "image"))
        torch.testing.assert_close(alone[0], together[i])


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="one value a key, got 3 values and 2 keys"):
        nearest_values(drawn(1, 2), drawn(2, 2), drawn(3, 2), 1)
    with pytest.raises(ValueError, match="at least 1"):
        nearest_values(drawn(1, 2), drawn(2, 2), drawn(2, 2), 0)
    with pytest.raises(TrainingDivergedError):
        nearest_values(torch.full((1, 2), torch.nan), drawn(2, 2), drawn(2, 2), 1)
    with pytest.raises(ValueError, match="'attention', expected 'top1' or 'mean'"):
        pooled_values(drawn(1, 2, 3), "attention")


def test_pooling():
    values = drawn(4, 3, 5)
    for found, first, mean in zip(
        values, pooled_values(values, "top1"), pooled_values(values, "mean"), strict=True
    ):
        torch.testing.assert_close(first, found[0] / found[0].norm())
        average = sum(found) / 3
        torch.testing.assert_close(mean, average / average.norm())


@pytest.mark.parametrize(("width", "heads", "used"), [(8, 4, 4), (6, 4, 2), (5, 4, 1), (8, 1, 1)])
@pytest.mark.parametrize("k", [1, 5])
def test_the_refiner_by_a_loop(width, heads, used, k):
    torch.manual_seed(0)
    refiner = AttentionRefiner(width, heads).double().eval()
    nn.init.normal_(refiner.norm.weight)
    nn.init.normal_(refiner.norm.bias)
    assert refiner.heads == used
    values = drawn(3, k, width, dtype=torch.float64)
    size = width // used
    refiner.requires_grad_(False)
    for H, found in zip(values, refiner(values), strict=True):
        projected = H @ refiner.project.weight.T + refiner.project.bias
        queries, keys, carried = projected.split(width, dim=1)
        attended = torch.zeros(k, width, dtype=torch.float64)
        for head in range(used):
            part = slice(head * size, (head + 1) * size)
            for i in range(k):
                raw = [math.exp(queries[i, part] @ keys[j, part] / math.sqrt(size)) for j in range(k)]
                for j in range(k):
                    attended[i, part] += raw[j] / sum(raw) * carried[j, part]
        rows = H + attended @ refiner.linear.weight.T + refiner.linear.bias
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        pooled = (rows * refiner.norm.weight + refiner.norm.bias).mean(0)
        torch.testing.assert_close(found, pooled / pooled.norm())


def test_the_order_of_the_neighbours_does_not_matter_to_the_refiner():
    refiner, values = AttentionRefiner(8).eval(), drawn(2, 5, 8)
    torch.testing.assert_close(refiner(values), refiner(values[:, [3, 1, 4, 0, 2]]))


def test_every_weight_of_the_refiner_learns():
    refiner = AttentionRefiner(8)
    (refiner(drawn(3, 5, 8)) * drawn(3, 8, seed=1)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in refiner.parameters())
    assert torch.autograd.gradcheck(
        refiner.double().eval(), drawn(2, 3, 8, dtype=torch.float64).requires_grad_()
    )
