"""Commands about generators: models list, pull, info."""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gansynth.generators import describe, details, weights
from gansynth.progress import progress

_WIDTH = 100
app = App(name="models", help="The generators that recipes may name: list them, fetch weights, look at one.")


@app.command(name="list")
def list_models() -> int:
    """List the known generators and whether their weights are on this machine.

    For example:

        gansynth models list
    """
    print(f"{'name':18}{'pixels':>8}{'classes':>9}{'z':>6}{'million':>9}  weights")
    for name, known in weights.KNOWN.items():
        place = "embedded" if known.files is None else "here" if weights.locate(name) else "to be pulled"
        print(f"{name:18}{known.resolution:>8}{known.num_classes:>9,}{known.z_dim:>6}{known.parameters:>9.1f}  {place}")
    print(
        "\nBesides: a StyleGAN2 snapshot (.pkl) or converted folder; a folder or file of BigGAN-deep weights; `fake`, textures without a network."
    )
    return 0


@app.command
def pull(name: str, /, *, url: str | None = None) -> int:
    """Fetch the weights of a known generator into the cache folder ($GANSYNTH_CACHE).

    For example:

        gansynth models pull biggan-deep-256

    An interrupted download goes on where it stopped; files that are there are not fetched again.

    Args:
        name: a name of `gansynth models list`.
        url: a mirror's folder with config.json and pytorch_model.bin, in place of the original source.
    """
    from gansynth.generators.download import pull as fetch

    with ExitStack() as stack:
        bars: dict[str, list[object]] = {}

        def on_bytes(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = [stack.enter_context(progress(total or 0, f"bytes of {file}")), 0]
            advance, before = bars[file]
            assert callable(advance) and isinstance(before, int)
            advance(done - before)
            bars[file][1] = done

        folder = fetch(name, url, on_bytes, lambda text: print(f"gansynth: warning: {text}", file=sys.stderr))
    print(folder)
    return 0


@app.command
def convert(snapshot: Path, output: Path, /, *, licence: str | None = None, labels: Path | None = None) -> int:
    """Convert a StyleGAN2 snapshot (.pkl) to a folder of safetensors and JSON that recipes take in its place.

    For example:

        gansynth models convert ffhq.pkl models/ffhq

    The pickle is read as data: nothing in it is run. Its discriminator and training settings are left out.

    Args:
        snapshot: a pickle of stylegan2-ada-pytorch, of StyleGAN2 in stylegan3's repository, or of TensorFlow's StyleGAN2.
        output: the folder to make.
        licence: of the weights, if you know it; kept with them and shown in dataset cards.
        labels: a file of class names, one a line; SNAPSHOT's name with .labels.txt in place of .pkl if left out.
    """
    from gansynth.generators.stylegan2.convert import convert as convert_snapshot

    print(convert_snapshot(snapshot, output, licence, labels))
    return 0


@app.command
def info(
    name: str,
    /,
    *,
    classes: Annotated[bool, Parameter(negative="")] = False,
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show what is known of a generator; as far as its format allows, without loading its weights.

    For example:

        gansynth models info fashion-32 --classes

    Args:
        name: a name of `gansynth models list`, or a folder or file of weights.
        classes: list the classes.
        json_output: print JSON.
    """
    found = describe(name)
    facts = {
        "name": found.name,
        "family": found.family,
        "resolution": found.resolution,
        "classes": found.num_classes,
        "z_dim": found.z_dim,
        "latents": list(found.latents),
        "options": found.options,
        **details(name),
        "weights_sha256": found.weights_sha256,
        "origin": found.origin,
        "licence": found.licence,
        "terms": list(found.terms),
    }
    if json_output:
        print(json.dumps({**facts, "labels": [c.name for c in found.labels.classes]}, indent=2))
        return 0
    for key, value in facts.items():
        for line in _shown(value):
            print(f"{key:16}{line}")
            key = ""
    if classes:
        for label in found.labels.classes:
            print(f"{label.index:>6}  {label.wnid or '':10}  {label.name}")
    return 0


def _shown(value: object) -> list[str]:
    """The lines that a fact takes on a terminal."""
    if value is None:
        return ["known once loaded"]
    if isinstance(value, dict):
        value = ", ".join(f"{key} {json.dumps(option)}" for key, option in value.items())
    elif isinstance(value, int):
        value = f"{value:,}"
    texts = value if isinstance(value, list) and any(" " in text for text in value) else None
    paragraphs = texts or [", ".join(value) if isinstance(value, list) else str(value)]
    return [line for text in paragraphs if text for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]
