"""Recipe + generator -> resolved recipe: no `auto`, no class names, nothing left to choose. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gansynth.derivation import Derivation
from gansynth.errors import LabelError, RecipeError
from gansynth.identity import RENDER_VERSION, SampleIds, sha256_json
from gansynth.info import GeneratorInfo, Latent
from gansynth.labels import ClassLabel
from gansynth.parts import Part
from gansynth.recipe import Interpolate, Recipe, Vary
from gansynth.splits import SplitSeeds, bounds

_COMPILED = frozenset({"biggan"})  # families whose networks torch.compile takes
_PRECISIONS = {"cpu": "float32", "cuda": "bfloat16"}  # fixed like the batch sizes, since precision decides bits too
_MARKED_FROM = 128  # pixels; 530 bytes of XMP would be much beside the few kilobytes of smaller images
# Largest resolution (pixels) a row is for -> batch size. Fixed numbers, since the batch size decides bits.
_LARGEST = 4096
_BATCH_SIZES = {
    "cpu": {64: 32, 128: 8, 256: 8, _LARGEST: 4},
    "cuda": {64: 256, 128: 128, 256: 64, 512: 32, _LARGEST: 16},
}


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe with every choice made.

    Args:
        name: from the recipe.
        info: the generator; `info.weights_sha256` may still be None while only planning.
        precision: float32, bfloat16 or float16.
        classes: the listed classes in order; empty for unconditional generators.
        targets: the integer that .cls holds for each class; (0,) for unconditional generators.
        truncations: in the order listed.
        parts: seeds, and the classes that they are for.
        seed_use: shared or disjoint.
        latent: distribution of z.
        splits: name -> ratio, in the order written.
        image: format and the options that apply to it.
        samples_per_shard, batch_size, threads: counts.
        compile: whether the network goes through torch.compile.
        derivation: how samples are derived from those of another dataset; None if they are drawn by seed.
        provenance: whether image files carry XMP that says what they are; see provenance.py.
    """

    name: str
    info: GeneratorInfo
    precision: str
    classes: tuple[ClassLabel, ...]
    targets: tuple[int, ...]
    truncations: tuple[float, ...]
    parts: tuple[Part, ...]
    seed_use: str
    latent: Latent
    splits: dict[str, float]
    image: dict[str, Any]
    samples_per_shard: int
    batch_size: int
    threads: int
    compile: bool
    provenance: bool
    derivation: Derivation | None = None

    def record(self) -> dict[str, Any]:
        """The recipe as a mapping that `Recipe.parse` reads back and that resolves to itself where it is `recorded`.

        Datasets from before there was a provenance have no such key, so it is there only if it is true.
        """
        record: dict[str, Any] = {
            "name": self.name,
            "generator": self.info.name,
            "generator_options": self.info.options,
            "precision": self.precision,
        }
        if self.classes:
            indices = [c.index for c in self.classes]
            record["classes"] = indices
            record["labels"] = (
                dict(zip(indices, self.targets, strict=True)) if self.targets != tuple(indices) else "generator"
            )
        seeds = {"seeds": [self._record_part(part) for part in self.parts], "seed_use": self.seed_use}
        return record | {
            "truncation": list(self.truncations),
            **(self.derivation.record() if self.derivation else seeds),
            "latent": self.latent,
            "splits": self.splits,
            "image": self.image,
            "samples_per_shard": self.samples_per_shard,
            "batch_size": self.batch_size,
            "threads": self.threads,
            "compile": self.compile,
            **({"provenance": True} if self.provenance else {}),
        }

    def _record_part(self, part: Part) -> str | dict[str, Any]:
        if part.classes is None:
            return str(part.seeds)
        return {"seeds": str(part.seeds), "classes": [self.classes[position].index for position in part.classes]}

    def sample_ids(self) -> SampleIds:
        """Names the samples of this recipe."""
        return SampleIds(
            {
                "weights_sha256": self.info.weights_sha256,
                "latent": self.latent,
                "generator_options": self.info.options,
                "image": self.image,
                **({self.derivation.kind: self.derivation.identity()} if self.derivation else {}),
            }
        )

    def with_parts(self, parts: Sequence[Part]) -> ResolvedRecipe:
        """The same recipe with other parts."""
        return replace(self, parts=tuple(parts))


