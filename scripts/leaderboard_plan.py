"""What the leaderboard plans: blocks of runs, and the options of each run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

import methods_page
from run_table import Row

from robustcmr import plugins
from robustcmr.config.resolve import RunConfig, resolve

ALWAYS, BEST = ("robust", "rce", "l2rm"), 5
USUAL_EPOCHS = 12
"""The length of a run that methods' default lengths in epochs are made for."""

# the same sizes and schedule for every method
BASES: dict[str, dict[str, Any]] = {
    "scenes": {"data": {"name": "scenes"}, "training": {"epochs": 12}},
    "f8k": {
        "data": {"name": "f8k"},
        "text": {"min_count": 4},
        "optim": {"lr": 1e-3, "milestones": [5], "decay": 0.1, "clip": 2.0},
        "training": {"epochs": 6, "batch_size": 128},
    },
    "quick": {
        "data": {
            **{"name": "scenes", "n_train": 200, "n_dev": 60, "n_test": 1, "max_objects": 4},
            **{"attribute_dropout": 0, "synonyms": False},
        },
        "optim": {"lr": 4e-3, "milestones": [3]},
        "training": {"epochs": 4, "batch_size": 64},
    },
}
MATCHERS: dict[str, dict[str, dict[str, Any]]] = {
    "vse_infty": {data: {"dim": 128} for data in BASES},
    "omit": {"scenes": {}, "quick": {}, "f8k": {"dim": 256, "word_dim": 300, "region_hidden": 128}},
}


