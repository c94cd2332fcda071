"""A snapshot pickle -> a folder of safetensors and JSON, so that later runs never touch the pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from gansynth.errors import OutputError, WeightsError
from gansynth.generators import about, weights
from gansynth.generators.stylegan2.family import ORIGIN, require_pictures
from gansynth.generators.stylegan2.licence import LICENCE, terms_of
from gansynth.generators.stylegan2.snapshot import read


def convert(source: Path, folder: Path, licence: str | None = None, labels: Path | None = None) -> Path:
    """Convert a snapshot; its images stay the same, bit for bit, and so does the identity of its weights.

    Args:
        source: a .pkl file.
        folder: to be made; it appears as a whole or not at all.
        licence: of the weights, where it is known; else what is known of NVIDIA's is noted.
        labels: file of class names, one a line; if left out, X.labels.txt beside the snapshot if there is one.

    Returns:
        the folder, with model.safetensors, config.json and gansynth.json (labels, licence, terms, origin, sha256 of the
        source).

    Raises:
        WeightsError: the snapshot is refused or damaged, or the names do not fit it.
        OutputError: the folder exists or cannot be made.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if folder.exists():
        raise OutputError(f"{folder}: exists already; choose another folder, or remove it")
    snapshot = read(source)
    require_pictures(snapshot.config, source)
    given: dict[str, object] = {
        "licence": licence or LICENCE,
        "terms": [] if licence else list(terms_of(source)),
        "origin": f"{ORIGIN} ({snapshot.framework}), converted from {source.name}",
        "source_sha256": _sha256(source),
    }
    names = labels or about.labels_file(source)
    if labels or names.exists():
        given["labels"] = list(about.read_labels_file(names, snapshot.config.c_dim))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            save_file(snapshot.tensors, temporary / weights.WEIGHTS_NAMES[0])
            (temporary / weights.CONFIG_NAME).write_text(json.dumps(snapshot.config.to_json(), indent=1) + "\n")
            (temporary / about.FILE).write_text(
                json.dumps(given, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            temporary.chmod(0o755)  # mkdtemp keeps others out
            temporary.rename(folder)
        finally:
            with suppress(OSError):
                shutil.rmtree(temporary)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{folder}: cannot be written ({reason}); make room, or choose another place") from None
    return folder


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
