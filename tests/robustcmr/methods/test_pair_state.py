"""Numbers kept by pair: by id, on the CPU, copied when saved."""

import numpy as np
import pytest
import torch

from robustcmr.methods.pair_state import PairState
from robustcmr.testing.samples import SamplePairs

PAIRS = SamplePairs()


def batch(*ids):
    return PAIRS.batch(np.array(ids, dtype=np.int64))


def test_values_are_kept_by_pair_id():
    state = PairState(len(PAIRS), belief=1.0, seen=0.0)
    state.put("belief", batch(7, 3), torch.tensor([0.25, 0.5], dtype=torch.float64, requires_grad=True))
    assert state.of("belief", batch(3, 9, 7)).tolist() == [0.5, 1.0, 0.25]
    assert state["belief"].sum() == len(PAIRS) - 1.25
    assert not state["belief"].requires_grad
    assert state["seen"].eq(0).all()


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_a_column_is_replaced_by_a_copy(make):
    state, values = PairState(3, belief=1.0), make([0.1, 0.2, 0.3])
    state["belief"] = values
    values[0] = 9.0
    torch.testing.assert_close(state["belief"], torch.tensor([0.1, 0.2, 0.3]))
    assert state["belief"].dtype == torch.float32


def test_a_read_value_is_not_the_state():
    state = PairState(len(PAIRS), belief=1.0)
    state.of("belief", batch(0, 1)).zero_()
    assert state["belief"].eq(1).all()


def test_saved_columns_do_not_change_and_are_restored():
    state = PairState(4, belief=1.0, seen=0.0)
    state["belief"] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    saved = state.state_dict()
    state["belief"] = torch.zeros(4)
    state["seen"] = torch.ones(4)
    other = PairState(4, belief=5.0, seen=5.0)
    other.load_state_dict(saved)
    torch.testing.assert_close(other["belief"], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert other["seen"].eq(0).all()
    saved["belief"].zero_()
    assert other["belief"].gt(0).all()


def test_unknown_columns_are_errors():
    state = PairState(4, belief=1.0)
    with pytest.raises(KeyError):
        state["other"] = torch.zeros(4)
    with pytest.raises(KeyError):
        state.load_state_dict({"other": torch.zeros(4)})
