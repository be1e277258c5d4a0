from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from noise_injection import NoiseError, describe, make_mismatch, regular_truth
from noise_injection.mismatch import shuffle_deranged

F30K = (145_000, 29_000)

ragged = st.lists(st.integers(0, 6), min_size=8, max_size=60)
ratios = st.floats(0, 1, exclude_max=True)
seeds = st.integers(0, 2**32 - 1)


def published_rule(n_captions: int, ratio: float, seed: int) -> np.ndarray:
    generator = np.random.RandomState(seed)
    rows = np.arange(n_captions)
    generator.shuffle(rows)
    rows = rows[: int(ratio * n_captions)]
    images = rows // 5
    generator.shuffle(images)
    index = np.arange(n_captions) // 5
    for row, image in zip(rows, images, strict=True):
        index[row] = image
    return index


@pytest.mark.parametrize(
    ("ratio", "sha256"),
    [
        (0.4, "8152f92aa51c5afc86bdaae64d228d975d994bdcf0724b645ed3c69969a4ddc0"),
        (0.6, "bcf16a227419634d3cb3672c83b243c6fce07cd9fc0fc8fc406ebede158b05e2"),
    ],
)
def test_caption_protocol_reproduces_published_bytes(ratio: float, sha256: str) -> None:
    index, record = make_mismatch(regular_truth(145_000, 5), 29_000, ratio, "caption", 96)
    assert index.dtype == np.int64
    assert hashlib.sha256(index.astype("<i8").tobytes()).hexdigest() == sha256 == record.index_sha256


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.29, 0.5, 0.999])
def test_caption_protocol_follows_the_rule_at_other_sizes(ratio: float) -> None:
    index, _ = make_mismatch(regular_truth(500, 5), 100, ratio, "caption", 7)
    np.testing.assert_array_equal(index, published_rule(500, ratio, 7))


@pytest.mark.parametrize(
    ("ratio", "percent", "tolerance"),
    [(0.2, 0.0, 0.06), (0.4, 1.0, 0.1), (0.5, 3.1, 0.2), (0.6, 7.7, 0.3), (0.8, 33.0, 0.7)],
)
def test_share_of_images_without_true_caption(ratio: float, percent: float, tolerance: float) -> None:
    truth = regular_truth(*(F30K[0], 5))
    index, _ = make_mismatch(truth, F30K[1], ratio, "caption", 96)
    left = [not (index[5 * image : 5 * image + 5] == image).any() for image in range(F30K[1])]
    assert 100 * np.mean(left) == pytest.approx(percent, abs=tolerance)
    index, _ = make_mismatch(truth, F30K[1], ratio, "image", 96, derange=True)
    assert describe(index, truth, F30K[1]).images_without_true_caption == int(ratio * F30K[1])


@pytest.mark.parametrize("protocol", ["caption", "image"])
def test_ratio_zero_gives_the_truth(protocol: str) -> None:
    truth = regular_truth(20, 5)
    index, record = make_mismatch(truth, 4, 0, protocol, 3, derange=True)
    np.testing.assert_array_equal(index, truth)
    assert index is not truth
    assert (record.protocol, record.ratio_asked, record.ratio_realised) == ("none", 0.0, 0.0)
    assert (record.n_chosen, record.n_mismatched) == (0, 0)


@pytest.mark.parametrize("protocol", ["caption", "image"])
def test_record_says_what_was_done(protocol: str) -> None:
    truth = regular_truth(1000, 5)
    index, record = make_mismatch(truth, 200, 0.5, protocol, 6, data_fingerprint="abc")
    wrong = sum(int(a != b) for a, b in zip(index, truth, strict=True))
    assert record.n_mismatched == wrong
    assert record.ratio_realised == wrong / 1000
    assert record.n_chosen == 500
    assert 0 < wrong < 500  # with this seed some rows came back by chance
    assert (record.kind, record.protocol, record.ratio_asked, record.seed) == ("mismatch", protocol, 0.5, 6)
    assert (record.n_captions, record.n_images, record.derange) == (1000, 200, False)
    assert (record.data_fingerprint, record.source) == ("abc", "made")


@pytest.mark.parametrize("protocol", ["caption", "image"])
@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6, 0.8])
def test_derange_makes_asked_and_realised_equal(protocol: str, ratio: float) -> None:
    _, record = make_mismatch(regular_truth(5000, 5), 1000, ratio, protocol, 0, derange=True)
    assert record.ratio_realised == ratio
    assert record.derange is True


