"""A dataset keeps to the environment it was begun in, unless mixing is allowed; then no shard has two writers."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

import gansynth
from gansynth.claims import FOLDER, Claims
from gansynth.environment import environment
from gansynth.plan import ShardPlan
from gansynth.session import Session, begin
from gansynth.stopping import Stop
from gansynth.store import Store

from . import MANY, all_but_receipts, command, finish, receipts, start, state

_YAML = YAML(typ="safe", pure=True)


@pytest.fixture
def foreign(dataset: Path, tmp_path: Path) -> Path:
    """A dataset with the first of five shards made, its recipe.yaml saying that it was made with other versions."""
    folder = tmp_path / "foreign"
    gansynth.generate(_recipe(dataset, folder), device="cpu", shards=lambda plan: [plan.shard(0)])
    _edit(folder, torch="1.0.0", device="Another Processor (NEON)")
    return folder


def _recipe(dataset: Path, output: Path, **changes: Any) -> gansynth.Recipe:
    return gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(output), **changes})


def _edit(folder: Path, **changes: str) -> None:
    content = _YAML.load((folder / "recipe.yaml").read_text())
    content["environment"].update(changes)
    with (folder / "recipe.yaml").open("w") as file:
        _YAML.dump(content, file)


def _generate(folder: Path, *options: str) -> int:
    return command("generate", folder / "recipe.yaml", "--output", folder, "--device", "cpu", *options)


@pytest.mark.parametrize("package", ["torch", "pytorch-pretrained-biggan"])
def test_a_dataset_records_the_packages_that_its_pixels_depend_on(package: str, dataset: Path) -> None:
    assert _YAML.load((dataset / "recipe.yaml").read_text())["environment"][package] == version(package)


@pytest.mark.parametrize("name", ["generate", "repair"])
def test_another_environment_is_refused_and_told(name: str, foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(foreign)
    here = environment("cpu")
    code = _generate(foreign) if name == "generate" else command("repair", foreign, "--device", "cpu")
    assert code == 2
    message = capsys.readouterr().err
    assert f"torch is 1.0.0 in the dataset, but {here['torch']} here" in message
    assert f"device is Another Processor (NEON) in the dataset, but {here['device']} here" in message
    assert "numpy" not in message
    assert "--allow-mixed" in message
    assert state(foreign) == before


@pytest.mark.parametrize("name", ["generate", "repair"])
def test_another_environment_goes_on_when_mixing_is_allowed(name: str, foreign: Path, dataset: Path) -> None:
    if name == "generate":
        assert _generate(foreign, "--allow-mixed") == 0
    else:
        assert command("repair", foreign, "--allow-mixed", "--device", "cpu") == 0
    record = _YAML.load((foreign / "recipe.yaml").read_text())
    assert record["environment"]["torch"] == "1.0.0"
    assert record["also_rendered_in"] == [environment("cpu")]
    assert command("verify", foreign) == 0
    finished, expected = all_but_receipts(foreign), all_but_receipts(dataset)
    assert finished.pop("recipe.yaml") != expected.pop("recipe.yaml")
    assert finished == expected


def test_an_environment_that_was_recorded_needs_no_leave_again(foreign: Path) -> None:
    assert _generate(foreign, "--allow-mixed", "--shards", "1") == 0
    assert _generate(foreign) == 0
    assert len(_YAML.load((foreign / "recipe.yaml").read_text())["also_rendered_in"]) == 1
    assert command("verify", foreign) == 0


def test_reading_needs_no_leave_in_another_environment(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("status", foreign) == 0
    assert command("verify", foreign) == 1
    assert "train/000000" not in capsys.readouterr().out
    # The first shard was really made here, so its pixels agree; the verdict only knows what recipe.yaml says.
    assert command("show", foreign, "train-000000-000000", "--device", "cpu") == 0


def test_a_shard_that_another_writer_has_claimed_is_left_to_it(foreign: Path, dataset: Path) -> None:
    store = Store(foreign)
    shard = _third(foreign)
    other = Claims(store, "another writer")
    assert other.take(shard)
    summary = gansynth.generate(_recipe(foreign, foreign), device="cpu", allow_mixed=True)
    assert [(receipt.split, receipt.shard) for receipt in summary.receipts] == [("train", 1), ("train", 3), ("val", 0)]
    assert (summary.missing, summary.finished) == (1, False)
    assert not (foreign / f"{shard.stem}.tar").exists()

    other.release(shard)
    assert gansynth.generate(_recipe(foreign, foreign), device="cpu").finished
    assert store.list(FOLDER) == {}


def test_shards_that_others_hold_are_told_apart_from_failures(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Claims(Store(foreign), "another writer").take(_third(foreign))
    assert _generate(foreign, "--allow-mixed") == 0
    found = capsys.readouterr()
    assert "1 of 5 shards missing\n1 shard held by other writers" in found.out
    assert "failed" not in found.err


def test_whoever_may_mix_claims_even_while_it_is_alone(dataset: Path, tmp_path: Path) -> None:
    recipe = _recipe(dataset, tmp_path)
    shard = begin(recipe, "cpu").plan.shard(2)
    assert Claims(Store(tmp_path), "of an environment that is about to join").take(shard)
    assert gansynth.generate(recipe, device="cpu", allow_mixed=True).held == (shard,)


def test_a_writer_that_was_alone_claims_from_when_another_environment_joins(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(dataset, tmp_path, **MANY)
    session = Session(begin(recipe, "cpu").dataset, "cpu")
    last = session.dataset.plan.shard(24)
    outcomes = session.render(session.dataset.plan)
    next(outcomes)
    with monkeypatch.context() as patch:
        patch.setattr("gansynth.session.environment", lambda device: {"torch": "1.0.0"})
        begin(recipe, "cpu", allow_mixed=True)
    assert Claims(Store(tmp_path), "the newcomer").take(last)
    assert len(list(outcomes)) == 23
    assert session.held == [last]


def _close(session: Session, outcomes: Generator[Any, None, None]) -> None:
    next(outcomes)
    outcomes.close()


def _stop(session: Session, outcomes: Generator[Any, None, None]) -> None:
    list(outcomes)


def _fail(session: Session, outcomes: Generator[Any, None, None]) -> None:
    next(outcomes)
    with pytest.raises(KeyError):
        outcomes.throw(KeyError("on purpose"))


@pytest.mark.parametrize("end", [_close, _stop, _fail])
def test_a_run_that_ends_early_gives_its_claims_up(
    end: Callable[[Session, Generator[Any, None, None]], None], dataset: Path, tmp_path: Path
) -> None:
    session = Session(begin(_recipe(dataset, tmp_path, **MANY), "cpu").dataset, "cpu", allow_mixed=True)
    stop = Stop(grace=0)
    rows_seen: list[int] = []

    def count(rows: int) -> None:
        rows_seen.append(rows)
        assert (tmp_path / FOLDER).exists()
        if end is _stop and len(rows_seen) == 3:
            stop.request(2)

    end(session, cast(Generator[Any, None, None], session.render(session.dataset.plan, stop, count)))
    assert rows_seen
    assert not (tmp_path / ".tmp").exists()
    rest = gansynth.generate(_recipe(dataset, tmp_path, **MANY), device="cpu", allow_mixed=True)
    assert rest.finished and rest.receipts and rest.held == ()


def test_nothing_is_said_of_an_empty_folder_of_claims(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (foreign / FOLDER).mkdir(parents=True)  # as older versions left it
    assert command("status", foreign) == 0
    assert ".tmp" not in capsys.readouterr().out
    assert _generate(foreign, "--allow-mixed") == 0
    assert not (foreign / ".tmp").exists()


def _third(folder: Path) -> ShardPlan:
    return gansynth.Dataset.open(str(folder)).plan.shard(2)


def test_an_expired_claim_is_taken_over(foreign: Path) -> None:
    abandoned = foreign / FOLDER / "train-000002.0"
    abandoned.parent.mkdir(parents=True)
    abandoned.write_text(json.dumps({"worker": "killed long ago", "expires": 0}))
    assert gansynth.generate(_recipe(foreign, foreign), device="cpu", allow_mixed=True).finished
    assert Store(foreign).list(FOLDER) == {}


def test_only_one_of_two_writers_gets_a_claim(foreign: Path) -> None:
    shard = _third(foreign)
    first, second = (Claims(Store(foreign), name) for name in ("first", "second"))
    assert first.take(shard)
    assert not second.take(shard)
    first.release(shard)
    assert second.take(shard)


def test_a_claim_given_up_while_it_is_looked_at_disturbs_nobody(foreign: Path) -> None:
    shard = _third(foreign)
    first = Claims(Store(foreign), "first")

    class Slow(Store):
        """Reads a claim only after its holder has given it up."""

        def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
            first.release(shard)
            return super().read(path, offset, length)

    assert first.take(shard)
    Claims(Slow(foreign), "second").take(shard)
    assert len(Store(foreign).list(FOLDER)) <= 1


def test_two_files_of_one_writer_may_be_in_the_making_at_once(tmp_path: Path) -> None:
    """A writer of claims and a writer of shards are two threads with one store."""
    store = Store(tmp_path)
    with store.scratch("shard") as shard:
        with store.scratch("claim") as claim:
            claim.write_bytes(b"")
        shard.write_bytes(b"content")
        store.publish_file(shard, "shard")
    assert store.list() == {"shard": 7}
    assert not (tmp_path / ".tmp").exists()


def test_writers_of_several_environments_never_make_the_same_shard(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    gansynth.generate(_recipe(dataset, folder, **MANY), device="cpu", shards=lambda plan: [])
    _edit(folder, torch="1.0.0")
    arguments = ("generate", folder / "recipe.yaml", "--output", folder, "--device", "cpu", "--allow-mixed")
    made = [int(output.partition(" ")[0]) for output in finish([start(*arguments) for _ in range(2)])]
    assert sum(made) == len(receipts(folder)) == 25
    assert command("verify", folder) == 0
