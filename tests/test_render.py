"""What becomes of a shard when the generator fails, gives unusable images, or is asked to stop."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gansynth
from gansynth import check
from gansynth.api import run
from gansynth.dataset import Dataset
from gansynth.errors import Interrupted, OutputError, RenderError, StoreError
from gansynth.generators.protocol import Generator
from gansynth.receipt import Receipt
from gansynth.render import Failure
from gansynth.session import Session, begin
from gansynth.stopping import Stop
from gansynth.store import SCRATCH, Store

OPTIONS = {"resolution": 16, "num_classes": 2, "z_dim": 4}
SHARDS, BATCHES = 3, 4  # of the recipe below: 60 samples in shards of 20, in batches of 5
Hook = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Custom:
    """The fake generator with its images passed through a hook, which is told the number of the call, from 0."""

    hook: Hook
    fake: Generator = field(default_factory=lambda: gansynth.load_generator("fake", options=OPTIONS))
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fake, name)

    def sample(self, z: Any, classes: Any, truncation: Any, seeds: Any = None) -> torch.Tensor:
        self.calls += 1
        return self.hook(self.calls - 1, self.fake.sample(z, classes, truncation, seeds), classes)


class RecordingStore(Store):
    """Notes what is published, in order, and can refuse some of it."""

    def __init__(self, url: str, refused: str = "nothing") -> None:
        super().__init__(url)
        self.published: list[str] = []
        self._refused = refused

    def publish_file(self, source: Path, path: str) -> None:
        if path.endswith(self._refused):
            raise StoreError(f"{path}: no room")
        super().publish_file(source, path)
        self.published.append(path)


def recipe(output: Path, **changes: Any) -> gansynth.Recipe:
    return gansynth.Recipe(
        **{
            "name": "custom",
            "generator": "fake",
            "generator_options": OPTIONS,
            "classes": "all",
            "seeds": "0-29",
            "samples_per_shard": 20,
            "batch_size": 5,
            "output": str(output),
            **changes,
        }
    )


def session(output: Path, hook: Hook, store: Store | None = None, **changes: Any) -> Session:
    """A session whose generator is the fake one with a hook."""
    dataset = begin(recipe(output, **changes), "cpu").dataset
    return Session(Dataset(store or dataset.store, dataset.record), "cpu", generator=Custom(hook))


def raising(error: BaseException, calls: Iterable[int]) -> Hook:
    numbers = set(calls)

    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if call in numbers:
            raise error
        return images

    return hook


def untouched(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return images


def constant(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return torch.full_like(images, 7)


def outcomes(made: Session, stop: Stop | None = None) -> list[Receipt | Failure]:
    return list(made.render(made.dataset.plan, stop))


def contents(folder: Path) -> dict[str, bytes]:
    """Tars and manifests, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".tar", ".parquet")
    }


def receipts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*_stats.json"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run makes."""
    folder = tmp_path_factory.mktemp("reference") / "out"
    assert gansynth.generate(recipe(folder), device="cpu").finished
    return contents(folder)


# Failures


@pytest.mark.parametrize("error", [RenderError("not finite"), RuntimeError("boom"), MemoryError()], ids=repr)
def test_a_generator_that_raises_in_the_third_batch_fails_that_shard_only(tmp_path: Path, error: Exception) -> None:
    first, *others = outcomes(session(tmp_path, raising(error, [2])))
    assert isinstance(first, Failure)
    assert first.error is error
    assert first.shard.stem == "train/000000"
    assert [receipt.shard for receipt in others if isinstance(receipt, Receipt)] == [1, 2]
    assert not list(tmp_path.rglob("000000*"))
    assert not (tmp_path / SCRATCH).exists()


