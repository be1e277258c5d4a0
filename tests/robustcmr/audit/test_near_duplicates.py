from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustcmr.audit import near_duplicates as module, signatures
from robustcmr.audit.near_duplicates import cosine_of, near_duplicates
from robustcmr.audit.signatures import ones, ordered


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def cone(n: int, width: int = 64, seed: int = 0) -> Any:
    """Vectors in a narrow cone, as those of most models: any two have a cosine of about 0.5."""
    drawn = unit(np.random.default_rng(seed).standard_normal((n, width)))
    return unit(drawn + 1 / width**0.5).astype(np.float32)


def near(vectors: Any, cosines: Any, seed: int = 1) -> Any:
    """A vector at these cosines from each of some unit vectors."""
    away = np.random.default_rng(seed).standard_normal(vectors.shape)
    away = unit(away - (away * vectors).sum(1, keepdims=True) * vectors)
    cosines = np.asarray(cosines)[:, None]
    return (cosines * vectors + (1 - cosines**2) ** 0.5 * away).astype(np.float32)


def by_loops(vectors: Any, threshold: float) -> dict[int, int]:
    """First of the group by row: the lowest row near enough that is no duplicate itself."""
    vectors = unit(np.asarray(vectors, np.float64))
    found: dict[int, int] = {}
    for row in range(len(vectors)):
        for other in np.flatnonzero(vectors[:row] @ vectors[row] >= threshold).tolist():
            if other not in found:
                found[row] = other
                break
    return found


def found(vectors: Any, threshold: float = 0.985, **options: Any) -> dict[int, int]:
    result = near_duplicates(len(vectors), vectors.__getitem__, threshold, **options)
    assert (np.diff(result.rows) > 0).all()
    return dict(zip(result.rows.tolist(), result.first.tolist(), strict=True))


def planted(n: int = 3000, k: int = 300) -> Any:
    """Vectors of any length, the last k near duplicates and nearly so of others, shuffled."""
    vectors = cone(n)
    vectors[-k:] = near(vectors[:k], np.random.default_rng(2).uniform(0.97, 1, k))
    rng = np.random.default_rng(3)
    return rng.permutation(vectors) * rng.uniform(0.1, 9, (n, 1)).astype(np.float32)


def test_finds_what_slow_loops_find() -> None:
    vectors = planted()
    expected = by_loops(vectors, 0.985)
    assert len(expected) > 100
    assert found(vectors) == expected


def test_the_threshold_holds_exactly() -> None:
    vectors = planted()
    for threshold in (0.98, 0.995):
        rows, first = map(np.array, zip(*found(vectors, threshold).items(), strict=True))
        cosines = (unit(vectors[rows]) * unit(vectors[first])).sum(1)
        assert cosines.min() == pytest.approx(threshold, abs=1e-3)
        assert cosines.min() >= threshold - 1e-5


def test_chains_make_no_group_of_strangers() -> None:
    angles = np.arange(0, 1, 0.1)  # neighbours have a cosine of 0.995, every second one 0.98
    circle = np.stack([np.cos(angles), np.sin(angles), *np.zeros((30, 10))], 1).astype(np.float32)
    vectors = np.concatenate([cone(500, 32), circle])
    assert found(vectors, 0.99) == {501: 500, 503: 502, 505: 504, 507: 506, 509: 508}


def test_many_copies_are_one_group_and_cost_few_comparisons() -> None:
    vectors = cone(4000)
    vectors[1000:3000] = near(np.repeat(vectors[7:8], 2000, 0), np.full(2000, 0.9999))
    result = near_duplicates(len(vectors), vectors.__getitem__, 0.985)
    assert result.rows.tolist() == list(range(1000, 3000))
    assert set(result.first.tolist()) == {7}
    assert result.compared < 500_000  # of 2 million pairs of copies
    assert result.unfinished > 0


def test_vectors_without_a_direction_are_duplicates_of_nothing() -> None:
    vectors = cone(200)
    vectors[50:54] = [[np.nan], [0], [np.inf], [np.nan]]
    vectors[150:154] = vectors[50:54]
    vectors[190] = vectors[3]
    with np.errstate(invalid="raise"):
        assert found(vectors) == {190: 3}
    assert found(np.zeros((50, 8), np.float32)) == {}


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_vectors(n: int) -> None:
    assert found(np.ones((n, 4), np.float16)) == ({1: 0} if n == 2 else {})


def test_parts_and_files_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, seen = planted(), []
    expected = found(vectors)
    monkeypatch.setattr(module, "_SORTED", 700)
    monkeypatch.setattr(module, "_BLOCK", 100)
    assert found(vectors, folder=tmp_path, progress=seen.append, tables=16) == expected
    assert sum(seen) == 17 * len(vectors)
    assert list(tmp_path.iterdir()) == []


def test_reads_blocks_of_ascending_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 256)
    vectors = planted()

    def take(rows: Any) -> Any:
        assert len(rows) <= max(512, module._SAMPLE)
        assert (np.diff(rows) > 0).all()
        return vectors[rows]

    assert near_duplicates(len(vectors), take, 0.985).rows.tolist() == sorted(found(vectors))


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.1}, {"tables": 4}, {"window": 0}])
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        near_duplicates(9, cone(9).__getitem__, **{"threshold": 0.98, **options})


def test_bits_are_counted_and_signatures_sorted_as_by_python() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (500, 4), dtype=np.uint32)
    for k in (1, 4):
        assert ones(words[:, :k]).tolist() == [
            sum(word.bit_count() for word in row[:k]) for row in words.tolist()
        ]
    keys = words[:, 0] % np.uint32(100) + np.uint32(2**32 - 100)
    found, places = ordered(keys)
    assert found.tolist() == sorted(keys.tolist())
    assert places.tolist() == sorted(range(500), key=keys.tolist().__getitem__)


def test_likeness_is_measured_from_the_mean_cosine() -> None:
    vectors = cone(400)
    cosines = unit(vectors) @ unit(vectors).T
    mean = float(cosines[~np.eye(400, dtype=bool)].mean())
    for likeness in (0.1, 0.965, 1.0):
        expected = mean + likeness * (1 - mean)
        assert cosine_of(likeness, 400, (3 * vectors).__getitem__) == pytest.approx(expected, abs=1e-6)
    assert cosine_of(0.9, 1, vectors.__getitem__) == pytest.approx(0.9)


def test_examples() -> None:
    assert doctest.testmod(module).failed == doctest.testmod(signatures).failed == 0
