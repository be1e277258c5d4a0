"""Running targets."""

import pytest
import torch

from robustcmr.correction import running_target


def test_formula_and_floor():
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2))
    found = running_target(old, new, 0.8, 0.3)
    for i in range(50):
        blended = 0.8 * float(old[i]) + 0.2 * float(new[i])
        assert float(found[i]) == pytest.approx(0.0 if blended < 0.3 else blended)
    assert (found == 0).any()
    assert (found > 0).any()


def test_without_a_floor_it_is_a_decaying_mean():
    target = torch.ones(1)
    for value in (0.2, 0.6):
        target = running_target(target, torch.tensor([value]), 0.3)
    assert float(target) == pytest.approx(0.3 * (0.3 + 0.7 * 0.2) + 0.7 * 0.6)


def test_a_target_of_zero_can_rise_again():
    assert float(running_target(torch.zeros(1), torch.ones(1), 0.8, 0.1)) == pytest.approx(0.2)
    assert float(running_target(torch.zeros(1), torch.full((1,), 0.4), 0.8, 0.1)) == 0.0


def test_detached_and_refused():
    found = torch.rand(3, requires_grad=True)
    assert not running_target(torch.ones(3), found, 0.5).requires_grad
    with pytest.raises(ValueError, match="the same pairs"):
        running_target(torch.ones(2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match=r"keep is 1\.5"):
        running_target(torch.ones(2), torch.ones(2), 1.5)
