"""The encoders item by item, without padding, as the truth."""

import pytest
import torch

from robustcmr.matchers.encoders import BiGRU, RegionEncoder, bigru, masked_mean
from robustcmr.matchers.encoders.word_vectors import WordEmbedding
from robustcmr.types import DataSpec, ImageBatch, TextBatch


def reader(n_words, width, dim, padding_index=0):
    spec = DataSpec(1, 1, vocabulary_size=n_words, longest_caption=13, padding_index=padding_index)
    return BiGRU(WordEmbedding(spec, width, None), dim)


def test_masked_mean():
    features = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [float("inf"), 9.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[True, True, False], [False] * 3])
    assert masked_mean(features, mask).tolist() == [[2.0, 3.0], [0.0, 0.0]]


def test_regions_are_encoded_one_by_one():
    torch.manual_seed(0)
    encoder = RegionEncoder(feature_width=6, dim=4, hidden=5)
    images = ImageBatch(torch.randn(7, 3, 6), torch.rand(7, 3) < 0.6)
    images.mask[:, 0] = True
    encoder.train()(images)
    encoder.eval()
    found = encoder(images)
    norm = encoder.network[1]
    for i in range(7):
        kept = []
        for r in range(3):
            x = images.features[i, r]
            if not images.mask[i, r]:
                assert (found.features[i, r] == 0).all()
                continue
            hidden = encoder.network[0].weight @ x
            hidden = (hidden - norm.running_mean) / (
                norm.running_var + norm.eps
            ).sqrt() * norm.weight + norm.bias
            last = encoder.network[3]
            expected = encoder.linear.weight @ x + encoder.linear.bias
            expected = expected + last.weight @ hidden.clamp(min=0) + last.bias
            assert torch.allclose(found.features[i, r], expected, atol=1e-5)
            kept.append(expected)
        assert torch.allclose(found.pooled[i], torch.stack(kept).mean(0), atol=1e-5)
    assert torch.equal(found.mask, images.mask)


def test_batch_statistics_see_real_regions_only():
    encoder = RegionEncoder(feature_width=6, dim=4, hidden=5).train()
    images = ImageBatch(torch.randn(4, 3, 6), torch.tensor([[True, True, False]] * 4))
    images.features[:, 2] = 1e6
    encoder(images)
    hidden = images.features[:, :2].reshape(8, 6) @ encoder.network[0].weight.T
    assert torch.allclose(encoder.network[1].running_mean, 0.1 * hidden.mean(0), atol=1e-6)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("waste", [None, -1])  # the usual limit, and one that reads all captions by length
@pytest.mark.parametrize("lengths", [[5, 1, 3, 5], [2, 4, 4, 1], [1, 1, 1, 1]])
def test_captions_are_read_one_by_one(lengths, waste, gradients, monkeypatch):
    if waste is not None:
        monkeypatch.setattr(bigru, "PADDING_COST", waste)
        monkeypatch.setattr(bigru, "_MIN_GROUP", 1)
    torch.manual_seed(0)
    encoder = reader(20, 3, 4)
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    tokens = torch.randint(1, 20, (4, 5)) * mask
    with torch.set_grad_enabled(gradients):
        found = encoder(TextBatch(tokens, mask))
    for i, length in enumerate(lengths):
        words = encoder.embedding(tokens[i : i + 1, :length])
        forth = encoder.reader(words)[0][0]
        back = encoder.reverse_reader(words.flip(1))[0][0].flip(0)
        expected = (forth + back) / 2
        assert torch.allclose(found.features[i, :length], expected, atol=1e-6)
        assert (found.features[i, length:] == 0).all()
        assert torch.allclose(found.pooled[i], expected.mean(0), atol=1e-6)


@pytest.mark.parametrize("n", [70, 131, 1])
def test_reading_by_length_changes_nothing(n, monkeypatch):
    """Fragments, gradients and no gradients, against a reading of the whole rectangle, in float64."""
    torch.manual_seed(0)
    encoder = reader(50, 5, 6).double()
    lengths = torch.randint(1, 12, (n,))
    mask = torch.arange(13) < lengths.unsqueeze(1)  # one column more than any caption has words
    batch = TextBatch(torch.randint(1, 50, (n, 13)) * mask, mask)
    calls = []
    encoder.reader.register_forward_hook(lambda module, given, found: calls.append(type(given[0])))

    def read():
        encoder.zero_grad()
        found = encoder(batch)
        (found.features * torch.arange(6)).square().sum().backward()
        with torch.no_grad():
            quiet = encoder(batch)
        gradients = [x.grad.clone() for x in encoder.parameters()]
        return [found.features.detach(), found.pooled.detach(), quiet.features, quiet.pooled, *gradients]

    whole = read()
    assert calls == [torch.Tensor, torch.Tensor]
    calls.clear()
    monkeypatch.setattr(bigru, "PADDING_COST", -1)
    by_length = read()
    groups = max(1, min(4, n // 32))
    assert calls == [torch.Tensor] * groups + [torch.nn.utils.rnn.PackedSequence]
    for one, other in zip(by_length, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_wide_captions_with_much_padding_are_read_by_length():
    mask = torch.arange(32) < torch.tensor([8] * 127 + [32]).unsqueeze(1)  # 3048 of 4096 are padding
    assert bigru._lengths_to_batch_by(mask, 313) is None
    assert bigru._lengths_to_batch_by(mask, 314).tolist() == mask.sum(1).tolist()
    assert bigru._lengths_to_batch_by(torch.ones_like(mask), 4096) is None
    mask[3] = False
    assert bigru._lengths_to_batch_by(mask, 1024) is None  # nothing is packed that has no word


def test_the_padding_word_stays_zero():
    encoder = reader(20, 3, 4, padding_index=4)
    assert (encoder.embedding.weight[4] == 0).all()
    assert (encoder.embedding.weight[[3, 5]] != 0).all()
