"""Orchestration of very many shards, with a renderer that does nothing but leave a receipt: memory, rows in Prefect's database, time.

    python tests/bench/many_shards.py [--shards 100000] [--seconds-a-shard 9]

The renderer says that a shard took it so long, so tasks are sized as they would be for real ones. The flow runs on a Prefect
server of its own, on SQLite, whose tables are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = "GANSYNTH_BENCH_SECONDS_A_SHARD"
TABLES = ("flow_run", "task_run", "task_run_state", "log", "events", "artifact")


def memory() -> float:
    """What this process holds, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--seconds-a-shard", type=float, default=9.0)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    sys.path += [str(ROOT), str(ROOT / "tests")]
    from cluster import Cluster

    with TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start_server()
            os.environ |= {**cluster.environment, SECONDS: str(chosen.seconds_a_shard)}
            orchestrate(Path(name), chosen.shards, chosen.workers)
        finally:
            cluster.stop()


def orchestrate(folder: Path, shards: int, workers: int) -> None:
    """Drive all shards through the flow's own code, and print what it takes on the way."""
    from bench_renderer import render_nothing
    from prefect import flow

    from flows import job as jobs
    from flows.board import Board
    from flows.parameters import Run
    from gansynth.recipe import Recipe
    from gansynth.session import begin
    from gansynth.stopping import Stop

    options = {"resolution": 32, "num_classes": 1}
    about = {"name": "many", "generator": "fake", "generator_options": options, "classes": "all"}
    recipe = {**about, "seeds": f"0-{shards - 1}", "samples_per_shard": 1, "output": str(folder / "data")}
    begun = begin(Recipe.parse(recipe), "cpu", keep_generator=False)
    jobs.render_block = render_nothing
    database = folder / "home/prefect.db"
    tasks, started = 0, time.monotonic()

    class Watched(Board):
        def collect(self, report: dict[str, Any]) -> None:
            nonlocal tasks
            super().collect(report)
            tasks += 1
            if tasks % 250 == 0:
                tell(self.made.shards)

    def tell(made: int) -> None:
        seconds = time.monotonic() - started
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            rows = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
        size = sum(path.stat().st_size for path in database.parent.glob("prefect.db*")) / 2**20
        print(
            f"{made:,} shards in {tasks:,} tasks after {seconds:,.0f} s, {1000 * seconds / made:.1f} ms a shard, "
            f"{1000 * seconds / tasks:.0f} ms a task; parent {memory():.0f} MiB; database {size:.0f} MiB, {json.dumps(rows)}",
            flush=True,
        )

    @flow(name="many-shards", persist_result=False)
    def many() -> None:
        board = Watched(begun.dataset, begun.plan, lambda count: None)
        run = Run(workers=workers, device="cpu")
        job = jobs.Job(begun.dataset, begun.plan, None, run, ("cpu",) * workers, Stop(), board)
        job.make()
        assert next(job.todo(), None) is None and not job.errors
        tell(board.made.shards)

    many()


if __name__ == "__main__":
    main()
