"""Takes a finished run of deploy/recipes/fashion-32.yaml into the package: weights in float16, settings, a picture of samples.

python deploy/fashion-32/embed.py runs/fashion-32 gansynth/generators/pretrained/fashion-32

The card beside them is written by hand from the run's own and from what score.py prints.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from gansynth.generators import load_generator
from gansynth.latents import draw

ORIGIN = "Trained by gansynth (BigGAN-deep, 30 epochs) on the 60,000 training images of Fashion-MNIST (Zalando SE, MIT)"
ACROSS, TRUNCATION = 10, 1.0


def samples(folder: Path) -> PIL.Image.Image:
    """Ten images of each class, a class a row."""
    generator = load_generator(str(folder))
    rows = generator.info.num_classes
    psi = np.full(rows * ACROSS, TRUNCATION)
    z = torch.from_numpy(draw(generator.info.latents[0], range(rows * ACROSS), generator.z_dim, psi))
    classes = torch.arange(rows).repeat_interleave(ACROSS)
    images = generator.sample(z, classes, torch.from_numpy(psi).float()).cpu().numpy()
    side = images.shape[1]
    tiles = images.reshape(rows, ACROSS, side, side, 3).transpose(0, 2, 1, 3, 4)
    return PIL.Image.fromarray(tiles.reshape(rows * side, ACROSS * side, 3)).convert("L")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(chosen.run / "config.json", chosen.output / "config.json")
    about = json.loads((chosen.run / "gansynth.json").read_text()) | {"origin": ORIGIN}
    (chosen.output / "gansynth.json").write_text(json.dumps(about, indent=1) + "\n")
    state = torch.load(chosen.run / "pytorch_model.bin", map_location="cpu", weights_only=True)
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(halved, chosen.output / "pytorch_model.bin")
    samples(chosen.output).save(chosen.output / "samples.png", optimize=True)
    size = (chosen.output / "pytorch_model.bin").stat().st_size
    print(f"{size:,} bytes, weights_sha256 {load_generator(str(chosen.output)).info.weights_sha256}")


if __name__ == "__main__":
    main()
