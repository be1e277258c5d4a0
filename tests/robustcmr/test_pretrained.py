from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers import AutoConfig, BertConfig, CLIPConfig, RobertaConfig, T5Config
from transformers.utils import logging as transformers_logging

from robustcmr.errors import DataError
from robustcmr.pretrained import CONFIGURATION, WEIGHTS, anchored, longest_text, read, read_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names the hub was asked for; there is no network."""
    names: list[str] = []

    def refuse(self: object, name: str, **_: object) -> None:
        names.append(name)
        raise ConnectionError("No route to host. Try later.\nTraceback and more")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    return names


def never(*_: object, **__: object) -> None:
    pytest.fail("nothing may be read")


def nowhere(source: str, *, local_files_only: bool, trust_remote_code: bool) -> None:
    raise OSError(f"no {source}")


def test_a_configuration_is_read_from_a_folder(tmp_path: Path, asked: list[str]) -> None:
    BertConfig(hidden_size=48).save_pretrained(tmp_path)
    assert read_config(str(tmp_path)).hidden_size == 48
    assert asked == []


def test_a_name_that_is_nowhere(asked: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(CONFIGURATION, "some/model", nowhere, "matcher.weights")
    said = str(caught.value)
    assert said.startswith(
        "cannot find the configuration of 'some/model' (matcher.weights): there is no such folder"
    )
    assert "(No route to host)" in said
    assert "a folder with config.json and model.safetensors" in said
    assert "\n" not in said
    assert asked == ["some/model"]


def test_what_was_downloaded_is_used_without_asking(asked: list[str]) -> None:
    seen: list[dict[str, Any]] = []

    def reader(source: str, **keywords: Any) -> str:
        seen.append(keywords)
        return f"read {source}"

    assert read(CONFIGURATION, "some/model", reader) == "read some/model"
    assert seen == [{"local_files_only": True, "trust_remote_code": False}]
    assert asked == []


def test_what_was_not_downloaded_is_fetched_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)

    def reader(source: str, *, local_files_only: bool, trust_remote_code: bool) -> str:
        if local_files_only:
            raise OSError("not in the cache")
        return f"fetched {source}"

    assert read(CONFIGURATION, "some/model", reader) == "fetched some/model"
    assert caplog.messages == ["fetching the configuration of 'some/model' from the Hugging Face hub"]


def test_a_sentence_of_our_own_passes_through(tmp_path: Path, asked: list[str]) -> None:
    def reader(*_: object, **__: object) -> None:
        raise DataError("what is really wrong")

    (tmp_path / "config.json").touch()
    for name in (str(tmp_path), "some/model"):
        with pytest.raises(DataError, match=r"^what is really wrong$"):
            read(CONFIGURATION, name, reader)
    assert asked == []


@pytest.mark.parametrize(
    "name", ["./here/model", "/some/where/model", "~/model", "two words", "", "  ", "a/b/c"]
)
def test_a_path_that_is_no_folder_is_not_asked_for(name: str, asked: list[str]) -> None:
    with pytest.raises(DataError, match=r"no such folder; give a folder with config\.json"):
        read(CONFIGURATION, name, never)
    assert asked == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(DataError, match="that is a file; give a folder"):
        read(CONFIGURATION, str(tmp_path / "model.safetensors"), never)


def test_a_folder_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no config\.json; put the configuration of the model there"):
        read(CONFIGURATION, str(tmp_path), never)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "no-such-model"}', "{}"])
def test_a_damaged_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        DataError, match=r"cannot read the configuration in the folder .* \(matcher\.x\): "
    ) as caught:
        read_config(str(tmp_path), "matcher.x")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_no_code_of_a_model_is_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('run')\n")
    entries = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="cannot read the configuration"):
        read_config(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "answer"),
    [
        ("adapter_config.json", {"base_model_name_or_path": "/other"}, "which names another model; save"),
        (
            "model.safetensors.index.json",
            {"weight_map": {"a": "model-1.safetensors", "b": "../../other/model-2.safetensors"}},
            "which names weights in another place ('../../other/model-2.safetensors'); save the model again",
        ),
        ("pytorch_model.bin.index.json", {"weight_map": {"a": "/tmp/other.bin"}}, "('/tmp/other.bin')"),
    ],
)
def test_a_folder_that_leads_elsewhere_is_not_read(
    tmp_path: Path, file: str, content: Any, answer: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read(CONFIGURATION, str(tmp_path), never)
    assert f"the folder {str(tmp_path)!r} has {file}, " in str(caught.value)
    assert answer in str(caught.value)


CODE = r"names code to download as attn_implementation \('someone/kernels'\), and no code is run"


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_code_that_a_configuration_names_is_not_run(tmp_path: Path, key: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**BertConfig().to_dict(), key: "someone/kernels"}))
    with pytest.raises(DataError, match=CODE):
        read_config(str(tmp_path))


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_nor_is_code_that_a_part_of_it_names(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    config = CLIPConfig()
    getattr(config, part)._attn_implementation = "someone/kernels"
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: config)
    with pytest.raises(DataError, match=CODE):
        read_config("some/model")


def test_weights_in_pieces_beside_their_index_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read(WEIGHTS, str(tmp_path), lambda *_, **__: "read") == "read"


def test_reading_is_quiet_and_puts_everything_back(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    hub = logging.getLogger("huggingface_hub")

    def state() -> tuple[object, ...]:
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            hub.level,
            are_progress_bars_disabled(),
        )

    def reader(*_: object, **__: object) -> None:
        assert transformers_logging.get_verbosity() == logging.ERROR
        assert not hub.isEnabledFor(logging.WARNING)
        warnings.warn("noise", stacklevel=1)
        assert not transformers_logging.is_progress_bar_enabled()
        assert are_progress_bars_disabled()
        raise ValueError

    transformers_logging.set_verbosity_warning()
    transformers_logging.enable_progress_bar()
    enable_progress_bars()
    hub.setLevel(logging.WARNING)
    before = state()
    assert before == (logging.WARNING, True, logging.WARNING, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="ValueError"):
            read(CONFIGURATION, str(tmp_path), reader)
    assert state() == before


def test_a_name_is_anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert anchored("model") == anchored("./model") == anchored("~/model") == str(tmp_path / "model")
    assert anchored("some/model") == "some/model"
    assert anchored("~nobody-of-that-name/model") == "~nobody-of-that-name/model"
    with pytest.raises(ValueError, match="empty name"):
        anchored("")


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (BertConfig(max_position_embeddings=33), 33),
        (RobertaConfig(max_position_embeddings=33, pad_token_id=1), 31),
        (CLIPConfig(text_config={"max_position_embeddings": 21}), 21),
        (T5Config(), None),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_how_much_text_a_model_reads(config: Any, longest: int | None) -> None:
    assert longest_text(config) == longest


def _script() -> ModuleType:
    path = ROOT / "scripts" / "make_tiny_models.py"
    spec = importlib.util.spec_from_file_location("make_tiny_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tiny_models_from_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("quokka wombat\n" * 20, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["make_tiny_models", str(tmp_path / "out"), "--captions", str(captions)])
    _script().main()
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in ("clip", "bert")]
    assert (
        "quokka" in json.loads((tmp_path / "out" / "bert" / "tokenizer.json").read_text())["model"]["vocab"]
    )
    assert read_config(str(tmp_path / "out" / "clip")).model_type == "clip"
    monkeypatch.setattr(sys, "argv", ["make_tiny_models", "x", "--captions", str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        _script().main()
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_downloaded_model_is_found_offline(tmp_path: Path) -> None:
    """In a process of its own, because the place of the cache is fixed when transformers is imported."""
    cache = tmp_path / "hub" / "models--tiny--clip"
    commit = "0" * 40
    _script().make_clip(cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    code = (
        "from robustcmr.data.pictures import open_processor\n"
        "from robustcmr.data.pretrained_tokenizer import open_tokenizer\n"
        "from robustcmr.matchers.clip import Clip\n"
        "from robustcmr.types import DataSpec\n"
        "size, n = open_processor('tiny/clip').size, len(open_tokenizer('tiny/clip'))\n"
        "spec = DataSpec(3, 1, n, 9, picture_size=size)\n"
        "matcher = Clip(Clip.Config(weights='tiny/clip'), spec)\n"
        "matcher.load_pretrained()\n"
        "print(matcher.backbone.network.visual_projection.weight.detach().abs().sum().item())\n"
    )
    environment = {
        **os.environ,
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    from transformers import CLIPModel

    truth = (
        CLIPModel.from_pretrained(cache / "snapshots" / commit).visual_projection.weight.detach().abs().sum()
    )
    assert float(done.stdout) == pytest.approx(float(truth), rel=1e-5)
