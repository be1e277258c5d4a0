"""What the shell completes after TAB: names, read without importing what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_KINDS = ("matchers", "methods", "data", "configs", "sweeps")


def known(kind: str) -> list[str]:
    """Return the names of a kind: matchers, methods, data, configs or sweeps."""
    if kind == "configs":
        from robustcmr.config.recipes import recipe_names

        return recipe_names()
    if kind == "sweeps":
        from robustcmr.sweeps.options import sweep_names

        return sweep_names()
    from robustcmr import plugins

    return {"matchers": plugins.matchers, "methods": plugins.methods, "data": plugins.datasets}[kind].names()


def names(*kinds: str) -> Callable[[str], list[str]]:
    """Return what completes the start of a name of these kinds, for ``autocompletion``."""

    def complete(incomplete: str) -> list[str]:
        found = {name for kind in kinds or _KINDS for name in known(kind)}
        return sorted(name for name in found if name.startswith(incomplete))

    return complete


def words(offered: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes the start of one of the words."""
    listed = list(offered)

    def complete(incomplete: str) -> list[str]:
        return [word for word in listed if word.startswith(incomplete)]

    return complete


def shown(incomplete: str) -> list[str]:
    """Complete a word of 'show': a kind, or a name of any kind."""
    return sorted({*names()(incomplete), *words(_KINDS)(incomplete)})


def keys(incomplete: str) -> list[str]:
    """Complete the key of a setting that every run has, such as ``optim.lr=``."""
    from robustcmr.config.fields import section_class
    from robustcmr.config.schema import Settings

    found = []
    for name, field in Settings.model_fields.items():
        section = section_class(field.annotation)
        found += [f"{name}="] if section is None else [f"{name}.{key}=" for key in section.model_fields]
    return sorted(key for key in found if key.startswith(incomplete))


SOURCE_FORMATS = (
    *("arrow", "clip-retrieval", "csv", "datacomp", "hf", "hub", "jsonl", "npy", "parquet"),
    *("picture-folder", "webdataset"),
)
"""Formats of pairs that are read, listed here so that completing needs no pyarrow."""

WRITTEN_FORMATS = ("csv", "datacomp", "hf", "jsonl", "parquet", "webdataset")
"""Formats that pairs are written in."""


def source_formats(incomplete: str) -> list[str]:
    """Complete the name of a format of pairs."""
    return words(SOURCE_FORMATS)(incomplete)
