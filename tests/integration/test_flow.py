"""The Prefect flow: same bytes as without Prefect, artifacts and the event, and nothing left behind when it is killed."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SMALL

import flows  # noqa: F401 - sets what Prefect reads when it is imported
import gansynth
from gansynth.dataset import Dataset
from gansynth.errors import StoreError
from gansynth.session import Session, begin
from gansynth.store import Store

ROOT = Path(__file__).parents[2]


def shards(folder: Path) -> dict[str, str]:
    """sha256 of all tars and manifests."""
    files = sorted([*folder.glob("*/*.tar"), *folder.glob("*/*.parquet")])
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_any_number_of_workers_gives_the_bytes_of_a_run_without_prefect(
    prefect_server: None, dataset: Path, tmp_path: Path, workers: int
) -> None:
    from flows.synthesize import synthesize

    result = synthesize({**SMALL, "output": str(tmp_path / "out")}, run={"workers": workers, "device": "cpu"})
    assert result["complete"] and result["images"] == 240
    assert shards(tmp_path / "out") == shards(dataset)
    assert (tmp_path / "out" / "_info.json").read_bytes() == (dataset / "_info.json").read_bytes()
    assert not (tmp_path / "out" / ".tmp").exists()


@pytest.mark.slow
def test_variations_are_the_same_however_many_workers_make_them(
    prefect_server: None, dataset: Path, tmp_path: Path
) -> None:
    from flows.synthesize import synthesize

    about = {"from": str(dataset), "where": "truncation <= 0.5", "sigma": 0.1, "count": 2}
    recipe = gansynth.Recipe.parse({"name": "near", "vary": about, "samples_per_shard": 40})
    gansynth.generate(recipe.model_copy(update={"output": str(tmp_path / "alone")}), device="cpu")
    result = synthesize({**recipe.content(), "output": str(tmp_path / "out")}, run={"workers": 2, "device": "cpu"})
    assert result["complete"] and result["images"] == 240
    assert shards(tmp_path / "out") == shards(tmp_path / "alone")


def test_a_run_leaves_artifacts_and_announces_the_dataset(prefect_server: None, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.announce import READY_EVENT
    from flows.synthesize import synthesize

    recipe = {**SMALL, "name": "announced", "seeds": "0-9", "splits": {"train": 1.0}, "output": str(tmp_path / "out")}
    state = synthesize(recipe, run={"workers": 1, "device": "cpu"}, return_state=True)
    again = synthesize(recipe, run={"workers": 1, "device": "cpu"})
    assert state.is_completed() and again["shards"] == 0
    with get_client(sync_client=True) as client:
        assert artifacts(client, state) == {"progress", "shards", "contact-sheet", "summary"}
        events = until(lambda: ready_events(client, READY_EVENT, "announced"))
    assert len(events) == 1, "a run that finds the dataset complete must not announce it again"
    assert events[0]["payload"]["uri"] == str(tmp_path / "out")
    assert events[0]["payload"]["samples"] == 60


def artifacts(client: Any, state: Any) -> set[str]:
    """Keys of what a flow run has shown."""
    found = client.request("POST", "/artifacts/filter", json={}).json()
    return {a["key"] for a in found if a["flow_run_id"] == str(state.state_details.flow_run_id)}


def test_a_dataset_completed_by_other_means_is_announced_by_the_next_run(prefect_server: None, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.announce import READY_EVENT
    from flows.synthesize import synthesize

    recipe = {**SMALL, "name": "by-hand", "seeds": "0-9", "splits": {"train": 1.0}, "output": str(tmp_path / "out")}
    gansynth.generate(gansynth.Recipe(**recipe), device="cpu")  # finalized, but nobody has told the server
    assert synthesize(recipe, run={"workers": 1, "device": "cpu"})["shards"] == 0
    recipe["seeds"] = ["0-9", "10-19"]
    gansynth.generate(gansynth.Recipe(**recipe), device="cpu")
    assert synthesize(recipe, run={"workers": 1, "device": "cpu"})["shards"] == 0
    with get_client(sync_client=True) as client:
        events = until(lambda: len(found := ready_events(client, READY_EVENT, "by-hand")) == 2 and found)
    assert {event["payload"]["samples"] for event in events} == {60, 120}


def test_what_cannot_be_shown_fails_no_run(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    from flows import board
    from flows.announce import READY_EVENT
    from flows.synthesize import synthesize

    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("413 Content Too Large")

    for name in ("progress", "table", "image", "markdown"):
        monkeypatch.setattr(board, f"create_{name}_artifact", refuse)
    recipe = {**SMALL, "name": "unseen", "seeds": "0-9", "splits": {"train": 1.0}, "output": str(tmp_path / "out")}
    state = synthesize(recipe, run={"workers": 1, "device": "cpu"}, return_state=True)
    assert state.is_completed() and state.result()["complete"]
    assert (tmp_path / "out" / "_info.json").exists()
    with get_client(sync_client=True) as client:
        assert artifacts(client, state) == set()
        until(lambda: ready_events(client, READY_EVENT, "unseen"))


def test_a_dataset_is_announced_before_anything_is_shown(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import synthesize as module

    order: list[str] = []
    finish = module.Board.finish

    def finishing(*arguments: Any, **options: Any) -> None:
        order.append("finalized and shown" if (tmp_path / "out" / "_info.json").exists() else "shown")
        finish(*arguments, **options)

    monkeypatch.setattr(module.Board, "finish", finishing)
    monkeypatch.setattr(module, "announce", lambda dataset: order.append("announced"))
    recipe = {**SMALL, "seeds": "0-9", "splits": {"train": 1.0}, "output": str(tmp_path / "out")}
    gansynth.generate(gansynth.Recipe(**recipe), device="cpu")
    (tmp_path / "out" / "_info.json").unlink()
    module.synthesize(recipe, run={"workers": 1, "device": "cpu"})
    assert order == ["announced", "finalized and shown"]


def test_an_interrupt_while_a_dataset_is_finished_ends_the_run(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import synthesize as module

    recipe = {**SMALL, "seeds": "0-9", "splits": {"train": 1.0}, "output": str(tmp_path / "out")}
    run = {"workers": 1, "device": "cpu"}
    gansynth.generate(gansynth.Recipe(**recipe), device="cpu")
    (tmp_path / "out" / "_info.json").unlink()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with monkeypatch.context() as patch:
        patch.setattr(module, "finish", lambda dataset: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            module.synthesize(recipe, run=run)
    signal.signal(signal.SIGINT, handler)
    assert not (tmp_path / "out" / "_info.json").exists()
    assert module.synthesize(recipe, run=run)["complete"] and (tmp_path / "out" / "_info.json").exists()


def ready_events(client: Any, event: str, name: str) -> list[dict[str, Any]]:
    body = {"filter": {"event": {"name": [event]}}, "limit": 50}
    found = client.request("POST", "/events/filter", json=body).json()["events"]
    return [e for e in found if e["payload"]["name"] == name]


def until(probe: Callable[[], Any]) -> Any:
    """What the probe returns once that is true; polls for at most half a minute."""
    for _ in range(150):
        if result := probe():
            return result
        time.sleep(0.2)
    raise AssertionError("nothing came within the time")


class Refusing(Store):
    """Refuses the tar of one shard for some times."""

    def __init__(self, url: str, refused: str, times: int) -> None:
        super().__init__(url)
        self.refused, self.left = refused, times

    def publish_file(self, source: Path, path: str) -> None:
        if path == self.refused and self.left:
            self.left -= 1
            raise StoreError(f"{path}: no room")
        super().publish_file(source, path)


@pytest.fixture
def block(prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a block of shards as Prefect does in a worker, in a session made by a function."""
    from flows import worker
    from flows.tasks import render_block

    def _block(session: Callable[[Dataset, Any], Session], count: int = 6) -> dict[str, Any]:
        changes = {"samples_per_shard": 10, "seeds": f"0-{count * 10 // 6 - 1}", "splits": {"train": 1.0}}
        recipe = {**SMALL, **changes, "output": str(tmp_path)}
        begun = begin(gansynth.Recipe(**recipe), "cpu")
        made = session(begun.dataset, begun.generator)
        monkeypatch.setattr(worker, "session", lambda *arguments: made)
        at_once = render_block.with_options(retry_delay_seconds=0)
        report: dict[str, Any] = at_once(str(tmp_path), list(range(count)), 1, False, False)
        return report

    return _block


