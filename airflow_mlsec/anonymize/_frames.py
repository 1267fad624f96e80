"""pandas, polars and Arrow in; the same out. Neither pandas nor polars is imported here
unless the caller already holds a frame of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from airflow_mlsec.errors import UsageError


def to_arrow(data: Any) -> tuple[pa.Table, Callable[[pa.Table], Any]]:
    """``data`` as an Arrow table, and the function that turns a table into the same kind.

    :raises UsageError: if ``data`` is none of the supported kinds.
    """
    arrow = isinstance(data, (pa.Table, pa.RecordBatch))
    names = [str(name) for name in (data.schema.names if arrow else getattr(data, "columns", ()))]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"the data has more than one column named '{twice[0]}'; rename one")
    if isinstance(data, pa.Table):
        return data, lambda table: table
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data]), _one_batch
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        try:
            table = pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata(None)
        except (pa.ArrowException, TypeError, ValueError):
            # The engine's message would quote a cell.
            raise UsageError(
                "the frame has a column of mixed types; give each column one type"
            ) from None
        return table, lambda table: table.to_pandas()
    if polars is not None and isinstance(data, polars.DataFrame):
        return data.to_arrow(), polars.from_arrow
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    raise UsageError(
        f"expected a pandas or polars DataFrame, or an Arrow table or batch, not {kind}"
    )


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if batches:
        return batches[0]
    return pa.RecordBatch.from_arrays(
        [pa.array([], f.type) for f in table.schema], schema=table.schema
    )
