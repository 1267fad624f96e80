"""Persons with several rows: a class of five rows of one person hides nobody.

Every row of a person with ``m`` rows weighs ``1/m``. The weights of a class then add up to at most
the number of different persons in it, so that a class that weighs more than ``k - 1`` has at
least ``k`` persons; and every person counts once in the distributions that other models compare.
Persons are distinguished by a folded form of their key, so that all spellings of a key are one
person's; rows without a key are treated as one person's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import DatasetError
from airflow_mlsec.values import (
    NormalForm,
    canonical_text,
    letters_folded,
    without_invisible,
    without_nan,
)

# Makes sums of fractions that are a whole number except for rounding not fall below it.
UP = 1 + 1e-9


@dataclass(frozen=True)
class Several:
    """How many persons have several rows, and the most rows that one person has."""

    persons: int
    most: int


@dataclass(frozen=True)
class RowsPerPerson(Several):
    """The persons with several rows, by the folded form of their key, and the rows of each."""

    keys: pa.Array
    rows: npt.NDArray[np.int64]
    form: NormalForm | None = None

    def weights(self, values: pa.Array, column: str) -> npt.NDArray[np.float64]:
        """The weight of each row."""
        places = pc.index_in(folded(values, column, self.form), self.keys)
        known = np.asarray(places.is_valid().to_numpy(zero_copy_only=False), bool)
        at = places.fill_null(0).to_numpy(zero_copy_only=False)
        found = np.ones(len(values))
        found[known] = UP / self.rows[at[known]]
        return found


def rows_per_person(
    scan: Callable[[list[str]], Iterable[pa.RecordBatch]],
    column: str,
    form: NormalForm | None = None,
) -> RowsPerPerson | None:
    """The persons with several rows; None if there are none. ``form`` is the form that the policy declares."""
    fields = pa.schema([("person", pa.large_string())])
    failed: list[Exception] = []

    def persons() -> Iterator[pa.RecordBatch]:
        try:
            for batch in scan([column]):
                arrays = [folded(batch.column(column), column, form)]
                yield pa.RecordBatch.from_arrays(arrays, schema=fields)
        except Exception as error:
            failed.append(error)
            raise

    with duckdb.connect(":memory:") as connection:
        # Nothing may be spilled to a file other than the declared target.
        connection.execute("SET temp_directory = ''")
        connection.register("given", pa.RecordBatchReader.from_batches(fields, persons()))
        try:
            found = connection.sql(
                "SELECT person, count(*) AS rows FROM given GROUP BY person HAVING count(*) > 1"
            ).to_arrow_table()
        except duckdb.Error as error:
            # The engine's message may quote a value, and hides what went wrong while reading.
            if failed:
                raise failed[0] from None
            raise DatasetError(
                f"the rows of persons could not be counted ({type(error).__name__})"
            ) from None
    if not found.num_rows:
        return None
    keys = found.column("person").combine_chunks().cast(pa.large_string())
    rows = found.column("rows").to_numpy().astype(np.int64)
    return RowsPerPerson(len(rows), int(rows.max()), keys, rows, form)


def folded(values: pa.Array, column: str, form: NormalForm | None = None) -> pa.Array:
    """Keys in a form in which all spellings of a key are equal: the declared form, also trimmed, without letter
    case, composed. It may make the keys of two persons equal; then fewer persons are counted than there are."""
    text = without_invisible(canonical_text(without_nan(values), column).cast(pa.large_string()))
    text = text if form is None else form.of_texts(text)
    composed = letters_folded(pc.utf8_normalize(text, form="NFKC"))
    return pc.fill_null(pc.utf8_trim_whitespace(composed), "")
