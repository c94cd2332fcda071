"""What a Frechet distance is measured on: images -> features, by a named network or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gansynth.errors import InputError
from gansynth.quality import thumbnails

Images = npt.NDArray[np.uint8]
_AT_ONCE = 256


@dataclass(frozen=True)
class Extractor:
    """A way to features.

    Args:
        name: to be shown with every figure.
        identity: tells it from all others; the sha256 of a file.
        features: uint8 [n, h, w, 3] -> floats [n, d].
    """

    name: str
    identity: str
    features: Callable[[Images], npt.NDArray[np.floating]]


def extractor(name_or_path: str) -> Extractor:
    """An extractor by name.

    Args:
        name_or_path: `thumbnails` (colours of an 8 x 8 image), `fashion` (the bundled classifier of 32-pixel
            Fashion-MNIST), or the path of a TorchScript file that takes uint8 [n, 3, h, w] and gives floats [n, d]; one
            that has an argument return_features gets it as true.

    Raises:
        InputError: no such name or file, or not TorchScript.
    """
    if name_or_path == "thumbnails":
        return Extractor(thumbnails.NAME, thumbnails.NAME, thumbnails.features)
    if name_or_path == "fashion":
        from gansynth.quality import classifier

        network = classifier.bundled()
        name = "features of gansynth's Fashion-MNIST classifier"
        return Extractor(name, name, network.features)
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise InputError(
            f"metric: saw {name_or_path!r}; it is thumbnails, fashion, none, or the path of a TorchScript file"
        )
    return _of_script(path)


def _of_script(path: Path) -> Extractor:
    import torch

    try:
        script = torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:  # whatever torch's reader stumbles over
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"metric: {path} cannot be read as TorchScript ({reason}); save it with torch.jit.save"
        ) from None
    takes = [argument.name for argument in script.forward.schema.arguments]
    keywords = {"return_features": True} if "return_features" in takes else {}

    def features(images: Images) -> npt.NDArray[np.floating]:
        rows = []
        try:
            with torch.inference_mode():
                for start in range(0, len(images), _AT_ONCE):
                    batch = torch.from_numpy(np.ascontiguousarray(images[start : start + _AT_ONCE]))
                    rows.append(script(batch.permute(0, 3, 1, 2), **keywords).flatten(1).double().numpy())
        except Exception as error:  # whatever the user's network stumbles over
            reason = " ".join(str(error).split())[-160:]
            raise InputError(
                f"metric: {path} cannot take uint8 images of {list(images.shape[1:3])} ({reason}); give a network that takes them"
            ) from None
        found = np.concatenate(rows)
        if not np.isfinite(found).all():
            raise InputError(f"metric: {path} gives features that are not finite; give a network of finite weights")
        return found

    return Extractor(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), features)
