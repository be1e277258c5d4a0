"""Generalised pooling: a slow loop over items and channels as the truth."""

import math

import pytest
import torch
from torch.nn.functional import pad

from robustcmr.matchers.encoders.generalised_pooling import GeneralisedPooling, positional_encoding


def pooling(seed=0, dtype=torch.float32, **sizes):
    torch.manual_seed(seed)
    return GeneralisedPooling(**sizes).to(dtype)


def sets(n=7, places=6, width=5, dtype=torch.float32):
    """n sets of 1..places real fragments, gaps between them."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(n, places, generator=generator) < 0.6
    mask[:, 2] = True
    mask[0] = True
    return torch.randn(n, places, width, generator=generator).to(dtype), mask


def code(place, width):
    """The positional encoding of a place, number by number."""
    row = []
    for k in range(width // 2):
        angle = place / 10000 ** (2 * k / width)
        row += [math.sin(angle), math.cos(angle)]
    return row


def test_positional_encoding():
    found = positional_encoding(7, 8)
    assert torch.allclose(found, torch.tensor([code(place, 8) for place in range(7)]), atol=1e-6)


def slow_coefficients(module, length):
    """Read the codes of one set's places alone, without padding, a state at a time."""
    codes = torch.tensor([code(place, module.position_width) for place in range(length)], dtype=torch.float64)
    parameters = {name: value.double() for name, value in module.reader.named_parameters()}
    states = []
    for suffix, order in (("", range(length)), ("_reverse", reversed(range(length)))):
        weights = [
            parameters[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        h, found = torch.zeros(module.reader.hidden_size, dtype=torch.float64), {}
        for place in order:
            r_x, z_x, n_x = (weights[0] @ codes[place] + weights[2]).chunk(3)
            r_h, z_h, n_h = (weights[1] @ h + weights[3]).chunk(3)
            z = torch.sigmoid(z_x + z_h)
            h = (1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h) + z * h
            found[place] = h
        states.append(torch.stack([found[place] for place in range(length)]))
    logits = ((states[0] + states[1]) / 2) @ module.linear.weight[0].double()
    return torch.softmax(logits / 0.1, 0)


def test_pooling_item_by_item_and_channel_by_channel():
    module = pooling()
    features, mask = sets()
    with torch.no_grad():
        found = module(features, mask)
        for i in range(len(features)):
            real = features[i, mask[i]]
            weights = slow_coefficients(module, len(real))
            for d in range(features.shape[2]):
                values = sorted(real[:, d].tolist(), reverse=True)
                expected = sum(float(w) * value for w, value in zip(weights, values, strict=True))
                assert found[i, d].item() == pytest.approx(expected, abs=1e-5)


def test_coefficients_sum_to_one_and_end_with_the_set():
    weights = pooling().coefficients(torch.tensor([3, 1, 5]), 5)
    assert torch.allclose(weights.sum(1), torch.ones(3))
    assert (weights[0, 3:] == 0).all()
    assert weights[1].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert (weights[2] > 0).all()


def test_the_mean_is_a_special_case():
    module = pooling()
    torch.nn.init.zeros_(module.linear.weight)
    features, mask = sets()
    expected = torch.stack([x[m].mean(0) for x, m in zip(features, mask, strict=True)])
    assert torch.allclose(module(features, mask), expected, atol=1e-6)


def test_padding_and_order_change_nothing():
    module = pooling()
    features, mask = sets()
    base = module(features, mask)
    garbage = pad(features, (0, 0, 0, 3), value=9.0).masked_fill(~pad(mask, (0, 3)).unsqueeze(-1), 50.0)
    assert torch.allclose(module(garbage, pad(mask, (0, 3))), base, atol=1e-6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(module(features[:, order], mask[:, order]), base, atol=1e-6)
    assert torch.allclose(module(features[2:3], mask[2:3]), base[2:3], atol=1e-6)


def test_each_length_is_read_once(monkeypatch):
    module = pooling()
    seen = []
    monkeypatch.setattr(
        GeneralisedPooling,
        "coefficients",
        lambda self, lengths, places: seen.append(lengths.tolist()) or torch.ones(len(lengths), places),
    )
    mask = torch.arange(6) < torch.tensor([2, 5, 2, 2, 6, 5]).unsqueeze(1)
    module(torch.randn(6, 6, 3), mask)
    assert seen == [[2, 5, 6]]


def test_gradients():
    module = pooling(dtype=torch.float64, position_width=4, hidden=3)
    features, mask = sets(n=3, places=4, width=2, dtype=torch.float64)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x, mask), features)
    module(features, mask).square().sum().backward()
    assert (features.grad[~mask] == 0).all()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_autocast_leaves_the_coefficients_exact():
    module = pooling()
    features, mask = sets()
    exact = module(features, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(features, mask), exact)
        assert torch.allclose(module(features.bfloat16(), mask), exact, atol=0.02)


def test_it_learns_to_take_the_maximum():
    module = pooling()
    features, mask = sets(n=32)
    target = features.masked_fill(~mask.unsqueeze(-1), -math.inf).amax(1)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(60):
        loss = (module(features, mask) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.01
