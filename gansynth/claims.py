"""Expiring claims on shards, so that writers of one dataset do not do the same work, or even spoil each other's.

Writers of one environment produce the same bytes, so rendering a shard twice does no harm: to them claims are hints, and
what others hold comes last. Writers of several environments must not meet in one shard: tar and manifest could come from
different hands. A claim is a file that exactly one writer can create. Its holder renews it by creating the next; after the
last one's expiry anybody may create the next. Giving claims up is a courtesy to others: where that fails, they expire.

A writer respects claims from its first shard on if it was allowed to mix, else from the shard after the one at which it
sees that another environment has joined. Hence the rule to allow it in every run on such a dataset.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from gansynth.errors import OutputError, StoreError, StoreMissing
from gansynth.plan import ShardPlan
from gansynth.store import CLAIMS as FOLDER
from gansynth.store import Store

LIFETIME_SECONDS = 300.0
HELD = f"held by other writers, which are at work or were killed within the last {LIFETIME_SECONDS / 60:.0f} minutes"
_NAME = re.compile(r"(?P<shard>\w+-\d+)\.(?P<generation>\d+)\Z")


class Claims:
    """Claims of one writer.

    Args:
        store: of the dataset.
        worker: name of the writer.
    """

    def __init__(self, store: Store, worker: str) -> None:
        self._store, self._worker = store, worker
        self._held: dict[str, tuple[int, float]] = {}

    def take(self, shard: ShardPlan) -> bool:
        """Claim a shard; False if another writer holds it."""
        name = shard.stem.replace("/", "-")
        generations = self._generations(name)
        if not generations:
            return self._create(name, 0)
        try:
            expired = _expired(self._store, f"{name}.{generations[-1]}")
        except StoreMissing:  # released just now; the next writer to look may have it
            return False
        return expired and self._create(name, generations[-1] + 1)

    def hint(self, shard: ShardPlan) -> bool:
        """The same with one request where nobody holds the shard. True too if the store cannot create files exclusively."""
        try:
            return self._create(shard.stem.replace("/", "-"), 0) or self.take(shard)
        except OutputError:
            return True

    def renew(self) -> None:
        """Prolong the claims that are halfway to their expiry. Raises StoreError if another writer took one over."""
        now = time.time()
        for name, (generation, since) in list(self._held.items()):
            if now - since <= LIFETIME_SECONDS / 2:
                continue
            # A successor that has finished has cleared all generations, so its own would be created without a word.
            own = self._store.exists(f"{FOLDER}/{name}.{generation}")
            if not own or not self._create(name, generation + 1):
                del self._held[name]
                raise StoreError(f"{name}: another writer took this shard over after a long silence; it is left to it")

    def release(self, shard: ShardPlan) -> None:
        """Give a claim up; nothing happens if it is not held."""
        self._release(shard.stem.replace("/", "-"))

    def release_all(self) -> None:
        """Give all claims up."""
        for name in list(self._held):
            self._release(name)

    def _release(self, name: str) -> None:
        if held := self._held.pop(name, None):
            with suppress(StoreError):
                # Of a claim that was never renewed there is one file, so nothing has to be listed.
                for generation in self._generations(name) if held[0] else [0]:
                    if generation <= held[0]:  # later ones are a successor's
                        self._store.delete(f"{FOLDER}/{name}.{generation}")

    def _create(self, name: str, generation: int) -> bool:
        now = time.time()
        content = json.dumps({"worker": self._worker, "expires": now + LIFETIME_SECONDS}).encode()
        created = self._store.create(f"{FOLDER}/{name}.{generation}", content)
        if created:
            self._held[name] = (generation, now)
        return created

    def _generations(self, name: str) -> list[int]:
        matches = (_NAME.match(found) for found in self._store.list(FOLDER))
        return sorted(int(m["generation"]) for m in matches if m and m["shard"] == name)


def clear(store: Store, done: Mapping[str, Collection[int]]) -> None:
    """Remove the claims on shards that exist, by split, which killed writers have left."""
    for name in store.list(FOLDER):
        if match := _NAME.match(name):
            split, _, number = match["shard"].rpartition("-")
            if int(number) in done.get(split, ()):
                store.delete(f"{FOLDER}/{name}")


def clear_expired(store: Store) -> None:
    """Remove the claims of writers that are gone."""
    for name in store.list(FOLDER):
        with suppress(StoreMissing):  # given up just now
            if _expired(store, name):
                store.delete(f"{FOLDER}/{name}")


def _expired(store: Store, name: str) -> bool:
    try:
        return float(json.loads(store.read(f"{FOLDER}/{name}"))["expires"]) < time.time()
    except (ValueError, KeyError, TypeError):  # of a writer that was killed while it made the file
        return True