@dataclass(frozen=True)
class Block:
    """Runs of one sweep: every method at every noise level, but for rows that there are.

    Attributes:
        data: a key of ``BASES``.
        stage: 1 or 2.
        matcher: a key of ``MATCHERS``.
        noises: (protocol, ratio), the most useful first.
        seed: of all of them.
        methods: by name.
    """

    data: str
    stage: int
    matcher: str
    noises: tuple[tuple[str, float], ...]
    seed: int
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its sweep folder."""
        return f"{self.data}-{self.stage}-{self.matcher}-seed{self.seed}"

    def cells(self) -> Iterator[tuple[tuple[str, float], str]]:
        """Noise and method of each run, in order."""
        return product(self.noises, self.methods)

    def key(self, noise: tuple[str, float], method: str) -> tuple[str, ...]:
        """What the columns ``SAME`` of its row hold."""
        return (self.data, self.matcher, method, noise[0], f"{noise[1]:g}", str(self.seed))

    def config(self, noise: tuple[str, float], method: str) -> RunConfig:
        """The resolved configuration of a run."""
        base = self.base()
        base["data"] = {"root": ".", **base["data"]} if self.data == "f8k" else base["data"]
        changes = {key.partition(".")[2]: value for key, value in shorter(method, self.data).items()}
        made = {"protocol": noise[0], "ratio": noise[1]}
        return resolve({**base, "noise": made, "method": {"name": method, **changes}, "seed": self.seed})

    def label(self, method: str) -> str:
        """Name of a method in the sweep, other if its options are, so that no trial is taken for another."""
        return f"{method}-{options_hash(self.config(self.noises[0], method))[:6]}"

    def base(self) -> dict[str, Any]:
        """What all its runs have in common."""
        matcher = {"name": self.matcher, **MATCHERS[self.matcher][self.data]}
        # dev chooses the epoch and is reported; no test split is looked at
        return {**BASES[self.data], "matcher": matcher, "evaluation": {"test": None}}

    def sweep(self, done: Iterable[tuple[tuple[str, float], str]]) -> dict[str, Any]:
        """The sweep file of the runs that are not done."""
        noises = [
            {"label": label(noise), "noise.protocol": noise[0], "noise.ratio": noise[1]}
            for noise in self.noises
        ]
        methods = [
            {"label": self.label(name), "method.name": name, **shorter(name, self.data)}
            for name in self.methods
        ]
        excluded = [{"noise": label(noise), "method": self.label(method)} for noise, method in done]
        return {
            "name": self.name,
            "base": self.base(),
            "grid": {"noise": noises, "method": methods},
            "exclude": excluded,
            "seeds": [self.seed],
        }


def label(noise: tuple[str, float]) -> str:
    """Such as ``caption0.4``."""
    return f"{noise[0]}{noise[1]:g}"


def pair_methods() -> tuple[str, ...]:
    """The methods of the pairs track that this package registers; InfoNCE, plain training, comes first."""
    return tuple(sorted(methods_page.methods("pairs"), key=lambda name: (name != "infonce", name)))


def shorter(method: str, data: str) -> dict[str, int]:
    """Options of a method that count epochs, by dotted key, scaled to the length of the run."""
    epochs = BASES[data]["training"]["epochs"]
    if epochs == USUAL_EPOCHS:
        return {}
    fields = plugins.methods.load(method).Config.model_fields  # type: ignore[attr-defined]
    changes = {}
    for name, info in fields.items():
        counts = type(info.default) is int and "epoch" in f"{name} {info.description}"
        scaled = max(1, round(info.default * epochs / USUAL_EPOCHS)) if counts and info.default else None
        if scaled is not None and scaled != info.default:
            changes[f"method.{name}"] = scaled
    return changes


def stage_one(
    data: str, seeds: Sequence[int] = (0, 1), noises: Sequence[float] = (0.4, 0.8, 0.0)
) -> list[Block]:
    """All methods on VSE-infinity, a block a seed."""
    levels = tuple(("caption", ratio) for ratio in noises)
    return [Block(data, 1, "vse_infty", levels, seed, pair_methods()) for seed in seeds]


def stage_two(data: str, rows: Sequence[Row]) -> list[Block]:
    """Ours, rce, l2rm and the best five others on two matchers; none before stage 1 is in for a seed."""
    chosen = best(data, rows)
    if not chosen:
        return []
    noises = (("caption", 0.4), ("caption", 0.8), ("caption", 0.6), ("image", 0.4))
    return [
        Block(data, 2, matcher, noises, seed, chosen)
        for seed in (0, 1, 2)
        for matcher in ("omit", "vse_infty")
    ]


def best(data: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Methods of stage 2: by dev rSum of one network on VSE-infinity, mean over 0.4, 0.8 and seeds."""
    found: dict[str, dict[str, list[float]]] = {name: {"0.4": [], "0.8": []} for name in pair_methods()}
    for row in rows:
        same = (row["data"], row["matcher"], row["protocol"]) == (data, "vse_infty", "caption")
        if same and row["noise"] in ("0.4", "0.8") and row["seed"] in ("0", "1") and row["method"] in found:
            found[row["method"]][row["noise"]].append(float(row["single_rsum"]))
    if not all(values for levels in found.values() for values in levels.values()):
        return ()
    means = {name: fmean(map(fmean, levels.values())) for name, levels in found.items()}
    others = sorted((name for name in means if name not in ALWAYS), key=lambda name: -means[name])
    return (*(name for name in ALWAYS if name in means), *others[:BEST])


def blocks(data: Sequence[str], rows: Sequence[Row]) -> list[Block]:
    """All that is planned, the most useful first; of the quick look, one block."""
    if list(data) == ["quick"]:
        return stage_one("quick", seeds=[0], noises=[0.4])
    first = [stage_one(name) for name in data]
    second = [stage_two(name, rows) for name in data]
    by_seed = [block for group in zip(*first, strict=True) for block in group]
    length = max(map(len, second), default=0)
    return [*by_seed, *(group[place] for place in range(length) for group in second if place < len(group))]


def options_hash(config: RunConfig | Mapping[str, Any]) -> str:
    """Hash of the resolved options of matcher, method, optimiser and training; the machine's do not count."""
    tree = config.to_dict() if isinstance(config, RunConfig) else config
    kept = {key: tree[key] for key in ("matcher", "method", "optim", "text")}
    kept["training"] = {key: tree["training"][key] for key in ("epochs", "batch_size", "precision")}
    kept["data"] = {key: value for key, value in tree["data"].items() if key != "root"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
