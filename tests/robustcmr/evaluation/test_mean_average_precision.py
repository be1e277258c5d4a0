from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from robustcmr.errors import UserError
from robustcmr.evaluation.mean_average_precision import label_retrieval_metrics, relevant_places

SCOPES = (1, 3, 7)


def measured(scores, image_labels, text_labels, *options, **named):
    """Metrics of a whole score matrix."""
    return label_retrieval_metrics(
        lambda rows: scores[rows],
        lambda rows: scores[:, rows].T,
        image_labels,
        text_labels,
        *options,
        **named,
    )


def ranked(scores, relevant):
    """Relevance in the order of a ranking; of equal scores the relevant ones come last."""
    order = sorted(range(len(scores)), key=lambda j: (-float(scores[j]), bool(relevant[j])))
    return [bool(relevant[j]) for j in order]


def slow_average_precision(flags):
    hits, total = 0, 0.0
    for place, flag in enumerate(flags, start=1):
        if flag:
            hits += 1
            total += hits / place
    return total / hits if hits else 0.0


def slow(scores, queries, gallery, at, scopes):
    """mAP, mAP@R and the precision-scope curve of one direction, query by query."""
    rankings = []
    for i, query in enumerate(queries):
        relevant = [query == other for other in gallery]
        if any(relevant):
            rankings.append(ranked(scores[i], relevant))
    return (
        100 * np.mean([slow_average_precision(flags) for flags in rankings]),
        [100 * np.mean([slow_average_precision(flags[:r]) for flags in rankings]) for r in at],
        [100 * np.mean([sum(flags[:scope]) / scope for flags in rankings]) for scope in scopes],
        len(rankings),
    )


def case(seed, n_images=23, n_texts=17, n_classes=4):
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(n_images, n_texts)).astype(np.float32))
    return scores, rng.integers(0, n_classes, n_images), rng.integers(0, n_classes, n_texts)


def check(found, scores, images, texts, at, scopes):
    for way, (rows, queries, gallery) in {
        "i2t": (scores.tolist(), images, texts),
        "t2i": (scores.T.tolist(), texts, images),
    }.items():
        whole, first, precision, n = slow(rows, queries, gallery, at, scopes)
        assert getattr(found, f"map_{way}") == pytest.approx(whole, rel=1e-12)
        assert getattr(found, f"map_{way}_at") == pytest.approx(first, rel=1e-12)
        assert getattr(found, f"precision_{way}") == pytest.approx(precision, rel=1e-12)
        kind = {"i2t": "images", "t2i": "texts"}[way]
        assert getattr(found, f"n_{kind}") == n
        assert getattr(found, f"excluded_{kind}") == len(queries) - n


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("block_bytes", [1, 10_000, 1 << 27])
def test_against_a_slow_loop(seed, decimals, block_bytes):
    scores, images, texts = case(seed)
    if decimals is not None:
        scores = scores.round(decimals=decimals)  # many ties, and both 0 and -0
    images[:2] = 9  # a class no text has
    at = (1, 5, 50)
    found = measured(scores, images, texts, at, SCOPES, block_bytes)
    check(found, scores, images, texts, at, SCOPES)
    assert found.excluded_images == 2


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed):
    scores, images, texts = case(seed, 40, 60, 6)
    by_image = [
        average_precision_score(texts == c, row.numpy()) for c, row in zip(images, scores, strict=True)
    ]
    by_text = [
        average_precision_score(images == c, row.numpy()) for c, row in zip(texts, scores.T, strict=True)
    ]
    found = measured(scores, images, texts)
    assert found.map_i2t == pytest.approx(100 * np.mean(by_image), rel=1e-12)
    assert found.map_t2i == pytest.approx(100 * np.mean(by_text), rel=1e-12)
    assert found.map == pytest.approx(50 * (np.mean(by_image) + np.mean(by_text)), rel=1e-12)
    np.testing.assert_allclose(found.ap_i2t, 100 * np.array(by_image), rtol=1e-12)
    np.testing.assert_allclose(found.ap_t2i, 100 * np.array(by_text), rtol=1e-12)
    images[3] = 99  # a class no text has
    for block_bytes in (1, 1 << 27):
        found = measured(scores, images, texts, block_bytes=block_bytes)
        assert np.flatnonzero(np.isnan(found.ap_i2t)).tolist() == [3]
        kept = np.delete(np.arange(40), 3)
        np.testing.assert_allclose(found.ap_i2t[kept], 100 * np.array(by_image)[kept], rtol=1e-12)


