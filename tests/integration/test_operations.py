"""A dataset over its life: it grows every night, is looked after, made good, and trained on."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import flows  # noqa: F401 - sets what Prefect reads when it is imported
import gansynth
from gansynth.check import verify as check
from gansynth.dataset import Dataset
from gansynth.errors import GansynthError, InputError, RenderError
from integration import HANG

RUN = {"workers": 1, "device": "cpu"}
RECIPE: dict[str, Any] = {
    "name": "nights",
    "generator": "fake",
    "classes": [0, 1, 2],
    "seeds": "0",
    "splits": {"train": 0.8, "val": 0.2},
    "samples_per_shard": 20,
}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".tar", ".parquet")
    }


def splits_of_seeds(folder: Path) -> dict[int, str]:
    import pyarrow.parquet as pq

    rows = [
        row for path in folder.glob("*/*.parquet") for row in pq.read_table(path, columns=["seed", "split"]).to_pylist()
    ]
    return {row["seed"]: row["split"] for row in rows}


@pytest.mark.parametrize("days", [(1, 3), pytest.param((1, 2, 4, 5), marks=pytest.mark.slow)], ids=str)
def test_a_missed_night_is_caught_up_and_earlier_ones_are_not_touched(
    prefect_server: None, tmp_path: Path, days: tuple[int, ...]
) -> None:
    from flows.nightly import nightly, parts

    def night(day: int) -> dict[str, Any]:
        wanted = {**RECIPE, "output": str(tmp_path / "nights")}
        return nightly(wanted, since=date(2026, 11, 1), seeds_per_night=20, until=date(2026, 11, day), run=RUN)

    before: dict[str, bytes] = {}
    homes: dict[int, str] = {}
    for day in days:
        found = night(day)
        assert found["complete"] and found["nights"] == day
        after = content(tmp_path / "nights")
        assert before.items() <= after.items() and len(after) > len(before)
        assert homes.items() <= (homes := splits_of_seeds(tmp_path / "nights")).items()
        before = after
    assert sorted(homes) == list(range(20 * days[-1]))
    assert night(days[-1])["shards"] == 0
    seeds = parts(date(2026, 11, 1), date(2026, 11, days[-1]), 20)
    gansynth.generate(gansynth.Recipe(**{**RECIPE, "seeds": seeds, "output": str(tmp_path / "at-once")}), device="cpu")
    assert content(tmp_path / "at-once") == before, "it matters how the nights came"
    assert list(check(Dataset.open(str(tmp_path / "nights")))) == []


def test_a_date_that_has_been_moved_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import nightly as module

    monkeypatch.setattr(module, "get_run_logger", logging.getLogger)
    monkeypatch.setattr(module, "_tonight", lambda: date(2026, 11, 3))
    monkeypatch.setattr(module, "make", lambda wanted, run: {"shards": len(gansynth.generate(wanted).receipts)})
    wanted = {**RECIPE, "output": str(tmp_path / "nights")}
    found = module.nightly.fn(wanted, since=date(2026, 11, 1), seeds_per_night=5)
    assert found["nights"] == 3 and "put the date back" not in caplog.text
    found = module.nightly.fn(wanted, since=date(2026, 11, 3), seeds_per_night=5)
    assert found == {"nights": 1, "shards": 0}
    assert "it will not grow for 2 nights" in caplog.text


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"since": date(2026, 12, 1)}, "since: saw 2026-12-01"),
        ({"seeds_per_night": 0}, "seeds_per_night: saw 0"),
        ({"first_seed": 2**32 - 5}, "largest seed"),
    ],
)
def test_nights_that_cannot_be_are_refused(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    from flows.nightly import nightly

    asked = {"since": date(2026, 11, 1), "until": date(2026, 11, 2), "seeds_per_night": 20, **keys}
    with pytest.raises(InputError, match=says):
        nightly.fn({**RECIPE, "output": str(tmp_path / "out")}, **asked)
    assert not (tmp_path / "out").exists()


def test_a_run_in_which_nothing_can_be_made_ends_soon(prefect_server: None, tmp_path: Path) -> None:
    from flows.synthesize import synthesize

    recipe = {**RECIPE, "generator": "integration:lost", "seeds": "0-399", "output": str(tmp_path / "data")}
    with pytest.raises(RenderError, match=r"60 shards missing: .*device lost") as error:
        synthesize(recipe, run={**RUN, "allow_code": True})
    [tried] = re.findall(r"and (\d+) more", str(error.value))
    assert int(tried) < 15


def test_more_tasks_than_prefect_bears_go_to_further_flow_runs(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    from flows import job
    from flows.synthesize import synthesize

    monkeypatch.setattr(job, "TASKS_PER_RUN", 3)
    recipe = {**RECIPE, "name": "many", "seeds": "0-59", "output": str(tmp_path / "data")}
    state = synthesize(recipe, run={**RUN, "block_minutes": 1e-6}, return_state=True)
    assert state.result()["shards"] == 10 and state.result()["complete"]
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs(limit=200) if run.parent_task_run_id]
        tasks = client.read_task_runs(limit=200)
    this = state.state_details.flow_run_id
    parents = {task.id for task in tasks if task.flow_run_id == this}
    chunks = [run.id for run in runs if run.parent_task_run_id in parents]
    rendering = [task.flow_run_id for task in tasks if task.name.startswith("shards ")]
    assert [rendering.count(run) for run in (this, *chunks)].count(3) == 3 and len(chunks) == 3


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Three nights of a dataset."""
    folder = tmp_path / "nights"
    gansynth.generate(
        gansynth.Recipe(**{**RECIPE, "seeds": ["0-19", "20-39", "40-59"], "output": str(folder)}), device="cpu"
    )
    return folder


