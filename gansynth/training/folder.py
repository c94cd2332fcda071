"""The folder of a run: what it was asked for, which data it saw, how it went."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gansynth.errors import OutputError
from gansynth.training.images import Summary
from gansynth.training.pictures import save
from gansynth.training.recipe import TrainingRecipe

RECIPE, DATA, LOSSES, METRICS, RESULT = "training.yaml", "data.json", "losses.csv", "metrics.csv", "result.json"
WORK = "work"
# Keys that may change from one command to the next without making another run of it.
FREE = frozenset(
    {
        "epochs",
        "sample_every",
        "checkpoint_every",
        "threads",
        "tensorboard",
        "max_skipped",
        "data",
        "metric",
        "metric_images",
    }
)
_MOST_ROWS = 5000

Distances = list[tuple[int, int, float]]
"(epoch, step, distance) in order."


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other processes; if the run comes to nothing before it is begun, remove what was made.

    Raises:
        OutputError: another process trains there, or the folder cannot be made.
    """
    made = [path for path in (folder / WORK, folder, *folder.parents) if not path.exists()]
    try:
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        file = (folder / WORK / "lock").open("a")
    except OSError as error:
        raise OutputError(f"output {folder}: cannot be made ({error.strerror}); choose another place") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"output {folder}: another process trains there; wait for it, or stop it") from None
        try:
            yield
        except BaseException:
            if not (folder / RECIPE).is_file():
                _remove(made)
            raise


def _remove(made: list[Path]) -> None:
    """Remove folders from the innermost on; of those around it only what is empty, since others may have come to use them."""
    if made:
        shutil.rmtree(made[0], ignore_errors=True)
    with suppress(OSError):
        for path in made[1:]:
            path.rmdir()


def require_usable(folder: Path, recipe: TrainingRecipe) -> bool:
    """Whether a run of the recipe is there already.

    Raises:
        OutputError: a run of another recipe, or something else.
    """
    if (folder / RECIPE).is_file():
        _require_same(_begun(folder), recipe.resolved(), folder)
        return True
    if folder.exists() and (not folder.is_dir() or any(path.name != WORK for path in folder.iterdir())):
        raise OutputError(f"output {folder}: exists and is no run; choose an empty or new folder")
    return False


def _begun(folder: Path) -> dict[str, Any]:
    """What training.yaml says."""
    try:
        found = YAML(typ="safe", pure=True).load((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, YAMLError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise OutputError(f"output {folder}: {RECIPE} is damaged; restore it, or choose another output")
    return found


def _require_same(before: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    for key, value in wanted.items():
        begun_with = before.get(
            key, TrainingRecipe.model_fields[key].get_default(call_default_factory=True)
        )  # of keys that are younger than the run
        if key not in FREE and begun_with != value:
            raise OutputError(
                f"output {folder}: was begun with {key} {begun_with!r}, not {value!r}; choose another output, or go on with "
                f"the recipe that it was begun with"
            )


def begin(folder: Path, recipe: TrainingRecipe, environment: dict[str, str] | None, summary: Summary) -> None:
    """Write training.yaml (the recipe with every default filled in, and what it is trained on) and data.json.

    Args:
        folder: of the run.
        recipe: of the run.
        environment: where it is trained; None keeps what was said before.
        summary: of its images.

    Raises:
        OutputError: the run saw other images before; nothing is changed.
    """
    try:
        before = json.loads((folder / DATA).read_text()) if (folder / DATA).is_file() else {}
    except ValueError:
        before = {}
    if before.get("sha256", summary.sha256) != summary.sha256:
        raise OutputError(
            f"output {folder}: was trained on other images than the data hold now; choose another output, or restore them"
        )
    where = environment or _begun(folder).get("environment", {})
    buffer = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(json.loads(json.dumps({**recipe.resolved(), "environment": where})), buffer)
    (folder / RESULT).unlink(missing_ok=True)
    save(folder / RECIPE, buffer.getvalue().encode())
    save(folder / DATA, (json.dumps(asdict(summary), indent=1, ensure_ascii=False) + "\n").encode())


def finish(folder: Path, recipe: TrainingRecipe, state: str, facts: dict[str, Any]) -> None:
    """Write result.json, which says that the run is complete, and clear what only training needed.

    Args:
        folder: of the run.
        recipe: of the run.
        state: of its data, see `sources.state_of`.
        facts: what it came to.
    """
    content = {**facts, "recipe": recipe.resolved(), "data": state}
    save(folder / RESULT, (json.dumps(content, indent=1) + "\n").encode())
    shutil.rmtree(folder / WORK, ignore_errors=True)


def result_of(folder: Path, recipe: TrainingRecipe, state: str) -> dict[str, Any] | None:
    """The facts of a complete run of this very recipe on these very data, None if there is none."""
    try:
        found = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None
    same = found.pop("recipe") == json.loads(json.dumps(recipe.resolved())) and found.pop("data") == state
    return found if same else None


def thinned(losses: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Means over equal numbers of steps, and the last step of each; at most 5,000 of them.

    Args:
        losses: float32 [steps, 2].
    """
    block = -(-len(losses) // _MOST_ROWS) or 1
    ends = np.minimum(np.arange(block, len(losses) + block, block), len(losses))
    means = [losses[max(0, end - block) : end].mean(axis=0) for end in ends]
    return ends, np.array(means, np.float32).reshape(-1, 2)


def write_tables(folder: Path, losses: npt.NDArray[np.float32], distances: Distances, name: str) -> None:
    """Write losses.csv and, where there is one, metrics.csv.

    Args:
        losses: of discriminator and generator, float32 [steps, 2].
        distances: to the real images.
        name: of the distance.
    """
    steps, means = thinned(losses)
    rows = [(int(step), *(f"{value:.5g}" for value in row)) for step, row in zip(steps, means, strict=True)]
    save(folder / LOSSES, _csv(["step", "discriminator", "generator"], rows))
    if distances:
        columns = ["epoch", "step", f"frechet distance ({name})"]
        save(folder / METRICS, _csv(columns, [(epoch, step, f"{d:.5g}") for epoch, step, d in distances]))


def _csv(header: list[str], rows: list[Any]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue().encode()
