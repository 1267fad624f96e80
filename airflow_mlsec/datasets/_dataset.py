"""What every kind of dataset can do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from airflow_mlsec.datasets._found import Announce, Condition, Found
from airflow_mlsec.naming import DatasetName

BATCH_ROWS = 65_536


class StagedTable(Protocol):
    """What a dataset will be replaced by. Nobody else sees it before it is published."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        ...

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read back what was written, to verify it. Nothing can be written afterwards."""
        ...

    def reserve(self) -> None:
        """From now on, where possible, nobody else can replace the dataset before this does: rows of a table do not
        show which of two releases they are. Nothing can be written afterwards."""
        ...

    def digest(self) -> str | None:
        """SHA-256, hexadecimal, of the bytes that will be published; None for rows of a table. Nothing can be
        written afterwards."""
        ...


class Dataset(Protocol):
    """A table somewhere."""

    @property
    def uri(self) -> str:
        """The canonical URI; holds no secret."""
        ...

    @property
    def name(self) -> DatasetName:
        """The OpenLineage name."""
        ...

    def exists(self) -> bool:
        """Whether something is there."""
        ...

    def without(self, paths: Sequence[str]) -> Dataset:
        """For a folder, what is not at or below these paths; anything else is unchanged."""
        ...

    def is_view(self) -> bool:
        """Whether it shows rows of other tables, which are changed there."""
        ...

    def side_effects(self) -> list[str]:
        """What may keep deleted rows, or does something when rows are deleted, in readable form."""
        ...

    def digest(self) -> str | None:
        """SHA-256, hexadecimal, of the bytes of a file; None if it is not a file, or absent."""
        ...

    def schema(self) -> pa.Schema:
        """Column names and types.

        :raises DatasetNotFound: if nothing is there.
        """
        ...

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of bounded size, always in the same order and schema."""
        ...

    def find_in(
        self,
        column: str,
        values: Sequence[object],
        keep: bool = True,
        also: Sequence[Condition] = (),
    ) -> Found:
        """The rows that have one of ``values`` (of the column's type) in ``column``, and that meet
        every other condition, or with ``keep=False`` only their number; and what had to be read
        to find them."""
        ...

    def delete_in(
        self,
        column: str,
        values: Sequence[object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        """Remove the rows that `find_in` finds; returns how many there were.

        Other rows are not touched. Each file is replaced as a whole, a table changes in one
        transaction; repeating it removes nothing. ``announce`` is called at the last moment before that,
        with the SHA-256 of what a file will be (None for a table): if it fails, nothing is removed.
        """
        ...

    def update_in(
        self,
        column: str,
        values: Sequence[object],
        changes: Mapping[str, object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        """Set the values of ``changes`` (of their columns' types) in the rows that `find_in` finds;
        returns how many there were. As atomic as `delete_in`."""
        ...

    def require_replaceable(self, columns: Collection[str]) -> None:
        """Refuse, before any work, what `replacing` would refuse, as far as the names of the columns show it.

        :raises DatasetError: if rows with these columns could not replace the dataset.
        """
        ...

    def replacing(self, schema: pa.Schema) -> AbstractContextManager[StagedTable]:
        """Replace the whole dataset by what is written within the block.

        Readers see the old dataset until the block has ended without an error, and the new
        one from then on. On an error, or if the process is killed, the old one stays.
        """
        ...
