"""Checkpoints: everything that the next step depends on, in one file that is there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from gansynth.errors import OutputError
from gansynth.training.players import Players

FOLDER, _PATTERN, _KEPT = "checkpoints", "step-*.pt", 2
_KEYS = {"step", "losses", "notes", "networks", "optimizers"}


def save(folder: Path, step: int, players: Players, losses: torch.Tensor, notes: dict[str, Any]) -> None:
    """Write a checkpoint and drop all but the last two.

    Args:
        folder: of the run.
        step: steps done.
        players: networks and optimisers.
        losses: of every step so far, float32 [step, 2].
        notes: what else the run must know, made of plain values.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    content = {
        "step": step,
        "losses": losses,
        "notes": notes,
        "networks": {name: network.state_dict() for name, network in players.modules().items()},
        "optimizers": [optimizer.state_dict() for optimizer in players.optimizers],
    }
    temporary = place / "next.part"
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place / f"step-{step:09d}.pt")
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"output {folder}: the checkpoint of step {step} cannot be written ({error}); make room"
        ) from None
    for old in sorted(place.glob(_PATTERN))[:-_KEPT]:
        old.unlink()


def load(folder: Path, players: Players) -> tuple[int, torch.Tensor, dict[str, Any]] | None:
    """Put the newest checkpoint that can be read into players.

    Returns:
        its step, losses and notes; None if there is no checkpoint.

    Raises:
        OutputError: there are some, but none can be read, or they are of other networks.
    """
    content = read(folder)
    if content is None:
        return None
    try:
        for name, network in players.modules().items():
            network.load_state_dict(content["networks"][name])
        for optimizer, state in zip(players.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError):
        raise OutputError(f"output {folder}: its checkpoints are of other networks; choose another output") from None
    return content["step"], content["losses"], content["notes"]


def read(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run that can be read, on the CPU; None if there is no checkpoint.

    Raises:
        OutputError: there are some, but none can be read.
    """
    paths = sorted((folder / FOLDER).glob(_PATTERN), reverse=True)
    for path in paths:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content.keys() >= _KEYS:
                return dict(content)
        except Exception:  # whatever a damaged file does to torch's reader; the one before it may be whole
            continue
    if paths:
        raise OutputError(f"output {folder}: no checkpoint in {FOLDER} can be read; remove that folder to start anew")
    return None


def newest(folder: Path) -> int | None:
    """The step of the newest checkpoint, None if there is none."""
    names = sorted(path.stem for path in (folder / FOLDER).glob(_PATTERN))
    return int(names[-1].removeprefix("step-")) if names else None
