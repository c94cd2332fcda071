"""Real and synthetic images in one dataset."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import gansynth
from gansynth.errors import InputError
from gansynth.loaders import mix, open_dataset
from gansynth.loaders.blend import Blend, turns
from gansynth.loaders.catalogue import Catalogue
from gansynth.loaders.order import Reader
from gansynth.loaders.pools import Pools
from gansynth.loaders.real import RealDataset

NAMES = ["tint 0", "tint 1", "tint 2"]
COUNTS = {"tint 0": 24, "tint 1": 9, "tint 2": 3}


@pytest.fixture(scope="module")
def synthetic_place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 images, 40 a class."""
    place = str(tmp_path_factory.mktemp("data") / "tints")
    options = {"resolution": 16, "num_classes": 3, "z_dim": 4}
    recipe = {"name": "tints", "generator": "fake", "generator_options": options, "classes": "all", "seeds": "0-39"}
    gansynth.generate(gansynth.Recipe.parse({**recipe, "samples_per_shard": 25, "output": place}))
    return place


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 real images of several sizes, unevenly many a class; the first pixel of each is its number."""
    folder = tmp_path_factory.mktemp("photos")
    number = 0
    for name, count in COUNTS.items():
        (folder / name).mkdir()
        for _ in range(count):
            pixels = np.full((16 + 2 * (number % 3), 16, 3), number, np.uint8)
            PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
            number += 1
    return folder


class Pairs(torch.utils.data.Dataset[Any]):
    """36 tensors with labels, in the reverse of the folder's class order."""

    classes = tuple(reversed(NAMES))

    def __len__(self) -> int:
        return 36

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 16, 16), index, dtype=torch.uint8), index % 3


def opened(place: str, **arguments: Any) -> Any:
    return open_dataset(place, **{"batch_size": 8, **arguments})


def numbers(samples: list[dict[str, Any]]) -> Counter[int]:
    """How often each real image came."""
    return Counter(int(sample["image"][0, 0, 0]) for sample in samples if not sample["is_synthetic"])


@pytest.mark.parametrize(("ratio", "total"), [(0.0, 36), (0.25, 48), (0.5, 72), (0.9, 360)])
def test_an_epoch_has_every_real_image_once_and_the_share_asked_for(
    photos: Path, synthetic_place: str, ratio: float, total: int
) -> None:
    dataset = mix(photos, opened(synthetic_place), ratio=ratio)
    samples = list(dataset)
    assert numbers(samples) == Counter(range(36))
    assert len(samples) == len(dataset)
    assert abs(len(samples) - total) <= 1 / (1 - ratio)
    assert {sample["image"].shape for sample in samples} == {(3, 16, 16)}
    window = [sample["is_synthetic"] for sample in samples]
    for start in range(0, len(window) - 20, 20):
        assert abs(sum(window[start : start + 20]) - 20 * ratio) <= 1, "the share holds all along"


def test_synthetic_images_alone_make_an_epoch_too(photos: Path, synthetic_place: str) -> None:
    samples = list(mix(photos, opened(synthetic_place), ratio=1.0))
    assert len(samples) == 120 and all(sample["is_synthetic"] for sample in samples)


def test_every_epoch_brings_other_synthetic_images(photos: Path, synthetic_place: str) -> None:
    dataset = mix(photos, opened(synthetic_place), ratio=0.5)

    def synthetic() -> set[bytes]:
        return {sample["image"].numpy().tobytes() for sample in dataset if sample["is_synthetic"]}

    first, second = synthetic(), synthetic()
    assert len(first) == len(second) == 36, "none twice while there are enough"
    assert first != second


def test_labels_are_the_real_ones(photos: Path, synthetic_place: str) -> None:
    for real, names in ((photos, NAMES), (Pairs(), list(Pairs.classes))):
        dataset = mix(real, opened(synthetic_place), ratio=0.5)
        assert list(dataset.class_names.values()) == names
        by_image = {s["image"].numpy().tobytes(): s["label"] for s in opened(synthetic_place)}
        for sample in dataset:
            if sample["is_synthetic"]:
                stored = NAMES[by_image[sample["image"].numpy().tobytes()]]
                assert names[sample["label"]] == stored


