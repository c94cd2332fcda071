"""The command interpolate."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gansynth.animation import FRAME, MAX_FPS, MIN_FPS, save_frames, save_gif
from gansynth.cli.options import SourceOptions, naming
from gansynth.drawing import Image, Sheet, drawn_size
from gansynth.environment import choose_device
from gansynth.errors import InputError
from gansynth.generators import describe
from gansynth.generators.protocol import Generator
from gansynth.progress import Advance, progress
from gansynth.recipe import Recipe
from gansynth.record import FILE as RECORD
from gansynth.resolve import ResolvedRecipe
from gansynth.seeds import parse_seeds
from gansynth.session import resolve_for
from gansynth.walk import Space, Walk, frames, mixed

DEFAULTS = SourceOptions()
_MOST_SEEDS, _STATIONS = 1000, 4
_RECIPES = (".yaml", ".yml")
_FOREIGN = (".apng", ".avi", ".jpeg", ".jpg", ".mkv", ".mov", ".mp4", ".webm", ".webp")
_MOST_PIXELS = 128 << 20  # of a strip, a grid or all frames of a GIF


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(interpolate)


def interpolate(
    source: str,
    /,
    *,
    seeds: str | None = None,
    to: Path | None = None,
    steps: int | None = None,
    space: Space = "z",
    loop: Annotated[bool, Parameter(negative="")] = False,
    fps: float | None = None,
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
        source: a generator as recipes name it, or a recipe file or dataset, whose first class and truncation are taken.
        seeds: the stations, such as "1,5,8-10"; the recipe's first four, or 0-3, if left out.
        to: a .png for a strip, a .gif, or a new folder for numbered frames; NAME-walk.png or NAME-mix.png in this folder
            if left out. A picture that is there is replaced.
        steps: images from one station to the next; 8 if left out.
        space: z, along the sphere, or w, straight, for StyleGAN.
        loop: come back to the first seed in the end.
        fps: frames a second of a GIF; 25 if left out.
        class_: name, wnid or index of a class; the first if left out.
        truncation: truncation, psi for StyleGAN.
        mix: draw a grid of StyleGAN's styles instead: the first layers of --seeds, the rest of these seeds.
        layer: with --mix, the layer from which on these seeds take over; half of them if left out.
    """
    from gansynth.generators import load_for

    walks = loop or space == "w" or steps is not None or fps is not None
    _require_sense(to, fps, mix, layer, walks)
    source = _recipe_of_dataset(source)
    fine = None if mix is None else _seeds(mix, "--mix")
    recipe = _recipe(source, class_, truncation, options)
    chosen = tuple(islice(recipe.parts[0], _STATIONS)) if seeds is None else _seeds(seeds, "--seeds")
    walk = Walk(chosen, 8 if steps is None else steps, space, loop) if fine is None else None
    device = choose_device(options.device)
    with naming(source) if _is_recipe(source) else nullcontext():
        resolved, _ = resolve_for(recipe, device, allow_code=options.allow_code)
    target = to or Path(f"{resolved.name.replace(' ', '-')}-{'walk' if walk else 'mix'}.png")
    if not walk:
        _require_room((len(chosen) + 1) * (len(fine or ()) + 1), drawn_size(resolved.info.resolution))
    elif target.suffix.lower() in (".png", ".gif"):
        is_strip = target.suffix.lower() == ".png"
        _require_room(len(walk), drawn_size(resolved.info.resolution) if is_strip else resolved.info.resolution)
    generator = load_for(resolved, device, allow_code=options.allow_code)
    if walk:
        _draw_walk(walk, resolved, generator, target, 25.0 if fps is None else fps)
    else:
        _save(mixed(resolved, generator, chosen, fine or (), layer), target)
    print(target)
    return 0


def _require_sense(to: Path | None, fps: float | None, mix: str | None, layer: int | None, walks: bool) -> None:
    """Raise InputError for options that would be ignored or mean nothing."""
    if fps is not None and not MIN_FPS <= fps <= MAX_FPS:
        raise InputError(f"--fps: saw {fps:g}; a GIF shows {MIN_FPS:g} to {MAX_FPS:g} frames a second")
    if layer is not None and mix is None:
        raise InputError("--layer: means nothing without --mix; add --mix SEEDS, or leave it out")
    if mix is not None and (walks or (to and to.suffix.lower() != ".png")):
        raise InputError(
            "--mix: draws a PNG of styles; leave --space, --loop, --steps and --fps out, and let --to end in .png"
        )
    if to is not None and to.suffix.lower() in _FOREIGN:
        raise InputError(
            f"--to {to}: saw {to.suffix}, which is not written here; give a .png, a .gif, or a folder for frames, of which a video "
            f"encoder makes any film"
        )
    if to is not None and not to.absolute().parent.is_dir():
        raise InputError(f"--to {to}: there is no folder {to.parent}; make it, or choose another")


def _require_room(images: int, size: int) -> None:
    """Raise InputError if one picture cannot hold so many images of a height and width."""
    if images * size**2 > _MOST_PIXELS:
        raise InputError(
            f"saw {images:,} images of {size} pixels for one file, which holds {_MOST_PIXELS / 1e6:.0f} million pixels at most; take "
            f"fewer seeds or steps, or let --to name a folder for the frames of a walk"
        )


def _seeds(text: str, option: str) -> tuple[int, ...]:
    seeds = parse_seeds(text, option)
    if len(seeds) > _MOST_SEEDS:
        raise InputError(f"{option}: saw {len(seeds):,} seeds; give {_MOST_SEEDS:,} at most")
    return tuple(seeds)


def _recipe_of_dataset(source: str) -> str:
    """The recipe that a dataset's folder keeps; anything else as it is."""
    kept = Path(source) / RECORD
    return str(kept) if kept.is_file() else source


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
            pattern, film = shlex.quote(str(target / FRAME)), shlex.quote(f"{target.name}.mp4")
            video = f"ffmpeg -framerate {fps:g} -i {pattern} -pix_fmt yuv420p {film}"
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
