"""Two workers of the flow beside one, as two generator processes stand to one, in turn in one run; and what Prefect costs.

    python tests/bench/workers.py [--images 200000] [--rounds 2]

Every worker and process has one torch thread. The generator processes do nothing but render batches of the same size; the flow
makes shards from the first latent to the receipt, on a Prefect server that is up already. `gansynth generate` makes the same
shards without Prefect. Last, the flow once more with the embedded server, which it has to start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
GENERATOR, PAIRS = "fashion-32", 4
RENDER = """
import sys, time, torch
from gansynth.generators import load_generator
from gansynth.latents import draw
import numpy as np
torch.set_num_threads(1)
generator, size, limit = load_generator(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def batch(number):
    seeds = range(number * size, (number + 1) * size)
    psi = np.ones(size)
    z = torch.from_numpy(draw(generator.info.latents[0], seeds, generator.z_dim, psi))
    generator.sample(z, torch.tensor([seed % generator.num_classes for seed in seeds]), torch.from_numpy(psi).float())
for number in range(3):
    batch(number)
print("ready", flush=True)
sys.stdin.readline()
number, started = 0, time.monotonic()
while time.monotonic() - started < limit:
    batch(number)
    number += 1
print(number * size / (time.monotonic() - started))
"""
FLOW = """
import json, sys
from flows.synthesize import synthesize
recipe, workers = json.loads(sys.argv[1]), int(sys.argv[2])
print(json.dumps(synthesize(recipe, run={"workers": workers, "device": "cpu"})))
"""
ALONE = """
import json, sys
import gansynth
print(gansynth.generate(gansynth.Recipe.parse(json.loads(sys.argv[1])), device="cpu").seconds)
"""


def recipe(folder: Path, images: int) -> dict[str, Any]:
    about = {"name": "workers", "generator": GENERATOR, "classes": "all", "samples_per_shard": 1000, "threads": 1}
    return {**about, "seeds": f"0-{images // 10 - 1}", "output": str(folder)}


def generators(count: int, batch: int, seconds: float, environment: dict[str, str]) -> float:
    """Images a second of some processes that start to render at the same moment."""
    command = [sys.executable, "-c", RENDER, GENERATOR, str(batch), str(seconds)]
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in started)


def run(program: str, *arguments: str, environment: dict[str, str]) -> tuple[float, Any]:
    """Wall time of a Python program, and the JSON that it prints last."""
    began = time.monotonic()
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - began, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="that generator processes render at a time")
    parser.add_argument("--batch", type=int, default=32)
    chosen = parser.parse_args()
    sys.path.append(str(ROOT / "tests"))
    from cluster import Cluster

    ratios: dict[str, list[float]] = {"generator": [], "flow": []}
    with TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        threads = {**cluster.environment, "OMP_NUM_THREADS": "1", "PREFECT_LOGGING_LEVEL": "WARNING"}
        try:
            cluster.start_server()
            for number in range(chosen.rounds):
                rates = [generators(count, chosen.batch, chosen.seconds, threads) for count in (1, 2)]
                ratios["generator"].append(rates[1] / rates[0])
                print(
                    f"generator: {rates[0]:,.0f} and {rates[1]:,.0f} images/s, {rates[1] / rates[0]:.3f} x", flush=True
                )
                wanted = [json.dumps(recipe(Path(name) / f"{number}-{which}", chosen.images)) for which in range(3)]
                walls = []
                for workers, about in ((1, wanted[0]), (2, wanted[1])):
                    wall, found = run(FLOW, about, str(workers), environment=threads)
                    walls.append(found["seconds"])
                    idle = 1 - found["worker_seconds"] / (workers * found["seconds"])
                    print(
                        f"flow, {workers} workers: {found['seconds']:.1f} s, {found['images'] / found['seconds']:,.0f} images/s; "
                        f"workers not at work {idle:.1%} of that; whole program {wall:.1f} s",
                        flush=True,
                    )
                ratios["flow"].append(walls[0] / walls[1])
                print(f"flow: {walls[0] / walls[1]:.3f} x", flush=True)
                wall, seconds = run(ALONE, wanted[2], environment=threads)
                cost = 1 - seconds / walls[0]
                print(
                    f"without Prefect: {seconds:.1f} s, whole program {wall:.1f} s; the flow costs {cost:.1%}",
                    flush=True,
                )
        finally:
            cluster.stop()
        embedded = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
        embedded |= {"PREFECT_HOME": str(Path(name) / "embedded"), "OMP_NUM_THREADS": "1"}
        few = json.dumps(recipe(Path(name) / "few", 1000))
        for which in ("a new database", "a database that is there"):
            wall, found = run(
                FLOW, json.dumps({**json.loads(few), "output": f"{name}/{which}"}), "1", environment=embedded
            )
            print(
                f"embedded server with {which}: whole program {wall:.1f} s, {found['seconds']:.1f} s of it making shards"
            )
    medians = {key: statistics.median(values) for key, values in ratios.items()}
    print(
        f"speed-up by a second worker {medians['flow']:.3f}, by a second generator process {medians['generator']:.3f}: "
        f"{medians['flow'] / medians['generator']:.3f} of it"
    )


if __name__ == "__main__":
    main()
