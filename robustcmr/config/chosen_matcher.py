"""The matcher of a run that names none: that which reads what its data holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustcmr import plugins
from robustcmr.errors import UserError

if TYPE_CHECKING:
    from robustcmr.config.resolve import Component

logger = logging.getLogger("robustcmr")


class OpenedData:
    """The data of a run, opened only to choose its matcher, or to name what is wrong with it with the rest.

    Args:
        problems: receives what is wrong.
    """

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._done = False
        self._data: Any = None

    def open(self, data: Component | None) -> Any:
        """Open data that chooses its matcher; None for any other, or where it cannot be opened."""
        if not self._done and data is not None and getattr(data.cls, "chooses_matcher", False):
            self._done = True
            try:
                self._data = data.cls(data.options)
            except UserError as error:
                self._problems.append(f"data.root: {error}")
        return self._data

    def with_matcher(
        self, given: Any, cls: Any, data: Component | None, folders: Sequence[Path] | None
    ) -> Any:
        """Return a section without a matcher's name with that which the data asks for.

        Options of another matcher, which the name would not fit, are left to the default.

        Args:
            given: the section; None or a mapping.
            cls: class of the data.
            data: the data with its options; None where these have a problem.
            folders: see :func:`robustcmr.config.resolve.resolve`.
        """
        if not getattr(cls, "chooses_matcher", False):
            return given
        name, why = cls.usual_matcher, ""
        if (opened := self.open(data)) is not None:
            try:
                name, why = opened.matcher()
            except UserError as error:
                self._problems.append(f"data.root: {error}")
        if name is None:
            return given
        options = dict(given) if isinstance(given, Mapping) else {}
        matcher: Any = plugins.matchers.load(name, folders)
        if not set(options) <= set(matcher.Config.model_fields):
            return given
        if why:
            logger.info("the matcher is %s, as %s; --matcher names another", name, why)
        return {"name": name, **options}

    def check_split(self, select: str) -> None:
        """Name the split that would choose the best epoch where it has no files.

        Args:
            select: the split.
        """
        data = self._data
        if data is None or type(data).usual_matcher is None:  # the others are read to know their splits
            return
        if select not in (there := data.splits()):
            has = ", ".join(there)
            self._problems.append(
                f"evaluation.select: got {select!r}, and the data has {has} alone; add the files of {select}"
                f", or measure another split, such as --set evaluation.select={there[0]}"
            )


def is_unnamed(given: Any) -> bool:
    """Return whether a section leaves the choice of the plug-in open."""
    return given is None or (isinstance(given, Mapping) and "name" not in given)
