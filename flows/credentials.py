"""Credentials of storage from a Prefect block, for machines whose environment has none."""

from __future__ import annotations

import os
from typing import Any, cast

from prefect.blocks.system import Secret

from gansynth.errors import InputError


def use_credentials(block: str | None) -> None:
    """Set environment variables, such as AWS_ACCESS_KEY_ID, from a Secret block that holds a mapping of them.

    Nothing writes them down, and messages hide their values.

    Args:
        block: its name; nothing happens without one.

    Raises:
        InputError: there is no such block, or it holds no mapping.
    """
    if block is None:
        return
    try:
        found = cast(Any, Secret.load(block)).get()  # typed for async callers too
    except ValueError:
        raise InputError(
            f"credentials_block: Prefect has no Secret block {block}; make it in the UI, or leave the key out"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InputError(
            f'credentials_block: the Secret block {block} holds no mapping; let it hold JSON such as {{"AWS_ACCESS_KEY_ID": "..."}}'
        )
    os.environ.update(found)
