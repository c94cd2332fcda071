"""The command bench."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from gansynth.environment import choose_device, device_kind
from gansynth.errors import InputError
from gansynth.estimate import save_cost
from gansynth.progress import counted, size

_SHARD = 500
_LONGEST = 3600


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(bench)


def bench(
    generator: str = "biggan-deep-128",
    /,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    compile: bool | None = None,
    rounds: int = 3,
    seconds: float = 10.0,
    tune: Annotated[bool, Parameter(negative="")] = False,
    shards: int | None = None,
    json_output: Annotated[Path | None, Parameter(name="--json")] = None,
    save: Annotated[bool, Parameter(negative="")] = False,
    allow_code: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure a generator and the pipeline beside the loop that a user of the libraries would write.

    Both sides alternate in one run. Weights that are not on this machine are replaced by random ones of the same
    architecture. Examples:

        gansynth bench biggan-deep-256 --threads 2
        gansynth bench fake
        gansynth bench biggan-deep-128 --tune

    Args:
        generator: as in a recipe; `fake`, 256 x 256 textures without a network, measures the pipeline alone.
        device: auto, cpu or cuda:N.
        batch_size: images rendered at once; as a recipe with `auto` if left out, like the next three.
        threads: torch threads on a CPU.
        precision: float32, bfloat16 or float16; other than float32 it is also compared with that.
        compile: use torch.compile.
        rounds: how often the sides alternate.
        seconds: about how long each measurement of ours takes.
        tune: try batch sizes and threads instead, with workers on all cores, and print what to put into a recipe.
        shards: instead, render this many shards of 500 images and watch speed and memory.
        json_output: also write all figures to this file.
        save: keep the speed, so that `gansynth plan` on this machine uses it.
        allow_code: permit a generator of the form package.module:factory, which runs that code.
    """
    if rounds < 1 or not 0 < seconds <= _LONGEST or (shards is not None and shards < 1):
        raise InputError(
            f"--rounds, --seconds and --shards: saw a number that measures nothing; give positive ones, at most {_LONGEST} s"
        )
    keys = {"batch_size": batch_size, "threads": threads, "precision": precision, "compile": compile}
    chosen: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    _require_one_purpose(tune, shards, json_output, save, chosen)
    chosen["allow_code"] = allow_code
    place = choose_device(device)
    if tune:
        return _tune(generator, place, chosen)
    if shards is not None:
        return _endure(generator, place, shards, chosen)
    from gansynth.bench.measure import measure
    from gansynth.bench.report import lines

    if json_output is not None and not json_output.parent.is_dir():
        raise InputError(f"--json {json_output}: there is no folder {json_output.parent}; make it, or choose another")
    report = measure(generator, place, rounds=rounds, seconds=seconds, on_step=_tell, **chosen)
    print("\n".join(lines(report)))
    if json_output is not None:
        try:
            json_output.write_text(json.dumps(report.as_json(), indent=1) + "\n")
        except OSError as error:
            raise InputError(f"--json {json_output}: cannot be written ({error}); choose another place") from None
    if save:
        kind = device_kind(place)
        print(f"\nkept in {save_cost(report.cost())}, for `gansynth plan --device {kind}`")
    return 0


def _require_one_purpose(
    tune: bool, shards: int | None, json_output: Path | None, save: bool, chosen: Mapping[str, Any]
) -> None:
    """Raise InputError for options that would be ignored."""
    given = {"--shards": shards, "--json": json_output, "--save": save or None}
    given |= {"--batch-size": chosen.get("batch_size"), "--threads": chosen.get("threads")}
    if tune and (ignored := [key for key, value in given.items() if value is not None]):
        raise InputError(f"--tune: does not go with {ignored[0]}; leave it out")
    if shards is not None and (json_output or save):
        raise InputError("--shards: does not go with --json and --save; leave them out")
    if save and chosen.keys() & {"batch_size", "threads", "compile"}:
        raise InputError(
            "--save: keeps the speed of recipes as they are by default; leave batch size, threads and compile out"
        )


def _tune(generator: str, device: str, keys: Mapping[str, Any]) -> int:
    from gansynth.bench.report import trial_line
    from gansynth.bench.tune import tune

    best = tune(generator, device, lambda trial: print(trial_line(trial), flush=True), **keys)
    print(f"\nFor the recipe, with {counted(best.workers, 'worker')} on this machine:\n")
    print(f"batch_size: {best.batch_size}\nthreads: {best.threads}")
    return 0


def _endure(generator: str, device: str, shards: int, keys: Mapping[str, Any]) -> int:
    from gansynth.bench.measure import endurance

    rates: list[float] = []
    shown = {*range(9), *range(9, shards, 10), shards - 1}

    def on_shard(rate: float, memory: int) -> None:
        if len(rates) in shown:
            print(f"shard {len(rates) + 1:>6,}{rate:>12,.1f} images/s   peak memory {size(memory)}", flush=True)
        rates.append(rate)

    endurance(generator, device, shards, on_shard, samples_per_shard=_SHARD, **keys)
    if shards >= 4:
        first, last = (statistics.median(part) for part in (rates[: shards // 2], rates[shards // 2 :]))
        print(f"median of the first half {first:,.1f} images/s, of the second {last:,.1f} ({last / first - 1:+.1%})")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
