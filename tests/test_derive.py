"""Variations of kept samples, and samples between two."""

from __future__ import annotations

import re
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm
from stylegan2_files import CONFIGS, written

import gansynth
from gansynth import manifest
from gansynth.check import verify
from gansynth.cli import run
from gansynth.dataset import Dataset
from gansynth.encode import decode
from gansynth.errors import InputError
from gansynth.generators import load_generator
from gansynth.latents import between, draw, neighbours
from gansynth.lineage import Lineage
from gansynth.loaders import open_dataset
from gansynth.pairs import Pairs
from gansynth.quality.classifier import bundled
from gansynth.sheet import preview
from gansynth.show import find_row, remake, stored_image

BASE: dict[str, Any] = {
    "name": "clothes",
    "generator": "fashion-32",
    "classes": ["Sneaker", "Bag", "Trouser"],
    "truncation": [0.5, 1.0],
    "seeds": "0-29",
    "splits": {"train": 0.8, "val": 0.2},
    "samples_per_shard": 60,
    "image": {"format": "png"},
}


def made(folder: Path, **keys: Any) -> Path:
    gansynth.generate(gansynth.Recipe.parse({**keys, "output": str(folder)}))
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*/*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("clothes") / "data", **BASE)


def vary(source: Path, **keys: Any) -> dict[str, Any]:
    about = {"from": str(source), "sigma": 0.2, "count": 4, **keys.pop("vary", {})}
    return {"name": "near", "vary": about, "image": {"format": "png"}, "samples_per_shard": 100, **keys}


def interpolate(source: Path, **keys: Any) -> dict[str, Any]:
    about = {"from": str(source), "pairs": 20, "steps": 3, **keys.pop("interpolate", {})}
    return {"name": "between", "interpolate": about, "image": {"format": "png"}, **keys}


@pytest.fixture(scope="module")
def near(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("near") / "data", **vary(clothes, vary={"where": "truncation > 0.6"}))


# Latents


@pytest.mark.parametrize("latent", ["truncated_normal", "normal", "numpy_normal"])
def test_neighbours_have_the_distribution_of_their_parents(latent: Any) -> None:
    truncations = np.full(200, 0.6)
    z = draw(latent, range(200), 64, truncations)
    near = neighbours(latent, z, [f"{i}" for i in range(200)], 0.5, truncations)
    assert near.dtype == np.float32 and near.shape == z.shape
    if latent == "truncated_normal":
        assert np.abs(near).max() <= 1.2
        assert kstest(near.ravel() / 0.6, truncnorm(-2, 2).cdf).pvalue > 1e-3
    else:
        assert kstest(near.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(near.ravel(), z.ravel())[0, 1]
    assert correlation == pytest.approx(np.sqrt(1 - 0.5**2), abs=0.02)


@given(sigma=st.floats(0, 1), truncation=st.floats(0.01, 1), seed=st.integers(0, 10_000))
def test_truncation_is_kept_and_distance_grows(sigma: float, truncation: float, seed: int) -> None:
    truncations = np.array([truncation])
    z = draw("truncated_normal", [seed], 128, truncations)
    near = [neighbours("truncated_normal", z, ["x"], s, truncations) for s in (0.0, sigma / 2, sigma)]
    assert all(np.abs(values).max() <= 2 * truncation * (1 + 1e-6) for values in near)
    distances = [float(np.linalg.norm(values - z)) for values in near]
    assert (distances[0] < 1e-4 and distances == sorted(distances)) or sigma < 1e-3


@given(t=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_what_lies_between_stays_within_truncation(t: float, seed: int) -> None:
    truncations = np.array([0.5])
    a, b = (draw("truncated_normal", [s], 128, truncations) for s in (seed, seed + 1))
    assert np.abs(between("truncated_normal", a, b, np.array([t]), truncations)).max() <= 1 + 1e-6
    for end, at in ((a, 0.0), (b, 1.0)):
        assert np.allclose(between("truncated_normal", a, b, np.array([at]), truncations), end, atol=1e-5)


# Variations


def test_every_kept_sample_gets_its_variations(clothes: Path, near: Path) -> None:
    parents = {row["sample_id"]: row for row in rows_of(clothes) if row["truncation"] > 0.6}
    children = rows_of(near)
    assert Counter((row["parent"], row["variant"]) for row in children) == Counter(
        (parent, number) for parent in parents for number in range(4)
    )
    for row in children:
        parent = parents[row["parent"]]
        for key in ("split", "seed", "class_index", "class_name", "label", "truncation"):
            assert row[key] == parent[key], key
        assert not np.array_equal(row["z"], parent["z"])
    ids = {row["sample_id"] for row in children}
    assert len(ids) == len(children) and not ids & set(parents)
    assert list(verify(Dataset.open(str(near)))) == []


def test_variations_of_one_sample_are_not_neighbours_in_a_shard(near: Path) -> None:
    parents = [row["parent"] for row in rows_of(near) if row["split"] == "train"]
    assert sum(a == b for a, b in pairwise(parents)) < 0.2 * len(parents)


def test_images_move_away_as_sigma_grows_and_keep_their_class_when_it_is_small(clothes: Path, tmp_path: Path) -> None:
    parents = {s["sample_id"]: s for s in open_dataset(str(clothes), columns=["sample_id"])}
    network = bundled()
    pixels = {name: sample["image"].permute(1, 2, 0).numpy() for name, sample in parents.items()}
    right = {
        name
        for name, label in zip(pixels, network.predict(np.stack(list(pixels.values()))).tolist(), strict=True)
        if label == parents[name]["label"]
    }
    distances = []
    for sigma in (0.1, 0.3, 0.6, 1.0):
        folder = made(tmp_path / f"{sigma}", **vary(clothes, vary={"sigma": sigma, "count": 2}))
        children = list(open_dataset(str(folder), columns=["parent"]))
        found = np.stack([child["image"].permute(1, 2, 0).numpy() for child in children])
        origin = np.stack([pixels[child["parent"]] for child in children])
        distances.append(float(np.abs(found.astype(float) - origin).mean()))
        if sigma == 0.1:
            kept = [
                label == child["label"]
                for child, label in zip(children, network.predict(found).tolist(), strict=True)
                if child["parent"] in right
            ]
            assert np.mean(kept) >= 0.9
    assert distances == sorted(distances)


def test_shards_made_in_any_order_by_anyone_hold_the_same_bytes(clothes: Path, near: Path, tmp_path: Path) -> None:
    recipe = gansynth.Recipe.parse(
        {**vary(clothes, vary={"where": "truncation > 0.6"}), "output": str(tmp_path / "again")}
    )
    for ordinal in (3, 1, 0, 2):
        gansynth.generate(recipe, shards=lambda plan, ordinal=ordinal: [plan.shard(ordinal)])
    for path in near.glob("*/*.[tp]a*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(near)).read_bytes()


