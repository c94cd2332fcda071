"""Options that commands share, and reading a recipe with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gansynth.errors import InputError, LabelError, RecipeError
from gansynth.recipe import Recipe
from gansynth.recipe_file import parse_value


@Parameter(name="*")
@dataclass(frozen=True)
class SourceOptions:
    """What every command that renders from a recipe or a generator understands."""

    device: str = "auto"
    "auto, cpu or cuda:N."

    set: Annotated[list[str], Parameter(name="--set", negative="")] = field(default_factory=list)
    "Replace a key of the recipe, such as `--set truncation=[0.4,0.9]` or `--set image.quality=90`; may be repeated."

    allow_code: Annotated[bool, Parameter(negative="")] = False
    "Permit a generator of the form package.module:factory, which runs that code."

    def load(self, path: Path) -> Recipe:
        """The recipe in a file, with these options applied."""
        return Recipe.load(path, self._overrides())

    def apply(self, content: Mapping[str, Any]) -> Recipe:
        """A recipe that is in no file, with these options applied."""
        return Recipe.parse(content, self._overrides())

    def _overrides(self) -> dict[str, Any]:
        return overrides(self.set)


@Parameter(name="*")
@dataclass(frozen=True)
class RecipeOptions(SourceOptions):
    """What every command that takes a recipe and a dataset's place understands."""

    output: str | None = None
    "Where the dataset goes, in place of the recipe's `output`: a folder or an fsspec URL."

    def _overrides(self) -> dict[str, Any]:
        overrides = super()._overrides()
        return overrides if self.output is None else {**overrides, "output": self.output}


@contextmanager
def naming(recipe: Path | str) -> Iterator[None]:
    """Let errors about what a recipe says name its file, as errors in reading it do."""
    try:
        yield
    except (RecipeError, LabelError) as error:
        raise type(error)("\n".join(f"recipe {recipe}: {line}" for line in str(error).splitlines())) from None


def overrides(assignments: list[str]) -> dict[str, Any]:
    """Keys and values of texts such as "truncation=[0.4,0.9]"."""
    return dict(_assignment(text) for text in assignments)


def _assignment(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set: saw {text!r}, which sets nothing; write --set key=value")
    try:
        return key, parse_value(value)
    except RecipeError as error:
        raise InputError(f"--set {key}: {error}; write for example --set 'truncation=[0.4, 0.9]'") from None
