"""Sections that every run has: its results, what was run, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.html import Html, escape, joined, one_decimal, rounded, shown, tag
from robustcmr.reporting.page.line_chart import Line, LineChart
from robustcmr.reporting.page.parts import facts, folded, grid, line_figure, table, tiles
from robustcmr.runs.read import SavedRun

_RECALLS = {
    **{f"{way} R@{at}": f"{way}_r{at}" for way in ("i2t", "t2i") for at in (1, 5, 10)},
    "rSum": "rsum",
}
_RANKS = {
    **{f"{way} {kind} rank": f"{way}_{kind}_rank" for way in ("i2t", "t2i") for kind in ("median", "mean")},
    "images": "n_images",
    "captions": "n_captions",
}
_LABELS = {"mAP": "map", "i2t mAP": "map_i2t", "t2i mAP": "map_t2i"}
_WAYS = "i2t: image to text, t2i: text to image"


def results_section(record: SavedRun) -> Section:
    """The measures of every split, or how far an unfinished run has come."""
    results = record.results
    if not results:
        done, asked = len(record.rows), record.config.get("training", {}).get("epochs")
        body = sentence(
            f"This run has not finished: {done} of {asked} epochs are done, and no split was measured with "
            f"the best epoch yet. Go on with it by 'robustcmr train --resume {record.folder.path}'."
        )
        return Section("results", "Results", body)
    name = {"rsum": "rSum", "map": "mAP"}[record.headline]
    large = {
        f"{name}, {split}": one_decimal(measures[record.headline])
        for split, measures in results["splits"].items()
    }
    large["best epoch"] = joined(
        shown(results["best_epoch"]), tag("small", f" of {results['epochs']}, by {record.select}")
    )
    large["wrong pairs asked for"] = shown(results.get("noise_ratio"), 2)
    models = int(results["n_models"])
    large["models"] = joined(shown(models), tag("small", " single" if models == 1 else " ensemble"))
    columns = _RECALLS if record.headline == "rsum" else label_columns(results["splits"])
    parts = [
        tiles(large),
        _measures(f"Measures in percent, with the best epoch; {_WAYS}", results["splits"], columns),
    ]
    if record.headline == "rsum":
        parts.append(
            folded(
                "Ranks", _measures(f"Ranks of the right answer; {_WAYS}", results["splits"], _RANKS, False)
            )
        )
    return Section("results", "Results", joined(*parts))


def label_columns(splits: Mapping[str, Any]) -> dict[str, str]:
    """Columns of the table of mAP: the whole ranking, and every length R that was measured."""
    keys = {key for measures in splits.values() for key in measures if key.startswith("map_at_")}
    lengths = sorted(int(key.removeprefix("map_at_")) for key in keys)
    at = {f"{name}@{length}": f"{key}_at_{length}" for length in lengths for name, key in _LABELS.items()}
    return {**_LABELS, **at}


def _measures(
    caption: str, splits: Mapping[str, Any], columns: Mapping[str, str], percent: bool = True
) -> Html:
    rows = []
    for split, measures in splits.items():
        cells = [
            one_decimal(measures[key]) if percent and key in measures else shown(measures.get(key))
            for key in columns.values()
        ]
        rows.append([escape(split), *cells])
    return table(caption, ["split", *columns], rows)


def run_section(record: SavedRun) -> Section:
    """Command, data, noise, machine and the whole configuration."""
    results = record.results
    noise, asked = results.get("noise", {}), record.config.get("noise", {})
    where = {
        "run folder": record.folder.path.absolute().name,
        "data": record.config["data"]["name"],
        "matcher": record.config["matcher"]["name"],
        "method": record.config["method"]["name"],
        "seed": record.config.get("seed"),
        "training pairs": results.get("training_pairs"),
        "data fingerprint": results.get("data_fingerprint"),
        "package version": results.get("robustcmr_version"),
    }
    made = {
        "kind": results.get("noise_kind", asked.get("kind")),
        "protocol": results.get("protocol", asked.get("protocol")),
        "ratio asked for": results.get("noise_ratio", asked.get("ratio")),
        "ratio realised": results.get("noise_ratio_realised"),
        "seed of the noise": noise.get("seed"),
        "source": noise.get("source"),
        "hash": results.get("noise_hash"),
    }
    machine = {
        key.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in record.environment.items()
        if key not in ("command", "packages") and value not in (None, [])
    }
    versions = dict(record.environment.get("packages", {}))
    config = yaml.safe_dump(dict(record.config), sort_keys=False, allow_unicode=True)
    body = joined(
        tag("h3", "Command"),
        tag("pre", tag("code", record.command)) if record.command else sentence("No command was kept."),
        grid(facts("The run", where), facts("The noise", made)),
        folded("Configuration, all of it", tag("pre", tag("code", config))),
        folded("Machine and versions", grid(facts("Machine", machine), facts("Versions", versions))),
    )
    return Section("run", "What was run", body)


def cost_section(record: SavedRun) -> Section:
    """Time and memory."""
    results = record.results
    parts = []
    if results:
        peak = results.get("peak_memory_bytes", {})
        parts.append(
            tiles(
                {
                    "training time": joined(shown(results["seconds"]), tag("small", " s")),
                    **{
                        f"peak memory, {device}": joined(
                            tag("data", rounded(size / 2**20, 4), value=repr(size)), tag("small", " MiB")
                        )
                        for device, size in peak.items()
                    },
                    "weights": shown(results["parameters"]),
                    "device": joined(escape(results["device"]), tag("small", f" {results['precision']}")),
                }
            )
        )
    timed = [row for row in record.rows if row.get("seconds")]
    if not timed:
        return Section("cost", "Time and memory", joined(*parts, sentence("No epoch was timed yet.")))
    epochs = [row["epoch"] for row in timed]
    seconds = LineChart(epochs, [Line("seconds", [row["seconds"] for row in timed])], "epoch", "s", floor=0)
    speeds = [row["pairs_seen"] / row["seconds"] if "pairs_seen" in row else None for row in timed]
    speed = LineChart(epochs, [Line("pairs a second", speeds)], "epoch", "pairs / s", floor=0)
    figures = [line_figure("Time of an epoch, measuring included", seconds)]
    if any(value is not None for value in speeds):
        figures.append(line_figure("Pairs trained on a second", speed))
    return Section("cost", "Time and memory", joined(*parts, grid(*figures)))