@settings(max_examples=150, deadline=None)
@given(truth=ragged, ratio=ratios, seed=seeds, derange=st.booleans())
def test_caption_protocol_exchanges_rows(truth: list[int], ratio: float, seed: int, derange: bool) -> None:
    own = np.array(truth)
    try:
        index, record = make_mismatch(own, 7, ratio, "caption", seed, derange)
    except NoiseError:
        assert derange
        return
    assert Counter(index.tolist()) == Counter(truth)
    chosen = int(ratio * len(truth))
    assert record.n_chosen == chosen
    rows = np.arange(len(truth))
    np.random.RandomState(seed).shuffle(rows)
    np.testing.assert_array_equal(index[rows[chosen:]], own[rows[chosen:]])
    if derange:
        assert (index[rows[:chosen]] != own[rows[:chosen]]).all()


@settings(max_examples=150, deadline=None)
@given(truth=ragged, ratio=ratios, seed=seeds, derange=st.booleans())
def test_image_protocol_moves_images_whole(truth: list[int], ratio: float, seed: int, derange: bool) -> None:
    own = np.array(truth)
    if derange and int(ratio * 7) == 1:
        with pytest.raises(NoiseError, match="no other to exchange with"):
            make_mismatch(own, 7, ratio, "image", seed, derange)
        return
    index, record = make_mismatch(own, 7, ratio, "image", seed, derange)
    place = {}
    for image, given_image in zip(truth, index.tolist(), strict=True):
        assert place.setdefault(image, given_image) == given_image
    assert len(set(place.values())) == len(place)
    images = np.arange(7)
    np.random.RandomState(seed).shuffle(images)
    chosen = set(images[: int(ratio * 7)].tolist())
    assert record.n_chosen == sum(image in chosen for image in truth)
    for image, given_image in place.items():
        assert given_image == image if image not in chosen else given_image in chosen
        assert not derange or (image in chosen) == (given_image != image)


@settings(max_examples=50, deadline=None)
@given(ratio=ratios, seed=seeds, protocol=st.sampled_from(["caption", "image"]))
def test_same_seed_same_bytes_whatever_the_surroundings(ratio: float, seed: int, protocol: str) -> None:
    truth = regular_truth(60, 3)
    first, record = make_mismatch(truth, 20, ratio, protocol, seed)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (the global generator must not be touched)
    second, again = make_mismatch(truth.astype(np.int32), 20, ratio, protocol, np.uint32(seed))
    assert first.tobytes() == second.tobytes()
    assert record == again
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_another_seed_gives_other_noise() -> None:
    truth = regular_truth(100, 5)
    hashes = {make_mismatch(truth, 20, 0.5, "caption", seed)[1].index_sha256 for seed in range(20)}
    assert len(hashes) == 20


def test_truth_is_left_alone() -> None:
    truth = regular_truth(100, 5)
    make_mismatch(truth, 20, 0.9, "caption", 0, derange=True)
    np.testing.assert_array_equal(truth, np.arange(100) // 5)


@pytest.mark.parametrize(
    "ratio", [1, 1.0, -0.1, math.nan, math.inf, -math.inf, True, False, "0.4", None, [0.4]]
)
def test_bad_ratio(ratio: object) -> None:
    with pytest.raises(NoiseError, match="noise ratio"):
        make_mismatch(regular_truth(10, 5), 2, ratio, "caption", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, None, "1"])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(NoiseError, match="noise seed"):
        make_mismatch(regular_truth(10, 5), 2, 0.2, "caption", seed)  # type: ignore[arg-type]


def test_bad_protocol_names_the_choices() -> None:
    with pytest.raises(
        NoiseError, match="'captions' \\(did you mean 'caption'\\?\\); choose one of caption, image"
    ):
        make_mismatch(regular_truth(10, 5), 2, 0.2, "captions", 0)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.arange(4) / 2, "float64"),
        (np.zeros((2, 2), np.int64), r"shape \(2, 2\)"),
        (np.array([], np.int64), "empty"),
        (np.array([0, 1, 2]), "from 0 to 2; expected image indices from 0 to 1"),
        (np.array([-1, 1]), "from -1 to 1"),
        (np.array([True, False]), "bool"),
        (np.array([2**64 - 1], np.uint64), "entries from 18446744073709551615 to"),
    ],
)
def test_bad_truth(truth: np.ndarray, message: str) -> None:
    with pytest.raises(NoiseError, match=message):
        make_mismatch(truth, 2, 0.2, "caption", 0)


@pytest.mark.parametrize(("captions", "each"), [(11, 5), (0, 5), (10, 0), (-5, 5), (10, -1)])
def test_regular_truth_refuses(captions: int, each: int) -> None:
    with pytest.raises(NoiseError):
        regular_truth(captions, each)


def test_regular_truth() -> None:
    assert regular_truth(6, 3).tolist() == [0, 0, 0, 1, 1, 1]


def test_example_in_the_docstring() -> None:
    index, record = make_mismatch(np.arange(20) // 5, 4, 0.4, "caption", seed=0, derange=True)
    assert record.ratio_realised == 0.4
    assert (index != np.arange(20) // 5).sum() == 8


def possible(own: tuple[int, ...]) -> bool:
    return any(all(a != b for a, b in zip(p, own, strict=True)) for p in itertools.permutations(own))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6])
