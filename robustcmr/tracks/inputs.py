"""By what captions and images of a run are read: its own vocabulary and features, or pretrained files."""

from __future__ import annotations

from collections.abc import Iterable

from robustcmr.config.schema import TextOptions
from robustcmr.data.base import ImageStore, PairsSplit, TextReader
from robustcmr.data.pictures import PicturePixels, Processor
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import ConfigError, DataError
from robustcmr.runs.folder import RunFolder
from robustcmr.types import MatcherInputs


def text_reader(
    options: TextOptions, captions: Iterable[str], saved: RunFolder | None, inputs: MatcherInputs
) -> TextReader:
    """The pretrained tokenizer the matcher asks for, or the vocabulary of the run.

    Args:
        options: how captions are read.
        captions: those of the training split, from which a vocabulary is built where there is none yet.
        saved: a run folder whose vocabulary is used where it has one.
        inputs: what the matcher reads.
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


def save_reader(reader: TextReader, run: RunFolder) -> None:
    """Write ``vocabulary.json``, unless captions are read by a pretrained tokenizer."""
    if isinstance(reader, Vocabulary):
        reader.save(run.vocabulary)


def picture_processor(name: str) -> Processor:
    """The image processor of a pretrained model."""
    from robustcmr.data.picture_processor import open_processor  # transformers takes seconds

    return open_processor(name)


def image_store(split: PairsSplit, processor: Processor | None) -> ImageStore:
    """Pixels for a matcher that reads pictures, region features for any other."""
    if processor is not None:
        return PicturePixels.of_split(split, processor)
    if split.features is None:
        raise DataError(
            f"the {split.name} split has pictures but no region features, which this matcher reads; use one "
            "that reads pictures, such as --matcher clip, or --set matcher.image_encoder=clip"
        )
    return split.features