def test_by_hand():
    """Relevant at places 1 and 4 of 4, and at 2 and 3: (1 + 2/4) / 2 and (1/2 + 2/3) / 2."""
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    found = measured(scores, np.array([0, 1]), np.array([0, 1, 1, 0]), at=(1, 2), scopes=(2,))
    assert found.map_i2t == pytest.approx(100 * (0.75 + 7 / 12) / 2)
    assert found.map_i2t_at == pytest.approx((100 * (1 + 0) / 2, 100 * (1 + 0.5) / 2))
    assert found.precision_i2t == pytest.approx((50.0,))


def test_a_perfect_and_a_reversed_ranking():
    labels = np.repeat(np.arange(3), 4)
    same = torch.from_numpy(labels[:, None] == labels[None]).float()
    best = measured(same, labels, labels, at=(4,), scopes=(4, 8))
    assert (best.map_i2t, best.map_t2i, best.map, best.map_i2t_at) == (100, 100, 100, (100,))
    assert best.precision_i2t == best.precision_t2i == (100, 50)
    worst = measured(-same, labels, labels, at=(8,), scopes=(8,))
    assert worst.map == pytest.approx(100 * np.mean([j / (8 + j) for j in range(1, 5)]))
    assert worst.map_i2t_at == worst.precision_i2t == (0,)


@pytest.mark.parametrize("value", [0.0, -3.5, float("inf"), float("-inf")])
def test_a_constant_scorer_earns_what_the_worst_order_does(value):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30)
    same = torch.from_numpy(labels[:, None] == labels[None]).float()
    constant = measured(torch.full((30, 30), value), labels, labels)
    assert constant == measured(-same, labels, labels)
    by_luck = np.sort(labels)  # galleries sorted by class would flatter a scorer that keeps their order
    ordered = measured(torch.full((30, 30), value), by_luck, by_luck)
    assert ordered.map == pytest.approx(constant.map, rel=1e-12)
    assert ordered.map < 100 / 3  # what a random order earns at the least


def test_zero_and_minus_zero_are_the_same_score():
    scores = torch.tensor([[0.0, -0.0], [-0.0, 0.0]])
    found = measured(scores, np.array([0, 1]), np.array([0, 1]))
    assert found.map_i2t == found.map_t2i == 50


def test_scores_are_ranked_over_their_whole_range():
    tiny = 1e-45
    row = [float("-inf"), -3e38, -1.0, -tiny, 0.0, tiny, 1.0, 1.0000001, 3e38, float("inf")]
    for lone in range(len(row)):
        relevant = torch.arange(len(row))[None] == lone
        places = relevant_places(torch.tensor([row]), relevant)
        assert places[0].tolist() == [place == len(row) - 1 - lone for place in range(len(row))]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_kinds_of_floats(dtype):
    scores, images, texts = case(1)
    scores = scores.to(dtype)
    found = measured(scores, images, texts, (5,), SCOPES)
    check(found, scores.float(), images, texts, (5,), SCOPES)


def test_the_input_stays_as_it_was_and_may_have_a_gradient():
    scores, images, texts = case(2)
    before, labels = scores.clone(), images.copy()
    found = measured(scores.requires_grad_(), torch.from_numpy(images), texts)
    assert torch.equal(scores, before)
    assert np.array_equal(images, labels)
    assert found == measured(before, images, texts)


def test_order_of_the_items_does_not_matter():
    scores, images, texts = case(3)
    rows, columns = torch.randperm(23), torch.randperm(17)
    found = measured(scores.round()[rows][:, columns], images[rows], texts[columns])
    expected = measured(scores.round(), images, texts)
    assert found.map_i2t == pytest.approx(expected.map_i2t, rel=1e-12)
    assert found.map_t2i_at == pytest.approx(expected.map_t2i_at, rel=1e-12)


@pytest.mark.parametrize("block_bytes", [1, 30_000, 1 << 27])
def test_vectors_agree_with_their_score_matrix(block_bytes):
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(90, 8, generator=generator), dim=1)
    texts = torch.nn.functional.normalize(torch.randn(70, 8, generator=generator), dim=1)
    a, b = (torch.randint(0, 5, (n,), generator=generator) for n in (90, 70))
    whole = measured(images @ texts.T, a, b, (10,), SCOPES)
    found = label_retrieval_metrics(
        lambda rows: images[rows] @ texts.T,
        lambda rows: texts[rows] @ images.T,
        a,
        b,
        (10,),
        SCOPES,
        block_bytes,
    )
    for name, value in whole.to_dict().items():
        assert found.to_dict()[name] == pytest.approx(value, rel=1e-9), name


