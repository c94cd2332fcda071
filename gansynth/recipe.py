"""What to make: the recipe as its user writes it, validated by itself. Knows nothing of any particular generator."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gansynth.errors import RecipeError, quoted
from gansynth.seeds import Seeds, parse_seeds, require_distinct
from gansynth.splits import SPLITS

# Keys that recipe.yaml in a dataset has beside the recipe; reading it back as a recipe drops them.
RECORD_KEYS = frozenset({"format_version", "fingerprint", "weights_sha256", "environment", "also_rendered_in", "about"})
_SHARD_ROWS = 1_000_000  # rows are numbered with six digits
_NAME = re.compile(r"\w[\w .+()-]{0,99}\Z")


def _number(value: object) -> object:
    """Accept 1 for 1.0, as YAML users write it; refuse booleans and text, which pydantic or Python would convert."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        raise ValueError("which is too large for a number; write a number such as 0.5") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("which is not a finite number; write a number such as 0.5")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


Number = Annotated[float, BeforeValidator(_number), AfterValidator(_finite)]
Auto = Literal["auto"]


_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageFormat(BaseModel):
    """How pixels are stored.

    Args:
        format: jpg, png or webp.
        quality: 1 to 100 (jpg, webp); default 95.
        subsampling: chroma subsampling of jpg; default 4:4:4, none.
        compress_level: 0 to 9 (png); default 6.
        lossless: webp without loss; takes no quality.
    """

    model_config = _CONFIG

    format: Literal["jpg", "png", "webp"] = "jpg"
    quality: int | None = Field(None, ge=1, le=100)
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] | None = None
    compress_level: int | None = Field(None, ge=0, le=9)
    lossless: bool | None = None

    @model_validator(mode="after")
    def _options_fit_format(self) -> Self:
        allowed = {
            "jpg": {"quality", "subsampling"},
            "png": {"compress_level"},
            "webp": {"lossless"} if self.lossless else {"quality", "lossless"},
        }[self.format]
        for key in ("quality", "subsampling", "compress_level", "lossless"):
            if getattr(self, key) is not None and key not in allowed:
                what = "lossless webp" if self.lossless and self.format == "webp" else self.format
                raise ValueError(f"with {key}, which {what} does not have; it takes {', '.join(sorted(allowed))}")
        return self

    def options(self) -> dict[str, object]:
        """The format and the options that apply to it, defaults filled in."""
        if self.format == "jpg":
            return {"format": "jpg", "quality": self.quality or 95, "subsampling": self.subsampling or "4:4:4"}
        if self.format == "png":
            return {"format": "png", "compress_level": 6 if self.compress_level is None else self.compress_level}
        if self.lossless:
            return {"format": "webp", "lossless": True}
        return {"format": "webp", "quality": self.quality or 95}


