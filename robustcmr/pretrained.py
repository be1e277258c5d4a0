"""Load transformers files from a local folder or the hub, quietly, with one clear sentence on failure."""

from __future__ import annotations

import importlib
import json
import logging as standard_logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from robustcmr.errors import DataError, UserError

_log = standard_logging.getLogger(__name__)
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?")

# positions of these models start after the padding index
_SHIFTED_POSITIONS = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "longformer",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


def anchored(name: str) -> str:
    """Return a model name that means the same from any working directory.

    Args:
        name: local folder or hub name.

    Returns:
        The absolute path of an existing folder; any other name unchanged.

    Raises:
        ValueError: the name is empty.
    """
    if not name.strip():
        raise ValueError("an empty name, expected the folder or hub name of a transformers model")
    folder = _folder(name)
    return str(folder.absolute()) if folder.is_dir() else name


@dataclass(frozen=True)
class Files:
    """A kind of model file.

    Attributes:
        what: its content, such as ``tokenizer``.
        any_of: file names or patterns, at least one of which a folder must hold; the usual one first.
    """

    what: str
    any_of: tuple[str, ...]


CONFIGURATION = Files("configuration", ("config.json",))
WEIGHTS = Files(
    "weights",
    (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
)
TOKENIZER = Files("tokenizer", ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"))
PROCESSOR = Files("image processor", ("preprocessor_config.json", "processor_config.json"))

_ADVICE = "config.json and model.safetensors, and for data tokenizer.json and preprocessor_config.json"


def read(files: Files, name: str, reader: Callable[..., Any], option: str | None = None) -> Any:
    """Read files of a model with transformers, quietly.

    A local folder is tried first, then the download cache, then the hub. A run without a network therefore
    never waits, and a model does not change during a run.

    Args:
        files: kind of file to read.
        name: local folder or hub name.
        reader: a ``from_pretrained``, called with the name, ``local_files_only`` and ``trust_remote_code``.
        option: the option that gave the name, such as ``matcher.weights``; None where unknown.

    Returns:
        The reader's result.

    Raises:
        DataError: there is no such folder and no such model can be fetched, or its files are damaged.
    """
    said = repr(name) if option is None else f"{name!r} ({option})"
    folder = _folder(name)
    if name.strip() and folder.is_dir():
        return _from_folder(files, folder, said, reader)
    if folder.is_file() or _HUB_NAME.fullmatch(name) is None:
        found = "that is a file" if folder.is_file() else "no such folder"
        raise DataError(
            f"cannot read the {files.what} of {said}: {found}; give a folder with {_ADVICE}, or a hub name"
        )
    with _quiet():
        try:
            try:
                return reader(name, local_files_only=True, trust_remote_code=False)
            except UserError:
                raise
            except Exception:  # not downloaded yet
                _ask_hub(name)
                _log.warning("fetching the %s of %s from the Hugging Face hub", files.what, said)
                return reader(name, local_files_only=False, trust_remote_code=False)
        except UserError:
            raise
        except Exception as error:
            raise DataError(
                f"cannot find the {files.what} of {said}: there is no such folder, it is not in the "
                f"download cache and cannot be fetched ({_cause(error)}); give a folder with {_ADVICE}, or "
                "start once while online"
            ) from error


def _from_folder(files: Files, folder: Path, said: str, reader: Callable[..., Any]) -> Any:
    if not any(True for pattern in files.any_of for _ in folder.glob(pattern)):
        raise DataError(
            f"the folder {said} has no {files.any_of[0]}; put the {files.what} of the model there, as "
            "save_pretrained of transformers writes it"
        )
    _refuse_other_places(folder, said)
    try:
        with _quiet():
            return reader(str(folder), local_files_only=True, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:
        raise DataError(
            f"cannot read the {files.what} in the folder {said}: {_cause(error)}; write it again with "
            "save_pretrained of transformers, or copy all files of the model again"
        ) from error


def _refuse_other_places(folder: Path, said: str) -> None:
    """Raise DataError if a file of the folder makes transformers read weights from another place."""
    other = None
    if (folder / "adapter_config.json").exists():
        other = (
            "adapter_config.json, which names another model; save the two merged by merge_and_unload of peft"
        )
    for index in sorted(folder.glob("*.index.json")):
        listed = _parsed(index)
        pieces = listed.get("weight_map") if isinstance(listed, dict) else None
        names = [str(name) for name in pieces.values()] if isinstance(pieces, dict) else []
        if away := sorted(name for name in names if Path(name).name != name):
            other = f"{index.name}, which names weights in another place ({away[0]!r}); save the model again"
    if other is not None:
        raise DataError(f"the folder {said} has {other}")


def _parsed(path: Path) -> Any:
    """Return the value of a JSON file; None if there is none, or it is damaged, which its reader reports."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _ask_hub(name: str) -> None:
    """Fail at once without a network; the readers themselves would wait for a minute."""
    hub: Any = importlib.import_module("huggingface_hub")
    hub.HfApi().model_info(name, timeout=10)


def read_config(name: str, option: str | None = None) -> Any:
    """Return the configuration of a model.

    Args:
        name: local folder or hub name.
        option: the option that gave the name, such as ``matcher.weights``; None where unknown.

    Raises:
        DataError: it is missing or damaged, or names code of the hub, which transformers would run.
    """
    from transformers import AutoConfig  # takes seconds

    config = read(CONFIGURATION, name, AutoConfig.from_pretrained, option)
    for part in (config, getattr(config, "text_config", None), getattr(config, "vision_config", None)):
        kernel = getattr(part, "_attn_implementation", None)
        if "/" in str(kernel):
            raise DataError(
                f"config.json of {name!r} names code to download as attn_implementation ({kernel!r}), and no "
                "code is run because a file asks for it; remove that key in a copy of the model"
            )
    return config


def text_part(config: Any) -> Any:
    """Return the configuration of the text model: a part of CLIP's, the whole of any other."""
    return config.text_config if config.model_type == "clip" else config


def longest_text(config: Any) -> int | None:
    """Return the longest text a model can read, in tokens; None if unlimited.

    Args:
        config: configuration of the model, see :func:`read_config`.
    """
    config = text_part(config)
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    if config.model_type in _SHIFTED_POSITIONS:
        return positions - (config.pad_token_id or 0) - 1
    return positions


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress bars and warnings of transformers and its hub; restore them afterwards."""
    # imported by name because their types differ between releases
    hub_bar: Any = importlib.import_module("huggingface_hub.utils")
    logging: Any = importlib.import_module("transformers.utils.logging")
    hub = standard_logging.getLogger("huggingface_hub")
    level, hub_level = logging.get_verbosity(), hub.level
    bars, hub_bars = logging.is_progress_bar_enabled(), not hub_bar.are_progress_bars_disabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # the hub's too
        hub.setLevel(standard_logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            logging.enable_progress_bar()
        (hub_bar.enable_progress_bars if hub_bars else hub_bar.disable_progress_bars)()


def _folder(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no home folder is known
        return Path(name)


def _cause(error: Exception) -> str:
    """Return the first sentence of an error, or its type if it has no message."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shorten(re.split(r"[.:!]( |$)", line)[0], 200, placeholder=" ...")
