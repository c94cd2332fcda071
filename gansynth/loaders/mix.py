"""Real and synthetic images in one dataset, at a share that may change with time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import IterableDataset

from gansynth.errors import InputError
from gansynth.loaders.arguments import one_of
from gansynth.loaders.blend import Blend, Ratio, Schedule
from gansynth.loaders.dataset import SynthesizedDataset
from gansynth.loaders.mixture import MixedDataset, unlabelled
from gansynth.loaders.order import Uneven
from gansynth.loaders.real import Real, RealDataset, RealFiles, RealStream
from gansynth.mirror import local_path


def mix(
    real: Any,
    synthetic: SynthesizedDataset,
    *,
    ratio: Ratio = 0.5,
    schedule: Schedule = "epoch",
    balance: bool = False,
    class_names: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
    uneven: Uneven | None = None,
) -> MixedDataset:
    """Mix real images with a dataset of gansynth.

    >>> dataset = mix("photos", open_dataset("datasets/more-photos", batch_size=64), ratio=0.5)   # doctest: +SKIP

    An epoch has every real image once, and as many synthetic ones between them as the ratio asks for: other ones every epoch,
    and the same again if there are not enough.

    Args:
        real: a folder of images with a sub-folder for each class (or a zip of such, IDX or npz files), or the URL of one,
            of which a local copy is kept; a PyTorch dataset with a length, of (image, label); or an iterable of these such
            as a WebDataset, which has to deal itself out to ranks and workers. Images are made square and of the synthetic
            ones' size, but for tensors, which stay as they are. Going on in the middle of an epoch is exact with a stream
            that gives the same order again for an epoch, which it is told by `set_epoch` if it has that; one that shuffles
            without a seed repeats some samples and leaves others out.
        synthetic: from `open_dataset`; its `batch_size`, `image` and `seed` hold for the mixture.
        ratio: share of synthetic samples: a number from 0 to 1; a mapping such as {0: 0.8, 30: 0.2}, with straight lines
            between; or a function.
        schedule: what such a mapping or function goes by: the epoch, or the step (batches of this rank).
        balance: give every class equally often, from either side; real images of rare classes then come several times.
        class_names: names of the real classes in the order of their labels, where the data has none of its own.
        transform: applied to all images, which have to be of one dtype before it: real tensors with values from 0 to 1 do not
            go with synthetic ones from 0 to 255.
        uneven: as in `open_dataset`, for the real images.

    Raises:
        InputError: class names do not match, there are no real images, or what is asked for cannot be had from a stream.
            While reading: real tensors are of another dtype or shape than the synthetic ones, or an image cannot be used.
    """
    if synthetic.catalogue.resolution is None or synthetic.image == "bytes":
        raise InputError('synthetic: images of one size, as "tensor" or "pil", are needed; open the dataset so')
    one_of("schedule", schedule, Schedule)
    if uneven is not None:
        one_of("uneven", uneven, Uneven)
    blend = Blend(ratio, schedule, synthetic.batch_size)
    blend.share(0)
    found = _real(real, synthetic, class_names)
    labels = _numbering(found, synthetic)
    if isinstance(found, RealStream) and (balance or schedule == "step"):
        what = "balance" if balance else "schedule by step"
        raise InputError(
            f"{what}: needs real images that can be counted, and a stream cannot; give a folder, or a dataset with a length"
        )
    if not isinstance(found, RealStream) and not len(found):
        raise InputError("real: holds no image; check the path, or leave mixing out")
    return MixedDataset(found, synthetic, blend, labels, balance, transform, uneven)


def _real(real: Any, synthetic: SynthesizedDataset, class_names: Sequence[str] | None) -> Real | RealStream:
    arguments: Any = (synthetic.catalogue.resolution, synthetic.image, class_names)
    if isinstance(real, str | os.PathLike):
        return RealFiles(local_path(os.fspath(real)), *arguments)
    if isinstance(real, IterableDataset):  # some have a length all the same, and a __getitem__ that only raises
        return RealStream(real, *arguments)
    if hasattr(real, "__getitem__") and hasattr(real, "__len__"):
        return RealDataset(real, *arguments)
    if hasattr(real, "__iter__"):
        return RealStream(real, *arguments)
    raise InputError(
        f"real: saw {type(real).__name__}; give a folder, a PyTorch dataset, or an iterable of (image, label)"
    )


def _numbering(real: Real | RealStream, synthetic: SynthesizedDataset) -> dict[int, int]:
    """Label of each synthetic class in the real data's numbering."""
    names, made = list(real.class_names), synthetic.class_names
    if made and not names:
        raise InputError(
            f"class_names: the real images have none, so nothing tells which of them is {next(iter(made.values()))!r}; pass "
            f"class_names, in the order of the labels"
        )
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"class_names: {repeated!r} is there twice; name every class differently")
    if foreign := [name for name in made.values() if name not in names]:
        raise InputError(
            f"class_names: the synthetic class {foreign[0]!r} is none of the real ones ({', '.join(names[:8])}{', ...' * (len(names) > 8)}); "
            f"pass class_names that agree, or leave it out with `where`"
        )
    labels = {label: names.index(name) for label, name in made.items()}
    if synthetic.catalogue.unlabelled:
        if len(names) > 1:
            raise unlabelled(
                f"the real ones have {len(names)} classes ({', '.join(names[:8])}{', ...' * (len(names) > 8)})"
            )
        labels[0] = 0
    return labels
