"""Real images to mix with: files, any PyTorch dataset, or a stream such as a WebDataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

from gansynth.errors import InputError
from gansynth.loaders.images import ImageKind
from gansynth.training.items import Item
from gansynth.training.sources import open_source
from gansynth.training.squares import as_square

_IMAGES, _LABELS = ("image", "jpg", "jpeg", "png", "webp"), ("label", "cls")


class Real(Protocol):
    """Labelled real images that can be taken in any order."""

    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each image, int64 [n]."""
        ...

    def read(self, index: int) -> tuple[Any, int]:
        """An image and its class."""
        ...


class RealFiles:
    """Images in class folders, a zip of such, IDX or npz files, made square.

    Args:
        path: where they are; see `training.sources.open_source`.
        resolution: height and width of the images that result, pixels.
        kind: "tensor" or "pil".
        class_names: in place of the source's own.

    Raises:
        InputError: there are none.
    """

    def __init__(self, path: Path, resolution: int, kind: ImageKind, class_names: Sequence[str] | None) -> None:
        self._path, self._resolution, self._kind = path, resolution, kind
        self.class_names = open_source(path, class_names).classes
        self._opened: tuple[int, list[Item]] | None = None
        self._count = len(self._items)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def _items(self) -> list[Item]:
        # Opened anew by every process: archives cannot be read by several through one open file.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), list(open_source(self._path).items())
        return self._opened[1]

    def __len__(self) -> int:
        return self._count

    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([item.label for item in self._items], np.int64)

    def read(self, index: int) -> tuple[Any, int]:
        item = self._items[index]
        found = as_square(item, self._resolution)
        if isinstance(found, str):
            raise InputError(f"real: {item.name} in {self._path} cannot be used ({found}); remove or replace it")
        return as_image(found, self._resolution, self._kind), item.label


class RealDataset:
    """Any PyTorch dataset with a length, of (image, label) or {"image", "label"}.

    Args:
        dataset: its attributes `classes` and `targets`, where it has them, give names and labels, as torchvision's do.
        resolution, kind: of images that are not tensors already.
        class_names: in the order of its labels, in place of `classes`.
    """

    def __init__(self, dataset: Any, resolution: int, kind: ImageKind, class_names: Sequence[str] | None) -> None:
        self._dataset, self._resolution, self._kind = dataset, resolution, kind
        names: Sequence[str] = getattr(dataset, "classes", ())
        self.class_names = tuple(names if class_names is None else class_names)

    def __len__(self) -> int:
        return len(self._dataset)

    def labels(self) -> npt.NDArray[np.int64]:
        targets = getattr(self._dataset, "targets", None)
        if targets is None:
            targets = [_pair(self._dataset[index])[1] for index in range(len(self))]
        elif (change := getattr(self._dataset, "target_transform", None)) is not None:
            targets = map(change, targets)  # as torchvision's do on reading
        return np.array([int(target) for target in targets], np.int64)

    def read(self, index: int) -> tuple[Any, int]:
        image, label = _pair(self._dataset[index])
        return as_image(image, self._resolution, self._kind), int(label)


class RealStream:
    """An iterable of (image, label), {"image", "label"} or WebDataset samples that deals itself out to ranks and workers.

    Args:
        stream: iterated anew every epoch, of which its `set_epoch` is told where it has one.
        resolution, kind: of images that are not tensors already.
        class_names: in the order of its labels.
    """

    def __init__(
        self, stream: Iterable[Any], resolution: int, kind: ImageKind, class_names: Sequence[str] | None
    ) -> None:
        self._stream, self._resolution, self._kind = stream, resolution, kind
        self.class_names = tuple(class_names or ())

    def samples(self, epoch: int) -> Iterator[tuple[Any, int]]:
        """Images and their classes in an epoch."""
        if callable(begin := getattr(self._stream, "set_epoch", None)):
            begin(epoch)
        for sample in self._stream:
            image, label = _pair(sample)
            yield as_image(image, self._resolution, self._kind), int(label)


def as_image(image: Any, resolution: int, kind: ImageKind) -> Any:
    """What the synthetic images are: pixels and PIL images made square, uint8 [3, h, w] or PIL; tensors stay as they are.

    Args:
        image: a PIL image, uint8 [h, w] or [h, w, 3], the bytes of an image file, or a tensor.
        resolution: height and width of the result, pixels.
        kind: "tensor" or "pil".

    Raises:
        InputError: it is none of these, or cannot be used.
    """
    if isinstance(image, torch.Tensor):
        return image
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        raise InputError(
            f"real: saw an image of {image.dtype}, where uint8 pixels, a PIL image or a tensor is expected; decode to uint8, or let "
            f"the dataset give tensors"
        )
    content = np.asarray(image.convert("RGB")) if isinstance(image, PIL.Image.Image) else image
    item = Item("an image", 0, lambda: content)
    found = as_square(item, resolution)
    if isinstance(found, str):
        raise InputError(f"real: an image cannot be used ({found}); leave it out")
    return PIL.Image.fromarray(found) if kind == "pil" else torch.from_numpy(found.copy()).permute(2, 0, 1)


def _pair(sample: Any) -> tuple[Any, Any]:
    if isinstance(sample, Mapping):
        image = next((sample[key] for key in _IMAGES if key in sample), None)
        label = next((sample[key] for key in _LABELS if key in sample), None)
        if image is not None and label is not None:
            return image, label
    elif isinstance(sample, Sequence) and len(sample) == 2:
        return sample[0], sample[1]
    seen = f"keys {', '.join(map(str, sample))}" if isinstance(sample, Mapping) else type(sample).__name__
    raise InputError(
        f"real: saw a sample of {seen}; give (image, label), or a mapping with `image` and `label` (or `cls`)"
    )
