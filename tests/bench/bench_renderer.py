"""What many_shards.py puts in the place of rendering; in a module of its own, since worker processes import it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import task

from gansynth.dataset import Dataset
from gansynth.plan import Plan
from gansynth.receipt import SUFFIX


@lru_cache
def _plan(url: str) -> Plan:
    return Dataset.open(url).plan


@task(name="render-nothing", persist_result=False)
def render_nothing(
    url: str,
    ordinals: list[int],
    encode_threads: int,
    allow_mixed: bool,
    allow_code: bool,
    take_over: bool,
    credentials_block: str | None,
) -> dict[str, Any]:
    """Leave a receipt for each shard; says that each took as long as the environment says. Parameters as of `render_block`."""
    seconds, plan, made = float(os.environ["GANSYNTH_BENCH_SECONDS_A_SHARD"]), _plan(url), []
    for shard in map(plan.shard, ordinals):
        (receipt := Path(url, f"{shard.stem}{SUFFIX}")).parent.mkdir(exist_ok=True)
        receipt.touch()
        row = {"shard": shard.stem, "images": shard.size, "rejected": 0, "images/s": shard.size / seconds}
        made.append({**row, "seconds": seconds, "bytes": 0, "worker": f"nobody:{os.getpid()}"})
    return {"made": made, "failed": [], "held": [], "seconds": seconds * len(made), "workers": 1}
