from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionModel

from robustcmr.data.pictures import open_processor
from robustcmr.data.pretrained_tokenizer import open_tokenizer
from robustcmr.data.scenes import Scenes
from robustcmr.errors import DataError
from robustcmr.matchers.encoders.clip_fragments import ClipPatches
from robustcmr.matchers.omit import Omit, OmitConfig
from robustcmr.types import DataSpec, ImageBatch, TextBatch


def pictures(n: int = 3, size: int = 32) -> ImageBatch:
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))
    return ImageBatch(pixels, torch.ones(n, 1, dtype=torch.bool))


def encoder(folder: Path, lr_factor: float = 0.1, load: bool = True) -> ClipPatches:
    torch.manual_seed(3)
    built = ClipPatches(str(folder), 12, lr_factor)
    if load:
        built.backbone.load_pretrained()
    return built.eval()


def test_fragments_are_the_patches_of_transformers(clip_folder: Path) -> None:
    built = encoder(clip_folder).double()
    pixels = pictures().features.double()
    with torch.no_grad():
        found = built(replace(pictures(), features=pixels))
        out = CLIPVisionModel.from_pretrained(clip_folder).eval().double()(pixel_values=pixels)
        norm = built.backbone.network.post_layernorm
        patches = built.linear(norm(out.last_hidden_state[:, 1:]))
        whole = built.linear(out.pooler_output)
    assert found.features.shape == (3, 16, 12)
    assert found.mask.shape == (3, 16)
    assert found.mask.dtype == torch.bool
    assert found.mask.all()
    assert found.pooled is not None
    torch.testing.assert_close(found.features, patches, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.pooled, whole, atol=1e-12, rtol=1e-9)


def test_the_last_norm_is_that_of_the_files(clip_folder: Path, tmp_path: Path) -> None:
    model = CLIPVisionModel.from_pretrained(clip_folder)
    network = getattr(model, "vision_model", model)
    torch.nn.init.normal_(network.post_layernorm.weight)
    model.save_pretrained(tmp_path / "vision")  # a folder with the vision side alone will do
    built = encoder(tmp_path / "vision")
    assert torch.equal(built.backbone.network.post_layernorm.weight, network.post_layernorm.weight)


def test_patches_go_row_by_row(clip_folder: Path) -> None:
    """What is drawn in one corner changes the fragment of that corner most."""
    built = encoder(clip_folder)
    changed = pictures(1)
    changed.features[:, :, :8, 24:] += 3.0  # upper right
    with torch.no_grad():
        moved = (built(changed).features - built(pictures(1)).features).norm(dim=-1)[0]
    assert moved.argmax() == 3


def test_weights_come_from_load_pretrained_alone(clip_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(clip_folder, bare)
    (bare / "model.safetensors").unlink()
    built = encoder(bare, load=False)
    key = "encoder.layers.0.mlp.fc1.weight"
    model = CLIPVisionModel.from_pretrained(clip_folder)
    truth = getattr(model, "vision_model", model).state_dict()[key]
    assert not torch.equal(built.backbone.network.state_dict()[key], truth)
    assert torch.equal(encoder(clip_folder).backbone.network.state_dict()[key], truth)
    with pytest.raises(DataError, match=r"\(matcher\.image_weights\) has no model\.safetensors"):
        built.backbone.load_pretrained()


@pytest.mark.parametrize("lr_factor", [0.0, 0.1])
def test_gradients_reach_what_is_trained(clip_folder: Path, lr_factor: float) -> None:
    built = encoder(clip_folder, lr_factor).train()
    assert built.backbone.training == (lr_factor > 0)
    built(pictures()).features.pow(3).sum().backward()
    reached = {name for name, p in built.named_parameters() if p.grad is not None}
    expected = {name for name, _ in built.named_parameters() if lr_factor > 0 or name.startswith("linear.")}
    assert reached == expected


def test_other_pixels_are_refused(clip_folder: Path) -> None:
    built = encoder(clip_folder, load=False)
    with pytest.raises(
        DataError, match=r"\(matcher\.image_weights\) reads pictures of 32x32 pixels, got .* 40x40"
    ):
        built(pictures(size=40))
    with pytest.raises(DataError, match="got region features"):
        built(ImageBatch(torch.ones(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)))


def test_another_kind_of_model_is_refused(bert_folder: Path) -> None:
    with pytest.raises(DataError, match=r"\(matcher\.image_weights\) is a bert model; expected a CLIP model"):
        ClipPatches(str(bert_folder), 12, 0.1)


def test_omit_reads_pictures_and_word_pieces(
    clip_folder: Path, bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    split = Scenes(Scenes.Config(n_train=4, n_dev=1, n_test=1)).split("train")
    assert split.picture is not None
    config = OmitConfig(
        dim=16,
        image_encoder="clip",
        image_weights=str(clip_folder),
        text_encoder="bert",
        text_weights=str(bert_folder),
    )
    inputs = Omit.inputs(config)
    assert inputs.tokenizer is not None
    assert inputs.image_processor is not None
    tokenizer, processor = open_tokenizer(inputs.tokenizer), open_processor(inputs.image_processor)
    pixels = torch.stack([torch.from_numpy(processor(split.picture(image))) for image in range(4)])
    encoded = list(tokenizer.encode_many(split.captions[::5]))
    longest = max(map(len, encoded))
    tokens = torch.tensor([row + [tokenizer.padding_index] * (longest - len(row)) for row in encoded])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in encoded])
    torch.manual_seed(0)
    spec = DataSpec(3, 1, len(tokenizer), longest, tokenizer.padding_index, picture_size=processor.size)
    matcher = Omit(config, spec)
    matcher.load_pretrained()
    truth = CLIPVisionModel.from_pretrained(clip_folder).state_dict()
    loaded = matcher.regions.backbone.network.state_dict()
    assert all(torch.equal(value, truth[key]) for key, value in loaded.items() if key in truth)
    scores = matcher(ImageBatch(pixels, torch.ones(4, 1, dtype=torch.bool)), TextBatch(tokens, mask))
    assert scores.shape == (4, 4)
    assert scores.isfinite().all()
    assert scores.abs().max() <= 1
    scores.pow(2).sum().backward()
    assert [name for name, p in matcher.named_parameters() if p.grad is None] == []
    gentle = {group["lr_factor"]: {id(p) for p in group["params"]} for group in matcher.parameter_groups()}
    heads = [*matcher.regions.linear.parameters(), *matcher.words.linear.parameters()]
    backbones = [*matcher.regions.backbone.parameters(), *matcher.words.backbone.parameters()]
    assert gentle == {1.0: {id(p) for p in heads}, 0.1: {id(p) for p in backbones}}
