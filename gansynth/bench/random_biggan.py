"""Folders of BigGAN-deep with random weights: the arithmetic of the real ones where these are not at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def random_model(config: Mapping[str, Any], seed: int = 0) -> Any:
    """A `pytorch_pretrained_biggan.BigGAN` whose images are neither flat nor saturated, in evaluation mode.

    Args:
        config: as in config.json.
        seed: of weights and statistics.
    """
    import torch
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig
    from pytorch_pretrained_biggan.model import BigGANBatchNorm

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = BigGAN(BigGANConfig.from_dict(dict(config)))
        for module in model.modules():
            if isinstance(module, BigGANBatchNorm):
                module.running_means.normal_(0, 0.3)
                module.running_vars.uniform_(0.5, 2)
                if not module.conditional:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.1)
            if hasattr(module, "gamma"):
                module.gamma.fill_(0.5)
        # Spectral norm starts with random singular vectors; without power iterations its quotient is meaningless.
        z, classes = torch.randn(1, config["z_dim"]), torch.eye(config["num_classes"])[:1]
        for _ in range(3):
            model(z, classes, 0.5)
    return model.eval()


def save(model: Any, config: Mapping[str, Any], folder: Path) -> Path:
    """Write a model as that library's `from_pretrained` and recipes read it; returns the folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder
