"""The folder of a run: what it was asked for, which data it saw, how it went."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gansynth.errors import OutputError
from gansynth.store import is_url
from gansynth.training.images import Summary
from gansynth.training.pictures import save
from gansynth.training.recipe import TrainingRecipe

RECIPE, DATA, RESULT = "training.yaml", "data.json", "result.json"
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


# Of these the result does not depend on any.
_INCIDENTAL = FREE - {"epochs", "metric", "metric_images"}
_FACTS = ("epochs", "steps", "distance", "metric", "skipped")


@dataclass(frozen=True)
class Begun:
    """What a run was begun with, or last went on with.

    Args:
        epochs: that it was to have.
        threads: of torch; None if it does not say.
    """

    epochs: int
    threads: int | None


def require_apart(recipe: TrainingRecipe) -> None:
    """Raise OutputError if the output lies in the data, of which a run's own pictures would then be a part."""
    output, data = recipe.folder, recipe.data
    if is_url(output) and is_url(data):
        within = f"{output.rstrip('/')}/".startswith(f"{data.rstrip('/')}/")
    else:
        source = Path(data).expanduser()
        within = not is_url(output) and source.is_dir() and Path(output).resolve().is_relative_to(source.resolve())
    if within:
        raise OutputError(
            f"output {output}: lies in the data, {data}, so that the run's own pictures would become training images; choose a place "
            f"outside of it"
        )


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
        if found := _differing(_begun(folder), recipe.resolved(), FREE):
            key, before, wanted = found
            raise OutputError(
                f"output {folder}: was begun with {key} {before!r}, not {wanted!r}; choose another output, or go on with the recipe that "
                f"it was begun with"
            )
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


def _differing(before: Mapping[str, Any], wanted: Mapping[str, Any], free: Set[str]) -> tuple[str, Any, Any] | None:
    """The first key that is not the same, what it was and what it is to be; None if there is none."""
    for key, value in wanted.items():
        # What a key means that is younger than the run.
        default = TrainingRecipe.model_fields[key].get_default(call_default_factory=True)
        if key not in free and before.get(key, default) != value:
            return key, before.get(key, default), value
    return None


def require_same_images(folder: Path, summary: Summary) -> None:
    """Raise OutputError if a run saw other images before."""
    if seen(folder).get("sha256", summary.sha256) != summary.sha256:
        raise OutputError(
            f"output {folder}: was trained on other images than the data hold now; choose another output, or restore them"
        )


def begin(folder: Path, recipe: TrainingRecipe, environment: dict[str, str] | None, summary: Summary) -> None:
    """Write training.yaml (the recipe with every default filled in, and what it is trained on) and data.json.

    Args:
        folder: of the run.
        recipe: of the run.
        environment: where it is trained; None keeps what was said before, for a run that has no step left.
        summary: of its images.
    """
    content = {**recipe.resolved(), "environment": environment}
    if environment is None:
        before = _begun(folder)
        content |= {"threads": before.get("threads", "auto"), "environment": before.get("environment", {})}
    buffer = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(json.loads(json.dumps(content)), buffer)
    (folder / RESULT).unlink(missing_ok=True)
    save(folder / RECIPE, buffer.getvalue().encode())
    save(folder / DATA, (json.dumps(asdict(summary), indent=1, ensure_ascii=False) + "\n").encode())


def seen(folder: Path) -> dict[str, Any]:
    """What data.json says of the images; nothing if it is damaged or not there."""
    try:
        found = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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


def result_of(folder: Path, recipe: TrainingRecipe) -> tuple[dict[str, Any], str] | None:
    """The facts of a complete run that a recipe would make again, and the state that its data had; None if there is none."""
    try:
        found = json.loads((folder / RESULT).read_text())
        facts, made_by, state = {key: found[key] for key in _FACTS}, dict(found["recipe"]), str(found["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = json.loads(json.dumps(recipe.resolved()))
    return None if _differing(made_by, wanted, _INCIDENTAL) else (facts, state)


def keep_result(folder: Path, state: str, summary: Summary) -> bool:
    """Whether a finished run was made of these very images; if so, it is remembered that their files look like this now.

    Args:
        folder: of the run, with a result.
        state: of the data as they are now.
        summary: of the images that are in them.
    """
    before = seen(folder)
    if before.get("sha256") != summary.sha256 or list(before.get("classes", ())) != list(summary.classes):
        return False
    content = {**json.loads((folder / RESULT).read_text()), "data": state}
    save(folder / RESULT, (json.dumps(content, indent=1) + "\n").encode())
    shutil.rmtree(folder / WORK, ignore_errors=True)
    return True


def forget(folder: Path) -> None:
    """Undo `begin`, for a run that cannot do its first step."""
    for name in (RECIPE, DATA):
        (folder / name).unlink(missing_ok=True)


def begun_with(folder: Path) -> Begun:
    """What a run that is there already was begun with.

    Raises:
        OutputError: training.yaml is damaged.
    """
    found = _begun(folder)
    environment = found.get("environment")
    threads = str(environment.get("threads")) if isinstance(environment, dict) else ""
    epochs = found.get("epochs")
    return Begun(epochs if isinstance(epochs, int) else 0, int(threads) if threads.isdecimal() else None)
