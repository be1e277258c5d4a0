"""Transformers networks as backbones: built from a configuration, loaded from files later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from robustcmr.errors import DataError
from robustcmr.matchers.base import Backbone
from robustcmr.pretrained import WEIGHTS, read


class PretrainedNetwork(Backbone):
    """A transformers network with random weights until :meth:`load_pretrained` is called.

    Args:
        kind: class of the model, with ``from_pretrained``.
        config: configuration of the model.
        name: local folder or hub name of the weights.
        option: the option that gave the name, such as ``matcher.weights``.
        lr_factor: multiplies the learning rate; 0 freezes: no gradient, evaluation mode.
        kept: returns the used part of the model.
        arguments: further arguments of ``kind``.
    """

    def __init__(
        self,
        kind: Any,
        config: Any,
        name: str,
        option: str,
        lr_factor: float,
        kept: Callable[[Any], nn.Module],
        **arguments: Any,
    ) -> None:
        super().__init__(lr_factor)
        self._kind, self._config, self._arguments = kind, config, arguments
        self._name, self._option, self._kept = name, option, kept
        self.network = kept(kind(config, **arguments)).float()
        if lr_factor == 0:
            self.requires_grad_(False)
        self.train(self.training)

    def load_pretrained(self) -> None:
        """Load the weights of the folder or hub name.

        Raises:
            DataError: the files are missing, damaged, or of another network.
        """
        reader = partial(
            self._kind.from_pretrained,
            config=self._config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the shapes are reported below
            **self._arguments,
        )
        model, report = read(WEIGHTS, self._name, reader, self._option)
        self._refuse_misfits(model, report)
        self.network.load_state_dict(self._kept(model).state_dict())  # cast to float32

    def gradients(self) -> torch.set_grad_enabled:
        """Return a context that enables gradients only if the network is trained."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and self.lr_factor > 0)

    def _refuse_misfits(self, model: nn.Module, report: Any) -> None:
        given = f"the weights of {self._name!r} ({self._option}) do not fit its config.json"
        advice = (
            f"expected the files of one {self._kind.__name__}, as save_pretrained of transformers writes them"
        )
        entries = report["mismatched_keys"]  # names, or names with two shapes, by release
        others = sorted(entry if isinstance(entry, str) else entry[0] for entry in entries)
        if others:
            wanted = tuple(model.state_dict()[others[0]].shape)
            raise DataError(
                f"{given}: {len(others)} have the wrong shape, such as {others[0]}, expected {wanted}; "
                f"{advice}"
            )
        missing = sorted(report["missing_keys"])
        if missing:
            raise DataError(
                f"{given}: {len(missing)} of {len(model.state_dict())} are missing, such as {missing[0]}; "
                f"{advice}"
            )
