"""NumPy arrays and nested lists where a function of tensors is called."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def takes_arrays(*positive: str) -> Callable[[F], F]:
    """Decorate a function so that its tensor arguments may also be NumPy arrays or nested lists.

    Which arguments are tensors is read from the annotations. An array keeps its type and goes to the device
    of the first tensor among the arguments, else to the CPU, where it shares memory if it can. Tensors pass
    unchanged, with their gradients; results are tensors either way.

    Args:
        positive: names of arguments that must be positive finite numbers; the values of tensors are not
            checked, nor those of arrays where the argument may be a tensor.

    Raises:
        ValueError: by the decorated function, for an argument that is no array of numbers or not positive.
    """

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters
        names = list(parameters)
        kinds = {name: str(each.annotation) for name, each in parameters.items()}
        tensors = {name for name, kind in kinds.items() if "Tensor" in kind}
        optional = {name for name in tensors if "None" in kinds[name]}
        numbers = {name for name in tensors if "float" in kinds[name]}

        def checked(name: str, value: Any, device: torch.device | None) -> Any:
            if isinstance(value, Tensor):
                return value  # by far the most common
            if name in numbers and isinstance(value, (np.ndarray, list, tuple)):
                return tensor_of(value, name, device)
            if name in positive and not _is_positive(value):
                raise ValueError(
                    f"{name} is {value!r}; expected a positive finite number, such as {name}=0.05"
                )
            if name not in tensors or (value is None and name in optional):
                return value
            return value if name in numbers and _is_number(value) else tensor_of(value, name, device)

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            device = next((x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            first = [checked(name, value, device) for name, value in zip(names, args, strict=False)]
            rest = {name: checked(name, value, device) for name, value in kwargs.items()}
            return function(*first, *args[len(names) :], **rest)

        return cast(F, run)

    return decorate


def tensor_of(values: Any, name: str, device: torch.device | None = None) -> Tensor:
    """Return an array or nested list of numbers as a tensor of its type; a tensor as it is.

    Raises:
        ValueError: it is none, or its rows differ in length.
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as one array of numbers: {error}") from error
    if array.dtype.kind not in "fiub" or (array.ndim == 0 and not isinstance(values, np.ndarray)):
        given = f"holds {array.dtype}" if array.ndim else f"is {type(values).__name__} {values!r:.40}"
        raise ValueError(f"{name} {given}; expected a tensor or NumPy array of numbers")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    elif array.dtype.itemsize > 8:  # torch has no longer float
        array = array.astype(np.float64)
    array = np.require(array.astype(array.dtype.newbyteorder("="), copy=False), requirements=["C", "W"])
    found = torch.from_numpy(array)
    return found if device is None else found.to(device)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value < math.inf
