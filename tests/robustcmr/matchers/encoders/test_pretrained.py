"""Encoders of pictures and captions by transformers, held against transformers itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPTextModel,
    CLIPVisionModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    ViTConfig,
)

from robustcmr.data.pictures import open_processor
from robustcmr.data.pretrained_tokenizer import open_tokenizer
from robustcmr.data.scenes import Scenes
from robustcmr.errors import DataError
from robustcmr.matchers.encoders.pretrained import ClipPatches, PretrainedWords
from robustcmr.matchers.omit import Omit, OmitConfig
from robustcmr.types import DataSpec, ImageBatch, TextBatch

SMALL = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16}


def pictures(n: int = 3, size: int = 32) -> ImageBatch:
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))
    return ImageBatch(pixels, torch.ones(n, 1, dtype=torch.bool))


def picture_encoder(folder: Path, lr_factor: float = 0.1, load: bool = True) -> ClipPatches:
    torch.manual_seed(3)
    built = ClipPatches(str(folder), 12, lr_factor)
    if load:
        built.backbone.load_pretrained()
    return built.eval()


def test_fragments_are_the_patches_of_transformers(clip_folder: Path) -> None:
    built = picture_encoder(clip_folder).double()
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
    built = picture_encoder(tmp_path / "vision")
    assert torch.equal(built.backbone.network.post_layernorm.weight, network.post_layernorm.weight)


def test_patches_go_row_by_row(clip_folder: Path) -> None:
    """What is drawn in one corner changes the fragment of that corner most."""
    built = picture_encoder(clip_folder)
    changed = pictures(1)
    changed.features[:, :, :8, 24:] += 3.0  # upper right
    with torch.no_grad():
        moved = (built(changed).features - built(pictures(1)).features).norm(dim=-1)[0]
    assert moved.argmax() == 3


def test_weights_of_pictures_come_from_load_pretrained_alone(clip_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(clip_folder, bare)
    (bare / "model.safetensors").unlink()
    built = picture_encoder(bare, load=False)
    key = "encoder.layers.0.mlp.fc1.weight"
    model = CLIPVisionModel.from_pretrained(clip_folder)
    truth = getattr(model, "vision_model", model).state_dict()[key]
    assert not torch.equal(built.backbone.network.state_dict()[key], truth)
    assert torch.equal(picture_encoder(clip_folder).backbone.network.state_dict()[key], truth)
    with pytest.raises(DataError, match=r"\(matcher\.image_weights\) has no model\.safetensors"):
        built.backbone.load_pretrained()


@pytest.mark.parametrize("lr_factor", [0.0, 0.1])
def test_gradients_reach_what_is_trained(clip_folder: Path, lr_factor: float) -> None:
    built = picture_encoder(clip_folder, lr_factor).train()
    assert built.backbone.training == (lr_factor > 0)
    built(pictures()).features.pow(3).sum().backward()
    reached = {name for name, p in built.named_parameters() if p.grad is not None}
    expected = {name for name, _ in built.named_parameters() if lr_factor > 0 or name.startswith("linear.")}
    assert reached == expected


def test_other_pixels_are_refused(clip_folder: Path) -> None:
    built = picture_encoder(clip_folder, load=False)
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


def texts(extra: int = 0, padding: int = 0, end: int = 9) -> TextBatch:
    """Captions of 2, 4 and 7 tokens."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.full((3, 7 + extra), padding)
    mask = torch.zeros(3, 7 + extra, dtype=torch.bool)
    for row, length in enumerate((2, 4, 7)):
        tokens[row, : length - 1] = torch.randint(10, 50, (length - 1,), generator=generator)
        tokens[row, length - 1] = end
        mask[row, :length] = True
    return TextBatch(tokens, mask)


def text_encoder(folder: Path, lr_factor: float = 0.1, load: bool = True) -> PretrainedWords:
    torch.manual_seed(3)
    built = PretrainedWords(str(folder), 12, lr_factor)
    if load:
        built.backbone.load_pretrained()
    return built.eval()


@pytest.fixture(scope="module", params=["bert", "roberta", "distilbert", "clip"])
def model(
    request: pytest.FixtureRequest,
    bert_folder: Path,
    clip_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, torch.nn.Module, int]:
    """Folder, the same model in transformers, and its padding index."""
    if request.param == "bert":
        return bert_folder, BertModel.from_pretrained(bert_folder).eval(), 0
    if request.param == "clip":
        return clip_folder, CLIPTextModel.from_pretrained(clip_folder).eval(), 389
    folder = tmp_path_factory.mktemp("text") / request.param
    torch.manual_seed(11)
    if request.param == "roberta":
        made = RobertaModel(RobertaConfig(**SMALL, intermediate_size=32, max_position_embeddings=20))
    else:
        made = DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_layers=2, n_heads=4))
    made.save_pretrained(folder)
    return folder, made.eval(), made.config.pad_token_id


