"""Whether a data set keeps the contract of its track: ``PairsData`` or ``LabelledData``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from robustcmr import plugins
from robustcmr.data.base import DataSet, LabelledData, PairsData
from robustcmr.errors import ConfigError
from robustcmr.options import Options
from robustcmr.testing import dataset_rules, labelled_rules, pairs_rules
from robustcmr.testing.dataset_case import LabelledCase, PairsCase
from robustcmr.testing.report import (
    Check,
    ConformanceError,
    Report,
    class_of,
    described,
    options_of,
    run_checks,
)

DATASET_CHECKS: Mapping[str, Check[PairsCase]] = MappingProxyType(
    {
        "splits": dataset_rules.splits,
        "unknown_split": dataset_rules.unknown_split,
        "captions": dataset_rules.captions,
        "pairing": pairs_rules.pairing,
        "features": pairs_rules.features,
        "take": dataset_rules.take,
        "fresh_arrays": dataset_rules.fresh_arrays,
        "pickling": dataset_rules.pickling,
        "text_vectors": pairs_rules.text_vectors,
        "pictures": dataset_rules.pictures,
        "image_names": pairs_rules.image_names,
        "fits": pairs_rules.fits,
        "fingerprint": dataset_rules.fingerprint,
        "reopening": dataset_rules.reopening,
    }
)
"""The checks of a data set of pairs by name; the docstring of each is the rule it keeps."""

LABELLED_CHECKS: Mapping[str, Check[LabelledCase]] = MappingProxyType(
    {
        "splits": dataset_rules.splits,
        "unknown_split": dataset_rules.unknown_split,
        "classes": labelled_rules.classes,
        "labels": labelled_rules.labels,
        "vectors": labelled_rules.vectors,
        "take": dataset_rules.take,
        "fresh_arrays": dataset_rules.fresh_arrays,
        "pickling": dataset_rules.pickling,
        "captions": dataset_rules.captions,
        "pictures": dataset_rules.pictures,
        "fingerprint": dataset_rules.fingerprint,
        "reopening": dataset_rules.reopening,
    }
)
"""The checks of a data set of labelled pairs by name."""


def check_dataset(
    data: DataSet | type[DataSet] | str,
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
        data: a data set of pairs or of labelled pairs that is open; or its class, or a name that is
            registered, so that it can be opened twice and compared.
        config: its options where a class or name is given, as its ``Config`` or as a mapping.
        sample: entries of a split to look at closely, at least 2.
        skip: names of checks to leave out, of :data:`DATASET_CHECKS` or :data:`LABELLED_CHECKS`.

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
    again: DataSet | None = None
    if isinstance(data, DataSet):
        if config is not None:
            raise ConfigError("config is given for a data set that is open already; give its class instead")
    else:
        found = class_of(data, plugins.datasets, DataSet)
        options = options_of(found, config)
        data, again = found(options), found(options)
    subject = f"data set {described(type(data))}"
    if isinstance(data, PairsData):
        pairs = PairsCase(data, again if isinstance(again, PairsData) else None, sample)
        return run_checks(subject, DATASET_CHECKS, pairs, skip, ("splits",))
    if isinstance(data, LabelledData):
        labelled = LabelledCase(data, again if isinstance(again, LabelledData) else None, sample)
        return run_checks(subject, LABELLED_CHECKS, labelled, skip, ("splits",))
    raise ConformanceError(subject, {"builds": ("it derives from neither PairsData nor LabelledData",)})