@settings(max_examples=12, deadline=None)
@given(broken=st.sets(st.integers(0, SHARDS * BATCHES - 1), max_size=2))
def test_running_again_after_failures_gives_the_bytes_of_an_undisturbed_run(
    reference: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, broken: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    found = outcomes(session(folder, raising(RuntimeError("boom"), broken)))
    assert len(found) == SHARDS
    assert contents(folder).items() <= reference.items()
    assert len(receipts(folder)) == sum(isinstance(outcome, Receipt) for outcome in found)
    assert gansynth.generate(recipe(folder), device="cpu").finished
    assert contents(folder) == reference


def test_three_failures_in_a_row_end_the_run(tmp_path: Path) -> None:
    made = session(tmp_path, raising(RuntimeError("disk on fire"), range(100)), samples_per_shard=6)
    with pytest.raises(RenderError, match="3 shards in a row failed, the last with: RuntimeError: disk on fire"):
        run(made, made.dataset.plan, None, lambda count: None)
    assert not receipts(tmp_path)


def test_failures_that_are_not_in_a_row_do_not_end_the_run(tmp_path: Path) -> None:
    # Shards of one batch each: two failures, a success, two failures, a success, ...
    broken = [call for call in range(12) if call % 3 != 2]
    made = session(tmp_path, raising(RuntimeError("boom"), broken), samples_per_shard=5)
    summary = run(made, made.dataset.plan, None, lambda count: None)
    assert (len(summary.receipts), len(summary.failures), summary.missing) == (4, 8, 8)
    assert not summary.finished


def test_a_keyboard_interrupt_within_the_generator_commits_nothing_half(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcomes(session(tmp_path, raising(KeyboardInterrupt(), [5])))
    assert receipts(tmp_path) == ["000000_stats.json"]
    assert not (tmp_path / SCRATCH).exists()


def test_too_little_memory_is_an_error_that_names_a_size_that_fits(tmp_path: Path) -> None:
    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return images

    first = outcomes(session(tmp_path, hook))[0]
    assert isinstance(first, Failure)
    assert isinstance(first.error, RenderError)
    assert "set batch_size: 2" in str(first.error)


def test_memory_that_holds_no_single_image_is_an_error(tmp_path: Path) -> None:
    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    first = outcomes(session(tmp_path, hook))[0]
    assert isinstance(first, Failure)
    assert "nor does a single image" in str(first.error)


@pytest.mark.parametrize(
    "hook",
    [
        lambda call, images, classes: images[:-1],
        lambda call, images, classes: images[:, :8],
        lambda call, images, classes: images.permute(0, 3, 1, 2),
        lambda call, images, classes: images.float() / 255,
        lambda call, images, classes: images[..., :1],
    ],
    ids=["too few", "too small", "channels first", "floats", "one channel"],
)
def test_images_that_break_the_contract_fail_the_shard(tmp_path: Path, hook: Hook) -> None:
    assert all(isinstance(outcome, Failure) for outcome in outcomes(session(tmp_path, hook)))
    assert not receipts(tmp_path)


# Rejected images


def test_constant_images_become_rejected_rows(tmp_path: Path) -> None:
    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        images[classes == 1] = torch.tensor([10, 20, 30], dtype=torch.uint8)
        return images

    made = session(tmp_path, hook)
    found = [outcome for outcome in outcomes(made) if isinstance(outcome, Receipt)]
    assert sum(receipt.rejected for receipt in found) == 30
    for receipt in found:
        stem = tmp_path / receipt.split / f"{receipt.shard:06d}"
        rows = pq.read_table(stem.with_suffix(".parquet")).to_pylist()
        rejected = [row for row in rows if row["class_index"] == 1]
        assert {(row["status"], row["reason"]) for row in rejected} == {("rejected", "constant image")}
        assert {row[c] for row in rejected for c in ("image_bytes", "image_offset", "image_sha256")} == {None}
        assert {row["status"] for row in rows if row["class_index"] == 0} == {"ok"}
        with tarfile.open(stem.with_suffix(".tar")) as tar:
            keys = {name.partition(".")[0] for name in tar.getnames()}
        assert keys == {row["key"] for row in rows if row["status"] == "ok"}
        assert (receipt.rows, receipt.samples) == (20, 20 - len(rejected))
        assert receipt.classes == {"0": receipt.samples}
    assert made.dataset.finalize()
    assert not list(check.verify(made.dataset))
    assert json.loads((tmp_path / "_info.json").read_bytes())["splits"]["train"]["num_samples"] == 30


def test_a_shard_of_nothing_but_constant_images_is_still_a_shard(tmp_path: Path) -> None:
    made = session(tmp_path, constant)
    assert [receipt.samples for receipt in outcomes(made) if isinstance(receipt, Receipt)] == [0, 0, 0]
    assert made.dataset.finalize()
    assert not list(check.verify(made.dataset))
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "train" / "000000.tar").read_bytes())) as tar:
        assert tar.getnames() == []