@pytest.mark.parametrize(
    ("ratio", "shares"),
    [
        ({0: 0.8, 2: 0.0}, [0.8, 0.4, 0.0, 0.0]),
        (lambda epoch: 0.5 if epoch % 2 else 0.0, [0.0, 0.5, 0.0, 0.5]),
    ],
)
def test_a_share_may_go_by_the_epoch(photos: Path, synthetic_place: str, ratio: Any, shares: list[float]) -> None:
    dataset = mix(photos, opened(synthetic_place), ratio=ratio)
    for share in shares:
        samples = list(dataset)
        found = sum(sample["is_synthetic"] for sample in samples)
        assert abs(found - share * len(samples)) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_share_may_go_by_the_step(photos: Path, synthetic_place: str, workers: int) -> None:
    steps = 20
    dataset = mix(photos, opened(synthetic_place), ratio={0: 0.0, steps: 1.0}, schedule="step")
    loader = DataLoader(dataset, batch_size=8, num_workers=workers)
    done = 0
    for _ in range(3):
        for batch in loader:
            wanted = min(done / steps, 1.0)
            if len(batch["label"]) == 8:
                assert abs(batch["is_synthetic"].float().mean().item() - wanted) <= 0.25
            done += 1


def test_classes_are_balanced(photos: Path, synthetic_place: str) -> None:
    dataset = mix(photos, opened(synthetic_place), ratio=0.25, balance=True)
    samples = list(dataset)
    assert len(samples) == len(dataset)
    counts = Counter(sample["label"] for sample in samples)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sum(sample["is_synthetic"] for sample in samples) == pytest.approx(0.25 * len(samples), abs=1)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """1,203 images in 41 shards: 400 of each of the first three classes, and 3 of the last."""
    place = str(tmp_path_factory.mktemp("data") / "many")
    recipe = {
        "name": "many",
        "generator": "fake",
        "generator_options": {"resolution": 16, "num_classes": 4, "z_dim": 4},
        "classes": "all",
        "seeds": [{"seeds": "0-399", "classes": NAMES}, {"seeds": "400-402", "classes": ["tint 3"]}],
        "samples_per_shard": 30,
    }
    gansynth.generate(gansynth.Recipe.parse({**recipe, "output": place}))
    return place


@pytest.mark.parametrize("mixed_shards", [1, 8])
def test_balanced_classes_open_few_shards(many_shards: str, mixed_shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = [(torch.full((3, 16, 16), index % 4, dtype=torch.uint8), index % 4) for index in range(300)]
    synthetic = opened(many_shards, mixed_shards=mixed_shards)
    data = mix(real, synthetic, class_names=[*NAMES, "tint 3"], ratio=0.5, balance=True)
    opened_shards: list[str] = []
    rows = Catalogue.rows

    def counted(catalogue: Catalogue, shard: Any, columns: Any) -> Any:
        opened_shards.append(shard.stem)
        return rows(catalogue, shard, columns)

    monkeypatch.setattr(Catalogue, "rows", counted)
    samples = list(data)
    counts = Counter((sample["label"], sample["is_synthetic"]) for sample in samples)
    assert len(counts) == 8 and all(abs(count - 75) <= 15 for count in counts.values())
    # As many samples are in 10 shards, and 8 may be at hand besides; the rare class needs its own.
    assert len(opened_shards) <= 24
    rare = {s["image"].numpy().tobytes() for s in samples if s["is_synthetic"] and s["label"] == 3}
    assert len(rare) == 3, "all of a rare class is given"


def test_targets_are_changed_as_the_dataset_changes_them_on_reading() -> None:
    class Folder(Pairs):
        targets = [index % 3 + 10 for index in range(36)]  # noqa: RUF012 - never changed

        @staticmethod
        def target_transform(target: int) -> int:
            return target - 10

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, _ = super().__getitem__(index)
            return image, self.target_transform(self.targets[index])

    real = RealDataset(Folder(), 16, "tensor", None)
    assert real.labels().tolist() == [real.read(index)[1] for index in range(36)]


@pytest.mark.parametrize("workers", [1, 3])
def test_balanced_classes_have_no_sample_twice_while_there_are_enough(many_shards: str, workers: int) -> None:
    synthetic = opened(many_shards, where=f"class_name in {tuple(NAMES)}")
    real = RealDataset([(torch.zeros(3, 16, 16), index % 3) for index in range(9)], 16, "tensor", NAMES)
    pools = Pools(real, synthetic, {0: 0, 1: 1, 2: 2})

    def places(epoch: int) -> list[Any]:
        readers = [Reader(worker=worker, workers=workers) for worker in range(workers)]
        return [place for reader in readers for place in pools.places([True] * (900 // workers), epoch, reader)]

    first = places(0)
    assert len(set(first)) >= 0.97 * len(first) and set(places(1)) != set(first)
    assert places(0) == first, "an order is decided by seed and epoch"
    few = list(pools.places([True] * 240, 0, Reader()))
    assert len(set(few)) == 240


def test_a_class_without_real_images_comes_from_the_synthetic_ones(photos: Path, synthetic_place: str) -> None:
    real = [sample for sample in mix(photos, opened(synthetic_place), ratio=0.0) if sample["label"] != 2]
    pairs = [(sample["image"], sample["label"]) for sample in real]
    samples = list(mix(pairs, opened(synthetic_place), ratio=0.2, balance=True, class_names=NAMES))
    assert {sample["is_synthetic"] for sample in samples if sample["label"] == 2} == {True}
    counts = Counter(sample["label"] for sample in samples)
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("balance", [False, True])
def test_a_mixture_can_be_gone_on_with(photos: Path, synthetic_place: str, balance: bool) -> None:
    def fresh() -> Any:
        return mix(photos, opened(synthetic_place), ratio={0: 0.2, 9: 0.6}, schedule="step", balance=balance)

    def seen(samples: Any) -> list[bytes]:
        return [sample["image"].numpy().tobytes() for sample in samples]

    whole = fresh()
    epochs = [seen(whole), seen(whole)]
    assert epochs[0] != epochs[1]
    for stop in (0, 1, 17, len(epochs[0])):
        dataset = fresh()
        samples = iter(dataset)
        begun = seen(next(samples) for _ in range(stop))
        resumed = pickle.loads(pickle.dumps(fresh()))
        resumed.load_state_dict(dataset.state_dict())
        assert begun + seen(resumed) == epochs[0]
        assert seen(resumed) == epochs[1]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (3, False), (2, True)])
def test_torchdata_goes_on_from_the_first_batches_of_any_epoch(
    photos: Path, synthetic_place: str, workers: int, persistent: bool
) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        dataset = mix(photos, opened(synthetic_place), ratio={0: 0.6, 4: 0.1}, balance=persistent)
        return StatefulDataLoader(dataset, batch_size=8, num_workers=workers, persistent_workers=persistent)

    def seen(batches: Any) -> list[bytes]:
        return [batch["image"].numpy().tobytes() for batch in batches]

    whole, epochs, states = loader(), [], {}
    for epoch in range(5):
        batches = iter(whole)
        states[epoch, 0] = whole.state_dict()
        first = next(batches)
        states[epoch, 1] = whole.state_dict()
        epochs.append(seen([first, *batches]))
    for epoch, begun in ((0, 0), (0, 1), (3, 0), (3, 1)):
        resumed = loader()
        resumed.load_state_dict(states[epoch, begun])
        assert seen(resumed) == epochs[epoch][begun:], f"epoch {epoch}, batch {begun}"
        assert seen(resumed) == epochs[epoch + 1]


def test_workers_and_ranks_share_the_real_images(photos: Path, synthetic_place: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        dataset = mix(photos, opened(synthetic_place), ratio=0.5)
        batches = list(DataLoader(dataset, batch_size=8, num_workers=2))
        assert sum(len(batch["label"]) for batch in batches) == len(dataset)
        found += [
            {"image": image, "is_synthetic": synthetic}
            for batch in batches
            for image, synthetic in zip(batch["image"], batch["is_synthetic"].tolist(), strict=True)
        ]
    assert numbers(found) == Counter(range(36))


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.parametrize(
    "arguments", [{}, {"balance": True}, {"ratio": {0: 0.0, 20: 1.0}, "schedule": "step"}, {"ratio": 1.0}]
)
def test_a_loader_knows_its_number_of_batches(
    photos: Path, synthetic_place: str, workers: int, arguments: dict[str, Any]
) -> None:
    loader = DataLoader(mix(photos, opened(synthetic_place), **arguments), batch_size=8, num_workers=workers)
    for _ in range(2):
        length = len(loader)
        sizes = [len(batch["label"]) for batch in loader]
        assert len(sizes) == length
        assert set(sizes[:-1]) <= {8}, "only the last batch may be short"


@pytest.mark.parametrize("workers", [2, 3])
def test_real_images_come_in_the_same_order_to_any_number_of_workers(
    photos: Path, synthetic_place: str, workers: int
) -> None:
    def read(workers: int) -> tuple[list[int], list[bool], list[bytes]]:
        loader = DataLoader(mix(photos, opened(synthetic_place), ratio=0.7), batch_size=8, num_workers=workers)
        batches = list(loader)
        flags = torch.cat([batch["is_synthetic"] for batch in batches])
        images = torch.cat([batch["image"] for batch in batches])
        return images[~flags, 0, 0, 0].tolist(), flags.tolist(), [image.numpy().tobytes() for image in images[flags]]

    real, flags, synthetic = read(workers)
    assert (real, flags) == read(0)[:2]
    assert len(set(synthetic)) == len(synthetic) == 84, "none twice while there are enough"


def test_a_stream_deals_itself_out(photos: Path, synthetic_place: str) -> None:
    webdataset = [
        {"__key__": str(i), "png": next(iter(photos.rglob("0.png"))).read_bytes(), "cls": i % 3} for i in range(9)
    ]
    dataset = mix(iter_of(webdataset), opened(synthetic_place), ratio=0.5, class_names=NAMES)
    for _ in range(2):
        samples = list(dataset)
        assert sum(not sample["is_synthetic"] for sample in samples) == 9
        assert abs(len(samples) - 18) <= 1
    with pytest.raises(TypeError, match="stream"):
        len(dataset)
    samples = iter(dataset)
    for _ in range(5):
        next(samples)
    resumed = mix(iter_of(webdataset), opened(synthetic_place), ratio=0.5, class_names=NAMES)
    resumed.load_state_dict(dataset.state_dict())
    assert len(list(resumed)) == len(list(samples))


@pytest.mark.parametrize("change", [{"ratio": 0.6}, {"ratio": {0: 0.5, 3: 0.6}}, {"ratio": lambda epoch: 0.5}])
def test_a_state_of_another_ratio_or_other_samples_is_refused(
    photos: Path, synthetic_place: str, change: dict[str, Any]
) -> None:
    state = mix(photos, opened(synthetic_place), ratio=0.5).state_dict()
    mix(photos, opened(synthetic_place), ratio=0.5).load_state_dict(state)
    with pytest.raises(InputError, match=r"ratio 0\.5, but here is ratio"):
        mix(photos, opened(synthetic_place), **change).load_state_dict(state)
    with pytest.raises(InputError, match="digest of the samples"):
        mix(photos, opened(synthetic_place, where="seed < 20"), ratio=0.5).load_state_dict(state)


def test_a_foreign_class_is_left_out_by_a_condition(photos: Path, synthetic_place: str, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "two")
    shutil.rmtree(tmp_path / "two/tint 1")
    with pytest.raises(InputError, match=r"'tint 1' is none of the real ones.*leave it out with `where`"):
        mix(tmp_path / "two", opened(synthetic_place))
    dataset = mix(tmp_path / "two", opened(synthetic_place, where="class_name != 'tint 1'"), ratio=0.5)
    assert {sample["label"] for sample in dataset if sample["is_synthetic"]} == {0, 1}


def test_images_without_a_class_are_none_of_several_classes(photos: Path, synthetic_place: str, tmp_path: Path) -> None:
    options = {"resolution": 16, "num_classes": 0, "z_dim": 4}
    recipe = {"name": "plain", "generator": "fake", "generator_options": options, "seeds": "0-39"}
    gansynth.generate(gansynth.Recipe.parse({**recipe, "output": str(tmp_path / "plain")}))
    for place in (tmp_path / "plain", [synthetic_place, tmp_path / "plain"]):
        with pytest.raises(InputError, match="no class, but the real ones have 3 classes"):
            mix(photos, opened(place))
    single = mix(photos / "tint 0", opened(tmp_path / "plain"), ratio=0.5)
    assert {sample["label"] for sample in single} == {0}
    nameless = mix([Pairs()[index] for index in range(9)], opened(tmp_path / "plain"), ratio=0.5)
    with pytest.raises(InputError, match="no class, but a real one has label"):
        list(nameless)


@pytest.mark.parametrize(
    ("real", "made", "says"),
    [
        (torch.rand(3, 16, 16), {}, r"float32 .*, but the synthetic ones uint8"),
        (
            torch.zeros(3, 8, 8, dtype=torch.uint8),
            {},
            r"\[3, 8, 8\], but the synthetic ones uint8 tensors \[3, 16, 16\]",
        ),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), {"transform": torch.Tensor.float}, "uint8 .*, but the synthetic"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), {"image": "pil"}, "uint8 .*, but the synthetic ones PIL"),
    ],
)
def test_real_and_synthetic_images_of_different_kinds_are_refused(
    synthetic_place: str, real: torch.Tensor, made: dict[str, Any], says: str
) -> None:
    dataset = mix([(real, 0)] * 9, opened(synthetic_place, **made), ratio=0.5, class_names=NAMES)
    with pytest.raises(InputError, match=says):
        list(DataLoader(dataset, batch_size=8))


