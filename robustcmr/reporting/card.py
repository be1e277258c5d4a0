"""A model card: what a run is, what it was measured at, what it is not good for, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcmr.reporting.comparison import SHOWN
from robustcmr.reporting.comparison_cells import TITLES, models
from robustcmr.runs.read import SavedRun, headline


def model_card(run: SavedRun) -> str:
    """The card of a finished run, as Markdown.

    Args:
        run: the run; its folder is named in the code that loads it.
    """
    results = run.results
    parts = [
        _front(results),
        f"# {_name(results)}\n",
        f"{results['matcher']} trained by {results['method']} on {results['data']} with robustcmr "
        f"{run.version}: {models(results['n_models'])}, seed {results['seed']}.\n",
        "## Results\n",
        _results(results),
        "## Data and noise\n",
        _listed(_data(results)),
        "## Training\n",
        _listed(_training(run)),
        "## What it believes of its training pairs\n" if "findings" in results else "",
        _listed(_beliefs(results)) if "findings" in results else "",
        "## Limits\n",
        _listed(_limits(results)),
        "## How to load it\n",
        _loading(run),
    ]
    return "\n".join(part for part in parts if part)


def _front(results: Mapping[str, Any]) -> str:
    tags = [
        "image-text-retrieval",
        "noisy-labels" if results["track"] == "labels" else "noisy-correspondence",
    ]
    return "\n".join(["---", "library_name: robustcmr", "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _name(results: Mapping[str, Any]) -> str:
    return f"{results['matcher']} + {results['method']} on {results['data']}"


def _results(results: Mapping[str, Any]) -> str:
    names = SHOWN[results["track"]]
    lines = [["split", *(TITLES[name] for name in names), "queries"]]
    lines.append([":---", *("---:" for _ in names), "---:"])
    for split, measures in results["splits"].items():
        counts = [measures[key] for key in ("n_images", "n_captions", "n_texts") if key in measures]
        shown = [f"{measures[name]:.1f}" if name in measures else "" for name in names]
        lines.append([split, *shown, " + ".join(map(str, counts))])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    best = TITLES[headline(results)]
    return (
        f"{table}\nIn percent ({best} is {'their sum' if best == 'rSum' else 'the mean of both'}), by "
        f"{_who(results)}. Epoch {results.get('best_epoch')} of {results.get('epochs')} was chosen by "
        f"{best} on the {results.get('selection_split')} split, whose own figures are therefore too good; "
        "any other split was measured once, at the end.\n"
    )


def _who(results: Mapping[str, Any]) -> str:
    count = results["n_models"]
    return "a single model" if count == 1 else f"an ENSEMBLE of {count} models whose scores are averaged"


def _data(results: Mapping[str, Any]) -> list[str]:
    labelled = results["track"] == "labels"
    what = "labels" if labelled else "pairs"
    realised, asked = results.get("noise_ratio_realised"), results.get("noise_ratio")
    lines = [
        f"data: `{results['data']}`, {results.get('training_pairs'):,} training pairs, fingerprint "
        f"`{results.get('data_fingerprint')}`"
    ]
    if not realised:
        return [*lines, f"noise: none was added; all {what} are as they were written"]
    record: Mapping[str, Any] = results.get("noise") or {}
    of = f" (asked for: {asked:.0%})" if asked is not None else ""
    return [
        *lines,
        f"noise: {realised:.1%} of the {what} are wrong{of}, kind {results.get('noise_kind')}, "
        f"{results.get('protocol')} protocol, seed {record.get('seed', 'unknown')}",
        f"noise hash: `{results.get('noise_hash')}`",
        *([f"noise file: `{record['source']}`"] if record.get("source", "made") != "made" else []),
    ]


def _training(run: SavedRun) -> list[str]:
    results = run.results
    memory = results.get("peak_memory_bytes", {}).get("cpu")
    options = {
        f"{section}.{key}": value
        for section in ("matcher", "method", "optim", "training")
        for key, value in (run.config.get(section) or {}).items()
        if key not in ("name", "device", "workers", "checkpoint_minutes")
    }
    return [
        f"matcher `{results['matcher']}` with {results.get('parameters', 0):,} parameters, method "
        f"`{results['method']}`, seed {results['seed']}",
        f"{results.get('seconds')} s on {results.get('device')} in {results.get('precision')}"
        + ("" if memory is None else f", {memory / 2**30:.1f} GiB of memory at most"),
        f"robustcmr {run.version}; the whole configuration is in `config.yaml`, machine and command are in "
        "`environment.json`",
        "settings: " + ", ".join(f"`{key}={value}`" for key, value in options.items()),
    ]


def _beliefs(results: Mapping[str, Any]) -> list[str]:
    beliefs = results["findings"]
    if "changed" in beliefs:
        lines = [f"{beliefs['changed']:.1%} of the training pairs got another class (`labels.csv`)"]
        judged = beliefs.get("correction", {})
        if "given_accuracy" in judged and "corrected_accuracy" in judged:
            lines.append(
                f"held against the truth, {judged['given_accuracy']:.1%} of the classes given and "
                f"{judged['corrected_accuracy']:.1%} of those corrected are right"
            )
        return lines
    lines = [f"{beliefs.get('suspected', 0.0):.1%} of the training pairs are suspected (`pairs.csv`)"]
    if beliefs.get("noise_rate") is not None:
        lines.append(f"share it believes wrong: {beliefs['noise_rate']:.1%}")
    judged = beliefs.get("division", {})
    if "precision" in judged and "recall" in judged:
        lines.append(
            f"held against the truth, {judged['precision']:.1%} of the suspects are wrong, and "
            f"{judged['recall']:.1%} of the wrong pairs are suspected"
        )
    return lines


def _limits(results: Mapping[str, Any]) -> list[str]:
    lines = ["it ranks items of the kind it was trained on; its scores are no probabilities"]
    if str(results["data"]).startswith("scenes"):
        lines.append("the embedded data are drawn scenes with made captions: it knows nothing of photographs")
    if results.get("noise_ratio_realised"):
        lines.append(
            "the noise was made on purpose, so how it fares with the mistakes of real data was not measured"
        )
    lines.append(
        "this is one seed; differences of a few points between runs can be chance (`robustcmr compare` over "
        "several seeds tells)"
    )
    lines.append(
        "biases of the captions and of whatever made the features are its own; they were not looked into"
    )
    return lines


def _loading(run: SavedRun) -> str:
    split = list(run.results["splits"])[-1] if run.results["splits"] else "test"
    return f"""With the data where `config.yaml` says it is:

```sh
robustcmr eval {run.path} --split {split}
```

```python
from pathlib import Path

from robustcmr.jobs.open import open_run

run = open_run(Path({str(run.path)!r}))
measures = run.track.evaluate(run.matchers, {split!r}, run.device)
print(measures[{headline(run.results)!r}])
```

`run.matchers[0]` is a `torch.nn.Module` with `encode_images`, `encode_texts` and `score`; the weights alone
are in `checkpoints/best/`, as safetensors.
"""


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
