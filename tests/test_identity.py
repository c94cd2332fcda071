"""Names made from content: the same request has the same name everywhere, another has another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansynth.generators import describe
from gansynth.identity import RENDER_VERSION, SampleIds, canonical_json, sha256_json
from gansynth.recipe import Recipe
from gansynth.resolve import ResolvedRecipe, resolve

CONSTANTS: dict[str, Any] = {
    "weights_sha256": "0" * 64,
    "latent": "truncated_normal",
    "generator_options": {},
    "image": {"format": "jpg", "quality": 95, "subsampling": "4:4:4"},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def resolved(**changes: Any) -> ResolvedRecipe:
    recipe = Recipe(**{"name": "a", "generator": "fake", "classes": [0, 1], "seeds": "0-9", **changes})
    return resolve(recipe, describe("fake", recipe.generator_options))


@given(values)
def test_canonical_json_is_plain_json_in_ascii(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert sha256_json(dict(items)) == sha256_json(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_say_has_no_name(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": number})


def test_a_sample_id_can_be_computed_from_its_definition() -> None:
    request = (
        '{"class":207,"generator_options":{},"image":{"format":"jpg","quality":95,"subsampling":"4:4:4"},'
        '"latent":"truncated_normal","seed":7,"truncation":"0.4","version":1,"weights_sha256":"' + "0" * 64 + '"}'
    )
    assert RENDER_VERSION == 1
    assert SampleIds(CONSTANTS)(207, 0.4, 7) == hashlib.sha256(request.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    "constants",
    [
        {"weights_sha256": "1" * 64},
        {"latent": "normal"},
        {"generator_options": {"noise_mode": "const"}},
        {"image": {"format": "png", "compress_level": 6}},
    ],
    ids=str,
)
def test_whatever_changes_the_image_changes_the_sample_id(constants: dict[str, Any]) -> None:
    assert SampleIds({**CONSTANTS, **constants})(207, 0.4, 7) != SampleIds(CONSTANTS)(207, 0.4, 7)


def test_class_truncation_and_seed_change_the_sample_id() -> None:
    name = SampleIds(CONSTANTS)
    requests = [(c, t, s) for c in (None, 0, 1) for t in (0.4, 0.5, 0.4 + 2**-53) for s in (0, 1, 2**32 - 1)]
    names = {name(*request) for request in requests}
    assert len(names) == len(requests)
    assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in names)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another", "output": "memory://elsewhere"},
        {"classes": [1]},
        {"labels": "dense", "truncation": [0.5]},
        {"seeds": ["0-3", "100-200"], "splits": {"train": 0.5, "val": 0.5}, "seed_use": "disjoint"},
        {"batch_size": 3, "threads": 2, "samples_per_shard": 5},
    ],
    ids=str,
)
def test_a_sample_has_the_same_id_in_every_dataset(changes: dict[str, Any]) -> None:
    assert resolved(**changes).sample_ids()(1, 0.5, 3) == resolved().sample_ids()(1, 0.5, 3)


@pytest.mark.parametrize(
    "changes", [{"latent": "normal"}, {"image": {"quality": 50}}, {"generator_options": {"z_dim": 8}}], ids=str
)
def test_another_request_has_another_id(changes: dict[str, Any]) -> None:
    assert resolved(**changes).sample_ids()(1, 0.5, 3) != resolved().sample_ids()(1, 0.5, 3)