def test_a_transform_may_make_sizes_equal(synthetic_place: str) -> None:
    real = [(torch.zeros(3, 8, 8, dtype=torch.uint8), 0)] * 9
    dataset = mix(real, opened(synthetic_place), class_names=NAMES, transform=lambda image: image[:, :8, :8])
    assert {sample["image"].shape for sample in dataset} == {(3, 8, 8)}
    dataset = mix(real, opened(synthetic_place), class_names=NAMES, transform=lambda image: image.float())
    assert len(list(dataset)) == 18


def iter_of(samples: list[Any]) -> Any:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(samples)

    return Stream()


def test_an_iterable_dataset_is_a_stream_though_it_has_a_length(synthetic_place: str) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __len__(self) -> int:
            return 9

        def __iter__(self) -> Any:
            return iter([Pairs()[index] for index in range(9)])

    samples = list(mix(Stream(), opened(synthetic_place), ratio=0.5, class_names=NAMES))
    assert numbers(samples) == Counter(range(9))


def test_a_stream_is_told_the_epoch(synthetic_place: str) -> None:
    def fresh() -> Any:
        return mix(opened(synthetic_place), opened(synthetic_place, seed=1), ratio=0.25, class_names=NAMES)

    whole = fresh()
    epochs = [[sample["image"].numpy().tobytes() for sample in whole] for _ in range(2)]
    assert sorted(epochs[0]) != epochs[0] != epochs[1]
    stopped = fresh()
    stopped.set_epoch(1)
    samples = iter(stopped)
    for _ in range(50):
        next(samples)
    resumed = fresh()
    resumed.load_state_dict(stopped.state_dict())
    assert [sample["image"].numpy().tobytes() for sample in resumed] == epochs[1][50:]


