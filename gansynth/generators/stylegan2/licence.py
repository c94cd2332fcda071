"""What is known of the licence of StyleGAN2 snapshots. Facts for users, collected from the publishers' repositories."""

from __future__ import annotations

from pathlib import Path

LICENCE = (
    "of its publisher; snapshots that NVIDIA published are under the NVIDIA Source Code License, for non-commercial use "
    "(research or evaluation) only, which says nothing of generated images"
)
_NVIDIA = (
    "NVIDIA's code and snapshots, and works derived from them, may be used for research or evaluation only (NVIDIA Source "
    "Code License, section 3.3).",
    "They may be passed on under the same licence only, with its full text and notices (3.1, 3.2); a .pkl carries source "
    "text of NVIDIA's with it, a folder that it was converted to does not.",
    "The one line on the licence in the README of each repository is all that is said of its snapshots; there is no licence "
    "for the models alone, so take it that this one covers them.",
    "The licence mentions neither generated images nor trained models. Whether it binds them is not settled.",
)
_FFHQ = (
    "FFHQ's photographs are under CC BY 2.0, CC BY-NC 2.0, CC0, Public Domain Mark or works of the U.S. Government, the "
    "dataset as such under CC BY-NC-SA 4.0. They show real people, who may have theirs removed.",
)


def terms_of(path: Path) -> tuple[str, ...]:
    """What a user of a snapshot should know; of the photographs behind it too, where the file's name tells them."""
    return (*_NVIDIA, *(_FFHQ if "ffhq" in path.stem.lower() else ()))
