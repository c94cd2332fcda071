"""What a finished run leaves: a generator's folder that recipes take, measured and described."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gansynth.generators import about, load_generator, weights
from gansynth.progress import Advance, counted
from gansynth.training import folder as run_folder
from gansynth.training import pictures
from gansynth.training.gallery import Gallery, Render
from gansynth.training.history import Distances
from gansynth.training.images import Images, Summary
from gansynth.training.loop import Loop
from gansynth.training.players import Players
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.statistics import standing_statistics

CARD, BY_TRUNCATION = "README.md", "truncations.csv"
TRUNCATIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
_STATISTICS_IMAGES, _STATISTICS_BATCH = 1000, 250  # for each truncation; the batch at 32 pixels


def write(
    folder: Path,
    recipe: TrainingRecipe,
    images: Images,
    players: Players,
    gallery: Gallery,
    device: str,
    loop: Loop,
    distances: Distances,
    advance: Advance,
) -> float | None:
    """Write weights, config.json, gansynth.json, pictures and the card; measure what was written.

    Args:
        folder: of the run.
        recipe, images, players, gallery: of the run, at its end.
        device: torch device.
        loop: of the run.
        distances: seen on the way.
        advance: told of each of the 51 truncations.

    Returns:
        Frechet distance of the written generator at truncation 1, None without a metric.
    """
    network: Any = players.still()
    if recipe.architecture == "biggan":
        batch_size = max(1, _STATISTICS_BATCH * 32**2 // recipe.resolution**2)  # so that memory stays the same
        standing_statistics(network, _STATISTICS_IMAGES // batch_size, batch_size, recipe.seed, lambda: advance(1))
        _write_biggan(folder, network)
    else:
        _write_plain(folder, network, recipe)
    pictures.save(folder / about.FILE, _json(_about(recipe, images.summary)))
    render = _shipped(folder, device)
    distance = gallery.distance(render)
    by_truncation = []
    (folder / BY_TRUNCATION).unlink(missing_ok=True)  # of a shorter run with another metric
    if recipe.architecture == "biggan" and distance is not None:
        by_truncation = [(t, gallery.distance(_shipped(folder, device, t), t)) for t in TRUNCATIONS]
        rows = "".join(f"{t},{d:.5g}\n" for t, d in by_truncation)
        pictures.save(folder / BY_TRUNCATION, f"truncation,frechet distance\n{rows}".encode())
    pictures.save(folder / pictures.FOLDER / pictures.BESIDE, gallery.beside(render, distance))
    text = _card(recipe, images.summary, loop, gallery, distance, by_truncation, distances)
    pictures.save(folder / CARD, text.encode())
    return distance


def _shipped(folder: Path, device: str, truncation: float = 1.0) -> Render:
    """Renders with the generator that was written, as a dataset would."""
    generator = load_generator(str(folder), device)

    def render(z: torch.Tensor, classes: torch.Tensor) -> npt.NDArray[np.uint8]:
        parts = []
        for start in range(0, len(z), 100):
            chosen = z[start : start + 100]
            labels = classes[start : start + 100]
            parts.append(generator.sample(chosen, labels, torch.full([len(chosen)], truncation)).cpu().numpy())
        return np.concatenate(parts)

    return render


def _write_biggan(folder: Path, network: Any) -> None:
    """The library's format: from_pretrained reads it as it is."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, buffer)
    pictures.save(folder / "pytorch_model.bin", buffer.getvalue())
    pictures.save(folder / weights.CONFIG_NAME, _json(network.config.to_dict()))


def _write_plain(folder: Path, network: Any, recipe: TrainingRecipe) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    pictures.save(folder / weights.WEIGHTS_NAMES[0], save(tensors))
    config = {"family": recipe.architecture, "z_dim": recipe.value("z_dim"), "resolution": recipe.resolution}
    pictures.save(folder / weights.CONFIG_NAME, _json(config))


def _about(recipe: TrainingRecipe, summary: Summary) -> dict[str, Any]:
    found: dict[str, Any] = {
        "licence": recipe.licence,
        "origin": f"gansynth train ({recipe.architecture}, {counted(summary.images, 'image')})",
    }
    if recipe.architecture == "biggan":
        found["labels"] = list(summary.classes) or [recipe.name]
    return found


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _card(
    recipe: TrainingRecipe,
    summary: Summary,
    loop: Loop,
    gallery: Gallery,
    distance: float | None,
    by_truncation: list[Any],
    distances: Distances,
) -> str:
    """A model card in Markdown."""
    epochs, shown = recipe.value("epochs"), pictures.FOLDER
    lines = [
        f"# {recipe.name}",
        "",
        f"A {recipe.architecture} generator of {recipe.resolution} x {recipe.resolution} pixels, trained by `gansynth train` for "
        f"{counted(epochs, 'epoch')} ({counted(loop.steps, 'step')} of {loop.batch_size} images) with seed {recipe.seed}. Everything "
        f"that was chosen is in {run_folder.RECIPE}.",
        "",
        "- Use it: `generator:` in a recipe takes the path or URL of this folder.",
        f"- Licence: {recipe.licence}",
        f"- Data: {counted(summary.images, 'image')} ({summary.kind}), sha256 {summary.sha256[:16]}...; "
        f"{counted(len(summary.skipped), 'image')} left out, listed in {run_folder.DATA}.",
    ]
    if loop.warmup:
        lines.append(f"- In the first {counted(loop.warmup, 'step')} the discriminator alone learned.")
    if distance is not None:
        first = f", from {distances[0][2]:.4g} after epoch {distances[0][0]}" if distances else ""
        lines.append(f"- Frechet distance to the data ({gallery.metric}): {distance:.4g}{first}.")
    if summary.classes:
        lines += [
            "",
            "| class | images |",
            "|---|---|",
            *(f"| {n} | {count:,} |" for n, count in summary.classes.items()),
        ]
    if by_truncation:
        lines += [
            "",
            "| truncation | Frechet distance |",
            "|---|---|",
            *(f"| {t} | {d:.4g} |" for t, d in by_truncation),
        ]
    lines += ["", f"![real and generated]({shown}/{pictures.BESIDE})", "", f"![losses]({shown}/{pictures.CURVES})", ""]
    return "\n".join(lines)
