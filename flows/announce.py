"""The event that downstream flows wait for: a dataset is complete.

Every run that ends with a complete dataset announces it unless the server has that event already, so a run that was
killed before it could, or another program that made the last shard, costs no event. The event's id is that of the
dataset as it is: at its place, with its recipe and parts. Where the server has forgotten the event, or does not answer,
it is sent once more with the same id, so it arrives at least once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.client.orchestration import get_client
from prefect.events import emit_event

from gansynth.dataset import Dataset

READY_EVENT = "gansynth.dataset.ready"


def announce(dataset: Dataset) -> None:
    """Emit the event, unless it has been emitted for this dataset as it is."""
    record, place = dataset.record, dataset.store.place
    payload = {
        "name": record.recipe.name,
        "uri": place if "://" in place else str(Path(place).resolve()),
        "samples": dataset.plan.samples,
        "splits": {split: dataset.plan.shards_of(split) for split in record.recipe.splits},
        "fingerprint": record.fingerprint,
    }
    event = _event_id(payload, [str(part) for part in record.recipe.parts])
    if not _is_known(event):
        resource = {
            "prefect.resource.id": f"gansynth.dataset.{record.fingerprint[:16]}",
            "prefect.resource.name": record.recipe.name,
        }
        emit_event(READY_EVENT, resource=resource, payload=payload, id=event)


def _event_id(payload: dict[str, Any], parts: list[str]) -> UUID:
    """The same for the same dataset, another one when a part is appended: the fingerprint does not cover those."""
    return uuid5(NAMESPACE_URL, json.dumps([payload["uri"], payload["fingerprint"], parts]))


def _is_known(event: UUID) -> bool:
    """Whether the server has an event; False if it cannot tell."""
    try:
        with get_client(sync_client=True) as client:
            wanted = {"filter": {"id": {"id": [str(event)]}}, "limit": 1}
            return bool(client.request("POST", "/events/filter", json=wanted).json()["events"])
    except Exception:  # any server, any fault: sending the event twice is better than not at all
        return False