def test_a_variation_is_remade_from_its_row(near: Path) -> None:
    dataset = Dataset.open(str(near))
    row = find_row(dataset, "val-000000-000005")
    assert remake(dataset, row, load_generator("fashion-32"), "cpu").identical


def test_a_variation_can_be_varied_again(near: Path, tmp_path: Path) -> None:
    again = made(tmp_path / "again", **vary(near, vary={"where": "variant == 0 and label == 8"}))
    parents = {row["sample_id"]: row for row in rows_of(near)}
    assert {parents[row["parent"]]["variant"] for row in rows_of(again)} == {0}
    assert {row["split"] for row in rows_of(again)} == {"train", "val"}


# In between


def test_samples_lie_between_two_of_one_class(clothes: Path, tmp_path: Path) -> None:
    folder = made(tmp_path / "between", **interpolate(clothes))
    parents = {row["sample_id"]: row for row in rows_of(clothes)}
    rows = rows_of(folder)
    assert len(rows) == 60 and len({(row["parent"], row["other_parent"]) for row in rows}) == 20
    for row in rows:
        a, b = parents[row["parent"]], parents[row["other_parent"]]
        assert a["sample_id"] != b["sample_id"]
        for key in ("split", "class_index", "truncation"):
            assert row[key] == a[key] == b[key]
        assert row["position"] in (0.25, 0.5, 0.75)
        z, ends = np.array(row["z"]), (np.array(a["z"]), np.array(b["z"]))
        to_a, to_b = (float(np.linalg.norm(z - end)) for end in ends)
        assert row["position"] == 0.5 or (to_a < to_b) == (row["position"] < 0.5)
    assert {row["class_index"] for row in rows} == {1, 7, 8}
    dataset = Dataset.open(str(folder))
    assert list(verify(dataset)) == []
    assert remake(dataset, find_row(dataset, "train-000000-000003"), load_generator("fashion-32"), "cpu").identical


