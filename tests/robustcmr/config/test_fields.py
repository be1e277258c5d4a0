"""Options in words."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from robustcmr.config.fields import choices, expectation, field_rows, type_name, yaml_scalar
from robustcmr.config.schema import Settings
from robustcmr.options import Options


class Inside(Options):
    size: int = Field(3, description="how large")


class Example(Options):
    root: Path = Field(description="where")
    inside: Inside = Inside()
    mode: Literal["a", "b"] | None = "a"
    steps: tuple[int, ...] = (1, 2)
    made: list[str] = Field(default_factory=lambda: ["x"])
    folder: Path | None = Path("/data")


def test_rows_follow_sections_and_show_defaults():
    assert field_rows(Example, "data.") == [
        ("data.root", "Path", "required", "where"),
        ("data.inside.size", "int", "3", "how large"),
        ("data.mode", "a | b | null", "a", ""),
        ("data.steps", "tuple[int, ...]", "[1, 2]", ""),
        ("data.made", "list[str]", "[x]", ""),
        ("data.folder", "Path | null", "/data", ""),
    ]


class Holder(Options):
    by_name: dict[str, Inside] = Field({}, description="some of them")
    listed: list[Inside] | None = None


def test_rows_of_sections_in_a_mapping_or_a_list_stand_below_it():
    assert field_rows(Holder) == [
        ("by_name", "dict[str, section]", "{}", "some of them"),
        ("by_name.NAME.size", "int", "3", "how large"),
        ("listed", "list[section] | null", "null", ""),
        ("listed.NUMBER.size", "int", "3", "how large"),
    ]


def test_every_setting_is_described():
    rows = field_rows(Settings)
    assert len(rows) > 20
    for key, kind, default, description in rows:
        assert description, f"{key} has no description"
        assert kind
        assert default


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-7, "1.0e-07"), ("off", "'off'"), ((), "[]"), (Path("/a"), "/a")],
)
def test_scalars_as_in_a_recipe(value, text):
    assert yaml_scalar(value) == text


def test_names_of_types():
    assert type_name(float | None) == "float | null"
    assert type_name(Literal["x"]) == "x"
    assert type_name(dict[str, int]) == "dict[str, int]"
    assert type_name(dict[str, Inside]) == "dict[str, section]"
    assert type_name(dict[str, int | None]) == "dict[str, int | null]"
    assert type_name(tuple[int, int | None] | None) == "tuple[int, int | null] | null"
    assert type_name(list[Annotated[float, Field(ge=0)]]) == "list[float]"
    assert type_name(Path) == "Path"
    assert type_name(list) == "list"
    assert type_name(Any) == "Any"


def test_expectations_name_choices_and_sections():
    fields = Example.model_fields
    assert expectation(fields["inside"]) == "a section of options"
    assert expectation(fields["mode"]) == "a or b or null"
    assert expectation(fields["steps"]) == "a list of whole numbers"
    assert expectation(fields["made"]) == "a list of texts"
    assert expectation(FieldInfo.from_annotation(tuple[float, float])) == "a list of 2 numbers"
    assert expectation(FieldInfo.from_annotation(tuple[int, str])) is None
    assert choices(fields["mode"].annotation) == ["a", "b"]
    assert choices(fields["steps"].annotation) == []
