from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel

from robustcmr.errors import DataError
from robustcmr.matchers.clip import Clip, ClipConfig
from robustcmr.types import DataSpec, ImageBatch, MatcherInputs, TextBatch

SPEC = DataSpec(3, 1, 390, 12, padding_index=389, unknown_index=389, picture_size=(32, 32))
START, END = 388, 389


def texts(extra: int = 0) -> TextBatch:
    """Captions of 3, 7 and 12 tokens, padded with the end mark."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.full((3, 12 + extra), END)
    mask = torch.zeros(3, 12 + extra, dtype=torch.bool)
    for row, length in enumerate((3, 7, 12)):
        tokens[row, 1 : length - 1] = torch.randint(0, 380, (length - 2,), generator=generator)
        tokens[row, 0] = START
        mask[row, :length] = True
    return TextBatch(tokens, mask)


def pictures(n: int = 4, size: int = 32) -> ImageBatch:
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))
    return ImageBatch(pixels, torch.ones(n, 1, dtype=torch.bool))


def matcher(folder: Path, load: bool = True, **options: object) -> Clip:
    torch.manual_seed(7)
    built = Clip(ClipConfig(weights=str(folder), **options), SPEC)  # type: ignore[arg-type]
    if load:
        built.load_pretrained()
    return built.eval()


def reference(folder: Path, images: ImageBatch, captions: TextBatch) -> Tensor:
    """Cosines as transformers computes them."""
    model = CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        out = model(
            input_ids=captions.tokens,
            attention_mask=captions.mask.long(),
            pixel_values=images.features,
        )
    return out.logits_per_image / model.logit_scale.exp()


def edited(folder: Path, to: Path, **text_config: object) -> Path:
    """A copy of a model with other entries in its text configuration."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    config["text_config"].update(text_config)
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_scores_are_the_cosines_of_transformers(clip_folder: Path) -> None:
    with torch.no_grad():
        scores = matcher(clip_folder)(pictures(), texts())
    torch.testing.assert_close(scores, reference(clip_folder, pictures(), texts()), atol=1e-6, rtol=1e-5)
    assert scores.std() > 1e-3  # not all the same


def test_a_configuration_with_the_old_end_mark_scores_alike(clip_folder: Path, tmp_path: Path) -> None:
    old = edited(clip_folder, tmp_path / "old", eos_token_id=2)
    with torch.no_grad():
        scores = matcher(old)(pictures(), texts())
    torch.testing.assert_close(scores, reference(clip_folder, pictures(), texts()), atol=1e-6, rtol=1e-5)


def test_each_side_is_one_unit_fragment(clip_folder: Path) -> None:
    built = matcher(clip_folder)
    for side, n in ((built.encode_images(pictures()), 4), (built.encode_texts(texts()), 3)):
        assert side.features.shape == (n, 1, 20)
        assert side.mask.shape == (n, 1)
        assert side.mask.all()
        assert side.pooled is not None
        torch.testing.assert_close(side.pooled, side.features[:, 0])
        torch.testing.assert_close(side.pooled.norm(dim=-1), torch.ones(n))


