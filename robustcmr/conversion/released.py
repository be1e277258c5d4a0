"""From a released file to a run folder that can be evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from robustcmr.config.resolve import RunConfig, compose, remember_run
from robustcmr.conversion import method, sgraf, vse_infty
from robustcmr.conversion.keys import Plan, move
from robustcmr.conversion.layouts import ReleasedNetwork, find_network
from robustcmr.conversion.reading import read_checkpoint
from robustcmr.data.base import PairsData
from robustcmr.data.captions import TokenTable
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.environment import describe_environment
from robustcmr.errors import CheckpointError, ConfigError, DataError, some_of
from robustcmr.matchers.base import Matcher
from robustcmr.plugins import did_you_mean
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import RunInputs
from robustcmr.training.checkpoint import save_checkpoint
from robustcmr.types import DataSpec


@dataclass(frozen=True)
class Layout:
    """A kind of released file: a network's parts in order, and how its tensors give sizes and keys."""

    parts: Sequence[str]
    plan: Callable[[Mapping[str, Tensor]], Plan]


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {"sgraf": Layout(sgraf.PARTS, sgraf.plan), "vse_infty": Layout(vse_infty.PARTS, vse_infty.plan)}
)


@dataclass(frozen=True)
class ConversionReport:
    """Outcome of a conversion.

    Attributes:
        run: the run folder.
        matcher: name of the matcher.
        network: ``A`` or ``B`` of two, or None.
        sizes: matcher options and sizes of the data, as read from the shapes.
        claims: values in the file about its training; not checked.
        known_words: share of the words of the training captions in the vocabulary, 0..1.
        renamed: their key -> ours.
        folded: their bias -> our running mean, from which it was subtracted.
        without_effect: their key -> why no score depends on it.
        without_place: their keys that were left out.
    """

    run: str
    matcher: str
    network: str | None
    sizes: dict[str, int | float | str]
    claims: dict[str, Any]
    known_words: float
    renamed: dict[str, str]
    folded: dict[str, str]
    without_effect: dict[str, str]
    without_place: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested values."""
        return asdict(self)


def convert(
    file: Path,
    layout: str,
    data: Mapping[str, Any],
    vocabulary: Path,
    output: Path,
    network: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
) -> ConversionReport:
    """Convert a released network to a run folder; nothing in the file is executed.

    Args:
        file: written by ``torch.save``.
        layout: a key of ``LAYOUTS``.
        data: name and options of the data set.
        vocabulary: the JSON that the network was trained with, a word for each row of the embedding.
        output: the run folder.
        network: which of two networks, ``A`` or ``B``.
        partial: ignore keys of the file without a place in the matcher, instead of refusing the file.
        overwrite: replace a run that is already there.
        overrides: ``key.key=value`` each, for the sections ``data``, ``evaluation`` and ``training``.

    Raises:
        UserError: file, data and vocabulary do not fit each other, or another process writes into the run
            folder; nothing is written.
    """
    run = RunFolder(output)
    with run.locked():
        run.check_free(overwrite)
        return _convert(run, file, layout, data, vocabulary, network, partial, overrides)


def _convert(
    run: RunFolder,
    file: Path,
    layout: str,
    data: Mapping[str, Any],
    vocabulary: Path,
    network: str | None,
    partial: bool,
    overrides: Sequence[str],
) -> ConversionReport:
    """Convert into a run folder that this process has locked; see :func:`convert`."""
    if layout not in LAYOUTS:
        raise ConfigError(
            f"--from is '{layout}', expected {' or '.join(LAYOUTS)}{did_you_mean(layout, LAYOUTS)}"
        )
    document = read_checkpoint(file)
    with _about(file):
        released = find_network(document, LAYOUTS[layout].parts, network)
        plan = LAYOUTS[layout].plan(released.weights)
    words = Vocabulary.load(vocabulary)
    config = _configure(plan, data, overrides)
    if len(words) != plan.vocabulary_size:
        raise DataError(
            f"{vocabulary} has {len(words)} words but the network's embedding has {plan.vocabulary_size} "
            "rows; give the vocabulary it was trained with"
        )
    spec, known = _open_data(config, plan, words)
    make: Callable[..., Matcher] = config.matcher.cls
    matcher = make(config.matcher.options, spec)
    with _about(file):
        moved = move(released.weights, plan.keys, matcher.state_dict())
    if moved.without_place and not partial:
        raise CheckpointError(
            f"{file} has {n_keys(len(moved.without_place))} without a place in the matcher {plan.matcher}, "
            f"{some_of(moved.without_place)}; if the network's scores do not depend on them, ignore them "
            "with --partial"
        )
    matcher.load_state_dict(moved.state)
    source = _source(file, layout, released)

    def save(run: RunFolder) -> None:
        words.save(run.vocabulary)
        RunInputs(spec, words=True).write(run.inputs)
        state = {"best": None, "converted_from": source}
        save_checkpoint(run.checkpoint("best"), {"matcher_0": matcher}, state)

    run.start(_header(source) + config.to_yaml(), {**describe_environment(), "converted_from": source}, save)
    remember_run(run.config, config)  # which the data set named on this command line may need
    sizes = {**plan.options, "feature_width": spec.feature_width, "vocabulary_size": spec.vocabulary_size}
    if plan.n_regions is not None:
        sizes["n_regions"] = plan.n_regions
    return ConversionReport(
        run=str(run.path),
        matcher=plan.matcher,
        network=released.name,
        sizes=sizes,
        claims=released.claims,
        known_words=known,
        renamed=moved.renamed,
        folded=moved.folded,
        without_effect=moved.without_effect,
        without_place=moved.without_place,
    )


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """Put the name of the file before messages about its content."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _configure(plan: Plan, data: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    for text in overrides:
        section = text.partition("=")[0].strip().partition(".")[0]
        if section not in ("data", "evaluation", "training"):
            raise ConfigError(
                f"--set {text}: the file decides the rest; only data, evaluation and training can be set, "
                "such as --set evaluation.batch_size=64"
            )
    flags = {f"data.{key}": value for key, value in data.items()}
    flags |= {"matcher.name": plan.matcher, "method.name": method.NAME}
    flags |= {f"matcher.{key}": value for key, value in plan.options.items()}
    return compose(None, flags, overrides)