def fingerprint(record: Mapping[str, Any], weights_sha256: str) -> str:
    """Identity of a dataset: equal for two resolved recipes exactly if they make the same shards from the first part on.

    Args:
        record: a resolved recipe as `ResolvedRecipe.record` gives it, or as read back from recipe.yaml.
        weights_sha256: identity of the weights; it stands for the generator, wherever its files lie.
    """
    return sha256_json({"render_version": RENDER_VERSION, "weights_sha256": weights_sha256, **deciding(record)})


def deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that decides a dataset's bytes, but for the weights: no name, no path, no appended part.

    Splits are given as pairs, since their order counts.
    """
    left_out = {"name", "generator", "output", "seeds", "splits"}
    kept = {key: value for key, value in record.items() if key not in left_out}
    for kind in ("vary", "interpolate"):
        if kind in kept:
            # The digest of the parents says which they are, wherever they lie.
            kept[kind] = {key: value for key, value in kept[kind].items() if key not in ("from", "shards")}
    return {
        **kept,
        **({"first_part": record["seeds"][0]} if "seeds" in record else {}),
        "splits": [list(pair) for pair in record["splits"].items()],
    }


def resolve(
    recipe: Recipe,
    info: GeneratorInfo,
    device_type: str = "cpu",
    recorded: Mapping[str, Any] | None = None,
) -> ResolvedRecipe:
    """Make every choice that the recipe leaves open.

    Args:
        recipe: as written.
        info: of the generator that it names.
        device_type: cpu or cuda; decides `auto` values.
        recorded: record of the dataset that is continued; its values stand where the recipe says `auto`. One without
            provenance has none.

    Raises:
        RecipeError, LabelError: recipe and generator do not go together.
    """
    recorded = recorded or {}
    classes = _classes(recipe, info)
    for truncation in recipe.truncation:
        info.check_truncation(truncation)

    def choose(key: str, default: Any) -> Any:
        value = getattr(recipe, key)
        return value if value not in ("auto", None) else recorded.get(key, default)

    latent = choose("latent", info.latents[0])
    if latent not in info.latents:
        raise RecipeError(f"latent: saw {latent}, which {info.name} does not take; use {' or '.join(info.latents)}")
    if info.resolution > _LARGEST:
        raise RecipeError(
            f"generator: {info.name} renders {info.resolution} pixels, more than the {_LARGEST} supported"
        )
    device_type = "cpu" if device_type == "cpu" else "cuda"
    compiles = info.family in _COMPILED
    if recipe.compile is True and not compiles:
        raise RecipeError(f"compile: saw true, but {info.name} has no network that can be compiled; leave the key out")
    by_size = _BATCH_SIZES[device_type]
    batch_size = choose("batch_size", next(n for size, n in by_size.items() if info.resolution <= size))
    resolved = ResolvedRecipe(
        name=recipe.name,
        info=info,
        precision=choose("precision", _PRECISIONS[device_type] if compiles else "float32"),
        classes=classes,
        targets=_targets(recipe, info, classes),
        truncations=tuple(recipe.truncation),
        parts=_parts(recipe, info, classes),
        seed_use=recipe.seed_use,
        latent=latent,
        splits=recipe.splits,
        image=recipe.image.options(),
        samples_per_shard=recipe.samples_per_shard,
        batch_size=min(batch_size, recipe.samples_per_shard),
        threads=choose("threads", 1),
        compile=choose("compile", False),
        derivation=_derivation(recipe, info),
        provenance=choose("provenance", not recorded and info.resolution >= _MARKED_FROM),
    )
    if resolved.derivation is None:
        _require_every_class_in_every_split(resolved)
    return resolved


def _derivation(recipe: Recipe, info: GeneratorInfo) -> Derivation | None:
    derived = recipe.derived
    if derived is None:
        return None
    if derived.parents is None or derived.parents_sha256 is None:
        raise ValueError("a derived recipe is resolved once its parents are known; see derive.adopt")
    if derived.space == "w" and not info.w_dim:
        raise RecipeError(f"space: saw w, but {info.name} ({info.family}) has no styles; only StyleGAN has, so use z")
    varied = recipe.vary
    return Derivation(
        kind="vary" if varied else "interpolate",
        source=derived.source,
        where=derived.where,
        space=derived.space,
        sigma=varied.sigma if varied else None,
        each=derived.count if isinstance(derived, Vary) else derived.steps if isinstance(derived, Interpolate) else 0,
        groups=derived.parents,
        parents_sha256=derived.parents_sha256,
        shards=derived.shards,
    )


def _classes(recipe: Recipe, info: GeneratorInfo) -> tuple[ClassLabel, ...]:
    if info.num_classes == 0:
        if recipe.classes is not None:
            raise RecipeError(f"classes: {info.name} is unconditional, it has no classes; leave the key `classes` out")
        return ()
    if recipe.classes is None:
        raise RecipeError(
            f"classes: the key is missing, but {info.name} renders by class ({info.num_classes} of them, such as "
            f'"{info.labels[0].name}"); list some, or write `classes: all`'
        )
    if recipe.classes == "all":
        return info.labels.classes
    found: dict[ClassLabel, int | str] = {}
    for wanted in recipe.classes:
        label = info.labels.find(wanted)
        if label in found:
            raise RecipeError(
                f"classes: class {label} is listed twice, as {found[label]!r} and {wanted!r}; list it once"
            )
        found[label] = wanted
    return tuple(found)


def _parts(recipe: Recipe, info: GeneratorInfo, classes: tuple[ClassLabel, ...]) -> tuple[Part, ...]:
    parts = []
    for written, seeds in zip(recipe.seeds, recipe.parts, strict=True):
        if isinstance(written, str):
            parts.append(Part(seeds))
            continue
        if not classes:
            raise RecipeError(f"seeds: {info.name} has no classes to make a part of; write the seeds alone")
        found = dict.fromkeys(info.labels.find(wanted) for wanted in written.classes)
        if foreign := next((label for label in found if label not in classes), None):
            raise RecipeError(
                f"seeds: class {foreign} of the part {written.seeds} is not among the classes; add it to `classes`, or take it out"
            )
        parts.append(Part(seeds, tuple(classes.index(label) for label in found)))
    return tuple(parts)


def _targets(recipe: Recipe, info: GeneratorInfo, classes: tuple[ClassLabel, ...]) -> tuple[int, ...]:
    """The integer label of each listed class."""
    if recipe.labels == "generator":
        return tuple(c.index for c in classes) or (0,)
    if recipe.labels == "dense":
        return tuple(range(len(classes))) or (0,)
    if not classes:
        raise RecipeError(f"labels: {info.name} has no classes to give labels to; leave the key `labels` out")
    given: dict[ClassLabel, int] = {}
    for name, target in recipe.labels.items():
        try:
            label = info.labels.find(name)
        except LabelError as error:
            raise LabelError(f"labels{str(error).removeprefix('classes')}") from None
        if label in given:
            raise RecipeError(f"labels: class {label} is given twice, the second time as {name!r}; keep one of them")
        given[label] = target
    for label in classes:
        if label not in given:
            raise RecipeError(f"labels: class {label} has no label; add it to the mapping")
    if extra := next((label for label in given if label not in classes), None):
        raise RecipeError(f"labels: class {extra} is not among the classes; take it out, or add it to `classes`")
    if negative := next((t for t in given.values() if not 0 <= t < 2**31), None):
        raise RecipeError(f"labels: saw {negative}; labels are whole numbers from 0 to 2^31 - 1")
    return tuple(given[label] for label in classes)


def _require_every_class_in_every_split(recipe: ResolvedRecipe) -> None:
    for split, (low, high) in bounds(recipe.splits).items():
        counts = [len(SplitSeeds(part.seeds, low, high)) for part in recipe.parts]
        if sum(counts) == 0:
            what = f"class {recipe.classes[0]}" if len(recipe.classes) == 1 else "any class"
            raise RecipeError(
                f"splits: no seed falls into {split}, so it would have no sample of {what}; give more seeds or fewer splits"
            )
        made: set[int] = set()
        for part, count in zip(recipe.parts, counts, strict=True):
            positions = part.positions(len(recipe.classes))
            made |= set(positions[:count] if recipe.seed_use == "disjoint" else positions if count else ())
        if missing := [label for position, label in enumerate(recipe.classes) if position not in made]:
            why = f"since {max(counts)} disjoint seeds are dealt to {len(recipe.classes)} classes"
            if recipe.seed_use == "shared" or any(part.classes for part in recipe.parts):
                why = "since no part gives it a seed there"
            raise RecipeError(f"splits: {split} would have no sample of class {missing[0]}, {why}; give more seeds")
