"""Whether a data set keeps the contract of :class:`robustcmr.data.base.PairsData`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from robustcmr import plugins
from robustcmr.data.base import PairsData
from robustcmr.errors import ConfigError
from robustcmr.options import Options
from robustcmr.testing import dataset_rules
from robustcmr.testing.dataset_rules import DataCase
from robustcmr.testing.report import Check, Report, class_of, described, options_of, run_checks

DATASET_CHECKS: Mapping[str, Check[DataCase]] = MappingProxyType(
    {
        "splits": dataset_rules.splits,
        "unknown_split": dataset_rules.unknown_split,
        "captions": dataset_rules.captions,
        "pairing": dataset_rules.pairing,
        "features": dataset_rules.features,
        "take": dataset_rules.take,
        "fresh_arrays": dataset_rules.fresh_arrays,
        "pickling": dataset_rules.pickling,
        "text_vectors": dataset_rules.text_vectors,
        "pictures": dataset_rules.pictures,
        "image_names": dataset_rules.image_names,
        "fits": dataset_rules.fits,
        "fingerprint": dataset_rules.fingerprint,
        "reopening": dataset_rules.reopening,
    }
)
"""The checks of a data set by name; the docstring of each is the rule it keeps."""


def check_dataset(
    data: PairsData | type[PairsData] | str,
    config: Options | Mapping[str, Any] | None = None,
    *,
    sample: int = 16,
    skip: Collection[str] = (),
) -> Report:
    """Look through a data set and say every rule of the contract that it breaks.

    Of features and pictures some are looked at, evenly spaced; ``robustcmr data check`` reads them all. One
    line of a test does it::

        def test_my_data(tmp_path):
            check_dataset(MyData, {"root": written(tmp_path)})

    Args:
        data: a data set that is open; or its class, or a name that is registered, so that it can be opened
            twice and compared.
        config: its options where a class or name is given, as its ``Config`` or as a mapping.
        sample: images and captions of a split to look at closely, at least 2.
        skip: names of checks to leave out, of :data:`DATASET_CHECKS`.

    Returns:
        What was checked.

    Raises:
        ConformanceError: rules are broken; the message has a sentence for each.
        ConfigError: options do not fit, or ``skip`` names no check.
        UserError: the data set itself refuses to open.
        PluginError: the name is unknown or its module cannot be imported.
    """
    if sample < 2:
        raise ConfigError(f"sample is {sample}; expected at least 2 images of a split")
    if isinstance(data, PairsData):
        if config is not None:
            raise ConfigError("config is given for a data set that is open already; give its class instead")
        case = DataCase(data, None, sample)
    else:
        found = class_of(data, plugins.datasets, PairsData)
        options = options_of(found, config)
        case = DataCase(found(options), found(options), sample)
    return run_checks(f"data set {described(type(case.data))}", DATASET_CHECKS, case, skip, ("splits",))
