"""Counting and applying as Spark jobs; fitting stays on the driver.

Each job is a function from record batches to record batches (`mapInArrow`), the same that the local
engine runs. Executors get the plan and the key versions that it names, inside the job's closure:
on a cluster set ``spark.authenticate`` and ``spark.network.crypto.enabled``. They need this package
installed. Messages of executors are passed on only if they are ours: others may quote a value.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_mlsec.anonymize._aggregate import TupleCounter
from airflow_mlsec.anonymize._coding import one_zero
from airflow_mlsec.anonymize._counting import transformed
from airflow_mlsec.anonymize._persons import UP, Several, folded
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.codes import cmac_rows
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.datasets import Dataset, Staging, parquet_location
from airflow_mlsec.errors import DatasetError, KeyNotFound, MlsecError, UsageError
from airflow_mlsec.policy import Subject
from airflow_mlsec.values import NormalForm, canonical_bytes, canonical_text
from airflow_mlsec.verify import person_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROWS, _PERSON = "rows", "person"
_OURS = re.compile(r"airflow_mlsec\.errors\.(\w+): (.*)")
Batches = Iterator[pa.RecordBatch]


class Filtering(Protocol):
    """A dataset that leaves out some rows of another."""

    @property
    def inner(self) -> Dataset:
        """The other dataset."""
        ...

    def columns_for(self, columns: Sequence[str]) -> list[str]:
        """``columns``, and those that say which rows are left out."""
        ...

    def left(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that are not left out."""
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
        self,
        draft: Plan,
        wanted: list[str],
        read: list[str],
        schema: pa.Schema,
        keys: KeyRing,
        person: tuple[str, NormalForm | None] | None = None,
    ) -> tuple[pa.Table, npt.NDArray[Any]]:
        """See `Counting`: counted in each partition, then added up."""
        if person is not None:
            return self._counted_persons(draft, wanted, read, schema, keys, person)
        frame, left = self._frame(read)
        some = SomeKeys.of(draft, keys)
        # Names of our own: column names may be anything.
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

    def _counted_persons(
        self,
        draft: Plan,
        wanted: list[str],
        read: list[str],
        schema: pa.Schema,
        keys: KeyRing,
        person: tuple[str, NormalForm | None],
    ) -> tuple[pa.Table, npt.NDArray[Any]]:
        """`counted`, each row weighted by its share of its person's rows."""
        from pyspark.sql import Window
        from pyspark.sql.functions import count, lit

        key, form = person
        frame, left = self._frame(list(dict.fromkeys([*read, key])))
        some = SomeKeys.of(draft, keys)
        names = [f"c{i}" for i in range(len(wanted))]

        def name_persons(batches: Batches) -> Batches:
            for batch in batches:
                rows = left(batch)
                [done] = transformed(draft, [rows.select(read)], wanted, some)
                whose = folded(rows.column(key), key, form)
                # One class, one spelling: -0.0 is 0.0.
                arrays = [*map(one_zero, done.columns), whose]
                yield pa.RecordBatch.from_arrays(arrays, names=[*names, _PERSON])

        fields = [pa.field(n, f.type) for n, f in zip(names, schema, strict=True)]
        named = self._mapped(frame, name_persons, pa.schema([*fields, (_PERSON, pa.string())]))
        share = lit(UP) / count(lit(1)).over(Window.partitionBy(_PERSON))
        with _own_errors():
            weighed = named.withColumn(_ROWS, share)
            summed = weighed.groupBy(*names).sum(_ROWS).toArrow()
        tuples = summed.select(names).rename_columns(wanted).cast(schema)
        return tuples.combine_chunks(), summed.column(len(names)).to_numpy().astype(np.float64)

    def repeated(self, key: str, form: NormalForm | None) -> Several | None:
        """See `Counting`."""
        from pyspark.sql.functions import col
        from pyspark.sql.functions import count as counted
        from pyspark.sql.functions import max as most

        frame, left = self._frame([key])

        def name_persons(batches: Batches) -> Batches:
            for batch in batches:
                whose = folded(left(batch).column(key), key, form)
                yield pa.RecordBatch.from_arrays([whose], names=[_PERSON])

        named = self._mapped(frame, name_persons, pa.schema([(_PERSON, pa.string())]))
        with _own_errors():
            several = named.groupBy(_PERSON).count().where(col("count") > 1)
            found = several.agg(counted("count"), most("count")).toArrow()
        persons, rows = (column[0].as_py() for column in found.columns)
        return Several(int(persons), int(rows)) if persons else None

    def apply(
        self,
        plan: Plan,
        keys: KeyRing,
        output: pa.Schema,
        staging: Staging,
        subject: Subject | None = None,
    ) -> AppliedParts:
        """The released rows as Parquet files in a new folder. With a ``subject`` each row has a number of its
        person, which is random for this run and is not kept."""
        read = plan.input_columns()
        frame, left = self._frame(list(dict.fromkeys([*read, *([subject.key] if subject else [])])))
        some, secret = SomeKeys.of(plan, keys), secrets.token_bytes(32)
        whose = next(n for i in itertools.count() if (n := f"person{i}") not in output.names)
        written_as = output if subject is None else output.append(pa.field(whose, pa.int64()))

        def run(batches: Batches) -> Batches:
            for batch in batches:
                rows = left(batch)
                done, released = plan.transform_batch(rows.select(read), cast(KeyRing, some))
                if subject is not None:
                    numbers = _numbers(rows.column(subject.key), subject, secret)
                    done = pa.RecordBatch.from_arrays(
                        [*done.columns, numbers], names=written_as.names
                    )
                yield done.filter(released)

        from pyspark.sql import Observation
        from pyspark.sql.functions import count, lit

        # Counted where rows are made, so that a part that is lost afterwards is noticed.
        made = Observation()
        try:
            with _own_errors():
                written = self._mapped(frame, run, written_as)
                written = written.observe(made, count(lit(1)).alias("rows"))
                written.write.parquet(staging.for_engines, compression="zstd")
        except BaseException:
            staging.remove()
            raise
        return AppliedParts(
            staging, output, int(made.get["rows"]), whose if subject is not None else None
        )

    def is_local(self) -> bool:
        """Whether its tasks run on this machine."""
        return str(self._spark.sparkContext.master).startswith("local")

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
        """How many rows have each value of a column after the plan's transform: (value, rows)."""
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
        """The distinct subject keys of the released rows."""
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

    staging: Staging
    schema: pa.Schema
    rows: int
    whose: str | None

    def scan(self) -> Iterator[tuple[pa.RecordBatch, pa.Array | None]]:
        """The rows, in the types that the plan gives, and the numbers of their persons."""
        for opened in self.staging.parts():
            with opened, pq.ParquetFile(opened) as file:
                for batch in file.iter_batches(batch_size=65_536):
                    plain = batch.replace_schema_metadata(None)
                    arrays = [plain.column(f.name).cast(f.type) for f in self.schema]
                    numbers = plain.column(self.whose) if self.whose is not None else None
                    yield pa.RecordBatch.from_arrays(arrays, schema=self.schema), numbers

    def remove(self) -> None:
        """Remove the files."""
        self.staging.remove()


def _numbers(keys: pa.Array, subject: Subject, secret: bytes) -> pa.Array:
    """A number for each row, the same for all rows of one person, as the checker distinguishes persons."""
    named = canonical_bytes(person_of(keys, subject), subject.key)
    codes = cmac_rows(pc.fill_null(named, b"\0nobody"), secret)
    return pa.array(np.ascontiguousarray(codes[:, :8]).view(np.int64).reshape(-1))


@dataclass(frozen=True)
class _Guarded:
    """A job whose errors quote nothing, and whose batches have exactly the given types."""

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
    """Turn exceptions of Spark, which quote messages of executors, into an error of ours."""
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
    """The running session, or a new one as ``spark-defaults.conf`` configures it."""
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
