"""Defaults of each track, and keys that have no meaning on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from robustcmr import plugins
from robustcmr.config.fields import one_of
from robustcmr.config.schema import NoiseOptions, Settings
from robustcmr.errors import PluginError
from robustcmr.options import Options


@dataclass(frozen=True)
class TrackDefaults:
    """One track as the configuration knows it.

    Attributes:
        matcher: name of the default matcher.
        method: name of the default method.
        settings: values by section and key that differ from the schema's defaults.
        kinds: allowed values of ``noise.kind``, the default first.
        protocols: allowed values of ``noise.protocol``, the default first.
        own: keys by section that have a meaning on this track alone.
    """

    matcher: str
    method: str
    settings: Mapping[str, Mapping[str, Any]]
    kinds: tuple[str, ...]
    protocols: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]]


TRACKS: Mapping[str, TrackDefaults] = MappingProxyType(
    {
        "pairs": TrackDefaults(
            matcher="omit",
            method="robust",
            settings={},
            kinds=("mismatch",),
            protocols=("caption", "image"),
            own={
                "noise": ("derange",),
                "augmentation": ("drop_regions", "corrupt_words"),
                "evaluation": ("rematch_images",),
            },
        ),
        "labels": TrackDefaults(
            matcher="two_tower",
            method="uot_rcl",
            settings={
                "training": {"epochs": 25, "batch_size": 100},
                "optim": {
                    "name": "adam",
                    "lr": 1e-3,
                    "betas": (0.5, 0.999),
                    "schedule": "cosine",
                    "weight_decay": 0.0,
                    "milestones": (),
                },
            },
            kinds=("symmetric", "asymmetric", "instance"),
            protocols=("shared", "per_modality"),
            own={
                "noise": ("redraw_true", "class_map"),
                "augmentation": ("feature_noise",),
                "evaluation": ("map_at",),
            },
        ),
    }
)

NEEDS_KIND: Mapping[str, str] = MappingProxyType({"redraw_true": "symmetric", "class_map": "asymmetric"})
"""Keys of ``noise`` that a single kind of noise reads."""

DECIDED_BY_FILE = ("ratio", "kind", "protocol", "seed", "derange", "redraw_true", "class_map")
"""Keys of ``noise`` that a noise file sets."""


def with_defaults(tree: Mapping[str, Any], track: str) -> dict[str, Any]:
    """Return a tree with a track's own defaults under its values; what is no section is left as it is."""
    result = dict(tree)
    for section, values in TRACKS[track].settings.items():
        given = {} if result.get(section) is None else result[section]
        result[section] = {**values, **given} if isinstance(given, Mapping) else given
    return result


def with_noise_filled(settings: Settings, track: str) -> Settings:
    """Return the settings with the track's default kind and protocol of the noise where they are null."""
    noise, defaults = settings.noise, TRACKS[track]
    filled = {
        "kind": defaults.kinds[0] if noise.kind is None else noise.kind,
        "protocol": defaults.protocols[0] if noise.protocol is None else noise.protocol,
    }
    return settings.model_copy(update={"noise": noise.model_copy(update=filled)})


def refused(settings: Settings, data: str | None, track: str | None) -> Iterator[str]:
    """Yield a sentence for each key that has no meaning on the track or that a noise file already sets.

    Args:
        settings: with kind and protocol of the noise filled where the track is known.
        data: name of the data set.
        track: its track, None where it is unknown.
    """
    noise = settings.noise
    if data is not None and track is not None:
        if noise.file is None:
            yield from _unfit_noise(noise, data, track)
        for other, defaults in TRACKS.items():
            for section, keys in defaults.own.items():
                if other == track or (noise.file is not None and section == "noise"):  # refused below
                    continue
                options = getattr(settings, section)
                for key in keys:
                    if getattr(options, key) != _default(type(options), key):
                        whose = _whose(data, track)
                        yield f"{section}.{key}: it is for the {other} track and {whose}; leave it out"
    if noise.file is None:
        return
    usual = {key: _default(NoiseOptions, key) for key in DECIDED_BY_FILE}
    if track is None:
        del usual["kind"], usual["protocol"]  # a saved configuration has them written out
    else:
        usual.update(kind=TRACKS[track].kinds[0], protocol=TRACKS[track].protocols[0])
    for key, default in usual.items():
        if getattr(noise, key) != default:
            yield f"noise.{key}: a noise file decides the noise, so leave noise.{key} out or noise.file"


def _unfit_noise(noise: NoiseOptions, data: str, track: str) -> Iterator[str]:
    for key, known in (("kind", TRACKS[track].kinds), ("protocol", TRACKS[track].protocols)):
        given = getattr(noise, key)
        if given not in known:
            yield f"noise.{key}: got '{given}', and {_whose(data, track)}; expected {one_of(known)}"
    if noise.kind not in TRACKS[track].kinds:
        return
    for key, kind in NEEDS_KIND.items():
        is_set = getattr(noise, key) != _default(NoiseOptions, key)
        if is_set and key in TRACKS[track].own["noise"] and noise.kind != kind:
            yield (
                f"noise.{key}: only {kind} noise reads it and noise.kind is '{noise.kind}'; "
                f"leave it out, or add --set noise.kind={kind}"
            )


def unfit_method(method: str, cls: type, data: str, track: str) -> Iterator[str]:
    """Yield a sentence that names fitting methods where a method is for another track than the data."""
    own = getattr(cls, "track", None)
    if own == track:
        return
    fitting = []
    for name in plugins.methods.names():
        try:
            if getattr(plugins.methods.load(name), "track", None) == track:
                fitting.append(name)
        except PluginError:  # a broken one would not work
            continue
    would = f"methods that would work: {', '.join(fitting)}" if fitting else "no method here is for that"
    yield f"method.name: method '{method}' is for the {own} track and {_whose(data, track)}; {would}"


def unknown_track(data: str, cls: type) -> Iterator[str]:
    """Yield a sentence where the class of a data set has no track, or an unknown one."""
    if known_track(cls) is None:
        track = getattr(cls, "track", None)
        has = "has no track" if track is None else f"has the track {track!r}"
        yield f"data.name: data set '{data}' {has}, expected its class to set track = {' or '.join(TRACKS)}"


def known_track(cls: type) -> str | None:
    """Return the track of a data set's class; None where it has none that is known."""
    track = getattr(cls, "track", None)
    return track if isinstance(track, str) and track in TRACKS else None


def _default(options: type[Options], key: str) -> Any:
    return options.model_fields[key].default


def _whose(data: str, track: str) -> str:
    return f"the data set '{data}' is of the {track} track"
