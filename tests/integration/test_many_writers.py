"""Several runs on one output at the same time: safe, and hardly any work is done twice."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gansynth
from gansynth.check import verify
from gansynth.claims import Claims
from gansynth.dataset import Dataset
from gansynth.plan import ShardPlan
from gansynth.receipt import Receipt
from gansynth.session import Session, finish
from gansynth.store import Store

RECIPE = {"name": "shared", "generator": "fake", "classes": [0, 1], "seeds": "0-299", "samples_per_shard": 10}
WRITERS = 3


def test_writers_share_the_work(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in RECIPE.items()))
    program = "import sys; from gansynth.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "generate", str(path), "--device", "cpu", "--output"]
    writers = [
        subprocess.Popen([*command, str(tmp_path / "together")], stdout=subprocess.PIPE, text=True)
        for _ in range(WRITERS)
    ]
    told = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    made = [int(match[1]) for text in told if (match := re.search(r"(\d+) shards? with", text))]
    assert len(Dataset.open(str(tmp_path / "together")).plan) == 60
    assert 60 <= sum(made) <= 60 + WRITERS * (WRITERS - 1), "more than what was in the works at the end was done twice"
    assert list(verify(Dataset.open(str(tmp_path / "together")))) == []
    assert not (tmp_path / "together/.tmp").exists()


def test_what_a_killed_writer_held_is_made_without_waiting(tmp_path: Path) -> None:
    recipe = gansynth.Recipe(**RECIPE, output=str(tmp_path / "data"))
    plan = gansynth.plan(recipe)
    gansynth.generate(recipe, device="cpu", shards=lambda planned: [planned.shard(0)])
    assert Claims(Store(str(tmp_path / "data")), "killed").hint(plan.shard(7))
    summary = gansynth.generate(recipe, device="cpu")
    assert summary.finished and summary.receipts[-1].shard == 7, "what others hold comes last"


def test_a_run_of_the_earlier_parts_finishes_nothing_that_has_grown_since(tmp_path: Path) -> None:
    recipe = gansynth.Recipe(**RECIPE, output=str(tmp_path / "data"))
    gansynth.generate(recipe, device="cpu")
    earlier = Dataset.open(str(tmp_path / "data"))
    grown = gansynth.Recipe(**{**RECIPE, "seeds": ["0-299", "300-399"]}, output=str(tmp_path / "data"))
    gansynth.generate(grown, device="cpu", shards=lambda planned: [planned.shard(len(planned) - 1)])
    assert Claims(Store(str(tmp_path / "data")), "other").hint(Dataset.open(str(tmp_path / "data")).plan.shard(60))
    finish(earlier)
    assert not Dataset.open(str(tmp_path / "data")).is_complete
    assert list(tmp_path.glob("data/.tmp/claims/*")), "the other one is still at work"
    assert "the recipe again goes on from there" in (tmp_path / "data" / "README.md").read_text()


def test_what_another_writer_has_made_meanwhile_is_left(tmp_path: Path) -> None:
    recipe = gansynth.Recipe(**RECIPE, output=str(tmp_path / "data"))
    gansynth.generate(recipe, device="cpu", shards=lambda planned: [planned.shard(0)])
    dataset = Dataset.open(str(tmp_path / "data"))
    shards = iter([dataset.plan.shard(1), dataset.plan.shard(2)])

    def with_company() -> Iterator[ShardPlan]:
        yield next(shards)
        gansynth.generate(recipe, device="cpu", shards=lambda planned: [planned.shard(2)])
        yield next(shards)

    outcomes = list(Session(dataset, "cpu").render(with_company()))
    assert [outcome.shard for outcome in outcomes if isinstance(outcome, Receipt)] == [1] and len(outcomes) == 1
