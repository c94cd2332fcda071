"""truncation_centers.parquet in a dataset: what truncation moved the styles of each class towards.

Only where the recipe's generator_options ask for centres by class: with w and truncation of a manifest's row, they give the
style that was rendered.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gansynth.labels import ClassLabel

FILE = "truncation_centers.parquet"


def encode(classes: Sequence[ClassLabel], centers: npt.NDArray[np.float32]) -> bytes:
    """A Parquet file with a row a class.

    Args:
        classes: k of them.
        centers: float32 [k, w_dim].
    """
    columns = {
        "class_index": pa.array([label.index for label in classes], pa.int32()),
        "class_name": pa.array([label.name for label in classes], pa.string()),
        "center": pa.FixedSizeListArray.from_arrays(pa.array(centers.reshape(-1)), centers.shape[1]),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