def test_padding_changes_nothing(clip_folder: Path) -> None:
    built = matcher(clip_folder).double()
    with torch.no_grad():
        short = built.encode_texts(texts()).features
        padded = built.encode_texts(texts(extra=9)).features
        alone = [
            built.encode_texts(TextBatch(texts().tokens[i : i + 1, :n], texts().mask[i : i + 1, :n])).features
            for i, n in enumerate((3, 7, 12))
        ]
    torch.testing.assert_close(padded, short, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(torch.cat(alone), short, atol=1e-12, rtol=1e-9)


def test_a_hidden_word_does_not_end_the_caption(clip_folder: Path) -> None:
    tokens = torch.tensor([[START, 5, END, 17, END, END, END]])  # the second word is hidden by the end mark
    mask = torch.tensor([[True] * 5 + [False] * 2])
    with torch.no_grad():
        pooled = matcher(clip_folder).double().encode_texts(TextBatch(tokens, mask)).pooled
        model = CLIPModel.from_pretrained(clip_folder).eval().double()
        states = model.text_model(input_ids=tokens[:, :5]).last_hidden_state
        expected, wrong = model.text_projection(states[:, 4]), model.text_projection(states[:, 2])
    assert pooled is not None
    torch.testing.assert_close(pooled, torch.nn.functional.normalize(expected), atol=1e-12, rtol=1e-9)
    assert not torch.allclose(pooled, torch.nn.functional.normalize(wrong), atol=1e-3)


def test_weights_come_from_load_pretrained_alone(clip_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(clip_folder, bare)
    (bare / "model.safetensors").unlink()
    before = matcher(bare, load=False).state_dict()
    after = matcher(clip_folder).state_dict()
    truth = CLIPModel.from_pretrained(clip_folder).state_dict()
    compared = 0
    for key, value in after.items():
        original = truth[key.removeprefix("backbone.network.")]
        assert torch.equal(value, original)
        compared += int(not torch.equal(before[key], original))
    assert len(after) == len(truth) - 1  # all but the temperature
    assert compared > 30  # the norms and biases begin alike
    with pytest.raises(DataError, match=r"has no model\.safetensors"):
        Clip(ClipConfig(weights=str(bare)), SPEC).load_pretrained()


def test_half_precision_files_become_float32(clip_folder: Path, tmp_path: Path) -> None:
    CLIPModel.from_pretrained(clip_folder).half().save_pretrained(tmp_path / "half")
    declared = edited(tmp_path / "half", tmp_path / "declared", dtype="float16", torch_dtype="float16")
    built = matcher(declared)
    assert {value.dtype for value in built.parameters()} == {torch.float32}
    with torch.no_grad():
        scores = built(pictures(), texts())
    torch.testing.assert_close(scores, reference(clip_folder, pictures(), texts()), atol=5e-3, rtol=0)


def test_every_trainable_weight_gets_a_gradient(clip_folder: Path) -> None:
    built = matcher(clip_folder, head="linear").train()
    (built(pictures(), texts()) ** 3).sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None] == []


def test_a_frozen_clip_stays_as_it_is(clip_folder: Path) -> None:
    built = matcher(clip_folder, backbone_lr=0.0, head="linear")
    before = {key: value.clone() for key, value in built.state_dict().items()}
    with torch.no_grad():
        first = built(pictures(), texts())
    torch.testing.assert_close(first, reference(clip_folder, pictures(), texts()), atol=1e-6, rtol=1e-5)
    fresh = Clip(ClipConfig(weights=str(clip_folder), backbone_lr=0.0, head="linear"), SPEC)
    assert fresh.training  # as every new module is
    assert not any(part.training for part in fresh.backbone.modules())
    built.train()
    assert not any(part.training for part in built.backbone.modules())
    assert not any(p.requires_grad for p in built.backbone.parameters())
    optimiser = torch.optim.AdamW(built.parameter_groups(), lr=1e-2, weight_decay=0.1)
    (built(pictures(), texts()) ** 3).sum().backward()
    assert all(p.grad is None for p in built.backbone.parameters())
    optimiser.step()
    moved = {key for key, value in built.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"image_head.weight", "image_head.bias", "text_head.weight", "text_head.bias"}


def test_nothing_of_a_frozen_clip_is_kept_for_a_gradient(clip_folder: Path) -> None:
    built = matcher(clip_folder, backbone_lr=0.0, head="linear").train()
    with built.backbone.gradients():
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    with torch.no_grad(), matcher(clip_folder).backbone.gradients():
        assert not torch.is_grad_enabled()  # an outer no_grad is respected


def test_the_backbone_is_trained_gently(clip_folder: Path) -> None:
    built = matcher(clip_folder, head="linear", load=False)
    groups = {group["lr_factor"]: {id(p) for p in group["params"]} for group in built.parameter_groups()}
    assert groups == {
        1.0: {id(p) for p in [*built.image_head.parameters(), *built.text_head.parameters()]},
        0.1: {id(p) for p in built.backbone.parameters()},
    }
    assert [g["lr_factor"] for g in matcher(clip_folder, load=False).parameter_groups()] == [0.1]
    frozen = matcher(clip_folder, load=False, backbone_lr=0.0, head="linear")
    assert [(g["lr_factor"], len(g["params"])) for g in frozen.parameter_groups()] == [(1.0, 4)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Field required"),
        ({"weights": " "}, "empty name"),
        ({"weights": "x/y", "backbone_lr": 0.0}, "nothing to train; choose head=linear"),
        ({"weights": "x/y", "backbone_lr": -1.0}, "greater than or equal to 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ClipConfig(**options)  # type: ignore[arg-type]


def test_it_reads_with_the_tokenizer_and_processor_of_its_model(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip_folder.parent)
    config = ClipConfig(weights="clip")
    assert config.weights == str(clip_folder)  # the same from any working folder
    assert Clip.inputs(config) == MatcherInputs(tokenizer=str(clip_folder), image_processor=str(clip_folder))
    assert ClipConfig(weights="openai/clip-vit-base-patch32").weights == "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"picture_size": None}, "gives region features"),
        ({"picture_size": (32, 48)}, r"reads pictures of 32x32 pixels, but its image processor makes 32x48"),
        ({"longest_caption": 65}, "at most 64 tokens, but the longest caption has 65"),
        ({"vocabulary_size": 391}, "knows 390 tokens, but its tokenizer makes 391"),
    ],
)
def test_data_that_do_not_fit_are_refused(clip_folder: Path, changed: dict[str, object], said: str) -> None:
    spec = DataSpec(**{**vars(SPEC), **changed})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said) as caught:
        Clip(ClipConfig(weights=str(clip_folder)), spec)
    assert "matcher.weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_longest_caption_allowed_fits(clip_folder: Path) -> None:
    Clip(ClipConfig(weights=str(clip_folder)), DataSpec(**{**vars(SPEC), "longest_caption": 64}))


