"""What to make: the recipe as its user writes it, validated by itself. Knows nothing of any particular generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gansynth.recipe_file import CONFIG, Auto, Number, RecipeFile, as_list
from gansynth.seeds import Seeds, parse_seeds, require_distinct
from gansynth.splits import SPLITS

_SHARD_ROWS = 1_000_000  # rows are numbered with six digits
_TAKES = {
    "name": "a plain name such as dogs-and-volcanoes",
    "generator": "a name from `gansynth models list`, or a folder or file of weights",
    "generator_options": "a mapping of the generator family's options",
    "precision": "auto, float32, bfloat16 or float16",
    "classes": "`all`, or a list of names, wnids and indices",
    "labels": "generator, dense, or a mapping from class to a whole number",
    "truncation": "a number such as 0.5, or a list of numbers",
    "seeds": 'a text such as "0-4999,7000", or a list of such texts, one a part; a part of some classes is a mapping such as '
    '{seeds: "0-99", classes: [sandal]}',
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
    "provenance": "auto, true or false",
    "output": "a folder or an fsspec URL",
    "vary": "a mapping such as {from: ./datasets/dogs, sigma: 0.1, count: 8}",
    "interpolate": "a mapping such as {from: ./datasets/dogs, pairs: 1000, steps: 4}",
    "from": "the folder or URL of a dataset",
    "where": 'a condition on manifest columns such as "truncation <= 0.6"',
    "sigma": "a number above 0 and up to 1, such as 0.1",
    "count": "a whole number from 1",
    "pairs": "a whole number from 1",
    "steps": "a whole number from 1",
    "space": "z or w",
}


class ImageFormat(BaseModel):
    """How pixels are stored.

    Args:
        format: jpg, png or webp.
        quality: 1 to 100 (jpg, webp); default 95.
        subsampling: chroma subsampling of jpg; default 4:4:4, none.
        compress_level: 0 to 9 (png); default 6.
        lossless: webp without loss; takes no quality.
    """

    model_config = CONFIG

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


class _Derived(BaseModel):
    """Keys that both kinds of derived samples share; the last three are found in the other dataset, and recorded."""

    model_config = ConfigDict(**CONFIG, validate_by_name=True, validate_by_alias=True)

    source: str = Field(min_length=1, alias="from")
    where: str | None = None
    space: Literal["z", "w"] = "z"
    parents: dict[str, int] | None = None
    parents_sha256: str | None = None
    shards: dict[str, int] | None = None


class Vary(_Derived):
    """Neighbours of kept samples.

    Args:
        source: the dataset that holds them.
        where: which of its samples.
        sigma: how far away.
        count: how many of each.
        space: z or w.
    """

    sigma: Annotated[Number, Field(gt=0, le=1)]
    count: int = Field(ge=1)


class Interpolate(_Derived):
    """Samples between two of one class and truncation.

    Args:
        source, where, space: as for `Vary`.
        pairs: how many pairs.
        steps: how many samples between the two of a pair.
    """

    pairs: int = Field(ge=1)
    steps: int = Field(ge=1)


class PartOfClasses(BaseModel):
    """Seeds of some of the classes.

    Args:
        seeds: a seed text.
        classes: names, wnids and indices.
    """

    model_config = CONFIG

    seeds: Annotated[str, BeforeValidator(lambda value: str(parse_seeds(str(value))))]
    classes: list[int | str] = Field(min_length=1)


class Recipe(RecipeFile):
    """A dataset to make. Keys and defaults are described in the README's recipe reference.

    >>> recipe = Recipe(name="shoes", generator="fashion-32", classes=["sneaker"], truncation=[0.5], seeds="0-9")
    >>> len(recipe.parts[0])
    10

    Raises:
        RecipeError: one line for each fault.
    """

    takes = _TAKES
    record_keys = frozenset(
        {"format_version", "fingerprint", "weights_sha256", "environment", "also_rendered_in", "about"}
    )
    record_defaults = MappingProxyType({"provenance": False})

    generator: str = Field("", min_length=1)
    generator_options: dict[str, Any] = Field(default_factory=dict)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    classes: Literal["all"] | list[int | str] | None = None
    labels: Literal["generator", "dense"] | dict[int | str, int] = "generator"
    truncation: Annotated[list[Number], BeforeValidator(as_list)] = Field(default_factory=lambda: [1.0])
    seeds: list[str | PartOfClasses] = Field(default_factory=list)
    seed_use: Literal["shared", "disjoint"] = "shared"
    latent: Literal["truncated_normal", "normal", "numpy_normal"] | None = None
    splits: dict[str, Number] = Field(default_factory=lambda: {"train": 1.0})
    image: ImageFormat = ImageFormat()
    samples_per_shard: int = Field(1000, ge=1, le=_SHARD_ROWS)
    batch_size: Annotated[int, Field(ge=1)] | Auto = "auto"
    threads: Annotated[int, Field(ge=1)] | Auto = "auto"
    compile: bool | Auto = "auto"
    provenance: bool | Auto = "auto"
    output: str | None = Field(None, min_length=1)
    vary: Vary | None = None
    interpolate: Interpolate | None = None

    @property
    def derived(self) -> Vary | Interpolate | None:
        """What samples are derived from, if they are."""
        return self.vary or self.interpolate

    @property
    def parts(self) -> tuple[Seeds, ...]:
        """The seeds, one element a part."""
        return tuple(parse_seeds(part if isinstance(part, str) else part.seeds) for part in self.seeds)

    @model_validator(mode="after")
    def _whole_or_derived(self) -> Self:
        if self.vary and self.interpolate:
            raise ValueError(
                "saw both `vary` and `interpolate`; a dataset is made by one of them, so write two recipes"
            )
        if derived := self.derived:
            taken_over = {"classes", "truncation", "seeds", "seed_use", "latent", "splits", "generator_options"}
            given = sorted(taken_over & self.model_fields_set) if derived.parents is None else ()
            if given:
                key = "vary" if self.vary else "interpolate"
                raise ValueError(f"{given[0]}: the samples that `{key}` starts from have it already; leave the key out")
            return self
        for key in ("generator", "seeds"):
            if not getattr(self, key):
                raise ValueError(f"the key `{key}` is missing; it takes {_TAKES[key]}")
        return self

    @field_validator("classes", mode="before")
    @classmethod
    def _classesas_list(cls, value: object) -> object:
        value = value if value == "all" else as_list(value)
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
        value = as_list(value)
        if not isinstance(value, list) or not value:
            raise ValueError('which is no seed text; write for example "0-4999", or a list of such texts, one a part')
        texts = [v.get("seeds") if isinstance(v, Mapping) else v for v in value]
        if any(isinstance(text, (bool, float)) or not isinstance(text, (str, int)) for text in texts):
            raise ValueError('which is no list of seed texts; write for example ["0-4999", "5000-9999"]')
        parts = [parse_seeds(str(text)) for text in texts]
        require_distinct(parts)
        return [v if isinstance(v, Mapping) else str(part) for v, part in zip(value, parts, strict=True)]

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