def test_pairs_over_a_large_dataset_are_read_in_one_pass_that_holds_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"resolution": 8, "num_classes": 2, "z_dim": 1024}
    large = {"generator": "fake", "generator_options": options, "classes": "all", "latent": "normal", "seeds": "0-999"}
    source = made(
        tmp_path / "large", **{**BASE, **large, "truncation": 1.0, "splits": {"train": 1.0}, "samples_per_shard": 20}
    )
    recipe = interpolate(source, interpolate={"pairs": 60, "steps": 1})
    plan = gansynth.plan(gansynth.Recipe.parse(recipe))
    lineage, [shard] = Lineage(plan.recipe), plan
    read = Counter[str]()

    def counted(store: Any, path: str, columns: Any) -> Any:
        read[path] += 1
        return manifest_read(store, path, columns)

    manifest_read = manifest.read
    monkeypatch.setattr(manifest, "read", counted)
    tracemalloc.start()
    rows = lineage.rows(shard)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.origins is not None
    assert set(read.values()) == {1} and len(read) > 50
    z = {row["sample_id"]: np.array(row["z"], np.float32) for row in rows_of(source)}
    columns, parents = rows.origins.columns, rows.origins.parents
    ends = [np.stack([z[name] for name in names]) for names in (parents, columns["other_parent"])]
    position = np.array(columns["position"])
    expected = between("normal", ends[0], ends[1], position, np.ones(len(rows)))
    assert np.array_equal(rows.origins.z, expected)
    assert peak < len(z) * 1024 * 4 / 2, "most of the dataset was in memory"


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0])), max_size=25))
def test_all_pairs_come_once_and_groups_take_turns(keys: list[tuple[int, float]]) -> None:
    pairs = Pairs(keys)
    a, b = pairs.at(np.arange(len(pairs)))
    found = {frozenset(pair) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    expected = {frozenset((i, j)) for i in range(len(keys)) for j in range(i) if keys[i] == keys[j]}
    assert found == expected and len(pairs) == len(expected)
    groups = [keys[index] for index in a.tolist()]
    several = sum(1 for count in Counter(keys).values() if count > 1)
    assert len(set(groups[:several])) == several


# Growing


@pytest.fixture
def source(clothes: Path, tmp_path: Path) -> Path:
    """A dataset that may grow."""
    return Path(shutil.copytree(clothes, tmp_path / "source"))


def grow(source: Path, **changes: Any) -> None:
    made(source, **{**BASE, "seeds": ["0-29", "30-34", "35-64"], **changes})


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*.[tp]a*")}


@pytest.mark.parametrize("kind", [vary, interpolate])
@pytest.mark.parametrize("record", ["today's", "an older version's"])
def test_a_dataset_goes_on_although_its_source_has_grown(
    kind: Callable[..., dict[str, Any]], record: str, source: Path, tmp_path: Path
) -> None:
    recipe = {**kind(source), "samples_per_shard": 30}
    alone = made(tmp_path / "alone", **recipe)
    begun = gansynth.Recipe.parse({**recipe, "output": str(tmp_path / "begun")})
    gansynth.generate(begun, shards=lambda plan: [plan.shard(0)])
    if record != "today's":
        text = (tmp_path / "begun" / "recipe.yaml").read_text()
        (tmp_path / "begun" / "recipe.yaml").write_text(re.sub(r", shards: \{[^}]*\}|\n +shards: \{[^}]*\}", "", text))
        assert Dataset.open(str(tmp_path / "begun")).record.recipe.derivation.shards is None
    grow(source)
    (source / "train" / "000003_stats.json").unlink()  # and grows still
    assert gansynth.generate(begun).finished
    assert bytes_of(tmp_path / "begun") == bytes_of(alone)
    (alone / "train" / "000000.tar").write_bytes(b"damaged")
    assert run(["repair", str(alone)]) == 0
    assert bytes_of(alone) == bytes_of(tmp_path / "begun")
    assert list(verify(Dataset.open(str(alone)))) == []


def test_a_new_dataset_starts_from_all_that_there_is(source: Path, tmp_path: Path) -> None:
    grow(source)
    near = made(tmp_path / "near", **vary(source, vary={"count": 1}))
    assert {row["parent"] for row in rows_of(near)} == {row["sample_id"] for row in rows_of(source)}


def replaced(source: Path) -> None:
    shutil.rmtree(source)
    grow(source, seeds=["30-59", "0-29"])


def half_lost(source: Path) -> None:
    grow(source)
    (source / "train" / "000000_stats.json").unlink()


@pytest.mark.parametrize(
    ("change", "says"), [(replaced, "vary: .* holds other samples"), (half_lost, "vary: .* lacks shards")]
)
def test_any_other_change_of_the_source_is_refused(
    change: Callable[[Path], None], says: str, source: Path, tmp_path: Path
) -> None:
    recipe = gansynth.Recipe.parse({**vary(source), "output": str(tmp_path / "near")})
    gansynth.generate(recipe, shards=lambda plan: [plan.shard(0)])
    change(source)
    with pytest.raises(InputError, match=says) as caught:
        gansynth.generate(recipe)
    assert "\n" not in str(caught.value)


# Styles


def test_styles_can_be_varied_and_joined(tmp_path: Path) -> None:
    snapshot = written(CONFIGS["conditional"], tmp_path)
    source = made(
        tmp_path / "faces", name="faces", generator=str(snapshot), classes=[1, 2], truncation=0.7, seeds="0-5"
    )
    near = made(tmp_path / "near", **vary(source, vary={"space": "w", "sigma": 0.3}))
    middle = made(tmp_path / "middle", **interpolate(source, interpolate={"space": "w", "pairs": 4, "steps": 1}))
    parents = {row["sample_id"]: np.array(row["w"]) for row in rows_of(source)}
    for row in rows_of(middle):
        halfway = (parents[row["parent"]] + parents[row["other_parent"]]) / 2
        assert np.allclose(row["w"], halfway, atol=1e-5)
    moved = [np.linalg.norm(np.array(row["w"]) - parents[row["parent"]]) for row in rows_of(near)]
    assert min(moved) > 0
    for folder in (near, middle):
        dataset = Dataset.open(str(folder))
        assert list(verify(dataset)) == []
        comparison = remake(dataset, find_row(dataset, "train-000000-000001"), load_generator(str(snapshot)), "cpu")
        assert comparison.identical


# To look at


def pixels(folder: Path, row: dict[str, Any]) -> Any:
    return decode(stored_image(Dataset.open(str(folder)), row) or b"")


def test_a_preview_shows_a_parent_of_each_class_beside_its_variations(clothes: Path, near: Path) -> None:
    recipe = gansynth.plan(gansynth.Recipe.parse(vary(clothes, vary={"where": "truncation > 0.6"}))).recipe
    drawn = preview(recipe, load_generator("fashion-32"), 2, 3)
    assert list(drawn.columns) == ["parent", "1", "3", "4"]
    stored = {(row["parent"], row["variant"]): row for row in rows_of(near)}
    for name, shown in zip(drawn.rows, drawn.images, strict=True):
        parents = [row for row in rows_of(clothes) if row["class_name"] == name and row["truncation"] > 0.6]
        [parent] = [row for row in parents if np.array_equal(pixels(clothes, row), shown[0])]
        for number, image in zip((0, 2, 3), shown[1:], strict=True):
            assert np.array_equal(pixels(near, stored[parent["sample_id"], number]), image)


def test_a_preview_shows_what_lies_between_two_parents(clothes: Path) -> None:
    recipe = gansynth.plan(gansynth.Recipe.parse(interpolate(clothes))).recipe
    drawn = preview(recipe, load_generator("fashion-32"), 9, 9)
    assert sorted(drawn.rows) == ["Bag", "Sneaker", "Trouser"]
    assert list(drawn.columns) == ["parent", "1", "2", "3", "parent"]
    stored = [pixels(clothes, row).tolist() for row in rows_of(clothes)]
    assert all(shown[0].tolist() in stored and shown[-1].tolist() in stored for shown in drawn.images)


def test_the_card_says_what_variations_are_derived_from(near: Path) -> None:
    card = (near / "README.md").read_text()
    assert "4 neighbours of each parent, sigma 0.2 in z" in card
    assert "`truncation > 0.6`" in card and "--set vary.from=PATH" in card


# What is refused


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"seeds": "0-9"}, "seeds: .*leave the key out"),
        ({"truncation": 0.5}, "truncation: .*leave the key out"),
        ({"interpolate": {"from": "x", "pairs": 1, "steps": 1}}, "both `vary` and `interpolate`"),
        ({"vary": {"sigma": 0}}, "sigma"),
        ({"vary": {"sigma": 1.1}}, "sigma"),
        ({"vary": {"count": 0}}, "count"),
        ({"vary": {"space": "w"}}, "no styles"),
        ({"vary": {"where": "colour == 1"}}, "colour"),
        ({"vary": {"where": "seed > 1e6"}}, "loosen"),
        ({"vary": {"from": "nowhere"}}, "from: nowhere"),
        ({"vary": {"siggma": 1}}, "sigma"),
        ({"generator": "fake"}, "Sneaker|class|options|generator"),
    ],
)
def test_variations_that_mean_nothing_are_refused(
    clothes: Path, tmp_path: Path, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        made(tmp_path / "out", **vary(clothes, **keys))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_more_pairs_than_there_are_are_refused(clothes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only .* of one class"):
        made(tmp_path / "out", **interpolate(clothes, interpolate={"pairs": 10**6}))


def test_neither_seeds_nor_variations_is_a_missing_key() -> None:
    with pytest.raises(InputError, match="the key `seeds` is missing"):
        gansynth.Recipe.parse({"name": "x", "generator": "fake"})
    with pytest.raises(InputError, match="the key `generator` is missing"):
        gansynth.Recipe.parse({"name": "x", "seeds": "0-9"})


def test_an_unfinished_dataset_is_not_varied(clothes: Path, tmp_path: Path) -> None:
    shutil.copytree(clothes, tmp_path / "half")
    (tmp_path / "half" / "val" / "000000_stats.json").unlink()
    with pytest.raises(InputError, match="is unfinished"):
        made(tmp_path / "out", **vary(tmp_path / "half"))


def test_variations_are_whole_without_the_dataset_they_come_from(
    clothes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(clothes, source)
    near = made(tmp_path / "near", **vary(source))
    shutil.rmtree(source)
    assert run(["verify", str(near)]) == 0
    assert run(["show", str(near), "train-000000-000000", "--to", str(tmp_path / "x.png")]) == 0
    (near / "train" / "000000.tar").write_bytes(b"")
    capsys.readouterr()
    assert run(["repair", str(near)]) == 2
    assert "source" in capsys.readouterr().err
