"""Trains the small classifier that comes with gansynth: the features of the metric `fashion`.

python deploy/fashion-32/classifier.py gansynth/quality/fashion-classifier.safetensors

Needs Debian's package dataset-fashion-mnist. Sees the 60,000 training images; prints its accuracy on the 10,000 test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import save_file

from gansynth.quality.classifier import accuracy, fit
from gansynth.training.images import read_all
from gansynth.training.sources import open_source

DATA = Path("/usr/share/datasets/fashion-mnist")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--epochs", type=int, default=12)
    chosen = parser.parse_args()
    network = fit(*read_all(open_source(chosen.data), 32), num_classes=10, epochs=chosen.epochs)
    test = read_all(open_source(chosen.data / "t10k-images-idx3-ubyte.gz"), 32)
    save_file(network.state_dict(), chosen.output)
    print(f"accuracy {accuracy(network, *test):.4f} on the test images, {chosen.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