def test_every_tiny_case_against_brute_force(length: int) -> None:
    for own in itertools.product(range(3), repeat=length):
        for seed in range(3):
            generator = np.random.RandomState(seed)
            if possible(own):
                result = shuffle_deranged(np.array(own, np.int64), generator)
                assert Counter(result.tolist()) == Counter(own)
                assert all(a != b for a, b in zip(result.tolist(), own, strict=True))
            else:
                with pytest.raises(NoiseError):
                    shuffle_deranged(np.array(own, np.int64), generator)


def test_all_derangements_occur_about_equally_often() -> None:
    own = np.arange(4)
    generator = np.random.RandomState(0)
    seen = Counter(tuple(shuffle_deranged(own, generator).tolist()) for _ in range(4000))
    assert len(seen) == 9
    assert min(seen.values()) > 0.6 * 4000 / 9
    assert max(seen.values()) < 1.5 * 4000 / 9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 2**32 - 1))
def test_no_place_keeps_its_value(own: list[int], seed: int) -> None:
    most = max(Counter(own).values(), default=0)
    generator = np.random.RandomState(seed)
    if 2 * most > len(own):
        with pytest.raises(NoiseError, match="leave derange out"):
            shuffle_deranged(np.array(own, np.int64), generator)
        return
    result = shuffle_deranged(np.array(own, np.int64), generator)
    assert Counter(result.tolist()) == Counter(own)
    assert not any(a == b for a, b in zip(result.tolist(), own, strict=True))


def test_half_of_all_is_the_hardest_case_and_ends() -> None:
    own = np.repeat([0, 1], 500)
    result = shuffle_deranged(own, np.random.RandomState(1))
    np.testing.assert_array_equal(result, 1 - own)


def test_it_stays_near_the_plain_shuffle() -> None:
    own = np.arange(1000)
    plain = own.copy()
    np.random.RandomState(5).shuffle(plain)
    kept = int((plain == own).sum())
    assert kept > 0
    result = shuffle_deranged(own, np.random.RandomState(5))
    assert 0 < int((result != plain).sum()) <= 2 * kept


def test_messages_say_why() -> None:
    with pytest.raises(NoiseError, match="single row or image"):
        shuffle_deranged(np.array([4]), np.random.RandomState(0))
    with pytest.raises(NoiseError, match="3 of the 4 chosen caption rows belong to image 7"):
        shuffle_deranged(np.array([7, 7, 1, 7]), np.random.RandomState(0))


def test_a_number_of_captions_and_a_ratio_are_enough() -> None:
    index, record = make_mismatch(100, 0.4)
    expected, known = make_mismatch(regular_truth(100, 5), 20, 0.4, "caption", 0)
    np.testing.assert_array_equal(index, expected)
    assert record == known
    for short in (make_mismatch(100, ratio=0.4), make_mismatch(np.int64(100), 20, 0.4)):
        np.testing.assert_array_equal(short[0], expected)


def test_the_short_call_takes_a_pairing_and_every_option() -> None:
    truth = np.array([0, 0, 1, 2, 2, 2, 3, 1])
    index, record = make_mismatch(truth, 0.5, protocol="image", seed=3, derange=True, data_fingerprint="f")
    expected, known = make_mismatch(truth, 4, 0.5, "image", 3, True, "f")
    np.testing.assert_array_equal(index, expected)
    assert record == known
    assert make_mismatch(20, 0.5, captions_per_image=2)[1].n_images == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((20,), "ratio is missing; give it, such as make_mismatch"),
        ((20, 40), "noise ratio is 40; expected .*; did you mean 0.4"),
        ((20.5, 0.4), "number of captions is 20.5; expected a whole number of at least 1"),
        ((True, 0.4), "number of captions is True"),
        ((None, 0.4), "number of captions is None"),
        (("train_caps.txt", 0.4), "number of captions is 'train_caps.txt'"),
        ((11, 0.4), "11 captions do not divide into images of 5 captions each"),
        ((20, 4.5, 0.4), "number of images is 4.5; expected a whole number"),
        ((20, 3, 0.4), "from 0 to 3; expected image indices from 0 to 2"),
        (([], 0.4), "empty|float64"),
        (([0.5, 1.0], 0.4), "float64"),
    ],
    ids=str,
)
def test_mistakes_of_the_short_call(given: tuple[object, ...], message: str) -> None:
    with pytest.raises(NoiseError, match=message):
        make_mismatch(*given)  # type: ignore[call-overload]


def test_captions_per_image_beside_a_pairing() -> None:
    with pytest.raises(NoiseError, match="leave captions_per_image out"):
        make_mismatch(np.arange(4), 0.5, captions_per_image=2)
