"""Reading datasets back: conditions, ranks and workers, resuming, and what must be refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torch.utils.data._utils import worker as torch_worker

import gansynth
from gansynth import manifest
from gansynth.encode import decode
from gansynth.errors import GansynthError, InputError, StoreError
from gansynth.loaders import open_dataset
from gansynth.loaders.order import Order, Reader, deal, share
from gansynth.where import parse

FAKE: dict[str, Any] = {
    "name": "tints",
    "generator": "fake",
    "generator_options": {"resolution": 16, "num_classes": 3, "z_dim": 4},
    "classes": "all",
    "truncation": [0.4, 1.0],
    "image": {"format": "png"},
    "samples_per_shard": 50,
    "seeds": "0-99",
}


def made(folder: Path, **changes: Any) -> str:
    gansynth.generate(gansynth.Recipe.parse({**FAKE, **changes, "output": str(folder)}))
    return str(folder)


@pytest.fixture(scope="module")
def tints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """600 samples in three classes, two truncations and two splits."""
    return made(tmp_path_factory.mktemp("data") / "tints", splits={"train": 0.9, "val": 0.1})


@pytest.fixture(scope="module", params=[1, 3, 8])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A dataset of so many shards, the last one short, and its number of samples."""
    count = int(request.param)
    folder = made(
        tmp_path_factory.mktemp("shards") / "data", seeds=f"0-{7 * count - 3}", truncation=1.0, samples_per_shard=21
    )
    assert len(list(Path(folder).glob("train/*.tar"))) == count
    return folder, 3 * (7 * count - 2)


@pytest.fixture
def seen_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reader, Callable[[], Any]], Any]]:
    """Calls something as one of several ranks and workers would, without starting them."""

    def call(reader: Reader, action: Callable[[], Any]) -> Any:
        monkeypatch.setenv("RANK", str(reader.rank))
        monkeypatch.setenv("WORLD_SIZE", str(reader.ranks))
        if reader.workers:
            info = torch_worker.WorkerInfo(id=reader.worker, num_workers=reader.workers, seed=0, dataset=None)
            monkeypatch.setattr(torch_worker, "_worker_info", info)
        else:
            monkeypatch.setattr(torch_worker, "_worker_info", None)
        return action()

    yield call


def manifest_rows(place: str) -> list[dict[str, Any]]:
    return [row for path in sorted(Path(place).glob("train/*.parquet")) for row in pq.read_table(path).to_pylist()]


def keys(dataset: Any) -> list[str]:
    return [sample["key"] for sample in dataset]


# What is read


def test_samples_are_those_of_the_manifests(tints: str) -> None:
    rows = manifest_rows(tints)
    expected = {row["key"]: row for row in rows}
    dataset = open_dataset(tints, columns=["key", "z", "class_name", "truncation", "wnid"])
    samples = list(dataset)
    assert sorted(keys(samples)) == sorted(expected)
    assert len(dataset) == len(samples)
    for sample in samples:
        row = expected[sample["key"]]
        with Path(f"{tints}/train/{row['shard']:06d}.tar").open("rb") as tar:
            tar.seek(row["image_offset"])
            pixels = decode(tar.read(row["image_bytes"]))
        assert sample["image"].dtype == torch.uint8
        assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), pixels)
        assert sample["z"].dtype == torch.float32 and sample["z"].tolist() == row["z"]
        assert (sample["label"], sample["class_name"]) == (row["label"], row["class_name"])
        assert sample["wnid"] == (row["wnid"] or "")
    assert dataset.class_names == {0: "tint 0", 1: "tint 1", 2: "tint 2"}


@pytest.mark.parametrize("format_name", ["jpg", "webp"])
def test_images_come_as_asked_for(format_name: str, tmp_path: Path) -> None:
    place = made(tmp_path / "data", seeds="0-3", image={"format": format_name})
    stored = next(iter(open_dataset(place, image="bytes", shuffle=False)))["image"]
    picture = next(iter(open_dataset(place, image="pil", shuffle=False)))["image"]
    tensor = next(iter(open_dataset(place, shuffle=False)))["image"]
    assert np.array_equal(decode(stored), np.asarray(picture))
    assert np.abs(np.asarray(picture).astype(int) - tensor.permute(1, 2, 0).numpy()).max() <= 1
    scaled = next(iter(open_dataset(place, shuffle=False, transform=lambda image: image.float() / 255)))["image"]
    assert torch.equal(scaled, tensor.float() / 255)


