"""What can be said about files of labelled features: where the arrays are and how they are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from robustcmr.data.label_columns import Base
from robustcmr.options import Options


class SplitPlaces(Options):
    """Where the arrays of one split are; what is left out is as for the whole data set."""

    file: str | None = Field(None, description="file of the split, beside or below root")
    image: str | None = Field(None, description="name of the array of image vectors, or FILE:NAME")
    text: str | None = Field(None, description="name of the array of text vectors, or FILE:NAME")
    label: str | None = Field(None, description="name of the array of labels, or FILE:NAME")
    label_file: str | None = Field(None, description="text file with a label a line, in place of an array")
    rows: tuple[int, int | None] | None = Field(
        None, description="first row and the one after the last, null being the end; null takes all rows"
    )


class LabelledOptions(Options):
    """Where the files are, how the arrays are called and how they are prepared."""

    root: Path = Field(description="folder with a file a split, or one file with everything")
    image: str = Field("image", description="array of image vectors, or FILE:NAME; {split} is the split")
    text: str = Field("text", description="array of text vectors, or FILE:NAME; {split} is the split")
    label: str = Field("label", description="array of labels, or FILE:NAME; {split} is the split")
    label_file: str | None = Field(
        None, description="text file with a label a line, in place of an array; {split} is the split"
    )
    label_column: int = Field(-1, description="column of the label in label_file: 0 first, -1 last")
    label_base: Base = Field(
        "auto", description="number of the first class, 0 or 1; auto finds out by the training labels"
    )
    class_names: str | None = Field(None, description="text file with the name of a class a line")
    transposed: bool | None = Field(
        None,
        description="whether arrays have their pairs in columns, as MATLAB or NumPy shows them; null "
        "finds out by the number of labels",
    )
    splits: dict[str, SplitPlaces] = Field(
        default_factory=dict, description="where the arrays of each split are, by the split's name"
    )
    split_file: str | None = Field(
        None,
        description="which rows of one file are which split: text with a split's name a row, or .npz "
        "with rows, counted from 0, by split",
    )
    split_sizes: dict[str, int | None] = Field(
        default_factory=dict,
        description="pairs of each split dealt out by chance from one file; null for one takes the rest",
    )
    split_seed: int = Field(0, ge=0, lt=2**63, description="seed of split_sizes")
    standardise: Literal["none", "train"] = Field(
        "train",
        description="train: shift and scale each number to mean 0 and variance 1 over the training "
        "pairs, in every split alike; none: read them as they are",
    )
    normalise: bool = Field(False, description="scale each vector to length 1, after standardising")
    trusted: bool = Field(
        True,
        description="whether the training labels are known to be right as written; set false for labels "
        "harvested from the web, so that nothing is judged against them",
    )

    @field_validator("splits", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        # said here in one sentence, because the keys below a split's name belong to no section of options
        for name, places in value.items() if isinstance(value, dict) else ():
            try:
                SplitPlaces.model_validate(places)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in (name, *first["loc"]))
                raise ValueError(
                    f"{where} is {first['input']!r}, expected for each split some of "
                    f"{', '.join(SplitPlaces.model_fields)}, texts all but rows: [FIRST, END]"
                ) from error
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("splits", "split_file", "split_sizes") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} both say which pairs a split has, expected one of them")
        sizes = list(self.split_sizes.values())
        if any(size is not None and size < 1 for size in sizes) or sizes.count(None) > 1:
            raise ValueError(
                f"split_sizes are {sizes}, expected at least 1 pair each and null for one split at most"
            )
        return self
