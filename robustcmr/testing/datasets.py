"""Check that a data set keeps the contract of its track: ``PairsData`` or ``LabelledData``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from robustcmr import plugins
from robustcmr.data.base import DataSet, LabelledData, PairsData
from robustcmr.errors import ConfigError
from robustcmr.options import Options
from robustcmr.testing import dataset_rules, labelled_rules, pairs_rules
from robustcmr.testing.dataset_case import DataCase
from robustcmr.testing.report import (
    Check,
    ConformanceError,
    Report,
    checks_of,
    class_of,
    described,
    options_of,
    run_checks,
)

DATASET_CHECKS: Mapping[str, Check[DataCase]] = checks_of(dataset_rules, pairs_rules)
"""The checks of a data set of pairs by name; the docstring of each states its rule."""

LABELLED_CHECKS: Mapping[str, Check[DataCase]] = checks_of(dataset_rules, labelled_rules)
"""The checks of a data set of labelled pairs by name."""


def check_dataset(
    data: DataSet | type[DataSet] | str,
    config: Options | Mapping[str, Any] | None = None,
    *,
    sample: int = 16,
    skip: Collection[str] = (),
) -> Report:
    """Check a data set and report every rule of the contract that it breaks.

    Some evenly spaced features and pictures are examined; ``robustcmr data check`` reads them all. Use it in
    a test::

        def test_my_data(tmp_path):
            check_dataset(MyData, {"root": make_files(tmp_path)})

    Args:
        data: an open data set of pairs or of labelled pairs; or its class or registered name, so that it can
            be opened twice and compared.
        config: options for a class or name, as its ``Config`` or as a mapping.
        sample: entries of a split to examine closely, at least 2.
        skip: names of checks to leave out, of :data:`DATASET_CHECKS` or :data:`LABELLED_CHECKS`.

    Raises:
        ConformanceError: rules are broken; the message has a sentence for each.
        ConfigError: options do not fit, or ``skip`` names no check.
        UserError: the data set itself refuses to open.
        PluginError: the name is unknown or its module cannot be imported.
    """
    if sample < 2:
        raise ConfigError(f"sample is {sample}; expected at least 2 images of a split, such as sample=16")
    again: DataSet | None = None
    if isinstance(data, DataSet):
        if config is not None:
            raise ConfigError("config is given for a data set that is open already; give its class instead")
    else:
        found = class_of(data, plugins.datasets, DataSet)
        options = options_of(found, config)
        data, again = found(options), found(options)
    subject = f"data set {described(type(data))}"
    if not isinstance(data, PairsData | LabelledData):
        raise ConformanceError(subject, {"builds": ("it derives from neither PairsData nor LabelledData",)})
    checks = DATASET_CHECKS if isinstance(data, PairsData) else LABELLED_CHECKS
    case = DataCase(data, again if isinstance(again, PairsData | LabelledData) else None, sample)
    return run_checks(subject, checks, case, skip, ("splits",))