def test_a_block_ends_when_several_shards_in_a_row_fail(block: Callable[..., dict[str, Any]]) -> None:
    calls = 0

    class Broken:
        weights_sha256: str

        def sample(self, *arguments: Any) -> None:
            nonlocal calls
            calls += 1
            raise RuntimeError("device lost")

    def session(dataset: Dataset, generator: Any) -> Session:
        broken: Any = Broken()
        broken.weights_sha256 = generator.weights_sha256
        return Session(dataset, "cpu", generator=broken)

    report = block(session, 30)
    assert [failure["shard"] for failure in report["failed"]] == ["train/000000", "train/000001", "train/000002"]
    assert "device lost" in report["failed"][-1]["error"]
    assert calls <= 10, "the shards after those were tried too"  # some are under way when the third is reported
    assert report["made"] == []


@pytest.mark.parametrize(("times", "failed"), [(1, []), (99, ["train/000002"])])
def test_shards_made_before_storage_failed_are_in_the_report(
    block: Callable[..., dict[str, Any]], times: int, failed: list[str]
) -> None:
    def session(dataset: Dataset, generator: Any) -> Session:
        store = Refusing(dataset.store.url, "train/000002.tar", times)
        return Session(Dataset(store, dataset.record), "cpu", generator=generator)

    report = block(session)
    stems = [f"train/{number:06d}" for number in range(6)]
    assert sorted(row["shard"] for row in report["made"]) == [stem for stem in stems if stem not in failed]
    assert [failure["shard"] for failure in report["failed"]] == failed


