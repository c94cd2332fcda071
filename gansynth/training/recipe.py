"""What to train: the training recipe as its user writes it, with the defaults of each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from gansynth.mirror import local_path
from gansynth.recipe_file import CONFIG, Auto, Number, RecipeFile
from gansynth.store import is_url

Architecture = Literal["biggan", "dcgan", "mlp"]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]

# What a key is if the recipe leaves it out.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {
        "epochs": 500,
        "sample_every": 10,
        "z_dim": 100,
        "width": 256,
        "discriminator_width": 256,
        "learning_rate": 2e-4,
        "discriminator_learning_rate": 2e-4,
        "betas": [0.8, 0.999],
        "ema": 0.0,
    },
    "dcgan": {
        "epochs": 10,
        "sample_every": 1,
        "z_dim": 100,
        "width": 64,
        "discriminator_width": 64,
        "learning_rate": 2e-4,
        "discriminator_learning_rate": 2e-4,
        "betas": [0.5, 0.999],
        "ema": 0.0,
    },
    "biggan": {
        "epochs": 100,
        "sample_every": 1,
        "z_dim": 64,
        "width": 32,
        "discriminator_width": 32,
        "learning_rate": 2e-4,
        "discriminator_learning_rate": 4e-4,
        "betas": [0.0, 0.99],
        "ema": 0.999,
    },
}
_RESOLUTIONS = {"biggan": (32, 64, 128), "dcgan": (8, 16, 32, 64, 128, 256), "mlp": tuple(range(8, 257))}
_TAKES = {
    "name": "a plain name such as flowers",
    "architecture": "biggan, dcgan or mlp",
    "data": "a folder, zip, tar, IDX or npz file of images, or a URL of one",
    "class_names": "a list of texts, one a class",
    "resolution": "a whole number of pixels such as 64",
    "epochs": "a whole number from 1",
    "batch_size": "a whole number from 2",
    "sample_every": "a whole number of epochs from 1",
    "seed": "a whole number from 0 to 2^32 - 1",
    "output": "a folder or an fsspec URL",
    "warmup": "auto, or a whole number of steps from 0",
    "init": "the folder or URL of a run, or of weights",
    "z_dim": "a whole number from 1",
    "width": "a whole number from 1",
    "discriminator_width": "a whole number from 1",
    "learning_rate": "a number above 0, such as 0.0002",
    "discriminator_learning_rate": "a number above 0, such as 0.0002",
    "decay": "a share from 0 to 1, such as 0.4",
    "betas": "two numbers from 0 to below 1, such as [0.5, 0.999]",
    "ema": "a number from 0 (none) to below 1, such as 0.999",
    "flip": "true or false",
    "crop": "a share from 0 to 0.5 of the side, such as 0.1",
    "rotate": "a number of degrees from 0 to 180",
    "augment": "a list out of color, translation and cutout",
    "max_skipped": "a share from 0 to 1",
    "checkpoint_every": "a whole number of steps from 1",
    "metric": "thumbnails, fashion, none, or the path of a TorchScript file",
    "metric_images": "a whole number from 2",
    "precision": "auto, float32 or bfloat16",
    "threads": "auto, or a whole number from 1",
    "tensorboard": "true or false",
    "licence": "a text",
    "sweep": "`keys` with lists of values, and `random: N` to draw from between them",
    "keys": "a mapping such as {learning_rate: [0.0001, 0.0002]}",
    "random": "a whole number from 1",
}


class Sweep(BaseModel):
    """Variants of a recipe.

    Args:
        keys: key -> values to try; with `random` the ends of a range of numbers.
        random: how many combinations to draw; all of the grid if left out.
    """

    model_config = CONFIG

    keys: dict[str, list[Any]] = Field(min_length=1)
    random: Annotated[int, Field(ge=1, le=1000)] | None = None


class TrainingRecipe(RecipeFile):
    """A generator to train. Keys and defaults are described in the README.

    Raises:
        RecipeError: one line for each fault.
    """

    takes = _TAKES
    record_keys = frozenset({"environment"})
    record_mark = "environment"

    architecture: Architecture = "biggan"
    data: str = Field(min_length=1)
    class_names: list[str] | None = None
    resolution: int = 64
    epochs: int | None = Field(None, ge=1)
    batch_size: int = Field(128, ge=2)
    sample_every: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    output: str | None = Field(None, min_length=1)
    init: str | None = Field(None, min_length=1)
    warmup: Annotated[int, Field(ge=0)] | Auto = "auto"
    z_dim: int | None = Field(None, ge=1, le=4096)
    width: int | None = Field(None, ge=1, le=1024)
    discriminator_width: int | None = Field(None, ge=1, le=1024)
    learning_rate: Positive | None = None
    discriminator_learning_rate: Positive | None = None
    decay: Share = 0.0
    betas: list[Share] | None = None
    ema: Annotated[Number, Field(ge=0, lt=1)] | None = None
    flip: bool = False
    crop: Annotated[Number, Field(ge=0, le=0.5)] = 0.0
    rotate: Annotated[Number, Field(ge=0, le=180)] = 0.0
    augment: list[Literal["color", "translation", "cutout"]] = Field(default_factory=list)
    max_skipped: Share = 0.05
    checkpoint_every: int = Field(500, ge=1)
    metric: str = "thumbnails"
    metric_images: int = Field(2000, ge=2)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int, Field(ge=1)] | Auto = "auto"
    tensorboard: bool = False
    licence: str = "unknown"
    sweep: Sweep | None = None

    @field_validator("betas")
    @classmethod
    def _two(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and (len(values) != 2 or any(value >= 1 for value in values)):
            raise ValueError("which is not two numbers from 0 to below 1; write for example [0.5, 0.999]")
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = _RESOLUTIONS[self.architecture]
        if self.resolution not in allowed:
            shown = ", ".join(map(str, allowed)) if len(allowed) < 10 else f"{allowed[0]} to {allowed[-1]}"
            raise ValueError(f"resolution: saw {self.resolution}; {self.architecture} renders {shown} pixels")
        if self.metric == "fashion" and self.resolution != 32:
            raise ValueError(
                f"metric: saw fashion at {self.resolution} pixels; its network takes 32, so use thumbnails"
            )
        narrowest = {32: 4, 64: 4, 128: 8}  # or attention has no channels
        if self.architecture == "biggan" and self.value("width") < (least := narrowest[self.resolution]):
            raise ValueError(f"width: saw {self.width}; a biggan of {self.resolution} pixels needs {least} or more")
        return self

    def value(self, key: str) -> Any:
        """The value of a key, or what its architecture has in its place."""
        value = getattr(self, key)
        return DEFAULTS[self.architecture][key] if value is None else value

    @property
    def folder(self) -> str:
        """Where the run goes, a path or a URL."""
        place = self.output or f"runs/{self.name.replace(' ', '-')}"
        return place if is_url(place) else str(Path(place).expanduser())

    @property
    def source(self) -> Path:
        """Where the images are on this machine; what a URL names is fetched, if it has changed."""
        return local_path(self.data)

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, but the place."""
        keys = (key for key in type(self).model_fields if key not in ("output", "sweep"))
        return {key: self.value(key) if key in DEFAULTS[self.architecture] else getattr(self, key) for key in keys}
