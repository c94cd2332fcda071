"""The command interpolate."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gansynth.animation import FRAME, MAX_FPS, save_frames, save_gif
from gansynth.cli.options import SourceOptions, naming
from gansynth.environment import choose_device
from gansynth.errors import InputError
from gansynth.generators import describe
from gansynth.generators.protocol import Generator
from gansynth.progress import Advance, progress
from gansynth.recipe import Recipe
from gansynth.resolve import ResolvedRecipe
from gansynth.seeds import parse_seeds
from gansynth.session import resolve_for
from gansynth.sheet import Image, Sheet
from gansynth.walk import Space, Walk, frames, mixed

DEFAULTS = SourceOptions()
_MOST_SEEDS, _STATIONS = 1000, 4
_RECIPES = (".yaml", ".yml")


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(interpolate)


def interpolate(
    source: str,
    /,
    *,
    seeds: str | None = None,
    to: Path | None = None,
    steps: int = 8,
    space: Space = "z",
    loop: Annotated[bool, Parameter(negative="")] = False,
    fps: float = 25.0,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    truncation: float | None = None,
    mix: str | None = None,
    layer: int | None = None,
    options: SourceOptions = DEFAULTS,
) -> int:
    """Walk from seed to seed through the latent space, or mix the styles of two sets of seeds.

    For example:

        gansynth interpolate fashion-32 --class Coat --seeds 1,5,9
        gansynth interpolate deploy/recipes/demo.yaml --loop --steps 25 --to walk.gif
        gansynth interpolate ffhq.pkl --space w --truncation 0.7 --steps 60 --to frames
        gansynth interpolate ffhq.pkl --truncation 0.7 --seeds 1-3 --mix 11-14

    Args:
        source: a generator as recipes name it, or a recipe file, whose first class and truncation are taken.
        seeds: the stations, such as "1,5,8-10"; the recipe's first four, or 0-3, if left out.
        to: a .png for a strip, a .gif, or a new folder for numbered frames; NAME-walk.png in this folder if left out.
        steps: images from one station to the next.
        space: z, along the sphere, or w, straight, for StyleGAN.
        loop: come back to the first seed in the end.
        fps: frames a second of a GIF.
        class_: name, wnid or index of a class; the first if left out.
        truncation: truncation, psi for StyleGAN.
        mix: draw a grid of StyleGAN's styles instead: the first layers of --seeds, the rest of these seeds.
        layer: with --mix, the layer from which on these seeds take over; half of them if left out.
    """
    from gansynth.generators import load_for

    _require_sense(to, fps, mix, layer, walks=loop or space == "w")
    fine = None if mix is None else _seeds(mix, "--mix")
    recipe = _recipe(source, class_, truncation, options)
    chosen = _seeds(seeds, "--seeds") if seeds else tuple(islice(recipe.parts[0], _STATIONS))
    walk = Walk(chosen, steps, space, loop) if fine is None else None
    device = choose_device(options.device)
    with naming(source) if _is_recipe(source) else nullcontext():
        resolved, _ = resolve_for(recipe, device, allow_code=options.allow_code)
    generator = load_for(resolved, device, allow_code=options.allow_code)
    target = to or Path(f"{resolved.name.replace(' ', '-')}-{'walk' if walk else 'mix'}.png")
    if walk:
        _draw_walk(walk, resolved, generator, target, fps)
    else:
        _save(mixed(resolved, generator, chosen, fine or (), layer), target)
    print(target)
    return 0


def _require_sense(to: Path | None, fps: float, mix: str | None, layer: int | None, walks: bool) -> None:
    """Raise InputError for options that would be ignored or mean nothing."""
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"--fps: saw {fps:g}; a GIF shows up to {MAX_FPS:g} frames a second")
    if layer is not None and mix is None:
        raise InputError("--layer: means nothing without --mix; add --mix SEEDS, or leave it out")
    if mix is not None and (walks or (to and to.suffix.lower() != ".png")):
        raise InputError("--mix: draws a PNG of styles; leave --space and --loop out, and let --to end in .png")
    if to is not None and not to.absolute().parent.is_dir():
        raise InputError(f"--to {to}: there is no folder {to.parent}; make it, or choose another")


def _seeds(text: str, option: str) -> tuple[int, ...]:
    seeds = parse_seeds(text, option)
    if len(seeds) > _MOST_SEEDS:
        raise InputError(f"{option}: saw {len(seeds):,} seeds; give {_MOST_SEEDS:,} at most")
    return tuple(seeds)


def _is_recipe(source: str) -> bool:
    return Path(source).suffix.lower() in _RECIPES


def _recipe(source: str, class_: str | None, truncation: float | None, options: SourceOptions) -> Recipe:
    """The recipe, reduced to what a picture needs: no output, splits or labels."""
    if _is_recipe(source):
        recipe = options.load(Path(source))
    else:
        name = re.sub(r"\W+", "-", Path(source).stem if Path(source).exists() else source).strip("-_")
        recipe = options.apply({"name": name or "generator", "generator": source, "seeds": f"0-{_STATIONS - 1}"})
        info = describe(source, recipe.generator_options, allow_code=options.allow_code)
        recipe = recipe.model_copy(update={"classes": recipe.classes or ([0] if info.num_classes else None)})
    changes: dict[str, Any] = {"output": None, "splits": {"train": 1.0}, "labels": "generator", "seed_use": "shared"}
    if class_ is not None:
        changes["classes"] = [int(class_) if class_.isdecimal() else class_]
    if truncation is not None:
        changes["truncation"] = [truncation]
    return recipe.model_copy(update=changes)


def _draw_walk(walk: Walk, recipe: ResolvedRecipe, generator: Generator, target: Path, fps: float) -> None:
    with progress(len(walk), "images") as advance:
        images = _counted(frames(recipe, generator, walk), advance)
        if target.suffix.lower() == ".gif":
            save_gif(images, target, fps)
        elif target.suffix.lower() == ".png":
            _save(walk.strip(recipe, list(images)), target)
        else:
            save_frames(images, target)
            video = f"ffmpeg -framerate {fps:g} -i {target / FRAME} -pix_fmt yuv420p {target.name}.mp4"
            print(f"{len(walk):,} frames; `{video}` makes a film of them", file=sys.stderr)


def _counted(images: Iterator[Image], advance: Advance) -> Iterator[Image]:
    for image in images:
        yield image
        advance(1)


def _save(sheet: Sheet, target: Path) -> None:
    try:
        target.write_bytes(sheet.png())
    except OSError as error:
        raise InputError(f"--to {target}: cannot be written ({error}); choose another place") from None
