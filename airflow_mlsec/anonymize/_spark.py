"""Counting and applying as Spark jobs; fitting stays on the driver.

Each job is a function from record batches to record batches (`mapInArrow`), the same that the local
engine runs. Executors get the plan and the key versions that it names, inside the job's closure:
on a cluster set ``spark.authenticate`` and ``spark.network.crypto.enabled``. They need this package
installed. Messages of executors are passed on only if they are ours: others may quote a value.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlsec.anonymize._aggregate import TupleCounter
from airflow_mlsec.anonymize._counting import transformed
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._values import canonical_text
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.datasets import Dataset, parquet_location
from airflow_mlsec.errors import DatasetError, KeyNotFound, MlsecError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROWS = "rows"
_OURS = re.compile(r"airflow_mlsec\.errors\.(\w+): (.*)")
Batches = Iterator[pa.RecordBatch]


class Filtering(Protocol):
    """A dataset that leaves out some rows of another."""

    @property
    def inner(self) -> Dataset:
        """The other dataset."""
        ...

    def columns_for(self, columns: Sequence[str]) -> list[str]:
        """``columns``, and those that tell which rows are left out."""
        ...

    def left(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that are not."""
        ...


@dataclass(frozen=True)
class SomeKeys:
    """The keys that a plan names, for executors."""

    keys: dict[tuple[str, int], Key]

    @classmethod
    def of(cls, plan: Plan, keys: KeyRing) -> SomeKeys:
        actions = [column.action for column in plan.columns]
        named = [(a["key"], a["version"]) for a in actions if "version" in a]
        return cls({(name, version): keys.version(name, version) for name, version in named})

    def version(self, name: str, version: int) -> Key:
        """A key version.

        :raises KeyNotFound: if the plan did not name it.
        """
        try:
            return self.keys[name, version]
        except KeyError:
            raise KeyNotFound(f"the plan names no key '{name}' version {version}") from None


