"""Checkpoints: weights as safetensors, everything else in a state file that holds no code.

A checkpoint folder is written under another name and then renamed, so a whole one always exists. Only the
process that holds the lock of the run writes; others may read meanwhile.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn

from robustcmr.errors import CheckpointError
from robustcmr.files import atomic_file, identity, reason, regular_file
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.torch_files import UnsafeError, load_torch

_STATE = "state.pt"
_ATTEMPTS = 20
"""How often a checkpoint is read anew because a training has replaced it meanwhile."""


def save_checkpoint(folder: Path, modules: Mapping[str, nn.Module], state: Mapping[str, Any]) -> None:
    """Write a checkpoint folder atomically, replacing an older one.

    Each network is written as ``NAME.safetensors``; the state holds nested plain values and tensors.

    Raises:
        UserError: it cannot be written; the older checkpoint is untouched.
    """
    fresh, old = _aside(folder)
    recover(folder)
    try:
        for name, module in modules.items():
            _write_bytes(fresh / f"{name}.safetensors", safetensors.torch.save(_weights(module)))
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        _write_bytes(fresh / _STATE, buffer.getbuffer())
        if folder.exists():
            folder.replace(old)
        fresh.replace(folder)
    except BaseException as error:
        with suppress(OSError):
            recover(folder)
        if isinstance(error, OSError):
            raise CheckpointError(f"cannot write the checkpoint {folder}: {reason(error)}") from error
        raise
    _remove(old)


def named_modules(
    accelerator: Accelerator, matchers: Sequence[Matcher], method: Method | None
) -> dict[str, nn.Module]:
    """Return all networks by the name of their weights: ``matcher_0``, …, and those of the method."""
    bare = {f"matcher_{i}": accelerator.unwrap_model(matcher) for i, matcher in enumerate(matchers)}
    return {**bare, **({} if method is None else method.auxiliary)}


def _aside(folder: Path) -> tuple[Path, Path]:
    """Return the names under which a checkpoint is written, and kept until a newer one is in its place."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Restore the older checkpoint if a kill fell between two renames, and remove what a kill left."""
    fresh, old = _aside(folder)
    if not folder.exists() and old.exists():
        old.replace(folder)
    for left in (fresh, old):
        _remove(left)


def _remove(folder: Path) -> None:
    """Remove a checkpoint; of a symbolic link, the link alone."""
    if folder.is_symlink():
        with suppress(OSError):
            folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def is_saved(folder: Path) -> bool:
    """Return whether there is a checkpoint, even between the two renames of a newer one."""
    old = _aside(folder)[1]
    return folder.exists() or old.exists() or folder.exists()  # both renames may fall between the first two


def _place(folder: Path) -> Path:
    """Return where a checkpoint is now: in its place, or aside between two renames."""
    old = _aside(folder)[1]
    return old if not folder.exists() and old.exists() else folder


def load_modules(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load every network's weights, all of the same checkpoint even while a training replaces it.

    Raises:
        CheckpointError: weights are missing, damaged or of another architecture.
    """
    for _ in range(_ATTEMPTS):
        place = _place(folder)
        before = identity(place)
        try:
            _load(place, modules)
        except CheckpointError:
            if (_place(folder), identity(place)) == (place, before):
                raise
        else:
            if identity(place) == before:
                return
    raise CheckpointError(
        f"{folder} is replaced by its training faster than it can be read; wait until the training has ended"
    )


def _load(folder: Path, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        path = folder / f"{name}.safetensors"
        try:
            with regular_file(path) as file:  # opened once, as its training may replace it meanwhile
                weights = safetensors.torch.load(file.read())
        except OSError as error:
            raise CheckpointError(f"cannot read the weights {path}: {reason(error)}") from error
        except SafetensorError as error:
            raise CheckpointError(
                f"cannot read the weights {path}: {error}; choose another checkpoint"
            ) from error
        difference = _difference(module.state_dict(), weights)
        if difference:
            raise CheckpointError(
                f"the weights {path} are of another architecture than the configured matcher: {difference}"
            )
        module.load_state_dict(weights)


def load_state(folder: Path) -> dict[str, Any]:
    """Load a checkpoint's state file, of tensors and plain values; raise CheckpointError if damaged."""
    path = folder / _STATE
    try:
        state = load_torch(path)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint state {path}: {reason(error)}") from error
    except UnsafeError as error:
        raise CheckpointError(f"{path} {error}; it was altered, so train the run again") from error
    except ValueError as error:
        raise CheckpointError(
            f"cannot read the checkpoint state {path}: {error}; copy it again from where it was trained"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected the state of a training")
    return state


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state on the CPU; tensors shared by two keys are copied, as safetensors requires."""
    weights: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for key, value in module.state_dict().items():
        tensor = value.detach().contiguous().cpu()
        place = tensor.untyped_storage().data_ptr()
        weights[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return weights


def _write_bytes(path: Path, content: bytes | memoryview) -> None:
    with atomic_file(path) as file:
        file.write(content)


def _difference(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [
        f"{key} is {tuple(found[key].shape)} where {tuple(expected[key].shape)} was expected"
        for key in sorted(expected.keys() & found.keys())
        if expected[key].shape != found[key].shape
    ]
    parts = shapes[:3]
    if missing:
        parts.append(f"{len(missing)} missing such as {missing[0]}")
    if extra:
        parts.append(f"{len(extra)} unknown such as {extra[0]}")
    return "; ".join(parts)
