"""What a finished run found, in sentences: the same on the terminal, on its page and on its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]


def percent(share: float) -> str:
    """A share as a percentage with one decimal, such as ``37.1%``."""
    return f"{100 * share:.1f}%"


def by_model(results: Results) -> str:
    """Which weights a figure of the finished run is of."""
    return f"by the model of epoch {results['best_epoch']}"


def epoch_clause(results: Results) -> str:
    """Which epoch was best."""
    return f"Epoch {results['best_epoch']} of {results['epochs']} was best on {results['selection_split']}"


def measured_sentences(results: Results) -> list[str]:
    """What to know of the measures of a run and of its estimates."""
    sentences = [f"{epoch_clause(results)} and is measured here."]
    if not results.get("truth_known", True):
        sentences.append(
            "It is not known whether the measured pairs are right, and each wrong one counts against the "
            "model: these figures compare runs, but do not say how good a model is."
        )
    return [*sentences, *warning_sentences(results), *findings_sentences(results)]


def warning_sentences(results: Results) -> list[str]:
    """What went wrong in training; empty of a run that learned."""
    return [f"WARNING: {sentence}." for sentence in results.get("warnings", ())]


def models_sentence(results: Results) -> str:
    """What was trained, on what, and with which noise."""
    count = results["n_models"]
    models = "one model" if count == 1 else f"an ensemble of {count} models"
    return (
        f"{results['matcher']} trained by {results['method']} on {results['data']} ({models}, "
        f"seed {results['seed']}); {noise_sentence(results)}"
    )


def noise_sentence(results: Results) -> str:
    """How many pairs or labels were made wrong, and how."""
    pairs, realised = results.get("training_pairs", 0), results.get("noise_ratio_realised", 0.0)
    labelled = results["track"] == "labels"
    if realised == 0:
        return f"no noise was added to the {pairs:,} {'labels' if labelled else 'pairs'}"
    requested = results.get("noise_ratio")
    asked = "" if requested is None else f"{percent(requested)} requested, "
    protocol, kind = results.get("protocol"), results.get("noise_kind", "mismatch")
    if not labelled:
        noun = f"{pairs:,} training pairs are mismatched"
        how = f"{protocol} protocol" if kind == "mismatch" else f"kind {kind}, {protocol} protocol"
    else:
        noun = f"{pairs if protocol == 'shared' else 2 * pairs:,} training labels are wrong"
        how = f"{kind}, {'shared by image and text' if protocol == 'shared' else 'drawn for each modality'}"
    return f"{percent(realised)} of the {noun} ({asked}{how}, noise {results['noise_hash'][:12]})"


def retrieval_sentence(results: Results, split: str) -> str:
    """How well the best epoch retrieves on a split."""
    measures, epoch = results["splits"][split], by_model(results)
    if "map" in measures:
        return (
            f"On the {split} split the mean average precision is {measures['map_i2t']:.1f}% from image to "
            f"text and {measures['map_t2i']:.1f}% from text to image, {epoch}."
        )
    images, captions = (
        f"{measures[key]:,} " if key in measures else "" for key in ("n_images", "n_captions")
    )
    return (
        f"Of the {images}{split} images, {measures['i2t_r1']:.1f}% rank one of their captions first; of the "
        f"{captions}captions, {measures['t2i_r1']:.1f}% rank their image first, {epoch}."
    )


def findings_sentences(results: Results) -> list[str]:
    """How many pairs or labels look wrong, how sure that is, and how right it is if the truth is known."""
    found = results.get("findings", {})
    if not found:
        return []
    epoch = by_model(results)
    if "changed" in found:
        sentences = [
            f"{percent(found['changed'])} of the training pairs look mislabelled and got another class, "
            f"{epoch}."
        ]
        scored = found.get("correction", {})
        if "given_accuracy" in scored and "corrected_accuracy" in scored:
            sentences.append(
                f"In truth {percent(scored['given_accuracy'])} of the given labels and "
                f"{percent(scored['corrected_accuracy'])} of the corrected labels are right, {epoch}."
            )
        return sentences
    suspected = f"{percent(found['suspected'])} of the training pairs look wrong"
    if found["noise_rate"] is None and not found["suspected"]:
        return [f"No training pair looks wrong, {epoch}: {found['reason']}."]
    if found["noise_rate"] is None:
        sentences = [f"{suspected}, {epoch}. How many are wrong is not estimated: {found['reason']}."]
    else:
        ends = found.get("noise_interval")
        within = "" if ends is None else f" (95% interval {percent(ends[0])} to {percent(ends[1])})"
        rate = f"the estimated share of wrong pairs is {percent(found['noise_rate'])}{within}"
        sentences = [f"{suspected}; {rate}, {epoch}."]
    scored = found.get("division", {})
    if "precision" in scored and "recall" in scored:
        true = f"{percent(scored['noise_rate_true'])} are wrong; " if "noise_rate_true" in scored else ""
        sentences.append(
            f"In truth {true}{percent(scored['precision'])} of the suspects are wrong (precision) and "
            f"{percent(scored['recall'])} of the wrong pairs are suspected (recall), {epoch}."
        )
    return sentences
