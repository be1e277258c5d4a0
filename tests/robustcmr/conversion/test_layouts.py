"""Networks are found wherever released files keep them."""

import argparse

import numpy as np
import pytest
import torch

from robustcmr.conversion.layouts import find_network
from robustcmr.errors import CheckpointError

PARTS = ("img_enc", "txt_enc")


def states(value=0.0):
    return [{"fc.weight": torch.full((2,), value)}, {"embed.weight": torch.full((3,), value + 1)}]


def wrapped(state):
    return {f"module.{key}": value for key, value in state.items()}


def named(value=0.0):
    return dict(zip(PARTS, states(value), strict=True))


def flat(prefix=""):
    return {f"{prefix}{part}.{key}": value for part, state in named().items() for key, value in state.items()}


@pytest.mark.parametrize(
    "document",
    [
        {"epoch": 1, "model": states()},
        {"model": tuple(states())},
        {"net": states()},
        {"state_dict": named()},
        {"model": flat()},
        {"model": flat("module.")},
        {"model": {f"{part}.module.{k}": v for part, s in named().items() for k, v in s.items()}},
        {"model": [wrapped(state) for state in states()]},
        {"model": {f"module.{part}": state for part, state in named().items()}},
        {"model_A": states(), "epoch": 3},
        named(),
        states(),
        flat(),
    ],
)
def test_a_lone_network(document):
    network = find_network(document, PARTS)
    assert {key: value.tolist() for key, value in network.weights.items()} == {
        "img_enc.fc.weight": [0, 0],
        "txt_enc.embed.weight": [1, 1, 1],
    }


def test_a_module_whose_name_ends_in_module_keeps_it():
    document = [{"SGR_module.0.w": torch.ones(1)}, {"module.SAF_module.w": torch.ones(1)}]
    assert list(find_network(document, PARTS).weights) == ["img_enc.SGR_module.0.w", "txt_enc.SAF_module.w"]


@pytest.mark.parametrize(
    "document",
    [
        {"model_A": states(0), "model_B": states(5), "opt": None},
        {"net_B": named(5), "net_A": named(0)},
        {"modelA": states(0), "modelB": states(5)},
        {"model": {"net_A": states(0), "net_B": named(5)}},
        {"model": [states(0), states(5)]},
    ],
)
def test_two_networks(document):
    for chosen, value in (("A", 0), ("B", 5), ("b", 5)):
        network = find_network(document, PARTS, chosen)
        assert network.name == chosen.upper()
        assert network.weights["img_enc.fc.weight"].tolist() == [value, value]
    with pytest.raises(CheckpointError, match="holds the networks A and B; choose one with --network"):
        find_network(document, PARTS)
    with pytest.raises(CheckpointError, match="networks A and B, but --network is C"):
        find_network(document, PARTS, "c")


def test_one_of_two_where_there_is_one():
    with pytest.raises(CheckpointError, match="holds one network, but --network is A"):
        find_network({"model": states()}, PARTS, "A")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            {"model": [*states(), {}]},
            "list of 3, expected 2: the state dicts of img_enc, txt_enc; check --from",
        ),
        ({"model": states()[:1]}, "list of 1, expected 2"),
        ({"model": []}, "list of 0, expected 2"),
        ({"model": {"img_enc": states()[0]}}, "has no txt_enc, only img_enc"),
        ({"model": {"fc.weight": torch.ones(2)}}, "has no img_enc and no txt_enc, only fc"),
        ({"model": {}}, "holds no network but a dict"),
        ({"model": None}, "holds no network but a NoneType"),
        ({}, "holds no network but a dict"),
        (torch.ones(3), "holds no network but a Tensor"),
        ({"epoch": 3, "opt": None}, "epoch is a int, expected a state dict"),
        ({"model": [states()[0], torch.nn.Parameter(torch.ones(2))]}, "has no txt_enc"),
        ({"model": [states()[0], [1]]}, "txt_enc is a list, expected a state dict"),
        ({"model": [states()[0], {"x": 3}]}, r"txt_enc\.x is a int, expected a tensor"),
        ({"model": [states()[0], {}]}, "has no txt_enc, only img_enc"),
    ],
)
def test_no_such_network(document, reason):
    with pytest.raises(CheckpointError, match=reason) as caught:
        find_network(document, PARTS)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_itself():
    document = {}
    document["model"] = document
    with pytest.raises(CheckpointError, match=r"model\.model is a dict, expected a tensor"):
        find_network(document, PARTS)


def test_claims_are_plain():
    options = argparse.Namespace(data_name="f30k_precomp", seed=3, noise_rate=0.4, module_name=None, lr=1)
    document = {"epoch": 7, "best_rsum": np.float64(490.25), "Eiters": torch.tensor(9), "opt": options}
    claims = find_network({**document, "model": states()}, PARTS).claims
    assert claims == {
        "epoch": 7,
        "best_rsum": 490.25,
        "Eiters": 9,
        "data_name": "f30k_precomp",
        "noise_rate": 0.4,
        "seed": 3,
    }
    assert type(claims["best_rsum"]) is float
    assert (
        find_network({"best_rsum": float("nan"), "opt": {"seed": [1]}, "model": states()}, PARTS).claims == {}
    )
    assert find_network(states(), PARTS).claims == {}


@pytest.mark.parametrize("options", [{"no_imgnorm": True}, argparse.Namespace(no_txtnorm=True)])
def test_vectors_that_were_not_normalised(options):
    with pytest.raises(CheckpointError, match=r"say no_(imgnorm|txtnorm), so this network compares"):
        find_network({"model": states(), "opt": options}, PARTS)
