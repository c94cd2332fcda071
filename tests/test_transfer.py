"""Images reach the host whole and in order, whatever the device."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from gansynth.transfer import Conveyor, to_device

DEVICES = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]


def _rendered(batch: torch.Tensor, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    there = to_device(batch, torch.device(device))
    return there + 1, there[:, 0, :4, 0].float()


@pytest.mark.parametrize("device", DEVICES)
def test_every_batch_arrives_as_it_was_rendered(device: str) -> None:
    conveyor = Conveyor(device)
    batches = [torch.full((2, 64, 64, 3), value, dtype=torch.uint8) for value in range(20)]
    arrivals = [conveyor.send(partial(_rendered, batch, device)) for batch in batches]
    for batch, arrival in zip(batches, arrivals, strict=True):
        assert len(arrival) == 2
        assert (arrival.pixels() == batch.numpy() + 1).all()
        styles = arrival.styles()
        assert styles is not None
        assert (styles == batch[:, 0, :4, 0].numpy()).all()


@pytest.mark.parametrize("device", DEVICES)
def test_the_time_of_rendering_and_copying_is_told(device: str) -> None:
    images = torch.zeros(1, 8, 8, 3, dtype=torch.uint8, device=device)
    generator, transfer = Conveyor(device).send(lambda: (images + 1, None)).wait()
    assert generator > 0
    assert transfer >= 0


def test_an_error_while_rendering_is_raised_where_it_can_be_told_whose_it_is() -> None:
    def render() -> tuple[torch.Tensor, None]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Conveyor("cpu").send(render)
