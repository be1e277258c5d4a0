"""Losses fused by ``torch.compile`` on request; otherwise they run as written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

_requested: ContextVar[bool] = ContextVar("fused_losses", default=False)
_compiled: dict[Callable[..., Any], Callable[..., Any]] = {}


@contextmanager
def fused_losses(requested: bool = True) -> Iterator[None]:
    """Compile losses on first use, for any batch size, while this context is active."""
    token = _requested.set(requested)
    try:
        yield
    finally:
        _requested.reset(token)


def fusible(loss: F) -> F:
    """Decorate a loss so that :func:`fused_losses` compiles it."""

    @wraps(loss)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not _requested.get():
            return loss(*args, **kwargs)
        if loss not in _compiled:
            _compiled[loss] = torch.compile(loss, dynamic=True)
        return _compiled[loss](*args, **kwargs)

    return cast(F, run)