def test_blocks_are_as_small_as_the_memory_asks_and_cover_every_query_once():
    scores, images, texts = case(4)
    seen = {"images": [], "texts": []}

    def image_scores(rows):
        seen["images"].append(rows)
        return scores[rows]

    def text_scores(rows):
        seen["texts"].append(rows)
        return scores.T[rows]

    found = label_retrieval_metrics(image_scores, text_scores, images, texts, block_bytes=17 * 96 * 5)
    assert found.map == pytest.approx(measured(scores, images, texts).map, rel=1e-12)
    assert seen["images"] == [slice(0, 5), slice(5, 10), slice(10, 15), slice(15, 20), slice(20, 23)]
    assert [i for rows in seen["texts"] for i in range(rows.start, rows.stop)] == list(range(17))


def test_memory_stays_bounded():
    """A gallery whose score matrix takes 6.4 GB, in a process of its own."""
    program = """
import resource, torch
from robustcmr.evaluation.mean_average_precision import _one_way
torch.set_num_threads(1)
gallery = torch.zeros(40_000, dtype=torch.int64).numpy()  # all relevant: the most memory
row = torch.rand(1, 40_000)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def scores(rows): return row.repeat(rows.stop - rows.start, 1)
def run(n): return _one_way(scores, gallery[:n], gallery, (50,), (50,), 2**26)
run(1)
before = peak()
assert abs(run(40)[0][0] - 100) < 1e-9
print(peak() - before)
"""
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(grown) * 1024 < 1.25 * 2**26


def test_values_are_plain():
    scores, images, texts = case(5, 60, 55)
    found = measured(scores, images, texts, at=(50, 5))
    values = found.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["scopes"] == [50]  # longer ones do not fit into 55 texts
    assert len(values["precision_i2t"]) == len(values["precision_t2i"]) == 1
    assert values["map"] == (values["map_i2t"] + values["map_t2i"]) / 2
    assert (values["map_i2t_at_50"], values["map_t2i_at_5"]) == (found.map_i2t_at[0], found.map_t2i_at[1])
    assert values["map_at_5"] == (values["map_i2t_at_5"] + values["map_t2i_at_5"]) / 2
    assert (values["n_images"], values["n_texts"], values["excluded_texts"]) == (60, 55, 0)


def test_no_common_class_is_refused():
    with pytest.raises(UserError, match="no class of the 2 images occurs among the 3 texts"):
        measured(torch.zeros(2, 3), np.array([0, 1]), np.array([2, 3, 4]))


@pytest.mark.parametrize("where", [(0, 0), (1, 2)])
def test_nan_is_refused(where):
    scores = torch.zeros(2, 3)
    scores[where] = float("nan")
    with pytest.raises(UserError, match="hold NaN"):
        measured(scores, np.array([0, 1]), np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.zeros(3, 2)}, "float matrix of a row for each of 2 labels"),
        ({"scores": torch.zeros(2, 3, dtype=torch.int64)}, "float matrix"),
        ({"scores": torch.zeros(6)}, "float matrix"),
        ({"image_labels": np.array([0.0, 1.0])}, "image_labels must be a vector of int64"),
        ({"text_labels": np.array([[0], [1], [1]])}, "text_labels must be a vector of int64"),
        ({"text_labels": np.array([0, -1, 1])}, "class numbers from 0, got -1"),
        ({"at": (5, 0)}, "at must be lengths"),
        ({"scopes": (-1,)}, "scopes must be lengths"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {
        "scores": torch.zeros(2, 3),
        "image_labels": np.array([0, 1]),
        "text_labels": np.array([0, 1, 1]),
    }
    with pytest.raises(ValueError, match=message):
        measured(**{**given, **change})


def test_blocks_of_the_wrong_shape_are_refused():
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="a row for each of 3 labels"):
        label_retrieval_metrics(
            lambda _: torch.zeros(2, 2), lambda _: torch.zeros(2, 3), np.arange(3), labels
        )
    with pytest.raises(ValueError, match="is empty"):
        measured(torch.zeros(0, 2), np.zeros(0, np.int64), labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_the_gpu():
    scores, images, texts = case(6)
    scores = scores.round()
    found = measured(scores.cuda(), torch.from_numpy(images).cuda(), texts, (5,), SCOPES)
    assert found == measured(scores, images, texts, (5,), SCOPES)
