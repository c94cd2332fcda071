"""Class names: every class is found, and no name is ever guessed."""

from __future__ import annotations

import pytest
from pytorch_pretrained_biggan.utils import IMAGENET

from gansynth.errors import LabelError
from gansynth.labels import ClassLabel, LabelSet, imagenet, named_classes, numbered_classes

FASHION = named_classes(["T-shirt/top", "Trouser", "Ankle boot", "Bag"])


def complaint(labels: LabelSet, wanted: int | str) -> str:
    with pytest.raises(LabelError) as error:
        labels.find(wanted)
    return str(error.value)


def test_there_are_a_thousand_imagenet_classes_in_order() -> None:
    assert len(imagenet()) == 1000
    assert [label.index for label in imagenet().classes] == list(range(1000))
    wnids = [label.wnid or "" for label in imagenet().classes]
    assert wnids == sorted(wnids)


def test_wnids_and_indices_are_those_of_the_biggan_library() -> None:
    assert {int((label.wnid or "")[1:]): label.index for label in imagenet().classes} == IMAGENET


def test_every_index_and_every_wnid_is_its_own_class() -> None:
    for label in imagenet().classes:
        assert imagenet().find(label.index) is label
        assert imagenet().find(label.wnid or "") is label


def test_every_shown_name_finds_its_class_or_an_error_that_names_it() -> None:
    for label in imagenet().classes:
        try:
            assert imagenet().find(label.name) is label
        except LabelError as error:
            assert "ambiguous" in str(error)
            assert f"{label.index} ({label.wnid}" in str(error)


def test_shown_names_are_distinct() -> None:
    names = [label.name for label in imagenet().classes]
    assert len(set(names)) == 1000


@pytest.mark.parametrize(
    "spelling",
    ["golden retriever", "Golden Retriever", "GOLDEN_RETRIEVER", "golden-retriever", "  golden   retriever "],
)
def test_case_and_spacing_do_not_matter(spelling: str) -> None:
    assert imagenet().find(spelling).wnid == "n02099601"


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("crane", ["134 (n02012849", "517 (n03126707"]),
        ("panda", ["387 (n02509815", "388 (n02510455"]),
        ("Maillot", ["638 (n03710637", "639 (n03710721"]),
    ],
)
def test_an_ambiguous_name_is_refused_with_all_candidates(name: str, candidates: list[str]) -> None:
    message = complaint(imagenet(), name)
    assert f'"{name}" is ambiguous' in message
    assert all(candidate in message for candidate in candidates)


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("goldn retriever", "golden retriever"),
        ("volcanoe", "volcano"),
        ("retriever", "golden retriever"),
        ("n02099602", "n02099601"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(misspelt: str, nearest: str) -> None:
    message = complaint(imagenet(), misspelt)
    assert misspelt in message
    assert nearest in message


def test_a_name_like_no_other_says_where_to_look() -> None:
    assert "models info" in complaint(imagenet(), "zzqqxx")


@pytest.mark.parametrize("index", [-1, 1000, 10**12])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    message = complaint(imagenet(), index)
    assert str(index) in message
    assert "0 to 999" in message


def test_an_index_in_quotes_says_so() -> None:
    assert "without quotes" in complaint(imagenet(), "980")


@pytest.mark.parametrize("name", ["T-shirt/top", "t-shirt", "top", "T Shirt"])
def test_either_side_of_a_slash_finds_the_class(name: str) -> None:
    assert FASHION.find(name) == ClassLabel(0, "T-shirt/top", synonyms=("T-shirt", "top"))


def test_classes_without_names_are_found_by_number() -> None:
    labels = numbered_classes(12)
    assert labels.find("class 11").index == labels.find(11).index == 11


@pytest.mark.parametrize("wanted", ["", " ", "a\nb", "crane\n\n", "(", "\\"])
def test_every_complaint_is_one_line(wanted: str) -> None:
    assert len(complaint(imagenet(), wanted).splitlines()) == 1