def test_real_images_may_be_at_a_path_or_a_url(photos: Path, synthetic_place: str, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    for real in (photos, photos.as_uri(), tmp_path / "photos.zip", (tmp_path / "photos.zip").as_uri()):
        samples = list(mix(real, opened(synthetic_place), ratio=0.5))
        assert numbers(samples) == Counter(range(36)), real


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ratio": 1.5}, "share of synthetic samples"),
        ({"ratio": lambda epoch: -1}, "share of synthetic samples"),
        ({"ratio": lambda epoch: None}, "share of synthetic samples"),
        ({"ratio": {}}, "share of synthetic samples"),
        ({"ratio": {"first": 0.5}}, "share of synthetic samples"),
        ({"ratio": "half"}, "share of synthetic samples"),
        ({"schedule": "steps"}, "schedule: saw 'steps'"),
        ({"uneven": "dropp"}, "uneven: saw 'dropp'"),
        ({"class_names": ["a", "b", "c"]}, "none of the real ones"),
        ({"class_names": ["tint 0", "tint 1"]}, "class_names"),
        ({"class_names": ["tint 0", "tint 1", "tint 1"]}, "class_names"),
    ],
)
def test_a_mixture_that_means_nothing_is_refused(
    photos: Path, synthetic_place: str, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        mix(photos, opened(synthetic_place), **arguments)


@pytest.mark.parametrize(
    ("real", "arguments", "says"),
    [
        (lambda: "nowhere", {}, "there is no nowhere"),
        (list, {"class_names": NAMES}, "holds no image"),
        (lambda: 7, {}, "saw int"),
        (lambda: iter_of([]), {"class_names": NAMES, "balance": True}, "balance"),
        (lambda: iter_of([]), {"class_names": NAMES, "schedule": "step"}, "step"),
        (lambda: [(torch.zeros(3, 16, 16), 0)], {}, "class_names"),
    ],
)
def test_real_images_that_cannot_be_used_are_refused(
    synthetic_place: str, real: Callable[[], Any], arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        mix(real(), opened(synthetic_place), **arguments)


@pytest.mark.parametrize("sample", [("x", 0), (np.zeros((16, 16), np.float32), 0), {"picture": 1}, 5, (b"x", 0)])
def test_a_real_sample_that_is_none_is_refused(synthetic_place: str, sample: Any) -> None:
    with pytest.raises(InputError, match="real"):
        list(mix([sample], opened(synthetic_place), ratio=0.0, class_names=NAMES))


@given(
    flags=st.lists(st.booleans(), max_size=60), batch_size=st.integers(1, 9), workers=st.integers(1, 5), data=st.data()
)
def test_turns_deal_every_batch_to_one_worker(
    flags: list[bool], batch_size: int, workers: int, data: st.DataObject
) -> None:
    dealt = [turns(np.array(flags, bool), batch_size, Reader(worker=w, workers=workers)) for w in range(workers)]
    assert sorted(position for part in dealt for position in part.real) == list(range(flags.count(False)))
    begins = 0
    for worker, part in enumerate(dealt):
        assert part.synthetic == begins
        begins += int(part.flags.sum())
        wanted = [flags[b : b + batch_size] for b in range(0, len(flags), batch_size)][worker::workers]
        assert part.flags.tolist() == [flag for batch in wanted for flag in batch]


@given(
    share=st.floats(0, 0.99),
    real=st.integers(1, 200),
    batch_size=st.integers(1, 40),
)
def test_a_blend_uses_up_the_real_images_and_keeps_the_share(share: float, real: int, batch_size: int) -> None:
    chosen = Blend(share, "epoch", batch_size).flags(0, 0, real, 10)
    assert (~chosen).sum() == real
    running = np.cumsum(chosen) - share * np.arange(1, len(chosen) + 1)
    assert (running <= 1e-6).all() and (running > -1 - 1e-6).all()
