"""What every generator offers. A new family is one file and one line in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gansynth.info import GeneratorInfo
from gansynth.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import torch


@runtime_checkable
class Generator(Protocol):
    """A pretrained network that turns latents into images, in evaluation mode.

    Attributes:
        z_dim: length of the latent vector.
        num_classes: 0 for unconditional generators.
        resolution: height and width of the images in pixels.
        labels: the classes.
        weights_sha256: identity of the weights (see `weights.identity`).
        licence: of the weights.
    """

    z_dim: int
    num_classes: int
    resolution: int
    labels: LabelSet
    weights_sha256: str
    licence: str

    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Render one image a row.

        Args:
            z: float32 [n, z_dim], already scaled by the truncation where the family does so.
            classes: int64 [n], indices in [0, num_classes); ignored by unconditional generators.
            truncation: float32 [n]; may differ from row to row.
            seeds: int64 [n], for families that draw noise while rendering.

        Returns:
            uint8 [n, resolution, resolution, 3], on the generator's device. An image does not depend on its
            neighbours in the batch, and on n and its position there by no more than rounding.

        Raises:
            RenderError: the network's output is not finite. On a GPU, where to look would be to wait, such images are
                black instead.
        """
        ...


@runtime_checkable
class StyleGenerator(Generator, Protocol):
    """A generator that maps z to a style w first, as StyleGAN does.

    Attributes:
        w_dim: length of w.
        num_ws: number of layers that take a w.
    """

    w_dim: int
    num_ws: int

    def styles(self, z: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Styles before truncation.

        Args:
            z, classes: as in `sample`.

        Returns:
            float32 [n, w_dim], on the generator's device.
        """
        ...

    def sample_styles(
        self,
        w: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Render styles.

        Args:
            w: before truncation, float32 [n, w_dim], or [n, layers, w_dim] for a style of its own in every layer.
            classes, truncation, seeds: as in `sample`.

        Returns:
            as `sample`, which gives these images for w = styles(z, classes).
        """
        ...

    def centers(self, classes: Sequence[int]) -> npt.NDArray[np.float32] | None:
        """What truncation moves towards, float32 [k, w_dim] for k classes; None if it is the same for all of them."""
        ...


class Described:
    """The attributes of the contract, taken from a `GeneratorInfo` whose weights_sha256 is known."""

    def __init__(self, info: GeneratorInfo) -> None:
        if info.weights_sha256 is None:
            raise ValueError("the identity of loaded weights is always known")
        self.info = info
        self.z_dim = info.z_dim
        self.num_classes = info.num_classes
        self.resolution = info.resolution
        self.labels = info.labels
        self.weights_sha256 = info.weights_sha256
        self.licence = info.licence
