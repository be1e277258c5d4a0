"""SCAN: a slow loop over pairs as the truth, padding, tiles, gradients, training."""

import itertools
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity, leaky_relu, normalize, pad

from robustcmr.matchers import scan
from robustcmr.matchers.scan import Scan, attended_cosines, pooled
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

SPEC = DataSpec(feature_width=10, n_regions=5, vocabulary_size=50, longest_caption=8)
VARIANTS = list(itertools.product(("t2i", "i2t", "both"), ("mean", "sum-exp")))


def matcher(seed=0, **options):
    torch.manual_seed(seed)
    return Scan(Scan.Config(**{"dim": 12, "word_dim": 7, "region_hidden": 9, **options}), SPEC)


def batch(n=6, seed=1):
    """n images of 2..5 regions and n captions of 2..8 words, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    region_mask = torch.arange(5) < torch.randint(2, 6, (n, 1), generator=generator)
    word_mask = torch.arange(8) < torch.randint(2, 9, (n, 1), generator=generator)
    features = torch.randn(n, 5, 10, generator=generator) * region_mask.unsqueeze(-1)
    tokens = torch.randint(1, 50, (n, 8), generator=generator) * word_mask
    return ImageBatch(features, region_mask), TextBatch(tokens, word_mask)


def looked_at(context, query, smoothing):
    """Cosine of each query fragment (W, D) with what it sees of a context (R, D), fragment by fragment."""
    S = torch.tensor([[float(cosine_similarity(r, w, 0)) for w in query] for r in context]).double()
    S = leaky_relu(S, 0.1)
    S = S / S.norm(dim=1, keepdim=True)
    cosines = []
    for w, word in enumerate(query):
        attention = torch.softmax(smoothing * S[:, w], 0)
        seen = sum(a * normalize(r, dim=0) for a, r in zip(attention, context, strict=True))
        cosines.append(cosine_similarity(word, seen, 0))
    return torch.stack(cosines)


def slow_score(config, regions, words):
    scores = []
    for direction, published in (("t2i", 9.0), ("i2t", 4.0)):
        if config.direction in (direction, "both"):
            pair = (regions, words) if direction == "t2i" else (words, regions)
            cosines = looked_at(*pair, published if config.smoothing is None else config.smoothing)
            if config.aggregation == "mean":
                scores.append(cosines.mean())
            else:
                scores.append((config.lse_smoothing * cosines).exp().sum().log() / config.lse_smoothing)
    return sum(scores) / len(scores)


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
@pytest.mark.parametrize("smoothing", [None, 6.5])
def test_scores_follow_the_formula_on_real_fragments(direction, aggregation, smoothing):
    options = {"direction": direction, "aggregation": aggregation, "smoothing": smoothing}
    model = matcher(**options, lse_smoothing=5.0).eval()
    images, texts = batch()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        scores = model.score(x, y)
    assert scores.shape == (6, 6)
    assert scores.dtype == torch.float32
    for i in range(6):
        for j in range(6):
            regions, words = x.features[i, x.mask[i]].double(), y.features[j, y.mask[j]].double()
            expected = slow_score(model.config, regions, words)
            assert scores[i, j].item() == pytest.approx(expected.item(), abs=1e-5)


def test_published_smoothing():
    images, texts = batch()
    for direction, value in (("t2i", 9.0), ("i2t", 4.0)):
        default, same = matcher(direction=direction), matcher(direction=direction, smoothing=value)
        assert torch.equal(default(images, texts), same(images, texts))


@pytest.mark.parametrize("tile_cells", [1, 60, 1 << 21])
def test_cosines_without_padding_and_in_tiles(tile_cells):
    generator = torch.Generator().manual_seed(5)
    context = torch.randn(4, 5, 6, dtype=torch.float64, generator=generator)
    query = torch.randn(3, 4, 6, dtype=torch.float64, generator=generator)
    real = torch.ones(4, 5).bool(), torch.ones(3, 4).bool()
    found = attended_cosines(context, query, *real, smoothing=9.0, tile_cells=tile_cells)
    assert found.dtype == torch.float64
    for i in range(4):
        for j in range(3):
            assert torch.allclose(found[i, j], looked_at(context[i], query[j], 9.0), atol=1e-6)


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
def test_padding_changes_neither_scores_nor_gradients_in_training(direction, aggregation):
    images, texts = batch()
    garbage = images.features + torch.randn(6, 5, 10) * ~images.mask.unsqueeze(-1)
    wider = (
        ImageBatch(pad(garbage, (0, 0, 0, 3)), pad(images.mask, (0, 3))),
        TextBatch(pad(texts.tokens, (0, 4)), pad(texts.mask, (0, 4))),
    )
    results = []
    for pair in ((images, texts), wider):
        model = matcher(direction=direction, aggregation=aggregation).train()
        scores = model(*pair)
        scores.diagonal().sum().backward()
        results.append([scores, *(p.grad for p in model.parameters())])
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
def test_what_stands_at_padded_places_is_not_read(direction, aggregation):
    model = matcher(direction=direction, aggregation=aggregation)
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    filled = [Fragments(s.features + 7.0 * ~s.mask.unsqueeze(-1), s.mask) for s in (x, y)]
    assert torch.equal(model.score(*filled), model.score(x, y))


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
def test_every_parameter_learns(direction, aggregation):
    model = matcher(direction=direction, aggregation=aggregation).train()
    images, texts = batch()
    (model(images, texts) * torch.randn(6, 6)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("tile_cells", [1, 30, 1 << 21])
def test_gradients_by_fragments(tile_cells):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    y = torch.randn(2, 4, 4, dtype=torch.float64, generator=generator).requires_grad_()
    masks = torch.arange(3) < torch.tensor([[3], [2], [1]]), torch.arange(4) < torch.tensor([[4], [2]])

    def cosines(x, y):
        return attended_cosines(x, y, *masks, smoothing=4.0, tile_cells=tile_cells)

    assert torch.autograd.gradcheck(cosines, (x, y))


def test_gradients_where_what_is_seen_nearly_cancels():
    context = torch.tensor([[[1.0, 0.0, 0.0], [-1.0, 0.0, 1e-4]]], dtype=torch.float64, requires_grad=True)
    query = torch.tensor([[[0.3, 1.0, 2.0], [0.2, 2.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    masks = torch.ones(1, 2).bool(), torch.ones(1, 2).bool()

    def cosines(x, y):
        return attended_cosines(x, y, *masks, smoothing=1e-3)

    found = cosines(context, query)
    exact = looked_at(context[0].detach(), query[0].detach(), 1e-3)
    assert (found[0, 0].abs() < 0.9 * exact.abs()).all()  # what is shorter than the floor counts as that long
    assert torch.autograd.gradcheck(cosines, (context, query))


def test_zero_fragments_and_empty_sets_score_zero_with_finite_gradients():
    features = torch.randn(2, 3, 4)
    features[0] = 0.0
    features.requires_grad_()
    mask = torch.ones(2, 3).bool()
    found = attended_cosines(features, features, mask, mask, smoothing=9.0)
    assert (found[0] == 0).all()
    assert (found[:, 0] == 0).all()
    none = torch.zeros(2, 3).bool()
    empty = attended_cosines(features, features, none, none, smoothing=9.0)
    assert (empty == 0).all()
    for lse in (None, 6.0):
        assert (pooled(empty, none, lse) == 0).all()
    (found.sum() + empty.sum() + pooled(empty, none, 6.0).sum()).backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
def test_equivariant_to_orders_and_blocks_join(direction, aggregation):
    model = matcher(direction=direction, aggregation=aggregation).eval()
    images, texts = batch()
    generator = torch.Generator().manual_seed(0)
    x, y = model.encode_images(images), model.encode_texts(texts)
    whole = model.score(x, y)
    assert torch.equal(model.score(x, y), whole)
    i, j = torch.randperm(6, generator=generator), torch.randperm(6, generator=generator)
    assert torch.allclose(model.score(x[i], y[j]), whole[i][:, j], atol=1e-6)
    r, w = torch.randperm(5, generator=generator), torch.randperm(8, generator=generator)
    mixed = model.score(Fragments(x.features[:, r], x.mask[:, r]), Fragments(y.features[:, w], y.mask[:, w]))
    assert torch.allclose(mixed, whole, atol=1e-6)
    rows = [model.score(x[:2], y), model.score(x[2:3], y), model.score(x[3:], y)]
    assert torch.allclose(torch.cat(rows), whole, atol=1e-6)


def test_tiles_hold_what_they_may_and_cover_all_pairs(monkeypatch):
    shapes, attend = [], scan._attend
    monkeypatch.setattr(
        scan, "_attend", lambda x, y, *rest: shapes.append((len(x), len(y))) or attend(x, y, *rest)
    )
    context, query = torch.randn(20, 2, 3), torch.randn(50, 4, 3)
    masks = torch.ones(20, 2).bool(), torch.ones(50, 4).bool()
    attended_cosines(context, query, *masks, smoothing=1.0, tile_cells=800)
    assert sum(t * s for t, s in shapes) == 20 * 50
    assert max(t * s for t, s in shapes) <= 100
    assert len(shapes) <= 12


def test_one_image_and_one_caption():
    assert matcher().train()(*batch(1)).shape == (1, 1)


def test_state_survives_safetensors(tmp_path):
    images, texts = batch()
    model, other = matcher(seed=0).eval(), matcher(seed=1).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert not torch.equal(other(images, texts), model(images, texts))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(images, texts), model(images, texts))


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_autocast_stays_close(direction):
    model = matcher(dim=64, direction=direction).eval()
    images, texts = batch()
    gradients, scores = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            scores.append(model(images, texts))
        scores[-1].diagonal().sum().backward()
        gradients.append(model.regions.linear.weight.grad.clone())
    exact, rough = scores
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03
    assert cosine_similarity(*(g.flatten() for g in gradients), 0) > 0.99


def test_padding_takes_no_attention_from_the_only_region():
    context = torch.zeros(1, 5, 3)
    context[0, 0] = torch.tensor([1.0, 2.0, 0.0])
    query = torch.tensor([[[-1.0, -2.0, 0.0]]])
    mask = torch.arange(5).unsqueeze(0) < 1
    found = attended_cosines(context, query, mask, torch.ones(1, 1).bool(), smoothing=9.0)
    assert found.item() == pytest.approx(-1.0, abs=1e-5)


def test_under_autocast_only_the_products_of_both_sides_are_rough():
    generator = torch.Generator().manual_seed(0)
    context, query = (torch.randn(3, 4, 16, generator=generator) for _ in range(2))
    masks = torch.ones(3, 4).bool(), torch.ones(3, 4).bool()
    exact = attended_cosines(context, query, *masks, smoothing=9.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attended_cosines(context, query, *masks, smoothing=9.0)
    assert rough.dtype == torch.float32
    assert 1e-4 < (rough - exact).abs().max() < 0.02


def test_inference_mode():
    model = matcher().eval().double()
    images, texts = batch()
    images = replace(images, features=images.features.double())
    with torch.inference_mode():
        found = model(images, texts)
    assert torch.allclose(found, model(images, texts), atol=1e-13)  # some products are laid out otherwise


@pytest.mark.parametrize(("direction", "aggregation"), VARIANTS)
def test_it_learns_to_match(direction, aggregation):
    model = matcher(direction=direction, aggregation=aggregation).train()
    images, texts = batch(12)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    target = torch.arange(12)
    for _ in range(40):
        logits = model(images, texts) / 0.05
        loss = torch.nn.functional.cross_entropy(logits, target)
        loss = loss + torch.nn.functional.cross_entropy(logits.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(1) == target).float().mean() >= 0.9
    assert (logits.argmax(0) == target).float().mean() >= 0.9


@pytest.mark.parametrize(
    "options",
    [{"smoothing": 0.0}, {"direction": "up"}, {"aggregation": "max"}, {"lse_smoothing": 0.0}, {"typo": 1}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Scan.Config(**options)
