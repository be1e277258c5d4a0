"""Folders and hub names of transformers: found, read without noise, and refused in one sentence."""

from __future__ import annotations

import importlib
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

_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?")

# their positions are counted from the padding index on
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
    """The name of a model such that it means the same from any working folder.

    Args:
        name: local folder or hub name.

    Returns:
        The absolute path of a folder that exists; any other name as it is.

    Raises:
        ValueError: the name is empty.
    """
    if not name.strip():
        raise ValueError("an empty name, expected the folder or hub name of a transformers model")
    folder = _folder(name)
    return str(folder.absolute()) if folder.is_dir() else name


@dataclass(frozen=True)
class Files:
    """One kind of files of a model.

    Attributes:
        what: what they hold, such as ``tokenizer``.
        any_of: file names or patterns of which a folder needs one; the first is the usual one.
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
    """Read files of a model with transformers: quietly, and any failure as one sentence.

    A folder comes first, then what was downloaded before, and only then the hub; so that a run without a
    network never waits for one, and a model does not change under a run.

    Args:
        files: what is read.
        name: local folder or hub name.
        reader: called with the folder or hub name and the keywords ``local_files_only`` and
            ``trust_remote_code`` for ``from_pretrained``.
        option: the option that gave the name, such as ``matcher.weights``; None where unknown.

    Returns:
        What the reader returned.

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
                return reader(name, local_files_only=False, trust_remote_code=False)
        except UserError:
            raise
        except Exception as error:
            raise DataError(
                f"cannot find the {files.what} of {said}: there is no folder of that name, it was not "
                f"downloaded before and cannot be now ({_cause(error)}); give a folder with {_ADVICE}, or "
                "start once while online"
            ) from error


def _from_folder(files: Files, folder: Path, said: str, reader: Callable[..., Any]) -> Any:
    if not any(True for pattern in files.any_of for _ in folder.glob(pattern)):
        raise DataError(
            f"the folder {said} has no {files.any_of[0]}; put the {files.what} of the model there, as "
            "save_pretrained of transformers writes it"
        )
    try:
        with _quiet():
            return reader(str(folder), local_files_only=True, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:
        raise DataError(
            f"cannot read the {files.what} in the folder {said}: {_cause(error)}; write it anew with "
            "save_pretrained of transformers, or copy all files of the model again"
        ) from error


def _ask_hub(name: str) -> None:
    """Fail at once where there is no network; the readers themselves would wait for a minute."""
    hub: Any = importlib.import_module("huggingface_hub")
    hub.HfApi().model_info(name, timeout=10)


def read_config(name: str, option: str | None = None) -> Any:
    """The configuration of a model, as transformers reads it.

    Args:
        name: local folder or hub name.
        option: the option that gave the name, such as ``matcher.weights``; None where unknown.

    Raises:
        DataError: it is missing or damaged.
    """
    from transformers import AutoConfig  # takes seconds

    return read(CONFIGURATION, name, AutoConfig.from_pretrained, option)


def text_part(config: Any) -> Any:
    """The configuration of what reads text: that of CLIP's text model, or the whole of any other."""
    return config.text_config if config.model_type == "clip" else config


def longest_text(config: Any) -> int | None:
    """How many tokens a text model can read; None where it has no limit.

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
    """No bars and no warnings of transformers and its hub; as before afterwards."""
    # through importlib, because their types change from release to release
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
    """The first sentence of an error without its full stop; its kind where it says nothing."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shorten(re.split(r"[.:!]( |$)", line)[0], 200, placeholder=" ...")