def test_an_image_with_one_pixel_of_another_colour_is_kept(tmp_path: Path) -> None:
    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        images[:] = 7
        images[0].view(-1)[call] += 1  # batches of one image: each value of an image is changed once
        return images

    values = 16 * 16 * 3
    changes = {"seeds": f"0-{values // 2 - 1}", "samples_per_shard": values, "batch_size": 1}
    (receipt,) = outcomes(session(tmp_path, hook, **changes))
    assert isinstance(receipt, Receipt)
    assert (receipt.samples, receipt.rejected) == (values, 0)


# Stopping


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.integers(0, SHARDS * BATCHES - 1), patient=st.booleans())
def test_a_request_to_stop_ends_at_a_shard_boundary_or_drops_the_shard(
    reference: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, call: int, patient: bool
) -> None:
    stop = Stop(grace=1e9 if patient else 0)

    def hook(number: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if number == call:
            stop.request(15)
        return images

    folder = tmp_path_factory.mktemp("out")
    found = outcomes(session(folder, hook), stop)
    # The shard at hand is made within the time of grace; without it only if this was its last batch.
    expected = call // BATCHES + 1 if patient else (call + 1) // BATCHES
    assert [outcome.shard for outcome in found] == list(range(expected))
    assert len(receipts(folder)) == expected
    assert contents(folder).items() <= reference.items()
    assert not (folder / SCRATCH).exists()


def test_a_stop_requested_before_the_first_shard_makes_nothing(tmp_path: Path) -> None:
    stop = Stop(grace=1e9)
    stop.request(2)
    assert outcomes(session(tmp_path, untouched), stop) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "recipe.yaml"]


def test_a_stopped_run_says_so_and_goes_on_when_run_again(tmp_path: Path, reference: dict[str, bytes]) -> None:
    stop = Stop(grace=1e9)

    def hook(call: int, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if call == 0:
            stop.request(2)
        return images

    made = session(tmp_path, hook)
    with pytest.raises(Interrupted) as caught:
        run(made, made.dataset.plan, stop, lambda count: None)
    assert caught.value.exit_code == 130
    assert receipts(tmp_path) == ["000000_stats.json"]
    summary = gansynth.generate(recipe(tmp_path), device="cpu")
    assert [receipt.shard for receipt in summary.receipts] == [1, 2]
    assert contents(tmp_path) == reference


@pytest.mark.parametrize("cut_off", ["README.md", "recipe.yaml"])
def test_a_beginning_that_was_cut_off_can_be_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes], cut_off: str
) -> None:
    publish, create = Store.publish, Store.create

    def killed(write: Callable[[Store, str, bytes], Any]) -> Callable[[Store, str, bytes], Any]:
        def _killed(self: Store, path: str, data: bytes) -> Any:
            if path == cut_off:
                raise KeyboardInterrupt
            return write(self, path, data)

        return _killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", killed(publish))
        patch.setattr(Store, "create", killed(create))
        with pytest.raises(KeyboardInterrupt):
            begin(recipe(tmp_path), "cpu")
    assert gansynth.generate(recipe(tmp_path), device="cpu").finished
    assert contents(tmp_path) == reference


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something else happen between a run's look for a dataset and its beginning of one."""

    def _overtaken(by: Callable[[], object]) -> None:
        writable = Store.writable

        def late(self: Store) -> None:
            monkeypatch.setattr(Store, "writable", writable)
            by()
            writable(self)

        monkeypatch.setattr(Store, "writable", late)

    return _overtaken


