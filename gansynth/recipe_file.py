"""Recipes as YAML files: reading and writing them, overriding keys, and one plain line for every fault."""

from __future__ import annotations

import difflib
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.representer import SafeRepresenter

from gansynth.errors import RecipeError, quoted

_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_ .+/()-]*[A-Za-z0-9_.+/()-])?")
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


def as_list(value: object) -> object:
    return [value] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


Number = Annotated[float, BeforeValidator(_number), AfterValidator(_finite)]
Auto = Literal["auto"]


CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True)


class RecipeFile(BaseModel):
    """Base of recipes. Every recipe has a name.

    Raises:
        RecipeError: one line for each fault.
    """

    model_config = CONFIG
    takes: ClassVar[Mapping[str, str]]
    "What each key takes, for messages."
    record_keys: ClassVar[frozenset[str]] = frozenset()
    "Keys that the recipe has beside its own where gansynth keeps it; reading it back drops them."
    record_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    "What keys mean that such a file leaves out, where that is not what they mean to a person who leaves them out."
    record_mark: ClassVar[str] = "fingerprint"
    "The one of them by which such a file is known."

    name: str

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            # A union reports each of its branches; the first report about a key says enough.
            first = {item["loc"][:1]: item for item in reversed(error.errors(include_url=False))}
            raise RecipeError("\n".join(self._explain(item) for item in reversed(first.values()))) from None

    def content(self) -> dict[str, Any]:
        """The keys that were given, as plain values that `parse` makes an equal recipe of."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(
                "which is not a plain name; use letters, digits, spaces and . _ + ( ) - (no path separators), "
                "at most 100 characters, a letter or digit first"
            )
        return value

    @classmethod
    def load(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a recipe from a YAML file, or from the one that a dataset or a run keeps.

        Args:
            path: the file.
            overrides: values that replace the file's, by key; "image.quality" reaches into a mapping.

        Raises:
            RecipeError: no such file, not YAML, not a mapping, or an invalid recipe; names the file.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RecipeError(f"recipe {path}: there is no such file; check the path") from None
        except UnicodeDecodeError:
            raise RecipeError(f"recipe {path}: is not UTF-8 text; save it as UTF-8") from None
        except OSError as error:
            raise RecipeError(f"recipe {path}: cannot be read ({error}); check the path and its permissions") from None
        return cls.read(text, overrides, source=f"recipe {path}: ")

    @classmethod
    def read(cls, text: str, overrides: Mapping[str, Any] | None = None, source: str = "recipe: ") -> Self:
        """A recipe from YAML; see `load`."""
        try:
            content = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError, RecursionError) as error:
            raise RecipeError(f"{source}is not valid YAML ({_reason(error)}); correct that line") from None
        if not isinstance(content, dict):
            seen = "an empty file" if content is None else "a list" if isinstance(content, list) else "a single value"
            raise RecipeError(f"{source}saw {seen}, not a mapping; write `key: value` lines, such as `name: demo`")
        return cls.parse(content, overrides, source=source)

    @classmethod
    def parse(cls, content: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, source: str = "") -> Self:
        """A recipe from a mapping; see `load`."""
        data = dict(content)
        if cls.record_mark in data:
            data = {**cls.record_defaults, **{k: v for k, v in data.items() if k not in cls.record_keys}}
        for key, value in (overrides or {}).items():
            _override(data, key, value)
        if bad := [key for key in data if not isinstance(key, str)]:
            raise RecipeError(f"{source}saw the key {bad[0]!r}, which is not text; keys are words such as `name`")
        try:
            return cls(**data)
        except RecipeError as error:
            raise RecipeError("\n".join(source + line for line in str(error).splitlines())) from None

    @classmethod
    def _explain(cls, item: Any) -> str:
        """One pydantic error as one line: where, what was seen, why it is wrong, what to do."""
        location, seen = item["loc"], item.get("input")
        if item["type"] == "value_error" and not location:  # about several keys, which the message names
            return str(item["ctx"]["error"])
        key = ".".join(str(step) for step in location[:2] if step in cls.takes)
        if item["type"] == "extra_forbidden":
            name = ".".join(map(str, location))
            name = name if name.isprintable() else repr(name)
            return f"saw the key `{name}`, which does not exist; {cls._nearest_key(location)}"
        if item["type"] == "missing":
            return f"the key `{key}` is missing; it takes {cls.takes[key]}"
        if item["type"] == "value_error":
            return f"{key}: saw {_short(seen)}, {item['ctx']['error']}"
        return f"{key}: saw {_short(seen)}, which it cannot be; it takes {cls.takes[key.rpartition('.')[2]]}"

    @classmethod
    def _nearest_key(cls, location: tuple[str, ...]) -> str:
        model: type[BaseModel] = cls
        for step in location[:-1]:
            annotation = model.model_fields[str(step)].annotation if str(step) in model.model_fields else None
            inner = [
                kind
                for kind in (annotation, *get_args(annotation))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ]
            if not inner:
                break
            model = inner[0]
        keys = [field.alias or name for name, field in model.model_fields.items()]
        close = difflib.get_close_matches(str(location[-1]), keys, n=1)
        return f"did you mean `{close[0]}`?" if close else f"the keys are {', '.join(keys)}"


def parse_value(text: str) -> Any:
    """The value that a text such as "[0.4, 0.9]" has in a recipe (YAML 1.2), for overrides from a command line."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"saw {quoted(text)}, which is not a YAML value ({_reason(error)})") from None


def written(content: Mapping[str, Any]) -> str:
    """A recipe as YAML, which comes back as the same values, whatever texts there are in it."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # documented, but typed None
    yaml.default_flow_style = None
    yaml.width = 120
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    return buffer.getvalue()


class _Representer(SafeRepresenter):
    """Quotes every text that is not plainly a word or a few: what ruamel leaves plain it cannot always read back."""


def _represent_text(representer: SafeRepresenter, text: str) -> Any:
    style = None if _PLAIN.fullmatch(text) else '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _represent_text)


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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
