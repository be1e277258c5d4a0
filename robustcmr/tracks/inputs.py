"""Readers of a run's captions and images: its own vocabulary and features, or pretrained files."""

from __future__ import annotations

from collections.abc import Iterable

from robustcmr.config.schema import TextOptions
from robustcmr.data.base import FeatureStore, ImageStore, PairsSplit, TextReader
from robustcmr.data.pictures import PicturePixels, PictureProcessor
from robustcmr.data.prepared_features import PreparedFeatures
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import ConfigError, DataError
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import Preparation, RunInputs
from robustcmr.types import MatcherInputs


def text_reader(
    options: TextOptions, captions: Iterable[str], saved: RunFolder | None, inputs: MatcherInputs
) -> TextReader:
    """Return the pretrained tokenizer the matcher names, or the vocabulary of the run.

    That is the saved run's, else the configured one, else a new one of the training captions.
    """
    if inputs.tokenizer is not None:
        if options.vocabulary is not None:
            raise ConfigError(
                f"text.vocabulary is set, but the matcher reads captions by the tokenizer of "
                f"{inputs.tokenizer}; leave text.vocabulary out"
            )
        from robustcmr.data.pretrained_tokenizer import open_tokenizer  # transformers takes seconds

        return open_tokenizer(inputs.tokenizer)
    if saved is not None and saved.vocabulary.exists():
        return Vocabulary.load(saved.vocabulary)
    if options.vocabulary is not None:
        return Vocabulary.load(options.vocabulary)
    return Vocabulary.build(captions, options.min_count)


def save_inputs(run: RunFolder, inputs: RunInputs, reader: TextReader | None) -> None:
    """Write ``inputs.json``, and ``vocabulary.json`` if captions are read with the run's own vocabulary."""
    if isinstance(reader, Vocabulary):
        reader.save(run.vocabulary)
    inputs.write(run.inputs)


def preparation(store: FeatureStore) -> Preparation | None:
    """Return how vectors of a store are prepared; None if they are read as they are."""
    if not isinstance(store, PreparedFeatures):
        return None
    scale = store.scale
    if scale is None:
        return Preparation(normalise=store.normalise)
    return Preparation(tuple(scale.mean.tolist()), tuple(scale.deviation.tolist()), store.normalise)


def picture_processor(inputs: MatcherInputs) -> PictureProcessor | None:
    """Return the pretrained image processor the matcher names; None if it reads region features."""
    if inputs.image_processor is None:
        return None
    from robustcmr.data.pictures import open_processor  # transformers takes seconds

    return open_processor(inputs.image_processor)


def image_store(split: PairsSplit, processor: PictureProcessor | None) -> ImageStore:
    """Return pixels for a matcher that reads pictures, region features for any other."""
    if processor is not None:
        return PicturePixels.of_split(split, processor)
    if split.features is None:
        raise DataError(
            f"the {split.name} split has pictures but no region features, which this matcher reads; use one "
            "that reads pictures, such as --matcher clip, or --set matcher.image_encoder=clip"
        )
    return split.features


def check_width(split: str, what: str, width: int | None, expected: int | None) -> None:
    """Raise DataError if a split's vectors differ in width from those of the training split.

    ``what`` names the vectors, such as ``an image``; a width of None means that there are none.
    """
    if width != expected:
        raise DataError(
            f"the {split} split has {width or 'no'} numbers {what} and the train split {expected or 'none'}; "
            "expected the same, so make both with the same program"
        )