class SparkEngine:
    """Runs over one source."""

    def __init__(self, source: Dataset, spark: SparkSession | None = None) -> None:
        self._spark = spark or _session()
        filtering = cast(Filtering, source) if hasattr(source, "columns_for") else None
        self._filtering = filtering
        self._path = parquet_location(filtering.inner if filtering else source)

    def scan(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns, brought to the driver."""
        frame, left = self._frame(columns)
        with _own_errors():
            yield from (left(batch) for batch in frame.toArrow().to_batches())

    def counted(
        self, draft: Plan, wanted: list[str], read: list[str], schema: pa.Schema, keys: KeyRing
    ) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """The distinct combinations of ``wanted`` columns (of type ``schema``), the fixed transforms
        of a draft plan applied, and the rows of each: counted in each partition, then added up."""
        frame, left = self._frame(read)
        some = SomeKeys.of(draft, keys)
        # Names of our own: those of columns may be anything.
        names = [f"c{i}" for i in range(len(wanted))]

        def count(batches: Batches) -> Batches:
            counter = TupleCounter(schema)
            for batch in transformed(draft, (left(b) for b in batches), wanted, some):
                counter.add(batch)
            tuples, counts = counter.result()
            table = tuples.rename_columns(names).append_column(_ROWS, counts)
            yield from table.combine_chunks().to_batches()

        fields = [pa.field(n, f.type) for n, f in zip(names, schema, strict=True)]
        partial = self._mapped(frame, count, pa.schema([*fields, pa.field(_ROWS, pa.int64())]))
        with _own_errors():
            summed = partial.groupBy(*names).sum(_ROWS).toArrow()
        tuples = summed.select(names).rename_columns(wanted).cast(schema)
        return tuples.combine_chunks(), summed.column(len(names)).to_numpy().astype(np.int64)

    def apply(self, plan: Plan, keys: KeyRing, output: pa.Schema, beside: Path) -> AppliedParts:
        """The released rows as Parquet files in a new folder below ``beside``."""
        frame, left = self._frame(plan.input_columns())
        some = SomeKeys.of(plan, keys)

        def run(batches: Batches) -> Batches:
            for batch in batches:
                done, released = plan.transform_batch(left(batch), cast(KeyRing, some))
                yield done.filter(released)

        from pyspark.sql import Observation
        from pyspark.sql.functions import count, lit

        folder = Path(tempfile.mkdtemp(prefix=".mlsec-spark-", dir=beside))
        # Counted where rows are made: a part that is lost afterwards is noticed.
        made = Observation()
        try:
            with _own_errors():
                written = self._mapped(frame, run, output)
                written = written.observe(made, count(lit(1)).alias("rows"))
                written.write.parquet(str(folder / "parts"), compression="zstd")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return AppliedParts(folder, output, int(made.get["rows"]))

    def rows(self) -> int:
        """How many rows the source has, without those that are left out."""
        frame, left = self._frame([])

        def count(batches: Batches) -> Batches:
            rows = sum(left(batch).num_rows for batch in batches)
            yield pa.RecordBatch.from_arrays([pa.array([rows])], names=[_ROWS])

        with _own_errors():
            found = self._mapped(frame, count, pa.schema([(_ROWS, pa.int64())])).toArrow()
        return int(sum(found.column(0).to_pylist()))

    def histogram(self, plan: Plan, name: str, schema: pa.Schema, keys: KeyRing) -> pa.Table:
        """How many rows have which value of a column, as the plan transforms it: (value, rows)."""
        only = replace(
            plan,
            columns=tuple(c for c in plan.columns if c.name == name),
            classes=None,
            drop_unlisted=True,
        )
        read = list(dict.fromkeys([name, *only.input_columns()]))
        nothing = pa.RecordBatch.from_arrays(
            [pa.array([], schema.field(n).type) for n in read], names=read
        )
        kinds = next(transformed(only, [nothing], [name], keys)).schema
        tuples, counts = self.counted(only, [name], read, kinds, keys)
        return pa.table({"value": tuples.column(0), "rows": pa.array(counts)})

    def people(self, plan: Plan, key: str, keys: KeyRing) -> pa.Array:
        """The distinct subject keys of the rows that are released."""
        frame, left = self._frame(list(dict.fromkeys([*plan.input_columns(), key])))
        some = SomeKeys.of(plan, keys)
        kind = pa.string()

        def run(batches: Batches) -> Batches:
            for batch in batches:
                rows = left(batch)
                _, released = plan.transform_batch(
                    rows.select(plan.input_columns()), cast(KeyRing, some)
                )
                named = canonical_text(rows.column(key).filter(released), key).cast(kind)
                yield pa.RecordBatch.from_arrays([named], names=[_ROWS])

        with _own_errors():
            found = self._mapped(frame, run, pa.schema([(_ROWS, kind)])).distinct().toArrow()
        return found.column(0).combine_chunks()

    def _frame(
        self, columns: Sequence[str]
    ) -> tuple[DataFrame, Callable[[pa.RecordBatch], pa.RecordBatch]]:
        filtering = self._filtering
        with _own_errors():
            frame = self._spark.read.parquet(self._path)
        needed = filtering.columns_for(columns) if filtering else list(columns)
        needed = needed or frame.columns[:1]
        kept = list(columns)

        def left(batch: pa.RecordBatch) -> pa.RecordBatch:
            rows = filtering.left(batch) if filtering else batch
            return rows.select(kept)

        return frame.select(*map(_quoted, needed)), left

    def _mapped(
        self, frame: DataFrame, run: Callable[[Batches], Batches], schema: pa.Schema
    ) -> DataFrame:
        from pyspark.sql.pandas.types import from_arrow_schema

        try:
            kinds = from_arrow_schema(schema, prefer_timestamp_ntz=True)
        except Exception as error:
            raise UsageError(f"Spark has no type for a column ({type(error).__name__})") from None
        guarded = _Guarded(run, schema)
        with _own_errors():
            return frame.mapInArrow(guarded, kinds)


@dataclass(frozen=True)
class AppliedParts:
    """Files that a job has written, and how many rows its tasks have made."""

    folder: Path
    schema: pa.Schema
    rows: int

    def scan(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the types that the plan gives."""
        for part in sorted((self.folder / "parts").glob("*.parquet")):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=65_536):
                    plain = batch.replace_schema_metadata(None)
                    arrays = [plain.column(f.name).cast(f.type) for f in self.schema]
                    yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class _Guarded:
    """A job whose errors quote nothing, and whose batches have just the types that were said."""

    run: Callable[[Batches], Batches]
    schema: pa.Schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Batches:
        try:
            for batch in self.run(iter(batches)):
                arrays = [batch.column(i).cast(f.type) for i, f in enumerate(self.schema)]
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        except MlsecError:
            raise
        except Exception as error:
            raise DatasetError(f"a Spark task failed ({type(error).__name__})") from None


@contextmanager
def _own_errors() -> Iterator[None]:
    """Turn what Spark raises, which quotes what executors said, into an error of ours."""
    try:
        yield
    except MlsecError:
        raise
    except Exception as error:
        found = _OURS.search(str(error))
        message = found[2] if found else f"the Spark job failed ({type(error).__name__})"
    else:
        return
    raise DatasetError(message)


def _session() -> SparkSession:
    """The running session, or one as ``spark-defaults.conf`` says."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise UsageError(
            "the Spark engine needs PySpark: pip install 'airflow-mlsec[spark]'"
        ) from None
    try:
        builder = SparkSession.builder.appName("airflow-mlsec")
        return builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", 65_536).getOrCreate()
    except Exception as error:
        # Without Java, or with a master that does not answer.
        raise UsageError(
            f"Spark does not start ({type(error).__name__}): it needs Java 17 or later (JAVA_HOME), and the "
            "master that spark-defaults.conf names"
        ) from None


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
