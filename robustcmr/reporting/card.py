"""A model card: what a run is, its results, its limits, and how to load it."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, Undefined

from robustcmr.reporting.compared import SHOWN, TITLES
from robustcmr.reporting.comparison_tables import models
from robustcmr.reporting.markup import code, markdown, python, shell
from robustcmr.reporting.sentences import findings_sentences, percent, warning_sentences
from robustcmr.runs.read import SavedRun, headline
from robustcmr.runs.single import named_splits, single_splits


def model_card(run: SavedRun) -> str:
    """Return the card of a finished run, as Markdown; its folder is named in the code that loads it."""
    results = run.results
    names, best = SHOWN[results["track"]], headline(results)
    rows = []
    for split, measures in named_splits(results).items():
        counts = [measures[key] for key in ("n_images", "n_captions", "n_texts") if key in measures]
        shown = [f"{measures[name]:.1f}" if name in measures else "" for name in names]
        rows.append([split, *shown, " + ".join(map(str, counts))])
    settings = [
        (f"{section}.{key}", value)
        for section in ("matcher", "method", "optim", "training")
        for key, value in (run.config.get(section) or {}).items()
        if key not in ("name", "device", "workers", "checkpoint_minutes")
    ]
    environment = Environment(
        loader=PackageLoader("robustcmr.reporting"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=Undefined,
        finalize=markdown,
    )
    environment.filters.update(percent=percent, code=code, shell=shell, python=python)
    text = environment.get_template("card.md.j2").render(
        r={"noise_ratio": None, **results},
        version=run.version,
        models=models(results["n_models"]),
        alone=bool(single_splits(results)),
        labelled=results["track"] == "labels",
        noun="labels" if results["track"] == "labels" else "pairs",
        names=[TITLES[name] for name in names],
        rows=rows,
        best=TITLES[best],
        headline=best,
        record=results.get("noise") or {},
        memory=results.get("peak_memory_bytes", {}).get("cpu", 0) / 2**30,
        settings=settings,
        findings=findings_sentences(results),
        warnings=warning_sentences(results),
        path=run.path,
        split=list(results["splits"])[-1] if results["splits"] else "test",
    )
    return f"{text}\n"