def test_of_two_recipes_that_begin_on_one_output_at_once_the_second_is_refused(
    tmp_path: Path, overtaken: Callable[[Callable[[], object]], None]
) -> None:
    overtaken(lambda: begin(recipe(tmp_path), "cpu"))
    with pytest.raises(OutputError, match="belongs to another recipe: batch_size is 5 in the dataset, but 4"):
        begin(recipe(tmp_path, batch_size=4), "cpu")
    assert Dataset.open(str(tmp_path)).record.recipe.batch_size == 5


@pytest.mark.parametrize("allow_mixed", [False, True])
def test_of_two_environments_that_begin_at_once_the_second_joins_or_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overtaken: Callable[[Callable[[], object]], None],
    allow_mixed: bool,
) -> None:
    environments = iter([{"torch": "second"}, {"torch": "first"}])
    monkeypatch.setattr("gansynth.session.environment", lambda device: next(environments))
    overtaken(lambda: begin(recipe(tmp_path), "cpu"))
    if allow_mixed:
        begin(recipe(tmp_path), "cpu", allow_mixed=True)
    else:
        with pytest.raises(OutputError, match="torch is first in the dataset, but second here"):
            begin(recipe(tmp_path), "cpu")
    record = Dataset.open(str(tmp_path)).record
    assert record.environment == {"torch": "first"}
    assert record.others == (({"torch": "second"},) if allow_mixed else ())


def test_a_run_that_another_overtakes_with_the_same_recipe_goes_on_with_its_dataset(
    tmp_path: Path, overtaken: Callable[[Callable[[], object]], None], reference: dict[str, bytes]
) -> None:
    overtaken(lambda: gansynth.generate(recipe(tmp_path), device="cpu"))
    assert gansynth.generate(recipe(tmp_path), device="cpu").receipts == ()
    assert contents(tmp_path) == reference


# Order and commit


def test_a_shard_is_published_tar_first_and_receipt_last(tmp_path: Path) -> None:
    store = RecordingStore(str(tmp_path))
    outcomes(session(tmp_path, untouched, store))
    assert store.published == [
        "train/000000.tar",
        "README.md",  # lists the split from its first tar on
        "train/000000.parquet",
        "train/000000_stats.json",
        *[f"train/00000{n}{suffix}" for n in (1, 2) for suffix in (".tar", ".parquet", "_stats.json")],
    ]


@pytest.mark.parametrize("refused", ["000001.tar", "000001.parquet", "000001_stats.json"])
def test_a_shard_whose_commit_fails_does_not_exist_and_is_made_again(
    tmp_path: Path, reference: dict[str, bytes], refused: str
) -> None:
    found = outcomes(session(tmp_path, untouched, RecordingStore(str(tmp_path), refused)))
    assert [isinstance(outcome, Receipt) for outcome in found] == [True, False, True]
    assert receipts(tmp_path) == ["000000_stats.json", "000002_stats.json"]
    assert not (tmp_path / SCRATCH).exists()
    summary = gansynth.generate(recipe(tmp_path), device="cpu")
    assert [receipt.shard for receipt in summary.receipts] == [1]
    assert contents(tmp_path) == reference


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_encoding_threads_changes_no_byte(
    tmp_path: Path, reference: dict[str, bytes], threads: int
) -> None:
    begun = begin(recipe(tmp_path), "cpu")
    made = Session(begun.dataset, "cpu", generator=begun.generator, encode_threads=threads)
    outcomes(made)
    assert contents(tmp_path) == reference


def test_every_row_is_counted_once(tmp_path: Path) -> None:
    counts: list[int] = []
    made = session(tmp_path, constant)
    list(made.render(made.dataset.plan, None, counts.append))
    assert sum(counts) == 60


def test_torch_settings_are_restored_after_rendering(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    outcomes(session(tmp_path, untouched, threads=before + 1))
    assert torch.get_num_threads() == before
