"""Options of ``robustcmr train`` and arguments of ``robustcmr.train`` that set a key of the configuration."""

from __future__ import annotations

FLAGS = {
    "noise": "noise.ratio",
    "noise_kind": "noise.kind",
    "noise_protocol": "noise.protocol",
    "noise_file": "noise.file",
    "noise_seed": "noise.seed",
    "data": "data.name",
    "data_root": "data.root",
    "matcher": "matcher.name",
    "method": "method.name",
    "seed": "seed",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "device": "training.device",
    "precision": "training.precision",
}
"""Name of the option or argument -> configuration key."""