def test_words_are_those_of_transformers(model: tuple[Path, torch.nn.Module, int]) -> None:
    folder, reference, padding = model
    batch = texts(padding=padding)
    built = text_encoder(folder)
    with torch.no_grad():
        found = built(batch)
        states = reference(input_ids=batch.tokens, attention_mask=batch.mask.long()).last_hidden_state
    assert found.features.shape == (3, 7, 12)
    assert torch.equal(found.mask, batch.mask)
    torch.testing.assert_close(
        found.features[batch.mask], built.linear(states)[batch.mask], atol=1e-6, rtol=1e-5
    )
    assert (found.features[~batch.mask] == 0).all()
    assert found.pooled is not None
    for row, length in enumerate((2, 4, 7)):
        torch.testing.assert_close(found.pooled[row], built.linear(states)[row, :length].mean(0))


def test_padding_changes_nothing(model: tuple[Path, torch.nn.Module, int]) -> None:
    folder, _, padding = model
    built = text_encoder(folder).double()
    with torch.no_grad():
        short, padded = built(texts(padding=padding)), built(texts(5, padding))
    torch.testing.assert_close(padded.features[:, :7], short.features, atol=1e-12, rtol=1e-9)
    assert (padded.features[:, 7:] == 0).all()
    torch.testing.assert_close(padded.pooled, short.pooled, atol=1e-12, rtol=1e-9)


def test_every_trainable_weight_gets_a_gradient(model: tuple[Path, torch.nn.Module, int]) -> None:
    folder, _, padding = model
    built = text_encoder(folder).train()
    built(texts(padding=padding)).features.pow(3).sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None] == []


def test_a_frozen_encoder_stays_as_it_is(bert_folder: Path) -> None:
    built = text_encoder(bert_folder, lr_factor=0.0).train()
    before = {key: value.clone() for key, value in built.backbone.state_dict().items()}
    first, second = built(texts()), built(texts())
    assert torch.equal(first.features, second.features)  # no dropout
    optimiser = torch.optim.AdamW([p for p in built.parameters() if p.requires_grad], lr=0.1)
    first.features.pow(2).sum().backward()
    optimiser.step()
    assert all(p.grad is None for p in built.backbone.parameters())
    assert all(torch.equal(value, before[key]) for key, value in built.backbone.state_dict().items())
    assert not torch.equal(built(texts()).features, first.features)


def test_a_trained_encoder_has_dropout(bert_folder: Path) -> None:
    built = text_encoder(bert_folder).train()
    assert not torch.equal(built(texts()).features, built(texts()).features)


def test_weights_of_texts_come_from_load_pretrained_alone(bert_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(bert_folder, bare)
    (bare / "model.safetensors").unlink()
    built = text_encoder(bare, load=False)
    truth = BertModel.from_pretrained(bert_folder).state_dict()
    key = "encoder.layer.1.output.dense.weight"
    assert not torch.equal(built.backbone.network.state_dict()[key], truth[key])
    loaded = text_encoder(bert_folder).backbone.network.state_dict()
    assert all(torch.equal(value, truth[key]) for key, value in loaded.items())
    assert not any("pooler" in key for key in loaded)
    with pytest.raises(DataError, match=r"\(matcher\.text_weights\) has no model\.safetensors"):
        built.backbone.load_pretrained()


def test_a_language_model_without_pooler_will_do(tmp_path: Path) -> None:
    torch.manual_seed(5)
    made = BertForMaskedLM(BertConfig(**SMALL, intermediate_size=32))
    made.save_pretrained(tmp_path / "lm")
    loaded = text_encoder(tmp_path / "lm").backbone.network.state_dict()
    assert loaded
    assert all(torch.equal(value, made.bert.state_dict()[key]) for key, value in loaded.items())


@pytest.mark.parametrize(("kind", "limit"), [("bert", 64), ("roberta", 18)])
def test_captions_beyond_its_positions_are_refused(
    bert_folder: Path, tmp_path: Path, kind: str, limit: int
) -> None:
    folder, padding = bert_folder, 0
    if kind == "roberta":
        folder, padding = tmp_path / "roberta", 1
        RobertaConfig(**SMALL, intermediate_size=32, max_position_embeddings=20).save_pretrained(folder)
    built = text_encoder(folder, load=False)
    tokens = torch.full((1, limit + 1), 20)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with pytest.raises(DataError, match=f"reads at most {limit} tokens, got captions of {limit + 1}"):
        built(TextBatch(tokens, mask))
    assert built(TextBatch(tokens[:, :limit], mask[:, :limit])).features.isfinite().all()
    assert padding not in tokens


@pytest.mark.parametrize("config", [T5Config(), ViTConfig()], ids=lambda config: config.model_type)
def test_what_is_no_text_encoder_is_refused(config: T5Config | ViTConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(DataError, match=f"is a {config.model_type} model; expected a text encoder"):
        PretrainedWords(str(tmp_path), 12, 0.1)


def test_a_folder_with_the_text_side_of_clip_will_do(clip_folder: Path, tmp_path: Path) -> None:
    CLIPTextModel.from_pretrained(clip_folder).save_pretrained(tmp_path / "text")
    with torch.no_grad():
        found = text_encoder(tmp_path / "text")(texts(padding=389)).features
        expected = text_encoder(clip_folder)(texts(padding=389)).features
    torch.testing.assert_close(found, expected)


def test_weights_of_another_model_are_refused(clip_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(bert_folder, mixed)
    shutil.copy(clip_folder / "model.safetensors", mixed / "model.safetensors")
    with pytest.raises(
        DataError, match=r"\d+ of \d+ are missing, such as .*; expected the files of one BertModel"
    ):
        text_encoder(mixed)
