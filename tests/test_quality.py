"""The Frechet distance as its definition has it, and features that see what they say they see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from gansynth.errors import InputError
from gansynth.generators import load_generator
from gansynth.latents import draw
from gansynth.quality.classifier import BUNDLED, accuracy, bundled, fit
from gansynth.quality.features import extractor
from gansynth.quality.frechet import frechet_distance
from gansynth.quality.thumbnails import features

SEEDS = st.integers(0, 2**32 - 1)


def gaussian(seed: int, rows: int = 50, width: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


@given(SEEDS, SEEDS)
def test_it_is_the_textbook_formula(one: int, two: int) -> None:
    a, b = gaussian(one), gaussian(two, rows=70)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.trace(sqrtm(covariances[0] @ covariances[1])).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(SEEDS, SEEDS)
def test_it_is_symmetric_and_not_negative(one: int, two: int) -> None:
    a, b = gaussian(one), gaussian(two)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-8)
    assert frechet_distance(a, b) >= 0


@given(SEEDS, st.floats(-100, 100))
def test_a_shift_counts_with_its_square(seed: int, shift: float) -> None:
    a = gaussian(seed)
    moved = a + np.array([shift, 0, 0, 0])
    assert frechet_distance(a, moved) == pytest.approx(shift**2, rel=1e-6, abs=1e-6)


def test_fewer_rows_than_dimensions_do_no_harm() -> None:
    a = gaussian(1, rows=5, width=30)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_what_has_no_distance_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="rows of the same width"):
        frechet_distance(np.zeros(shapes[0]), np.zeros(shapes[1]))


@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 255))
def test_a_flat_image_has_flat_features(height: int, width: int, value: int) -> None:
    found = features(np.full((2, height, width, 3), value, np.uint8))
    assert found.shape == (2, 192)
    assert (found == value / 127.5 - 1).all()


def test_features_are_means_of_fields() -> None:
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[0, :2, 2:4, 1] = 100, 200
    expected = np.full((8, 8, 3), -1.0)
    expected[0, 1, 1] = 150 / 127.5 - 1
    assert (features(image).reshape(8, 8, 3) == expected).all()


def test_images_smaller_than_their_thumbnails_are_refused() -> None:
    with pytest.raises(ValueError, match="need larger ones"):
        features(np.zeros((1, 8, 7, 3), np.uint8))


class Mean(torch.nn.Module):
    """Channel means, negative unless features are asked for by name."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        means = images.float().mean(dim=(2, 3))
        return means if return_features else -means


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_features_come_from_a_script_file(tmp_path: Path) -> None:
    torch.jit.script(Mean()).save(tmp_path / "means.pt")
    found = extractor(str(tmp_path / "means.pt"))
    images = np.random.default_rng(0).integers(0, 256, (300, 9, 10, 3), np.uint8)
    assert found.name == "means.pt"
    np.testing.assert_allclose(found.features(images), images.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("content", [None, b"", b"no script"])
def test_what_has_no_features_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"^metric: .*network.pt"):
        extractor(str(path))


def test_the_bundled_classifier_knows_what_the_bundled_generator_draws() -> None:
    generator = load_generator("fashion-32")
    z = torch.from_numpy(draw("truncated_normal", range(200), generator.z_dim, np.full(200, 0.5)))
    classes = torch.arange(200) % 10
    images = generator.sample(z, classes, torch.full([200], 0.5)).numpy()
    network = bundled()
    assert accuracy(network, images, classes.numpy()) > 0.85
    assert extractor("fashion").features(images).shape == (200, 128)
    assert BUNDLED.stat().st_size < 1e6


@pytest.mark.parametrize("augment", [False, True])
def test_a_classifier_learns_and_learns_the_same_again(augment: bool) -> None:
    labels = np.arange(64) % 2
    images = np.random.default_rng(0).integers(0, 100, (64, 16, 16, 3), np.uint8)
    images[labels == 1, :8] += 100
    network, again = (fit(images, labels, 2, epochs=3, batch_size=16, augment=augment) for _ in range(2))
    assert accuracy(network, images, labels) == 1
    assert (network.features(images) == again.features(images)).all()
