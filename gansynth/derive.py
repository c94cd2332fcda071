"""What a recipe of derived samples takes over from the dataset that they start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gansynth.derivation import Derivation
from gansynth.errors import RecipeError
from gansynth.kept import digest_of, kept_in, open_source, pairs_of, parents_of, shards_in
from gansynth.recipe import Recipe, Vary
from gansynth.redaction import holds_password, without_secrets


def adopt(recipe: Recipe, begun: Derivation | None = None) -> Recipe:
    """A recipe of derived samples with everything that it takes over from the dataset that they start from.

    Other recipes are given back as they are. Reads manifests, and writes nothing.

    Args:
        recipe: as written.
        begun: of the dataset that is continued, if there is one: then it stays with the parents that it began with.

    Raises:
        InputError: no such dataset, an unfinished one, a condition that does not fit it or that too few samples fit, or
            other samples than the dataset was begun with.
    """
    derived = recipe.derived
    if derived is None or derived.parents is not None:
        return recipe
    kind = "vary" if isinstance(derived, Vary) else "interpolate"
    if holds_password(derived.source):
        raise RecipeError(
            f"{kind}: from: {without_secrets(derived.source)} is given with a password, which would be written into records; set "
            f"it in the environment"
        )
    source = open_source(derived.source, kind)
    place = derived.source if "://" in derived.source else str(Path(derived.source).expanduser().absolute())
    theirs = source.record.recipe
    if begun and (begun.kind, begun.where) == (kind, derived.where):
        kept, shards = parents_of(source, begun), begun.shards
    else:
        shards = shards_in(source, kind)
        kept = kept_in(source, shards, derived.where)
    if not kept:
        raise RecipeError(f"{kind}: no sample of {source.store.place} fits where: {derived.where!r}; loosen it")
    groups = {split: len(found.ids) for split, found in kept.items()}
    if not isinstance(derived, Vary):
        groups = _share_out(derived.pairs, {split: len(pairs_of(found)) for split, found in kept.items()})
    present = set(np.concatenate([found.classes for found in kept.values()]).tolist())
    classes = [
        (label, target) for label, target in zip(theirs.classes, theirs.targets, strict=False) if label.index in present
    ]
    truncations = set(np.concatenate([found.truncations for found in kept.values()]).tolist())
    changes: dict[str, Any] = {
        "generator": recipe.generator or theirs.info.name,
        "generator_options": theirs.info.options,
        "precision": theirs.precision if recipe.precision == "auto" else recipe.precision,
        "truncation": [value for value in theirs.truncations if value in truncations],
        "latent": theirs.latent,
        "splits": {split: count / sum(groups.values()) for split, count in groups.items()},
        kind: derived.model_copy(
            update={"source": place, "parents": groups, "parents_sha256": digest_of(kept), "shards": shards}
        ),
    }
    if classes:
        changes["classes"] = [label.index for label, _ in classes]
        if recipe.labels == "generator":
            changes["labels"] = {label.index: target for label, target in classes}
    return recipe.model_copy(update=changes)


def _share_out(pairs: int, available: dict[str, int]) -> dict[str, int]:
    """Pairs by split, in proportion to what there is. Raises RecipeError if there is too little."""
    total = sum(available.values())
    if pairs > total:
        raise RecipeError(
            f"interpolate: saw {pairs} pairs, but there are only {total} of one class, truncation and split; ask for fewer, or "
            f"loosen `where`"
        )
    shares = {split: pairs * count // total for split, count in available.items()}
    for split, count in available.items():  # what rounding left over
        shares[split] += min(pairs - sum(shares.values()), count - shares[split])
    return {split: count for split, count in shares.items() if count}
