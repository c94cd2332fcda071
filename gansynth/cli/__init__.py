"""The command line: `gansynth COMMAND`. Thin: parses, calls the library, prints, and maps errors to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from gansynth.cli import balance, bench, datasets, export, models, recipes, trace, training, walks
from gansynth.errors import GansynthError

app = App(
    name="gansynth",
    help="Make image datasets from pretrained GANs: a recipe in, WebDataset shards with latent manifests out.",
    help_epilogue="Exit codes: 0 done, 1 some shards failed or a check found damage, 2 bad input or storage out of reach, "
    "130 and 143 interrupted.",
    result_action="return_value",
)
recipes.register(app)
datasets.register(app)
trace.register(app)
walks.register(app)
balance.register(app)
export.register(app)
training.register(app)
bench.register(app)
app.command(models.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code."""
    return execute(app, arguments)


def execute(application: App, arguments: Sequence[str]) -> int:
    """Run a command of any application; errors that were raised on purpose become one line on standard error."""
    try:
        code = application(list(arguments), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except GansynthError as error:
        for line in str(error).splitlines():
            print(f"gansynth: {line}", file=sys.stderr)
        return error.exit_code
    except CycloptsError as error:
        reason = " ".join(str(error).split())
        print(f"gansynth: {reason} See `gansynth --help`.", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        return 0
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0
