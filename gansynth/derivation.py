"""What a dataset of variations or of samples in between is made from. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["vary", "interpolate"]
Space = Literal["z", "w"]


@dataclass(frozen=True)
class Derivation:
    """How samples are derived from those of another dataset.

    Args:
        kind: `vary`: neighbours of one sample. `interpolate`: samples between two.
        source: folder or URL of that dataset.
        where: condition on its manifest rows.
        space: z, or w (StyleGAN).
        sigma: how far variations are from their parent, in (0, 1].
        each: samples of each parent (vary) or each pair (interpolate).
        groups: number of parents or pairs by split.
        parents_sha256: of the ids of the parents, in order.
        shards: how many shards of each split that dataset had, in which the parents are; None if that was not recorded.
    """

    kind: Kind
    source: str
    where: str | None
    space: Space
    sigma: float | None
    each: int
    groups: Mapping[str, int]
    parents_sha256: str
    shards: Mapping[str, int] | None = None

    def samples(self, split: str) -> int:
        """Number of samples of a split."""
        return self.groups.get(split, 0) * self.each

    def record(self) -> dict[str, Any]:
        """As a recipe has it, with what was found in the other dataset."""
        found: dict[str, Any] = {"parents": dict(self.groups), "parents_sha256": self.parents_sha256}
        if self.shards is not None:
            found["shards"] = dict(self.shards)
        about = {"from": self.source, "where": self.where, "space": self.space, **found}
        if self.kind == "vary":
            return {"vary": {**about, "sigma": self.sigma, "count": self.each}}
        return {"interpolate": {**about, "pairs": sum(self.groups.values()), "steps": self.each}}

    def identity(self) -> dict[str, Any]:
        """What, besides parents and number, decides a sample."""
        constant = {"space": self.space}
        return {**constant, "sigma": repr(self.sigma)} if self.kind == "vary" else {**constant, "steps": self.each}
