"""Columns to a parquet file, and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import InputError

Floats = npt.NDArray[np.float64]


def write_parquet(columns: dict[str, Any], select: str, order: str, path: Path) -> None:
    """Write numpy columns. `select` and `order` are SQL over their names."""
    import duckdb

    with duckdb.connect() as database:
        database.register("columns_", columns)
        target = str(path).replace("'", "''")
        database.execute(
            f"copy (select {select} from columns_ {order}) to '{target}' "
            "(format parquet, compression zstd)"
        )


def read_parquet(path: Path, select: str, where: str) -> dict[str, Floats]:
    """Columns of a parquet file as floats, in its own order; NaN where there is nothing.

    Raises InputError when the file cannot be read.
    """
    import duckdb

    source = re.sub(r"([*?\[])", r"[\1]", str(path)).replace("'", "''")
    try:
        with duckdb.connect() as database:
            found = database.execute(
                f"select {select} from read_parquet('{source}', file_row_number = true) "
                f"where {where}"
            ).fetchnumpy()
    except duckdb.Error as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    return {name: _floats(column) for name, column in found.items()}


def _floats(column: Any) -> Floats:
    return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
