"""The outcome of a run with its keys as attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from robustcmr.errors import UnknownNameError
from robustcmr.plugins import did_you_mean
from robustcmr.reporting.compared import TITLES
from robustcmr.reporting.notebook import notebook_html
from robustcmr.reporting.numbers import as_text
from robustcmr.reporting.sentences import measured_sentences, models_sentence
from robustcmr.reporting.tables import measures_table, render


class Values(Mapping[str, Any]):
    """A mapping whose keys are attributes too, such as ``values.test.rsum``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return _wrapped(self._values[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        known = {} if name.startswith("_") else self._known()  # no lookups of protocols or while unpickling
        if name not in known:
            raise UnknownNameError(
                f"there is no {name!r} here{did_you_mean(name, known)} (known: {', '.join(sorted(known))})"
            )
        return _wrapped(known[name])

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._known()})

    def __repr__(self) -> str:
        return repr(dict(self._values))

    def _known(self) -> Mapping[str, Any]:
        return self._values


class Results(Values):
    """``results.json`` of a run; the measures of its test split are attributes too.

    Example:
        >>> results = robustcmr.load("runs/my-run").results  # doctest: +SKIP
        >>> results.rsum, results.splits.dev.rsum, results.findings.noise_rate  # doctest: +SKIP
        (403.1, 419.3, 0.395)
    """

    def __init__(self, values: Mapping[str, Any], test: str | None) -> None:
        super().__init__(values)
        self._test = test

    def __repr__(self) -> str:
        lines = [f"{models_sentence(self._values)}.", *measured_sentences(self._values)]
        return render(measures_table(self._values["splits"])) + "\n".join(lines)

    def _known(self) -> Mapping[str, Any]:
        return {**self._values["splits"].get(self._test, {}), **self._values}

    def _repr_html_(self) -> str:
        splits: Mapping[str, Mapping[str, Any]] = self._values["splits"]
        names = [
            name
            for name in next(iter(splits.values()), {})
            if name.startswith(("i2t_r", "t2i_r", "rsum", "map")) and "rank" not in name
        ]
        rows = [
            (split, *(as_text(values.get(name), "percent") for name in names))
            for split, values in splits.items()
        ]
        notes = [f"{models_sentence(self._values)}.", *measured_sentences(self._values)]
        titles = [TITLES.get(name, name) for name in names]
        return notebook_html("Results", ("split", *titles), rows, notes)


def _wrapped(value: Any) -> Any:
    return Values(value) if isinstance(value, Mapping) and not isinstance(value, Values) else value