def test_other_pixels_are_refused(clip_folder: Path) -> None:
    built = matcher(clip_folder, load=False)
    with pytest.raises(DataError, match="32x32 pixels, got pictures of 16x16 pixels"):
        built.encode_images(pictures(size=16))
    with pytest.raises(DataError, match="got region features"):
        built.encode_images(ImageBatch(torch.ones(2, 36, 8), torch.ones(2, 36, dtype=torch.bool)))


def test_another_kind_of_model_is_refused(bert_folder: Path) -> None:
    with pytest.raises(DataError, match=r"\(matcher\.weights\) is a bert model; expected a CLIP model"):
        Clip(ClipConfig(weights=str(bert_folder)), SPEC)


def test_weights_of_the_text_side_alone_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(clip_folder, half)
    CLIPTextModel.from_pretrained(clip_folder).save_pretrained(tmp_path / "text")
    shutil.copy(tmp_path / "text" / "model.safetensors", half / "model.safetensors")
    with pytest.raises(
        DataError, match=r"\d+ of 78 are missing, such as .*; expected the files of one CLIPModel"
    ):
        Clip(ClipConfig(weights=str(half)), SPEC).load_pretrained()


def test_weights_of_another_shape_are_named(clip_folder: Path, tmp_path: Path) -> None:
    wide = edited(clip_folder, tmp_path / "wide", intermediate_size=56)
    with pytest.raises(DataError, match=r"6 have the wrong shape, such as .*fc1\.bias, expected \(56,\)"):
        Clip(ClipConfig(weights=str(wide)), SPEC).load_pretrained()


def test_damaged_weights_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(clip_folder, damaged)
    (damaged / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(DataError, match="cannot read the weights in the folder") as caught:
        Clip(ClipConfig(weights=str(damaged)), SPEC).load_pretrained()
    assert "\n" not in str(caught.value)


def test_it_is_silent(clip_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    matcher(clip_folder)
    assert capfd.readouterr() == ("", "")