def test_a_backfill_makes_missing_and_damaged_shards_of_the_chosen_nights(prefect_server: None, nights: Path) -> None:
    from flows.backfill import backfill
    from flows.verify import verify

    whole, plan = content(nights), Dataset.open(str(nights)).plan
    by_part = {part: next(shard for shard in plan if shard.part == part) for part in range(3)}
    for part in range(3):
        (nights / f"{by_part[part].stem}.tar").write_bytes(b"damaged")
    missing = [shard for shard in plan if shard.part == 1][-1]
    (nights / f"{missing.stem}_stats.json").unlink()
    with pytest.raises(
        GansynthError, match=r"4 problems, such as .*tar: has 7 bytes.*1 of them shards that are not there"
    ):
        verify(str(nights))
    found = backfill(str(nights), parts="1", run=RUN)
    assert (found["damaged"], found["shards"], found["complete"]) == (1, 2, True)
    left = {path for path, data in content(nights).items() if data != whole[path]}
    assert left == {f"{by_part[0].stem}.tar", f"{by_part[2].stem}.tar"}
    assert backfill(str(nights), run=RUN)["damaged"] == 2
    assert content(nights) == whole and verify(str(nights)) == {"shards": len(plan)}
    with pytest.raises(InputError, match="parts: saw 7"):
        backfill(str(nights), parts="2,7", run=RUN)


def test_a_task_that_hangs_is_interrupted_and_its_shards_are_made_by_the_next_run(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.synthesize import synthesize

    recipe = {**RECIPE, "generator": "integration:hanging", "seeds": "0-9", "output": str(tmp_path / "data")}
    run = {**RUN, "allow_code": True}
    monkeypatch.setenv(HANG, "1")
    with pytest.raises(RenderError, match=r"interrupted after timeout_minutes: 0\.05"):
        synthesize(recipe, run={**run, "timeout_minutes": 0.05})
    assert not (tmp_path / "data/.tmp/claims").exists() or not list((tmp_path / "data/.tmp/claims").iterdir())
    monkeypatch.delenv(HANG)
    assert synthesize(recipe, run=run)["complete"]


def test_a_classifier_is_trained_on_what_is_ready(
    prefect_server: None, make: Callable[..., Path], tmp_path: Path
) -> None:
    from flows.classify import train_classifier

    folder = make("data", seeds="0-99")
    found = train_classifier(str(folder), str(tmp_path / "run"), epochs=4)
    assert Path(found["classifier"]).is_file() and found["images"] > 400
    assert found["accuracy"] > 0.8
    some = train_classifier(str(folder), str(tmp_path / "some"), epochs=4, where="class_name != 'Bag'")
    assert some["images"] < found["images"] and some["accuracy"] > 0.8
    with pytest.raises(InputError, match="nothing to tell apart"):
        train_classifier(str(make("one", classes=["Bag"])), str(tmp_path / "run"))