def test_every_column_can_be_had(tints: str) -> None:
    rows = {row["key"]: row for row in manifest_rows(tints)}
    columns = manifest.schema(4).names
    for sample in open_dataset(tints, where="seed < 3", columns=columns):
        assert sample.keys() == {"image", *columns}
        assert sample["image_bytes"] == rows[sample["key"]]["image_bytes"]
        assert sample["image_offset"] == rows[sample["key"]]["image_offset"]


def test_a_place_may_be_a_path(tints: str) -> None:
    assert keys(open_dataset(Path(tints), columns=["key"])) == keys(open_dataset(tints, columns=["key"]))
    assert len(open_dataset([Path(tints)])) == len(open_dataset(tints))


def test_every_epoch_has_another_order_and_the_same_samples(tints: str) -> None:
    dataset = open_dataset(tints, columns=["key"])
    first, second = keys(dataset), keys(dataset)
    assert first != second and sorted(first) == sorted(second)
    assert keys(open_dataset(tints, columns=["key"])) == first, "an order is decided by seed and epoch"
    assert keys(open_dataset(tints, columns=["key"], seed=1)) != first
    dataset.set_epoch(0)
    assert keys(dataset) == first
    assert keys(open_dataset(tints, columns=["key"], shuffle=False)) == sorted(first)


def test_shuffling_mixes_shards(tints: str) -> None:
    found = [key.split("-")[1] for key in keys(open_dataset(tints, columns=["key"], mixed_shards=4))]
    assert len(set(found[:20])) == 4


def test_a_rejected_sample_is_never_read(tmp_path: Path) -> None:
    place = made(tmp_path / "data", seeds="0-3")
    path = tmp_path / "data" / "train" / "000000.parquet"
    table = pq.read_table(path)
    status = ["rejected" if i == 3 else "ok" for i in range(len(table))]
    position = table.schema.get_field_index("status")
    pq.write_table(table.set_column(position, table.schema.field(position), [status]), path)
    assert len(keys(open_dataset(place, columns=["key"], where="seed >= 0"))) == len(table) - 1


def test_class_names_are_those_of_the_samples_that_fit(tints: str, tmp_path: Path) -> None:
    assert open_dataset(tints, where="class_name != 'tint 1'").class_names == {0: "tint 0", 2: "tint 2"}
    dense = made(tmp_path / "dense", classes=["tint 2"], labels="dense", seeds="0-3")
    both = open_dataset([tints, dense], where="class_name == 'tint 2' and parent is None and label == 2")
    assert both.class_names == {2: "tint 2"}


def test_classes_with_one_label_are_named_together(tmp_path: Path) -> None:
    merged = made(tmp_path / "merged", labels={0: 0, 1: 0, 2: 1}, seeds="0-3")
    assert open_dataset(merged).class_names == {0: "tint 0 / tint 1", 1: "tint 2"}


def test_datasets_that_number_or_name_classes_differently_are_refused(tints: str, tmp_path: Path) -> None:
    dense = made(tmp_path / "dense", classes=["tint 2"], labels="dense", seeds="0-3")
    with pytest.raises(InputError, match="label 0 is 'tint 2' here, but 'tint 0' in another"):
        open_dataset([tints, dense])
    two = made(tmp_path / "two", classes=["tint 0", "tint 2"], labels="dense", seeds="0-3")
    one = made(tmp_path / "one", classes=["tint 2"], seeds="0-3")
    with pytest.raises(InputError, match="'tint 2' has label 2 here, but 1 in another"):
        open_dataset([two, one])


def test_several_datasets_are_read_as_one(tints: str, tmp_path: Path) -> None:
    other = made(tmp_path / "other", seeds="500-509")
    both = open_dataset([tints, other], columns=["sample_id"])
    assert len({sample["sample_id"] for sample in both}) == len(open_dataset(tints)) + len(open_dataset(other))


