"""Latents: the bits of the reference tools, one stream a seed."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_pretrained_biggan import truncated_noise_sample

from gansynth.info import Latent
from gansynth.latents import draw

TRUNCATIONS = [0.02, 0.3, 0.4, 0.9, 1.0]
LATENTS = get_args(Latent)


def same_bits(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> bool:
    return a.dtype == b.dtype == np.float32 and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("first", [0, 1_000_000, 2**31 - 100, 3_000_000_000, 2**32 - 200])
def test_truncated_normal_has_the_bits_of_the_biggan_library(first: int) -> None:
    seeds = range(first, first + 200)
    for truncation in TRUNCATIONS:
        expected = np.concatenate([truncated_noise_sample(1, 128, truncation, seed) for seed in seeds])
        assert same_bits(draw("truncated_normal", seeds, 128, np.full(200, truncation)), expected)


def test_so_it_has_for_a_thousand_seeds_with_truncations_mixed_in_a_batch() -> None:
    seeds = np.random.RandomState(1).randint(0, 2**32, size=1000, dtype=np.int64).tolist()
    truncations = np.resize(TRUNCATIONS, 1000)
    expected = [
        truncated_noise_sample(1, 64, truncation, seed)
        for seed, truncation in zip(seeds, truncations.tolist(), strict=True)
    ]
    assert same_bits(draw("truncated_normal", seeds, 64, truncations), np.concatenate(expected))


@pytest.mark.parametrize("z_dim", [1, 120, 128, 140, 512])
def test_so_it_has_for_every_length(z_dim: int) -> None:
    expected = truncated_noise_sample(1, z_dim, 0.7, 42)
    assert same_bits(draw("truncated_normal", [42], z_dim, np.array([0.7])), expected)


def test_truncated_normal_stays_within_two_truncations() -> None:
    z = draw("truncated_normal", range(500), 64, np.full(500, 0.5))
    assert 0.99 < np.abs(z).max() <= 1.0


def test_without_truncations_nothing_is_scaled() -> None:
    seeds = range(20)
    assert same_bits(draw("truncated_normal", seeds, 16), draw("truncated_normal", seeds, 16, np.ones(20)))


def test_normal_has_the_bits_of_a_seeded_torch_generator() -> None:
    for seed in [0, 1, 7, 2**31, 2**32 - 1]:
        expected = torch.randn(1, 128, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
        assert same_bits(draw("normal", [seed], 128), expected)


def test_numpy_normal_has_the_bits_of_a_seeded_random_state() -> None:
    for seed in [0, 1, 7, 2**31, 2**32 - 1]:
        expected = np.random.RandomState(seed).randn(1, 512).astype(np.float32)
        assert same_bits(draw("numpy_normal", [seed], 512), expected)


@pytest.mark.parametrize("latent", ["normal", "numpy_normal"])
def test_truncation_scales_no_other_latent(latent: Latent) -> None:
    assert same_bits(draw(latent, range(5), 16, np.full(5, 0.5)), draw(latent, range(5), 16))


@pytest.mark.parametrize("latent", LATENTS)
def test_the_outcome_is_float32_with_one_row_a_seed(latent: Latent) -> None:
    z = draw(latent, [3, 1, 4], 7)
    assert (z.shape, z.dtype) == ((3, 7), np.float32)
    assert len(np.unique(z)) == 21


@pytest.mark.parametrize("latent", LATENTS)
@settings(max_examples=30)
@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12), data=st.data())
def test_a_latent_does_not_depend_on_batch_or_order(latent: Latent, seeds: list[int], data: st.DataObject) -> None:
    truncations = np.array(data.draw(st.lists(st.sampled_from(TRUNCATIONS), min_size=len(seeds), max_size=len(seeds))))
    together = draw(latent, seeds, 9, truncations)
    for row in data.draw(st.permutations(range(len(seeds)))):
        alone = draw(latent, [seeds[row]], 9, truncations[row : row + 1])
        assert same_bits(alone, together[row : row + 1])


@pytest.mark.parametrize("latent", LATENTS)
def test_no_global_stream_is_read_or_advanced(latent: Latent) -> None:
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()
    first = draw(latent, [5], 8)
    assert (np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()) == before
    np.random.rand()
    torch.rand(1)
    assert same_bits(draw(latent, [5], 8), first)