class Recipe(BaseModel):
    """A dataset to make. Keys and defaults are described in the README's recipe reference.

    >>> recipe = Recipe(name="shoes", generator="fashion-32", classes=["sneaker"], truncation=[0.5], seeds="0-9")
    >>> len(recipe.parts[0])
    10

    Raises:
        RecipeError: one line for each fault.
    """

    model_config = _CONFIG

    name: str
    generator: str = Field(min_length=1)
    generator_options: dict[str, Any] = {}
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    classes: Literal["all"] | list[int | str] | None = None
    labels: Literal["generator", "dense"] | dict[int | str, int] = "generator"
    truncation: Annotated[list[Number], BeforeValidator(_as_list)] = [1.0]
    seeds: list[str]
    seed_use: Literal["shared", "disjoint"] = "shared"
    latent: Literal["truncated_normal", "normal", "numpy_normal"] | None = None
    splits: dict[str, Number] = {"train": 1.0}
    image: ImageFormat = ImageFormat()
    samples_per_shard: int = Field(1000, ge=1, le=_SHARD_ROWS)
    batch_size: Annotated[int, Field(ge=1)] | Auto = "auto"
    threads: Annotated[int, Field(ge=1)] | Auto = "auto"
    compile: bool | Auto = "auto"
    output: str | None = Field(None, min_length=1)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            # A union reports each of its branches; the first report about a key says enough.
            first = {item["loc"][:1]: item for item in reversed(error.errors(include_url=False))}
            raise RecipeError("\n".join(_explain(item) for item in reversed(first.values()))) from None

    @property
    def parts(self) -> tuple[Seeds, ...]:
        """The seeds, one element a part."""
        return tuple(parse_seeds(text) for text in self.seeds)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(
                "which is not a plain name; use letters, digits, spaces and . _ + ( ) - (no path separators), "
                "at most 100 characters, a letter or digit first"
            )
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_as_list(cls, value: object) -> object:
        value = value if value == "all" else _as_list(value)
        if value == []:
            raise ValueError("an empty list, which makes nothing; list classes, or leave the key out if there are none")
        return value

    @field_validator("truncation")
    @classmethod
    def _distinct_truncations(cls, values: list[float]) -> list[float]:
        if not values:
            raise ValueError("an empty list, which makes nothing; give at least one truncation such as 0.5")
        repeated = [v for v in values if values.count(v) > 1]
        if repeated:
            raise ValueError(f"with {repeated[0]:g} twice, which would make every sample twice; list it once")
        return values

    @field_validator("seeds", mode="before")
    @classmethod
    def _seed_texts(cls, value: object) -> object:
        value = _as_list(value)
        if not isinstance(value, list) or not value:
            raise ValueError('which is no seed text; write for example "0-4999", or a list of such texts, one a part')
        if any(isinstance(v, (bool, float)) or not isinstance(v, (str, int)) for v in value):
            raise ValueError('which is no list of seed texts; write for example ["0-4999", "5000-9999"]')
        parts = [parse_seeds(str(v)) for v in value]
        require_distinct(parts)
        return [str(part) for part in parts]

    @field_validator("splits")
    @classmethod
    def _whole(cls, ratios: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(ratios) - set(SPLITS))
        if unknown:
            raise ValueError(f'with a split "{unknown[0]}", which does not exist; splits are {", ".join(SPLITS)}')
        if any(not 0 < ratio <= 1 for ratio in ratios.values()):
            raise ValueError("with a ratio outside (0, 1]; give each split its share, and leave out empty ones")
        if not math.isclose(sum(ratios.values()), 1, abs_tol=1e-9):
            raise ValueError(f"which adds up to {sum(ratios.values()):g}; make the ratios add up to 1")
        return ratios

    @classmethod
    def load(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a recipe from a YAML file, or from the recipe.yaml that a dataset keeps.

        Args:
            path: the file.
            overrides: values that replace the file's, by key; "image.quality" reaches into a mapping.

        Raises:
            RecipeError: no such file, not YAML, not a mapping, or an invalid recipe; names the file.
        """
        path = Path(path)
        try:
            content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RecipeError(f"recipe {path}: there is no such file; check the path") from None
        except UnicodeDecodeError:
            raise RecipeError(f"recipe {path}: is not UTF-8 text; save it as UTF-8") from None
        except OSError as error:
            raise RecipeError(f"recipe {path}: cannot be read ({error}); check the path and its permissions") from None
        except (YAMLError, ValueError, RecursionError) as error:
            raise RecipeError(f"recipe {path}: is not valid YAML ({_reason(error)}); correct that line") from None
        if not isinstance(content, dict):
            seen = "an empty file" if content is None else "a list" if isinstance(content, list) else "a single value"
            raise RecipeError(
                f"recipe {path}: saw {seen}, not a mapping; write `key: value` lines, such as `name: demo`"
            )
        return cls.parse(content, overrides, source=f"recipe {path}: ")

    @classmethod
    def parse(cls, content: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, source: str = "") -> Self:
        """A recipe from a mapping; see `load`."""
        data = dict(content)
        if "fingerprint" in data:
            data = {key: value for key, value in data.items() if key not in RECORD_KEYS}
        for key, value in (overrides or {}).items():
            _override(data, key, value)
        if bad := [key for key in data if not isinstance(key, str)]:
            raise RecipeError(f"{source}saw the key {bad[0]!r}, which is not text; keys are words such as `name`")
        try:
            return cls(**data)
        except RecipeError as error:
            raise RecipeError("\n".join(source + line for line in str(error).splitlines())) from None


def parse_value(text: str) -> Any:
    """The value that a text such as "[0.4, 0.9]" has in a recipe (YAML 1.2), for overrides from a command line."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"saw {quoted(text)}, which is not a YAML value ({_reason(error)})") from None


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for step in path:
        inner = data.get(step)
        data[step] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[step]
    data[last] = value


def _reason(error: Exception) -> str:
    """Where and why YAML could not be read, on one line and without the reader's advice to its own users."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split()) or type(error).__name__


def _explain(item: Any) -> str:
    """One pydantic error as one line: where, what was seen, why it is wrong, what to do."""
    location, seen = item["loc"], item.get("input")
    key = ".".join(str(step) for step in location[:2] if step in _TAKES)
    if item["type"] == "extra_forbidden":
        name = ".".join(map(str, location))
        name = name if name.isprintable() else repr(name)
        return f"saw the key `{name}`, which does not exist; {_nearest_key(location)}"
    if item["type"] == "missing":
        return f"the key `{key}` is missing; it takes {_TAKES[key]}"
    if item["type"] == "value_error":
        return f"{key}: saw {_short(seen)}, {item['ctx']['error']}"
    return f"{key}: saw {_short(seen)}, which it cannot be; it takes {_TAKES[key.rpartition('.')[2]]}"


def _nearest_key(location: tuple[str, ...]) -> str:
    keys = list(ImageFormat.model_fields if location[0] == "image" and len(location) > 1 else Recipe.model_fields)
    close = difflib.get_close_matches(str(location[-1]), keys, n=1)
    return f"did you mean `{close[0]}`?" if close else f"the keys are {', '.join(keys)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_TAKES = {
    "name": "a plain name such as dogs-and-volcanoes",
    "generator": "a name from `gansynth models list`, or a folder or file of weights",
    "generator_options": "a mapping of the generator family's options",
    "precision": "auto, float32, bfloat16 or float16",
    "classes": "`all`, or a list of names, wnids and indices",
    "labels": "generator, dense, or a mapping from class to a whole number",
    "truncation": "a number such as 0.5, or a list of numbers",
    "seeds": 'a text such as "0-4999,7000", or a list of such texts, one a part',
    "seed_use": "shared or disjoint",
    "latent": "truncated_normal, normal or numpy_normal",
    "splits": "a mapping such as {train: 0.9, val: 0.1}",
    "image": "a mapping such as {format: jpg, quality: 95}",
    "format": "jpg, png or webp",
    "quality": "a whole number from 1 to 100",
    "subsampling": '"4:4:4", "4:2:2" or "4:2:0"',
    "compress_level": "a whole number from 0 to 9",
    "lossless": "true or false",
    "samples_per_shard": f"a whole number from 1 to {_SHARD_ROWS}",
    "batch_size": "auto, or a whole number from 1",
    "threads": "auto, or a whole number from 1",
    "compile": "auto, true or false",
    "output": "a folder or an fsspec URL",
}
