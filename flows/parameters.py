"""Parameters that the flows share. Prefect's UI shows such a model as a form. They decide no byte of what is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gansynth.errors import InputError
from gansynth.recipe_file import RecipeFile

AnyRecipe = TypeVar("AnyRecipe", bound=RecipeFile)
Runner = Literal["process", "ray", "deployment"]


class Workers(BaseModel):
    """Where the work of a flow run is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runner: Literal["process", "ray"] = Field(
        "process", description="process: worker processes on this machine. ray: workers of a Ray cluster."
    )
    workers: int | None = Field(
        None, ge=1, description="How many at once. Left out: one for each visible GPU, else one for each core."
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    ray_address: str | None = Field(
        None,
        description="With ray: an existing cluster, such as auto or ray://host:10001. Left out: one on this machine, for this run.",
    )
    credentials_block: str | None = Field(
        None,
        description="A Secret block with environment variables for storage, such as AWS_ACCESS_KEY_ID. Left out: the environment's own.",
    )

    @classmethod
    def of_options(cls, **values: Any) -> Self:
        """From options of a command line. Raises InputError for what cannot be."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            option = str(first["loc"][0]).replace("_", "-")
            raise InputError(f"--{option}: saw {first['input']!r}; {first['msg']}") from None


class Run(Workers):
    """Where and how shards are made."""

    runner: Runner = Field(  # type: ignore[assignment]  # one more than its base allows
        "process",
        description="process: worker processes on this machine. ray: workers of a Ray cluster. deployment: chunks of shards go to "
        "flow runs of a deployment, wherever its work pool runs them; then `workers` are flow runs at once, 4 if left out.",
    )
    deployment: str = Field(
        "synthesize/shards", description="With deployment: the deployment of the flow synthesize that gets the chunks."
    )
    silence_minutes: float = Field(
        120.0,
        gt=0,
        description="With deployment: a flow run that has made no shard for so long, or for five times as long as a shard takes "
        "where that is longer, is given up, since its machine must be dead. Longer than loading, waiting for GPUs and the first shard take.",
    )
    allow_mixed: bool = Field(
        False, description="Go on with a dataset that was begun with another device or other versions of libraries."
    )
    allow_code: bool = Field(False, description="Permit generators of the form package.module:factory.")
    block_minutes: float = Field(
        5.0,
        gt=0,
        description="Work of a task, measured on the first shards. A task costs Prefect a quarter of a second.",
    )
    timeout_minutes: float | None = Field(
        None,
        gt=0,
        description="A task that takes longer is interrupted, and the next run makes its shards; tasks are sized for a third of "
        "it at most. Left out: it may take for ever.",
    )

    @property
    def task_minutes(self) -> float:
        """What a task is sized for: well below its timeout, if it has one."""
        return min(self.block_minutes, (self.timeout_minutes or math.inf) / 3)


def load_recipe(
    kind: type[AnyRecipe],
    recipe: str | Mapping[str, Any],
    output: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> AnyRecipe:
    """A recipe as flows take it, with keys replaced.

    Args:
        kind: of recipe.
        recipe: path of a file; or the content, as YAML of several lines or as a mapping. A Prefect server on PostgreSQL keeps
            the keys of mappings in an order of its own, which matters to `splits`.
        output: replaces the recipe's.
        overrides: replaces further keys, such as {"image.quality": 90}.

    Raises:
        RecipeError: there is no such file, or no such recipe can be.
    """
    changes = {**(overrides or {}), **({"output": output} if output else {})}
    if not isinstance(recipe, str):
        return kind.parse(recipe, changes)
    return kind.read(recipe, changes) if "\n" in recipe else kind.load(recipe, changes)
