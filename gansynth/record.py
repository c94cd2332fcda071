"""recipe.yaml in a dataset: what it is made of, where it was made, and whether a recipe may go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gansynth.errors import GansynthError, OutputError
from gansynth.info import GeneratorInfo
from gansynth.labels import ClassLabel, LabelSet
from gansynth.recipe import Recipe
from gansynth.recipe_file import written
from gansynth.resolve import ResolvedRecipe, deciding, fingerprint, resolve

FILE = "recipe.yaml"
FORMAT_VERSION = 1
_HEADER = "# The recipe of this dataset as it was resolved, and the environment that made it. Written by gansynth.\n"


@dataclass(frozen=True)
class Record:
    """The content of recipe.yaml.

    Args:
        recipe: as resolved; its generator's weights_sha256 is known.
        environment: that made the first shards.
        others: further environments, if shards of several were allowed.
    """

    recipe: ResolvedRecipe
    environment: Mapping[str, str]
    others: tuple[Mapping[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Identity of the dataset; see `resolve.fingerprint`."""
        return fingerprint(self.recipe.record(), self.recipe.info.weights_sha256 or "")

    def encode(self) -> bytes:
        """The file's bytes."""
        info = self.recipe.info
        content = {
            **self.recipe.record(),
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "weights_sha256": info.weights_sha256,
            "environment": dict(self.environment),
            "also_rendered_in": [dict(other) for other in self.others],
            "about": {
                "family": info.family,
                "z_dim": info.z_dim,
                "num_classes": info.num_classes,
                "resolution": info.resolution,
                "latents": list(info.latents),
                "truncation_rule": info.truncation_rule,
                "licence": info.licence,
                "origin": info.origin,
                "terms": list(info.terms),
                "w_dim": info.w_dim,
                "classes": {c.index: [c.name, c.wnid] for c in self.recipe.classes},
            },
        }
        return (_HEADER + written(content)).encode()

    @classmethod
    def decode(cls, data: bytes, url: str) -> Self:
        """Read the file's bytes; needs no weights.

        Raises:
            OutputError: damaged or edited by hand.
        """
        advice = "restore the file from a copy; the recipe that made the dataset recreates it in an empty folder"
        try:
            content = dict(YAML(typ="safe", pure=True).load(data.decode()))
            recipe = resolve(Recipe.parse(content), _info(content), recorded=content)
            record = cls(recipe, content["environment"], tuple(content["also_rendered_in"]))
            recorded = content["fingerprint"]
        except (GansynthError, YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise OutputError(f"{url}/{FILE}: is damaged ({reason}); {advice}") from None
        if record.fingerprint != recorded:
            raise OutputError(f"{url}/{FILE}: was edited, its fingerprint no longer fits its content; {advice}")
        return record

    def differences(self, wanted: ResolvedRecipe) -> list[str]:
        """How a recipe differs from this one in what decides bytes; empty if it may go on with the dataset."""
        mine, theirs = (_flat({"provenance": False, **deciding(r.record())}) for r in (self.recipe, wanted))
        lines = [
            f"{key} is {_short(mine.get(key))} in the dataset, but {_short(theirs.get(key))} in the recipe"
            for key in {**mine, **theirs}
            if key != "first_part" and mine.get(key) != theirs.get(key)
        ]
        if wanted.info.weights_sha256 not in (None, self.recipe.info.weights_sha256):
            lines.append(
                f"generator is {self.recipe.info.name} in the dataset, but the weights of {wanted.info.name} are others"
            )
        ours, asked = self.recipe.record().get("seeds", []), wanted.record().get("seeds", [])
        shared = min(len(ours), len(asked))
        if ours[:shared] != asked[:shared]:
            lines.append(
                f"seeds are {_short(ours)} in the dataset, but {_short(asked)} in the recipe (only new parts may be appended)"
            )
        return lines

    def require_same(self, wanted: ResolvedRecipe, place: str) -> None:
        """Raise OutputError with the differences if a recipe may not go on with the dataset at a place."""
        if differences := self.differences(wanted):
            raise OutputError(
                f"output {place}: belongs to another recipe: {'; '.join(differences)}; choose another output, or undo the change"
            )

    def admit(self, here: Mapping[str, str], place: str, allow_mixed: bool) -> Record:
        """With an environment among those that may render. Raises OutputError if it may not."""
        if here in (dict(self.environment), *map(dict, self.others)):
            return self
        if not allow_mixed:
            differences = [
                f"{key} is {self.environment.get(key)} in the dataset, but {here.get(key)} here"
                for key in {**self.environment, **here}
                if here.get(key) != self.environment.get(key)
            ]
            raise OutputError(
                f"output {place}: was made in another environment: {'; '.join(differences)}; shards made here may differ in "
                f"some bits, so pass --allow-mixed to go on all the same"
            )
        return replace(self, others=(*self.others, here))

    def extended(self, wanted: ResolvedRecipe) -> Record:
        """With the parts that the recipe appends. Name and generator path stay as they are: captions may hold the name."""
        parts = max(self.recipe.parts, wanted.parts, key=len)
        return replace(self, recipe=self.recipe.with_parts(parts))


def _info(content: Mapping[str, Any]) -> GeneratorInfo:
    about = content["about"]
    known = {index: ClassLabel(index, name, wnid) for index, (name, wnid) in about["classes"].items()}
    labels = tuple(known.get(i, ClassLabel(i, f"class {i}")) for i in range(about["num_classes"]))
    return GeneratorInfo(
        name=content["generator"],
        family=about["family"],
        z_dim=about["z_dim"],
        num_classes=about["num_classes"],
        resolution=about["resolution"],
        labels=LabelSet(labels),
        latents=tuple(about["latents"]),
        truncation_rule=about["truncation_rule"],
        options=content["generator_options"],
        weights_sha256=content["weights_sha256"],
        licence=about["licence"],
        origin=about["origin"],
        terms=tuple(about["terms"]),
        w_dim=about["w_dim"],
    )


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """With what samples are derived from key by key, so that differences can be told."""
    flat = dict(content)
    for kind in ("vary", "interpolate"):
        flat |= {f"{kind}.{key}": value for key, value in flat.pop(kind, {}).items()}
    return flat


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