# Conditions


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("truncation <= 0.6", lambda row: row["truncation"] <= 0.6),
        ("0.3 < truncation < 0.5 and status == 'ok'", lambda row: row["truncation"] == 0.4),
        ("class_name in ('tint 0', 'tint 2')", lambda row: row["class_name"] != "tint 1"),
        ("class_name not in ['tint 0'] or seed == 7", lambda row: row["class_name"] != "tint 0" or row["seed"] == 7),
        ("not (label == 1) and 10 <= seed", lambda row: row["label"] != 1 and row["seed"] >= 10),
        ("wnid is None and parent is None and seed != -1", lambda row: True),
    ],
)
def test_a_condition_picks_rows(tints: str, where: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    expected = [row["key"] for row in manifest_rows(tints) if holds(row)]
    assert sorted(keys(open_dataset(tints, where=where, columns=["key"]))) == sorted(expected)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("colour == 'red'", '"colour"'),
        ("truncation = 0.5", "no condition"),
        ("truncation", "comparison is expected"),
        ("truncation + 1 > 0", "no column"),
        ("truncation > '0.5'", "numbers"),
        ("class_name == 3", "texts"),
        ("z == 1", "vector"),
        ("seed is 3", "=="),
        ("seed in 3", "list"),
        ("__import__('os').system('true')", "comparison is expected"),
        ("seed == __import__('os').getpid()", "no number or text"),
        ("", "no condition"),
        ("(" * 500, "no condition"),
        ("seed > 1 and", "no condition"),
        ("seed > 1e9", "no sample"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(tints: str, where: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_dataset(tints, where=where)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_does_anything_but_be_a_condition_or_not(text: str) -> None:
    try:
        found = parse(text, manifest.schema(4))
    except InputError:
        return
    assert found.columns <= set(manifest.schema(4).names)


# Ranks and workers


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_ranks_and_workers_share_an_epoch(
    shards: tuple[str, int], ranks: int, workers: int, seen_by: Callable[..., Any]
) -> None:
    place, total = shards

    def read(uneven: str) -> list[list[str]]:
        found = []
        for rank in range(ranks):
            # As in a DataLoader, every worker has a copy.
            parts = [
                seen_by(
                    Reader(rank, ranks, worker, workers),
                    lambda: keys(open_dataset(place, columns=["key"], uneven=uneven, batch_size=4)),
                )
                for worker in range(max(1, workers))
            ]
            assert sum(1 for part in parts if len(part) % 4) <= 1, "one short batch a rank at most"
            found.append([key for part in parts for key in part])
        return found

    exact, padded, dropped = read("exact"), read("pad"), read("drop")
    everything = [key for part in exact for key in part]
    assert len(everything) == len(set(everything)) == total
    assert {len(part) for part in padded} == {-(-total // ranks)}
    assert {key for part in padded for key in part} == set(everything)
    assert {len(part) for part in dropped} == {total // ranks}
    assert max(Counter(key for part in dropped for key in part).values()) == 1


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_an_epoch_can_be_gone_on_with(
    shards: tuple[str, int], ranks: int, workers: int, seen_by: Callable[..., Any]
) -> None:
    place, _ = shards
    chance = random.Random(f"{place[-1]}{ranks}{workers}")
    for worker in range(max(1, workers)):
        reader = Reader(chance.randrange(ranks), ranks, worker, workers)

        def fresh() -> Any:
            return open_dataset(place, columns=["key"], seed=3)

        def stopped(stop: int) -> tuple[list[str], dict[str, Any]]:
            dataset = fresh()
            dataset.set_epoch(5)
            samples = iter(dataset)
            return [next(samples)["key"] for _ in range(stop)], dataset.state_dict()

        def resumed(state: dict[str, Any]) -> list[str]:
            dataset = fresh()
            dataset.load_state_dict(state)
            return keys(dataset)

        def whole() -> list[str]:
            dataset = fresh()
            dataset.set_epoch(5)
            return keys(dataset)

        expected = seen_by(reader, whole)
        stop = chance.randint(1, len(expected))
        before, state = seen_by(reader, lambda stop=stop: stopped(stop))
        state = json.loads(json.dumps(state))
        assert before + seen_by(reader, lambda state=state: resumed(state)) == expected


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(sum),
    ranks=st.integers(1, 5),
    workers=st.integers(1, 5),
    batch_size=st.integers(1, 9),
    mixed=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_an_epoch_is_dealt_out_without_loss(
    counts: list[int], ranks: int, workers: int, batch_size: int, mixed: int, epoch: int
) -> None:
    order = Order(counts, True, 0, mixed)
    found: Counter[tuple[int, int]] = Counter()
    for rank in range(ranks):
        for worker in range(workers):
            reader = Reader(rank, ranks, worker, workers)
            part = deal(*share(len(order), reader, "exact"), reader, batch_size)
            found.update(order.samples(epoch, *part))
    assert found == Counter((shard, row) for shard, count in enumerate(counts) for row in range(count))


def test_ranks_that_would_go_without_are_refused(tints: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    dataset = open_dataset(tints, where="seed == 3 and label == 1", uneven="drop")
    with pytest.raises(InputError, match="4 ranks leave none"):
        list(dataset)


def test_a_state_of_another_arrangement_is_refused(tints: str) -> None:
    state = open_dataset(tints).state_dict()
    with pytest.raises(InputError, match="state"):
        open_dataset(tints, seed=1).load_state_dict(state)


def test_a_state_of_other_samples_is_refused_and_one_of_a_moved_dataset_is_not(tints: str, tmp_path: Path) -> None:
    where = "class_name == 'tint 0'"
    state = open_dataset(tints, where=where).state_dict()
    other = open_dataset(tints, where="class_name == 'tint 1'")
    assert len(other) == len(open_dataset(tints, where=where))
    with pytest.raises(InputError, match="digest of the samples"):
        other.load_state_dict(state)
    shutil.copytree(tints, tmp_path / "elsewhere")
    open_dataset(tmp_path / "elsewhere", where=where).load_state_dict(state)
    like = made(tmp_path / "like", splits={"train": 0.9, "val": 0.1}, latent="normal")
    with pytest.raises(InputError, match="digest of the samples"):
        open_dataset(like, where=where).load_state_dict(state)


def _read_as_rank(rank: int, place: str, address: str, results: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    loader = DataLoader(
        open_dataset(place, columns=["key"], batch_size=8),
        batch_size=8,
        num_workers=2,
        multiprocessing_context="spawn" if rank else "fork",
        persistent_workers=bool(rank),
    )
    epochs = [[batch["key"] for batch in loader] for _ in range(2)]
    results.put((rank, len(loader), epochs))
    torch.distributed.destroy_process_group()


def test_torch_distributed_and_real_workers_agree(tints: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [
        context.Process(target=_read_as_rank, args=(rank, tints, tmp_path / "rendezvous", results)) for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    found = [results.get(timeout=120) for _ in ranks]
    for rank in ranks:
        rank.join()
    total = len(open_dataset(tints))
    for _, length, epochs in found:
        assert [len(batches) for batches in epochs] == [length, length]
    for epoch in range(2):
        read = {key for _, _, epochs in found for batch in epochs[epoch] for key in batch}
        assert len(read) == total
    assert found[0][2][0] != found[0][2][1]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_goes_on_in_the_middle_of_an_epoch_and_at_its_end(tints: str, workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        return StatefulDataLoader(
            open_dataset(tints, columns=["key"], batch_size=16), batch_size=16, num_workers=workers
        )

    whole = loader()
    epochs = [[batch["key"] for batch in whole] for _ in range(3)]
    assert epochs[0] != epochs[1]
    interrupted = loader()
    batches = iter(interrupted)
    begun = [next(batches)["key"] for _ in range(7)]
    resumed = loader()
    resumed.load_state_dict(interrupted.state_dict())
    assert begun + [batch["key"] for batch in resumed] == epochs[0]
    assert [batch["key"] for batch in resumed] == epochs[1]
    ended = loader()
    ended.load_state_dict(resumed.state_dict())
    assert [batch["key"] for batch in ended] == epochs[2]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (3, False), (2, True)])
def test_torchdata_goes_on_from_the_first_batches_of_any_epoch(tints: str, workers: int, persistent: bool) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        dataset = open_dataset(tints, where="seed < 10 and label == 1", columns=["key"], batch_size=4)
        return StatefulDataLoader(dataset, batch_size=4, num_workers=workers, persistent_workers=persistent)

    whole, epochs, states = loader(), [], {}
    for epoch in range(5):
        batches = iter(whole)
        states[epoch, 0] = whole.state_dict()
        first = next(batches)["key"]
        states[epoch, 1] = whole.state_dict()
        epochs.append([first, *(batch["key"] for batch in batches)])
    assert len({str(epoch) for epoch in epochs}) == 5
    for epoch, begun in ((0, 0), (0, 1), (3, 0), (3, 1)):
        resumed = loader()
        resumed.load_state_dict(states[epoch, begun])
        assert [batch["key"] for batch in resumed] == epochs[epoch][begun:], f"epoch {epoch}, batch {begun}"
        assert [batch["key"] for batch in resumed] == epochs[epoch + 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_counts_for_a_loop_that_stops_at_its_known_length(tints: str, workers: int) -> None:
    dataset = open_dataset(tints, where="seed < 8 and label == 1", columns=["key"], batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=workers)
    assert len(dataset) % 4 == 0, "so that no batch is short and nothing asks for more samples than there are"
    epochs = []
    for _ in range(3):
        batches = iter(loader)
        epochs.append([next(batches)["key"] for _ in range(len(loader))])
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_half_way_comes_again_unless_another_one_is_set(tints: str, workers: int) -> None:
    dataset = open_dataset(tints, columns=["key"], batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=workers)
    first, again = next(iter(loader))["key"], next(iter(loader))["key"]
    dataset.set_epoch(1)
    assert first == again != next(iter(loader))["key"]


def test_an_epoch_left_half_way_sets_workers_not_apart(tints: str) -> None:
    loader = DataLoader(open_dataset(tints, columns=["key"], batch_size=50), batch_size=50, num_workers=3)
    next(iter(loader))
    assert len({key for batch in loader for key in batch["key"]}) == len(open_dataset(tints))


# What is refused


def test_an_unfinished_dataset_is_read_only_if_asked_for(tints: str, tmp_path: Path) -> None:
    place = tmp_path / "half"
    recipe = gansynth.Recipe.parse({**FAKE, "output": str(place)})
    gansynth.generate(recipe, shards=lambda plan: [plan.shard(0), plan.shard(2)])
    with pytest.raises(InputError, match=r"unfinished, 2 of 12 shards.*unfinished=True"):
        open_dataset(str(place))
    assert len(list(open_dataset(str(place), unfinished=True))) == 100


def test_a_dataset_without_receipts_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "data"
    made(place, seeds="0-3")
    (place / "train" / "000000_stats.json").unlink()
    with pytest.raises(InputError, match="unfinished, 0 of 1 shards"):
        open_dataset(str(place))
    with pytest.raises(InputError, match="no sample"):
        open_dataset(str(place), unfinished=True)
    (place / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        open_dataset(str(place))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda train: (train / "000000.tar").unlink(), r"000000\.tar: is missing"),
        (lambda train: (train / "000000.parquet").unlink(), r"000000\.parquet: is missing"),
        (lambda train: os.truncate(train / "000000.tar", 5000), r"5,000 bytes.*were written.*repair"),
    ],
)
def test_damage_is_told_and_never_skipped(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    place = made(tmp_path / "data", seeds="0-3")
    damage(tmp_path / "data" / "train")
    with pytest.raises(StoreError, match=says):
        open_dataset(place)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda train: os.truncate(train / "000000.tar", 5000), "cut off"),
        (lambda train: (train / "000000.tar").unlink(), "is missing"),
        (lambda train: (train / "000000.tar").write_bytes(bytes((train / "000000.tar").stat().st_size)), "decoded"),
        (lambda train: (train / "000000.parquet").write_bytes(b"none"), "not a readable manifest"),
    ],
)
def test_damage_while_reading_is_told_too(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    dataset = open_dataset(made(tmp_path / "data", seeds="0-3"))
    damage(tmp_path / "data" / "train")
    with pytest.raises(StoreError, match=says):
        list(dataset)


def test_images_of_several_sizes_need_a_transform(tints: str, tmp_path: Path) -> None:
    larger = made(tmp_path / "large", generator_options={"resolution": 32, "num_classes": 3, "z_dim": 4}, seeds="0-3")
    with pytest.raises(InputError, match="differ in size"):
        open_dataset([tints, larger])
    assert len(list(open_dataset([tints, larger], image="bytes"))) > 540


def test_labels_that_mean_several_classes_are_refused(tints: str, tmp_path: Path) -> None:
    other = made(tmp_path / "other", classes=["tint 2"], labels="dense", seeds="0-3")
    with pytest.raises(InputError, match="label 0 is 'tint 2' here"):
        open_dataset([tints, other])


@pytest.mark.parametrize(
    "arguments",
    [
        {"split": "test"},
        {"columns": ["colour"]},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"mixed_shards": 0},
        {"seed": -1},
        {"seed": "x"},
        {"image": "numpy"},
        {"uneven": "dropp"},
        {"url": 7},
        {"url": [b"data"]},
    ],
)
def test_what_a_dataset_does_not_have_is_refused(tints: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        open_dataset(**{"url": tints, **arguments})
    with pytest.raises(GansynthError):
        open_dataset([])


def test_neither_prefect_nor_the_biggan_library_is_needed(tints: str) -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["prefect", "pytorch_pretrained_biggan", "webdataset"]))
import gansynth
print(len(list(gansynth.open_dataset(sys.argv[1], where="seed < 10"))))
"""
    run = subprocess.run([sys.executable, "-c", code, tints], capture_output=True, text=True, check=True)
    assert int(run.stdout) == len(open_dataset(tints, where="seed < 10"))


def test_a_dataset_can_be_sent_to_another_process(tints: str) -> None:
    dataset = open_dataset(tints, where="seed < 10", columns=["key"])
    assert keys(pickle.loads(pickle.dumps(dataset))) == keys(dataset)
