"""A dataset on S3 from its first byte to its use, on a server that fails now and then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from s3_server import KEY, SECRET, Request, Server, one_in

import gansynth
from gansynth.check import verify
from gansynth.dataset import Dataset
from gansynth.loaders import open_dataset

from . import command

PREFIX = "data/small"
OWN = ("recipe.yaml", "README.md", "_stats.json")  # these tell when and by whom they were made


def comparable(files: dict[str, bytes]) -> dict[str, bytes]:
    """What has to be the same wherever it was made."""
    return {name: data for name, data in files.items() if not name.endswith(OWN)}


def local_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recipe(bucket: str, **changes: object) -> gansynth.Recipe:
    return gansynth.Recipe(**{**SMALL, "output": f"s3://{bucket}/{PREFIX}", **changes})


@pytest.fixture
def remote(s3: Server, bucket: str, dataset: Path) -> str:
    """URL of a complete dataset on the server: a copy of the shared one."""
    for name, data in local_files(dataset).items():
        s3.put(bucket, f"{PREFIX}/{name}", data)
    return f"s3://{bucket}/{PREFIX}"


def test_a_dataset_made_while_one_request_in_twenty_fails_is_the_local_one(
    s3: Server, bucket: str, dataset: Path
) -> None:
    s3.faults = one_in(20, seed=5)
    summary = gansynth.generate(recipe(bucket), device="cpu")
    assert summary.finished and s3.broken > 3
    s3.faults = lambda request: None
    made = s3.files(bucket, f"{PREFIX}/")
    assert comparable(made) == comparable(local_files(dataset))
    assert made.keys() == local_files(dataset).keys(), "something was left behind"
    assert list(verify(Dataset.open(f"s3://{bucket}/{PREFIX}"))) == []


def test_resuming_lists_once_and_asks_nothing_of_each_shard(remote: str, s3: Server) -> None:
    s3.requests.clear()
    assert gansynth.generate(recipe(remote.split("/")[2]), device="cpu").receipts == ()
    asked = Counter(request.key.removeprefix(f"{PREFIX}/") for request in s3.requests if request.key)
    tars = [key for key in asked if key.endswith((".tar", ".parquet"))]
    assert tars == [], "shards were probed"
    receipts = [key for key in asked if key.endswith("_stats.json")]
    assert max(asked[key] for key in receipts) == 1, "receipts are read once, to compare the index files"


def test_each_shard_takes_six_requests(s3: Server, bucket: str) -> None:
    gansynth.generate(recipe(bucket), device="cpu")
    asked = [(request.method, request.key.removeprefix(f"{PREFIX}/")) for request in s3.requests]
    last = max(n for n, (method, key) in enumerate(asked) if method == "PUT" and key.endswith("_stats.json"))
    acts: dict[str, list[str]] = {}
    for method, key in asked[: last + 2]:  # then the dataset is finished, for which some shards are looked at
        if match := re.search(r"(?:train|val)[-/](\d{6})", key):
            acts.setdefault(match[0].replace("/", "-"), []).append(method)
    claim, look, uploads, release = ["PUT"], ["HEAD"], ["PUT"] * 3, ["DELETE"]
    assert len(acts) > 4
    assert {tuple(found) for found in acts.values()} == {(*claim, *look, *uploads, *release)}


@pytest.mark.parametrize("suffix", [".tar", pytest.param(".parquet", marks=pytest.mark.slow), "_stats.json"])
def test_a_worker_killed_in_the_middle_of_an_upload_leaves_nothing_to_be_picked_up(
    s3: Server, bucket: str, dataset: Path, suffix: str
) -> None:
    reached, worker = threading.Event(), []

    def kill(request: Request) -> None:
        if request.method == "PUT" and request.key.endswith(f"train/000001{suffix}") and not reached.is_set():
            worker[0].kill()
            reached.set()

    s3.watch = kill
    code = f"import gansynth; gansynth.generate(gansynth.Recipe(**{recipe(bucket).content()!r}), device='cpu')"
    worker.append(subprocess.Popen([sys.executable, "-c", code], env={**os.environ}))
    assert worker[0].wait(timeout=120) == -signal.SIGKILL
    s3.watch = lambda request: None
    existing = Dataset.open(f"s3://{bucket}/{PREFIX}").done()["train"]
    with pytest.raises(gansynth.errors.InputError, match="unfinished"):
        open_dataset(f"s3://{bucket}/{PREFIX}")
    samples = open_dataset(f"s3://{bucket}/{PREFIX}", unfinished=True)
    assert len(list(samples)) == 50 * len(existing)
    gansynth.generate(recipe(bucket), device="cpu")
    assert comparable(s3.files(bucket, f"{PREFIX}/")) == comparable(local_files(dataset))
    assert s3.uploads(bucket) == []


def test_damage_is_found_and_mended(
    remote: str, s3: Server, bucket: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = s3.files(bucket)[f"{PREFIX}/train/000001.tar"]
    s3.put(bucket, f"{PREFIX}/train/000001.tar", tar[:-1] + b"x")
    s3.backend.delete_object(bucket, f"{PREFIX}/train/000002.parquet")
    assert command("verify", remote) == 1
    told = capsys.readouterr().out
    assert "train/000001.tar: holds other bytes" in told and "train/000002.parquet: is missing" in told
    assert command("repair", remote, "--device", "cpu") == 0
    assert comparable(s3.files(bucket, f"{PREFIX}/")) == comparable(local_files(dataset))
    s3.backend.delete_object(bucket, f"{PREFIX}/train.index.json")
    assert command("finalize", remote) == 0
    assert command("verify", remote) == 0


def test_a_loader_reads_the_same_samples_as_from_a_folder(remote: str, s3: Server, dataset: Path) -> None:
    def samples(url: str, **options: Any) -> list[tuple[int, bytes]]:
        return [(s["label"], s["image"]) for s in open_dataset(url, image="bytes", **options)]

    assert samples(remote) == samples(str(dataset))
    s3.requests.clear()
    few = {"where": "seed == 4 and truncation > 0.5"}
    assert samples(remote, **few) == samples(str(dataset), **few)
    tars = [request for request in s3.requests if request.key.endswith(".tar")]
    assert len(tars) == 3, "three samples, each by its range"


# In a process of its own: a fork of this one would inherit locks of the server's threads.
LOADING = """
import sys
from torch.utils.data import DataLoader
from gansynth import open_dataset
dataset = open_dataset(sys.argv[1], columns=["key"], batch_size=16)
loader = DataLoader(dataset, batch_size=16, num_workers=2, multiprocessing_context="fork", timeout=60)
print(*(key for epoch in range(2) for batch in loader for key in batch["key"]))
"""


def test_forked_workers_of_a_loader_read_it(remote: str, dataset: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADING, remote], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    keys = [sample["key"] for sample in open_dataset(str(dataset), columns=["key"])]
    assert Counter(done.stdout.split()) == Counter(keys * 2)


def test_commands_read_a_dataset_on_s3(remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("status", remote) == 0
    assert command("show", remote, "train-000000-000003", "--device", "cpu") == 0
    assert command("sheet", remote, "--to", "sheet.png") == 0
    assert command("export", remote, "files", "--where", "seed < 3") == 0
    image = next(Path("files").rglob("*.jpg"))
    assert command("trace", image, remote) == 0


def test_no_secret_is_written_anywhere(
    s3: Server, bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the environment's keys nor those in a URL."""
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\ngenerator: fake\nclasses: [0]\nseeds: 0-3\n")
    hidden = SECRET.replace("/", "%2F")
    assert command("generate", path, "--output", f"s3://{bucket}/{PREFIX}", "--device", "cpu") == 0
    for url in (f"s3://{KEY}:{hidden}@{bucket}/other", "s3://nowhere/x"):
        assert command("generate", path, "--output", url, "--device", "cpu") == 2
        assert command("verify", url) == 2
    s3.faults = lambda request: "500" if request.method == "PUT" else None
    assert command("generate", path, "--output", f"s3://{bucket}/third", "--device", "cpu") == 2
    told = capfd.readouterr()
    stored = b"".join(s3.files(bucket).values())
    assert "InternalError" in told.err and stored
    for text in (told.out, told.err, stored.decode(errors="replace")):
        for secret in (SECRET, hidden, KEY):
            assert secret not in text


