"""Moving tensors: what is missing, misshapen, broken, or of another layout is named."""

import pytest
import torch

from robustcmr.conversion import sgraf, vse_infty
from robustcmr.conversion.keys import KeyMap, move, shape_of
from robustcmr.conversion.layouts import find_network
from robustcmr.errors import CheckpointError

KEYS = KeyMap(
    {"w": "a.weight", "m": "a.running_mean", "n.num_batches_tracked": "a.num_batches_tracked"},
    {"b": "a.running_mean"},
    {"idle": "nothing reads it"},
)


def target():
    return {
        "a.weight": torch.zeros(2),
        "a.running_mean": torch.zeros(2),
        "a.num_batches_tracked": torch.tensor(0),
    }


def given(**more):
    return {"w": torch.tensor([1.0, 2.0]), "m": torch.tensor([5.0, 7.0]), **more}


def test_what_becomes_of_each():
    counter = {"n.num_batches_tracked": torch.tensor(4)}
    extra = {"b": torch.tensor([1.0, 3.0]), "idle": torch.ones(9), "odd": torch.ones(1)}
    moved = move(given(**counter, **extra), KEYS, target())
    assert {key: value.tolist() for key, value in moved.state.items()} == {
        "a.weight": [1, 2],
        "a.running_mean": [4, 4],
        "a.num_batches_tracked": 4,
    }
    assert moved.renamed == KEYS.renamed
    assert moved.folded == {"b": "a.running_mean"}
    assert moved.without_effect == {"idle": "nothing reads it"}
    assert moved.without_place == ["odd"]


def test_a_counter_may_be_missing_and_so_may_biases():
    moved = move(given(), KEYS, target())
    assert moved.state["a.num_batches_tracked"].item() == 0
    assert moved.state["a.running_mean"].tolist() == [5, 7]
    assert (moved.folded, moved.without_effect, moved.without_place) == ({}, {}, [])


def test_other_types_become_ours():
    moved = move({"w": torch.ones(2).half(), "m": torch.ones(2).double()}, KEYS, target())
    assert moved.state["a.weight"].dtype == moved.state["a.running_mean"].dtype == torch.float32


def test_the_file_is_not_shared():
    weights = given()
    moved = move(weights, KEYS, target())
    moved.state["a.weight"].zero_()
    assert weights["w"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"m": torch.ones(2)}, "lacks 1 of the 3 tensors its matcher needs, w; check --from"),
        (given(w=torch.ones(3)), r"w has the shape \(3,\) where \(2,\) was expected; this is another"),
        (given(b=torch.ones(1)), r"b has the shape \(1,\) where \(2,\) was expected"),
        (given(w=torch.tensor([1.0, torch.nan])), "w holds NaN or infinite"),
        (given(b=torch.tensor([1.0, torch.inf])), "b holds NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_named(weights, reason):
    with pytest.raises(CheckpointError, match=reason):
        move(weights, KEYS, target())


def test_many_faults_are_counted():
    keys = KeyMap({f"t{i}": f"o{i}" for i in range(9)})
    ours = {f"o{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"lacks 9 of the 9 .* t0, t1, t2, t3 and so on"):
        move({}, keys, ours)
    with pytest.raises(CheckpointError, match=r"t2 has .*; and 6 more; this is another"):
        move({f"t{i}": torch.zeros(2) for i in range(9)}, keys, ours)


def test_sizes_come_from_tensors_that_are_there():
    assert shape_of({"w": torch.ones(2, 3)}, "w", 2) == (2, 3)
    with pytest.raises(CheckpointError, match="has no w; check --from"):
        shape_of({}, "w", 2)
    with pytest.raises(CheckpointError, match=r"w has the shape \(2, 3\), expected 1 dimensions"):
        shape_of({"w": torch.ones(2, 3)}, "w", 1)


def plan_of(layout, states):
    return layout.plan(find_network(states, layout.PARTS).weights)


def test_graph_and_filter_are_told_apart(released):
    assert plan_of(sgraf, released.sgraf("SGR")).matcher == "sgr"
    assert plan_of(sgraf, released.sgraf("SAF")).matcher == "saf"
    image, text, sim = released.sgraf("SGR")
    both = {**sim, **released.sgraf("SAF")[2]}
    with pytest.raises(CheckpointError, match="has both SGR_module and SAF_module; expected one"):
        plan_of(sgraf, [image, text, both])
    neither = {key: value for key, value in sim.items() if "SGR" not in key}
    with pytest.raises(CheckpointError, match="has neither SGR_module nor SAF_module"):
        plan_of(sgraf, [image, text, neither])


def test_steps_are_counted_from_0(released):
    image, text, sim = released.sgraf("SGR")
    odd = {key.replace("SGR_module.2", "SGR_module.999999999"): value for key, value in sim.items()}
    with pytest.raises(CheckpointError, match="SGR_module 0, 1, 999999999, expected them numbered"):
        plan_of(sgraf, [image, text, odd])


def test_networks_of_other_encoders_are_refused(released):
    image, text = released.vse()
    bert = {"bert.embeddings.word_embeddings.weight": torch.ones(3, 2), "linear.weight": torch.ones(2, 2)}
    for layout in (vse_infty, sgraf):
        states = [image, bert, {}][: len(layout.PARTS)]
        weights = {f"{p}.{k}": v for p, s in zip(layout.PARTS, states, strict=True) for k, v in s.items()}
        with pytest.raises(CheckpointError, match="reads captions by BERT; only networks"):
            layout.plan(weights)
    with pytest.raises(CheckpointError, match="reads pictures; only networks that read precomputed"):
        plan_of(vse_infty, [{"backbone.top.0.weight": torch.ones(1)}, text])


def test_a_reader_of_one_direction_is_refused(released):
    states = released.sgraf("SAF")
    states[1] = {key: value for key, value in states[1].items() if "reverse" not in key}
    weights = find_network(states, sgraf.PARTS).weights
    keys = sgraf.plan(weights).keys
    ours = {mine: weights[theirs] for theirs, mine in keys.renamed.items() if theirs in weights}
    ours |= {f"words.reverse_reader.{name}": torch.ones(1) for name in ("weight_ih_l0", "bias_ih_l0")}
    with pytest.raises(CheckpointError, match=r"lacks 2 .*txt_enc\.cap_rnn\.weight_ih_l0_reverse"):
        move(weights, keys, ours)