def _open_data(config: RunConfig, plan: Plan, words: Vocabulary) -> tuple[DataSpec, float]:
    """Return the description of the data and the share of known words; the data must fit the network."""
    data: PairsData = config.data.cls(config.data.options)
    split = data.split("train")
    if split.features is None:
        raise DataError(
            f"{config.data.name} has no region features, which the network reads; choose another --data"
        )
    _, regions, width = split.features.shape
    if width != plan.feature_width:
        raise DataError(
            f"the data has {width} numbers a region and the network reads {plan.feature_width}; give the "
            "features it was trained with"
        )
    if plan.n_regions is not None and regions != plan.n_regions:
        raise DataError(
            f"the data has {regions} regions an image and the network normalises {plan.n_regions} positions; "
            "give the features it was trained with"
        )
    captions = TokenTable.from_captions(split.captions, words)
    spec = DataSpec(
        feature_width=width,
        n_regions=regions,
        vocabulary_size=len(words),
        longest_caption=captions.longest,
        padding_index=words.padding_index,
        unknown_index=words.unknown_index,
        words=words.words,
    )
    return spec, captions.known_share(words)


def _source(file: Path, layout: str, released: ReleasedNetwork) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "file": str(file.absolute()),
        "sha256": digest,
        "layout": layout,
        "network": released.name,
        "claims": released.claims,
    }


def _header(source: Mapping[str, Any]) -> str:
    which = "" if source["network"] is None else f", network {source['network']}"
    return (
        f"# Converted from {Path(source['file']).name!r} ({source['layout']} layout{which}),\n"
        f"# SHA-256 {source['sha256']}.\n"
        "# It was trained elsewhere: noise, augmentation and optim below do not describe its training.\n"
    )


def n_keys(count: int) -> str:
    """Return such as ``1 key`` or ``29 keys``."""
    return f"{count} key{'' if count == 1 else 's'}"
