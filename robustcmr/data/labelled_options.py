"""Options of labelled data: where the arrays are and how they are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from robustcmr.options import Options

Base = Literal["auto", 0, 1]


class SplitPlaces(Options):
    """Where the arrays of one split are; by default as for the whole data set."""

    file: str | None = Field(None, description="file of the split, beside or below root")
    image: str | None = Field(None, description="name of the array of image vectors, or FILE:NAME")
    text: str | None = Field(None, description="name of the array of text vectors, or FILE:NAME")
    label: str | None = Field(None, description="name of the array of labels, or FILE:NAME")
    label_file: str | None = Field(None, description="text file with a label a line, instead of an array")
    rows: tuple[int, int | None] | None = Field(
        None, description="first row and the row after the last, null for the end; null takes all rows"
    )


class LabelledOptions(Options):
    """Where the files are, what the arrays are called and how they are prepared."""

    root: Path = Field(description="folder with a file a split, or one file with everything")
    image: str = Field("image", description="array of image vectors, or FILE:NAME; {split} is the split")
    text: str = Field("text", description="array of text vectors, or FILE:NAME; {split} is the split")
    label: str = Field("label", description="array of labels, or FILE:NAME; {split} is the split")
    label_file: str | None = Field(
        None, description="text file with a label a line, instead of an array; {split} is the split"
    )
    label_column: int = Field(-1, description="column of the label in label_file: 0 first, -1 last")
    label_base: Base = Field(
        "auto", description="number of the first class, 0 or 1; auto infers it from the training labels"
    )
    class_names: str | None = Field(None, description="text file with the name of a class a line")
    transposed: bool | None = Field(
        None,
        description="whether pairs are the columns of the arrays, as MATLAB or NumPy shows them; null "
        "infers it from the number of labels",
    )
    splits: dict[str, SplitPlaces] = Field(
        default_factory=dict, description="where the arrays of each split are, by the split's name"
    )
    split_file: str | None = Field(
        None,
        description="the split of each row of one file: text with a split's name a line, or .npz with an "
        "array of rows, counted from 0, per split",
    )
    split_sizes: dict[str, int | None] = Field(
        default_factory=dict,
        description="pairs of each split, drawn at random from one file; null, for one split, takes the rest",
    )
    split_seed: int = Field(0, ge=0, lt=2**63, description="seed of split_sizes")
    standardise: Literal["none", "train"] = Field(
        "train",
        description="train: shift and scale each number of a vector to mean 0 and variance 1 over the "
        "training pairs; none: read vectors unchanged",
    )
    normalise: bool = Field(False, description="scale each vector to length 1, after standardising")
    trusted: bool = Field(
        True,
        description="whether the training labels are known to be right; set false for labels from the web, "
        "so that nothing is scored against them",
    )

    @field_validator("splits", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        # reported here in one sentence, as keys below a split's name belong to no section of options
        for name, places in value.items() if isinstance(value, dict) else ():
            try:
                SplitPlaces.model_validate(places)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in (name, *first["loc"]))
                raise ValueError(
                    f"{where} is {first['input']!r}; expected for each split some of "
                    f"{', '.join(SplitPlaces.model_fields)}, all text but rows: [FIRST, END]"
                ) from error
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("splits", "split_file", "split_sizes") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} both define the splits; expected only one of them")
        sizes = list(self.split_sizes.values())
        if any(size is not None and size < 1 for size in sizes) or sizes.count(None) > 1:
            raise ValueError(
                f"split_sizes are {sizes}; expected at least 1 pair each and null for at most one split"
            )
        return self