def test_seconds_are_those_of_all_tries(block: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import tasks

    ticks = itertools.count()
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))

    def session(dataset: Dataset, generator: Any) -> Session:
        store = Refusing(dataset.store.url, "train/000002.tar", 2)
        return Session(Dataset(store, dataset.record), "cpu", generator=generator)

    assert block(session)["seconds"] == 3.0, "the clock ticks once in each of three tries"


def start(recipe: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.synthesize", str(recipe), "--device", "cpu", "--workers", "2", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def write_recipe(folder: Path, **changes: Any) -> Path:
    from ruamel.yaml import YAML

    path = folder / "recipe.yaml"
    YAML(typ="safe").dump({**SMALL, "output": str(folder / "out"), **changes}, path)
    return path


def running(text: str) -> dict[int, str]:
    """Command lines, by id, of the processes that were started for a flow with this text in their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text in (process / "environ").read_text(errors="replace"):
                found[int(process.name)] = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
    return found


def test_a_killed_flow_leaves_no_process_and_the_next_run_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"GANSYNTH_TEST_MARK={tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv(*mark.split("="))
    recipe = write_recipe(tmp_path, seeds="0-199")
    flow = start(recipe)
    until_receipts(tmp_path / "out", flow)
    flow.kill()
    flow.communicate()
    until(lambda: not running(mark))
    finished = start(recipe)
    out, errors = finished.communicate(timeout=200)
    assert finished.returncode == 0, errors
    assert "complete" in out and "Traceback" not in errors
    assert not running(mark)
    reference = tmp_path / "reference"
    gansynth.generate(gansynth.Recipe(**{**SMALL, "seeds": "0-199", "output": str(reference)}), device="cpu")
    assert shards(tmp_path / "out") == shards(reference)


def test_a_killed_worker_costs_no_shard_and_the_run_completes(prefect_server: None, tmp_path: Path) -> None:
    from flows.synthesize import synthesize

    changes = {"seeds": "0-199", "samples_per_shard": 10}
    left: list[int] = []

    def kill() -> None:
        until(lambda: list(tmp_path.glob("out/train/*_stats.json")))
        multiprocessing.active_children()[0].kill()
        left.append(120 - len(list(tmp_path.glob("out/*/*_stats.json"))))

    killer = threading.Thread(target=kill)
    killer.start()
    found = synthesize({**SMALL, **changes, "output": str(tmp_path / "out")}, run={"workers": 2, "device": "cpu"})
    killer.join()
    assert found["complete"] and left[0] > 0, "nothing was left to make when the worker was killed"
    reference = tmp_path / "reference"
    gansynth.generate(gansynth.Recipe(**{**SMALL, **changes, "output": str(reference)}), device="cpu")
    assert shards(tmp_path / "out") == shards(reference)
    assert (tmp_path / "out" / "_info.json").read_bytes() == (reference / "_info.json").read_bytes()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_an_idle_worker_that_is_killed_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies with a lock that the others wait for."""
    mark = f"GANSYNTH_TEST_MARK={tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv(*mark.split("="))
    changes = {"seeds": "0-1499", "splits": {"train": 1.0}, "samples_per_shard": 3000}  # three shards for two workers
    flow = start(write_recipe(tmp_path, **changes))

    def idle() -> int | None:
        claims = [json.loads(path.read_text())["worker"] for path in tmp_path.glob("out/.tmp/claims/*")]
        workers = {pid for pid, line in running(mark).items() if "spawn_main" in line}
        done = len(list(tmp_path.glob("out/*/*_stats.json")))
        others = workers - {int(name.rpartition(":")[2]) for name in claims}
        return others.pop() if done == 2 and len(claims) == len(others) == 1 else None

    until_receipts(tmp_path / "out", flow)
    os.kill(until(idle), signal.SIGKILL)
    out, errors = flow.communicate(timeout=200)
    assert flow.returncode == 0, errors
    assert "complete" in out and "Traceback" not in errors
    until(lambda: not running(mark))


def until_receipts(folder: Path, flow: subprocess.Popen[str]) -> None:
    for _ in range(2000):
        if list(folder.glob("train/*_stats.json")):
            return
        assert flow.poll() is None, flow.communicate()
        time.sleep(0.05)
    raise AssertionError("no shard was made")


def test_ctrl_c_in_a_terminal_stops_with_130_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"GANSYNTH_TEST_MARK={tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv(*mark.split("="))
    flow = start(write_recipe(tmp_path, seeds="0-1999"))
    until_receipts(tmp_path / "out", flow)
    os.killpg(flow.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    _, errors = flow.communicate(timeout=60)
    assert flow.returncode == 130
    assert "stopped by signal 2" in errors and "Traceback" not in errors
    until(lambda: not running(mark))


@pytest.mark.parametrize(
    ("changes", "arguments", "reason"),
    [
        ({"truncation": 0}, [], "truncation"),
        ({"classes": ["nothing"]}, [], "nothing"),
        ({}, ["--workers", "0"], "--workers"),
        ({}, ["--runner", "bogus"], "--runner"),
        ({}, ["--device", "cuda:7"], "device"),
    ],
)
def test_bad_input_ends_with_2_before_a_server_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], arguments: list[str], reason: str
) -> None:
    from flows.synthesize import app
    from gansynth.cli import execute

    recipe = write_recipe(tmp_path, **changes)
    assert execute(app, [str(recipe), *arguments]) == 2
    errors = capsys.readouterr().err
    assert (
        reason in errors
        and errors.startswith(f"gansynth: recipe {recipe}: " if changes else "gansynth: ")
        and errors.count("\n") == 1
    )
    assert not (tmp_path / "out").exists()
