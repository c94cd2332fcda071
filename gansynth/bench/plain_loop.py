"""The loop that a user of the libraries would write: network, conversion, Pillow, webdataset, one after the other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gansynth.bench.subject import Subject


def plain_loop(subject: Subject, folder: Path, count: int) -> None:
    """Write a tar of JPEG images (quality 95, no chroma subsampling) with label, caption and JSON.

    Args:
        subject: its library's network renders; where there is none, gansynth's generator does.
        folder: a new folder for the tar.
        count: number of images.
    """
    import PIL.Image
    import webdataset

    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=count, verbose=0) as sink:
        for number, (pixels, label, truncation) in zip(range(count), _images(subject), strict=False):
            buffer = io.BytesIO()
            PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling="4:4:4")
            about = {"seed": number, "truncation": truncation, "class": label}
            members = {"jpg": buffer.getvalue(), "cls": label, "txt": f"class {label}", "json": about}
            sink.write({"__key__": f"{number:06d}", **members})


def _images(subject: Subject) -> Iterator[tuple[np.ndarray[Any, Any], int, float]]:
    """Pixels, label and truncation, without end."""
    seed = 0
    while True:
        _, classes, truncation = subject.batch(seed)
        if subject.reference is None:
            images = list(subject.generator.sample(*subject.batch(seed)).cpu().numpy())
        else:
            from pytorch_pretrained_biggan import convert_to_images

            images = [np.asarray(image) for image in convert_to_images(subject.by_reference(seed).cpu())]
        yield from zip(images, classes.tolist(), truncation.tolist(), strict=True)
        seed += 1
