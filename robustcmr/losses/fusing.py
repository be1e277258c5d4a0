"""Losses fused by ``torch.compile`` while that is wished for; otherwise they run as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

_wished: ContextVar[bool] = ContextVar("fused_losses", default=False)
_compiled: dict[Callable[..., Any], Callable[..., Any]] = {}


@contextmanager
def fused_losses(wished: bool = True) -> Iterator[None]:
    """Have losses be compiled, on first use and for any size of batch, as long as this lasts."""
    token = _wished.set(wished)
    try:
        yield
    finally:
        _wished.reset(token)


def fusible(loss: F) -> F:
    """A loss that :func:`fused_losses` speaks to."""

    @wraps(loss)
    def run(*given: Any, **named: Any) -> Any:
        if not _wished.get():
            return loss(*given, **named)
        if loss not in _compiled:
            _compiled[loss] = torch.compile(loss, dynamic=True)
        return _compiled[loss](*given, **named)

    return cast(F, run)
