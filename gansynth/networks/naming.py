"""Names of the layers in state dicts of one `nn.Sequential` called `main`."""

from __future__ import annotations

from collections.abc import Mapping


def weights_in_order(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shapes of the tensors `main.N.weight` by N; files list them in any order, safetensors by the alphabet."""
    names = (name for name in shapes if name.endswith(".weight"))
    return [shapes[name] for name in sorted(names, key=lambda name: (len(name), name))]  # so 9 comes before 12
