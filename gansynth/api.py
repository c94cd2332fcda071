"""The library's front door: the same verbs as the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gansynth.check import Problem, discard, verify
from gansynth.dataset import Dataset, missing
from gansynth.derive import adopt
from gansynth.environment import choose_device
from gansynth.errors import RenderError
from gansynth.generators import describe
from gansynth.plan import Plan, ShardPlan
from gansynth.receipt import Receipt
from gansynth.recipe import Recipe
from gansynth.render import Failure
from gansynth.resolve import resolve
from gansynth.session import Session, begin, finish, resolve_for
from gansynth.stopping import Stop

# As many shards failing one after another have a common cause, such as a full disk; going on would waste time.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Args:
        dataset: the dataset.
        receipts: of the shards made in this run.
        failures: shards that failed.
        seconds: wall time of rendering.
        missing: shards of the dataset that do not exist yet.
        finished: whether this run completed the dataset.
        held: missing shards that were left to the writers that hold them; see claims.py.
    """

    dataset: Dataset
    receipts: tuple[Receipt, ...]
    failures: tuple[Failure, ...]
    seconds: float
    missing: int
    finished: bool
    held: tuple[ShardPlan, ...] = ()

    @property
    def samples(self) -> int:
        """Images written in this run."""
        return sum(receipt.samples for receipt in self.receipts)


def plan(recipe: Recipe, device: str = "cpu", *, allow_code: bool = False) -> Plan:
    """The shards of a recipe. Loads no weights and writes nothing.

    Raises:
        RecipeError, LabelError, WeightsError: the recipe does not fit its generator.
    """
    recipe = adopt(recipe)
    info = describe(recipe.generator, recipe.generator_options, allow_code=allow_code)
    return Plan(resolve(recipe, info, device.partition(":")[0]))


def generate(
    recipe: Recipe,
    *,
    device: str = "auto",
    shards: Callable[[Plan], Iterable[ShardPlan]] | None = None,
    allow_mixed: bool = False,
    allow_code: bool = False,
    stop: Stop | None = None,
    on_start: Callable[[int, int], None] = lambda total, done: None,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Summary:
    """Make the missing shards of a recipe in this process, and finish the dataset if none is missing then.

    Args:
        recipe: what to make; its `output` says where.
        device: auto, cpu or cuda:N.
        shards: picks shards of the plan, and their order; all if left out. Shards that exist are skipped.
        allow_mixed: go on with a dataset of another environment.
        allow_code: permit `package.module:factory` generators.
        stop: a request to stop at a shard boundary.
        on_start: called with the number of images in all and of those that exist.
        on_rows: called with the number of images that were just written.

    Raises:
        InputError: the request cannot be done; nothing was written.
        Interrupted: stopped on request.
    """
    chosen = choose_device(device)
    picked = None
    if shards:  # before anything is written, since the choice may be at fault
        picked = list(shards(Plan(resolve_for(recipe, chosen, allow_code=allow_code)[0])))
    begun = begin(recipe, chosen, allow_mixed=allow_mixed, allow_code=allow_code)
    session = Session(begun.dataset, chosen, allow_mixed=allow_mixed, allow_code=allow_code, generator=begun.generator)
    wanted = begun.plan if picked is None else picked
    done = begun.dataset.done()
    existing = sum(shard.size for shard in wanted if shard.number in done[shard.split])
    on_start(sum(shard.size for shard in wanted), existing)
    return run(session, (shard for shard in wanted if shard.number not in done[shard.split]), stop, on_rows)


def repair(
    dataset: Dataset,
    *,
    device: str = "auto",
    generator_path: str | None = None,
    allow_mixed: bool = False,
    allow_code: bool = False,
    stop: Stop | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Summary:
    """Verify a dataset and make damaged and missing shards again.

    Args:
        dataset: the dataset.
        generator_path: where the weights lie, if not where the dataset's recipe says.
        on_problem: called with each thing that is wrong.
        device, allow_mixed, allow_code, stop, on_rows: as in `generate`.
    """
    problems = []
    for problem in verify(dataset):
        on_problem(problem)
        problems.append(problem)
    if not any(problem.shard for problem in problems):
        return Summary(dataset, (), (), 0.0, 0, finish(dataset))
    session = Session(
        dataset,
        choose_device(device),
        allow_mixed=allow_mixed,
        allow_code=allow_code,
        generator_path=generator_path,
    )
    for problem in problems:
        discard(dataset, problem)
    return run(session, missing(session.dataset.plan, session.dataset.done()), stop, on_rows)


def run(session: Session, shards: Iterable[ShardPlan], stop: Stop | None, on_rows: Callable[[int], None]) -> Summary:
    """Render shards, then finalize if the dataset is complete."""
    stop = stop or Stop()
    receipts: list[Receipt] = []
    failures: list[Failure] = []
    in_a_row = 0
    started = time.perf_counter()
    for outcome in _with_held(session, shards, stop, on_rows):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            in_a_row += 1
            if in_a_row == FAILURES_IN_A_ROW:
                raise RenderError(
                    f"{in_a_row} shards in a row failed, the last with: {describe_error(outcome.error)}; "
                    f"run the same command again once the cause is gone"
                ) from outcome.error
        else:
            receipts.append(outcome)
            in_a_row = 0
    stop.raise_if_requested()
    dataset = session.dataset
    finished = finish(dataset)
    done = dataset.done()
    return Summary(
        dataset,
        tuple(receipts),
        tuple(failures),
        time.perf_counter() - started,
        missing=len(dataset.plan) - sum(map(len, done.values())),
        finished=finished,
        held=tuple(shard for shard in session.held if shard.number not in done[shard.split]),
    )


def _with_held(
    session: Session, shards: Iterable[ShardPlan], stop: Stop, on_rows: Callable[[int], None]
) -> Iterator[Receipt | Failure]:
    """Shards that others hold come last, and are then made all the same: their writers may be gone."""
    yield from session.render(shards, stop, on_rows)
    if session.held and not session.is_strict and not stop.requested:
        done = session.dataset.done()
        left = [shard for shard in session.held if shard.number not in done[shard.split]]
        yield from session.render(left, stop, on_rows, take_over=True)


def describe_error(error: Exception) -> str:
    """One line for any exception; those raised on purpose speak for themselves."""
    from gansynth.errors import GansynthError

    return str(error) if isinstance(error, GansynthError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