def test_the_flow_takes_credentials_from_a_prefect_block(
    prefect_server: None, s3: Server, bucket: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.system import Secret

    from flows.synthesize import synthesize

    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    Secret(value=keys).save("storage-of-tests", overwrite=True)
    for name in keys:
        monkeypatch.delenv(name)
    s3.faults = one_in(20, seed=7)
    run = {"workers": 2, "device": "cpu", "credentials_block": "storage-of-tests"}
    result = synthesize(recipe(bucket).content(), run=run)
    assert result["complete"] and s3.broken > 3
    made = s3.files(bucket, f"{PREFIX}/")
    assert comparable(made) == comparable(local_files(dataset))
    assert SECRET.encode() not in b"".join(made.values())


def test_a_classifier_reads_with_credentials_from_a_prefect_block(
    prefect_server: None, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.system import Secret

    from flows.classify import train_classifier

    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    Secret(value=keys).save("storage-of-tests", overwrite=True)
    for name in keys:
        monkeypatch.delenv(name)
    found = train_classifier(remote, str(tmp_path), credentials_block="storage-of-tests")
    assert found["images"] > 0 and Path(found["classifier"]).is_file()


def test_a_block_that_is_not_there_is_named(prefect_server: None, bucket: str) -> None:
    from flows.synthesize import synthesize

    with pytest.raises(gansynth.errors.InputError, match="no Secret block nowhere"):
        synthesize(recipe(bucket).content(), run={"credentials_block": "nowhere"})
