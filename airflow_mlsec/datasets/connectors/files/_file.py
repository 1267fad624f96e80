"""Parquet, CSV and JSON Lines, on the local disk or any fsspec filesystem."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import files
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._found import Announce, Condition, Found
from airflow_mlsec.datasets.connectors.files._filesystem import filesystem_of
from airflow_mlsec.datasets.connectors.files._folders import (
    files_below,
    is_hidden,
    partition_values,
    refuse_tables,
    refuse_tables_among,
)
from airflow_mlsec.datasets.connectors.files._formats import FORMATS, Csv, Format, Parquet
from airflow_mlsec.datasets.connectors.files._location import FileUri
from airflow_mlsec.datasets.connectors.files._rows import (
    Rewrite,
    TypedCondition,
    rewrite_csv,
    rewrite_json_lines,
)
from airflow_mlsec.datasets.connectors.files._rows_parquet import find_in_parquet, rewrite_parquet
from airflow_mlsec.datasets.connectors.files._target_folder import make_remote_folder, target_folder
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    ColumnMissing,
    DatasetError,
    DatasetNotFound,
    EmptyDataset,
    UnsupportedDataset,
)
from airflow_mlsec.naming import DatasetName

# What Arrow, the codecs and the filesystems raise. Their messages may quote a value.
ENGINE_ERRORS = (
    pa.ArrowException,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    OSError,
    IndexError,
    csv.Error,
)

_ATTEMPTS = 5
_DIGESTED = 1 << 20
# The names under which stores report when an object was last read.
_READ_TIMES = ("time", "atime", "last_access_time", "last_accessed")
# On these an object appears when its upload completes; on others it is moved into place.
_APPEARS_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}


@dataclass(frozen=True)
class FileDataset:
    """One file, or a folder of Parquet files read in the order of their names."""

    location: FileUri
    format: Format
    filesystem: Any  # fsspec filesystem, or None for the local disk
    # Paths below a folder that are datasets of their own, and not part of this one here.
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, location: FileUri, connections: Connections) -> FileDataset:
        local = location.protocol == "file"
        filesystem: Any = None if local else filesystem_of(location, connections)
        kind = location.format
        if kind is None:
            folder = Path(location.path).is_dir() if local else filesystem.isdir(location.path)
            if not folder:
                hint = ""
                if local and location.path.endswith((".db", ".sqlite", ".sqlite3")):
                    hint = f"; a table of a SQLite file is sqlite://{Path(location.path).absolute()}/TABLE"
                raise UnsupportedDataset(
                    f"'{location}' does not end in .parquet, .csv, .jsonl and is not a folder{hint}"
                )
            kind = "parquet"
        return cls(location, FORMATS[kind], filesystem)

    @property
    def uri(self) -> str:
        return str(self.location)

    @property
    def name(self) -> DatasetName:
        return self.location.name()

    def exists(self) -> bool:
        if self.filesystem is None:
            return Path(self.location.path).exists()
        return bool(self.filesystem.exists(self.location.path))

    def without(self, paths: Sequence[str]) -> FileDataset:
        return replace(self, left_out=tuple(path.rstrip("/") for path in paths))

    def is_view(self) -> bool:
        return False

    def side_effects(self) -> list[str]:
        return []

    def digest(self) -> str | None:
        if self.location.format is None or not self.exists() or self._is_folder():
            return None
        digest = hashlib.sha256()
        with self._open(self.location.path) as file:
            while block := file.read(_DIGESTED):
                digest.update(block)
        return digest.hexdigest()

    def _is_folder(self) -> bool:
        if self.filesystem is None:
            return Path(self.location.path).is_dir()
        return bool(self.filesystem.isdir(self.location.path))

    def _refuse_both(self) -> None:
        """A store may have an object and others below its name: read as a folder, the object would never be read."""
        path = self.location.path.rstrip("/")
        above = path.rpartition("/")[0]
        for entry in self.filesystem.ls(above, detail=True) if above else ():
            if entry["type"] == "file" and str(entry["name"]).rstrip("/") == path:
                raise UnsupportedDataset(
                    f"'{self.uri}' is an object, and there are others below its name: which of them is meant? Remove the one "
                    "or the others"
                )

    def schema(self) -> pa.Schema:
        """The columns of the files, and those that are in the names of their folders."""
        return self._with_folders(self._file_schema())

    def _with_folders(self, inside: pa.Schema) -> pa.Schema:
        """:raises DatasetError: if a column is in the files as well: nobody can tell which of the two is
        right, and acting on one would affect the other's rows."""
        for name in self._partitions():
            if name in inside.names:
                raise DatasetError(
                    f"'{self.uri}': column '{name}' is in the files and in the names of their folders; leave it in only one"
                )
            inside = inside.append(pa.field(name, pa.string()))
        return inside

    def _file_schema(self) -> pa.Schema:
        found: list[pa.Schema] = []
        for piece in self._pieces():
            with self._open(piece) as file:
                found.append(_checked(guarded(self.uri, self.format.schema, file), self.uri))
        if not found:
            return pa.schema([])
        # A column of any file is a column of the dataset.
        return guarded(self.uri, pa.unify_schemas, found) if len(found) > 1 else found[0]

    def _partitions(self) -> list[str]:
        """Columns that are in the names of folders."""
        names = (name for piece in self._pieces() for name in partition_values(piece))
        return list(dict.fromkeys(names))

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        inside = self._file_schema()
        wanted = _wanted(self._with_folders(inside), columns, self.uri)
        for piece in self._pieces():
            with self._open(piece) as file:
                try:
                    # Rows without any column still count.
                    read = [name for name in wanted.names if name in inside.names]
                    needed = read or inside.names[:1]
                    for batch in self.format.scan(file, inside, batch_rows, needed):
                        yield _with_partitions(plain(batch.select(needed)), piece, wanted)
                except ENGINE_ERRORS as error:
                    raise unreadable(self.uri, error) from None

    def find_in(
        self,
        column: str,
        values: Sequence[object],
        keep: bool = True,
        also: Sequence[Condition] = (),
    ) -> Found:
        conditions, found = self._meant((Condition(column, values), *also)), Found()
        if conditions is None:
            return found
        if isinstance(self.format, Parquet):
            whole = self.schema() if keep else None
            for piece in self._pieces():
                left = _left_of(conditions, piece)
                if left is None:
                    continue
                inside = self._find_in_piece(piece, left, keep)
                if whole is not None:
                    inside.batches = [_with_partitions(b, piece, None) for b in inside.batches]
                found.add(inside)
            return found
        names = list(dict.fromkeys(c.column for c in conditions))
        meant = Rewrite(conditions)
        for batch in self.scan(None if keep else names):
            mask = guarded(self.uri, meant.mask, batch.column)
            hits = pc.sum(mask).as_py() or 0
            found.rows += hits
            found.rows_read += batch.num_rows
            if keep and hits:
                found.batches.append(batch.filter(mask))
        return found

    def delete_in(
        self,
        column: str,
        values: Sequence[object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        return self._rewrite((Condition(column, values), *also), None, announce)

    def update_in(
        self,
        column: str,
        values: Sequence[object],
        changes: Mapping[str, object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        _wanted(self.schema(), list(changes), self.uri)
        return self._rewrite((Condition(column, values), *also), changes, announce)

    def _rewrite(
        self,
        conditions: Sequence[Condition],
        changes: Mapping[str, object] | None,
        announce: Announce | None = None,
    ) -> int:
        schema, meant = self.schema(), self._meant(conditions)
        if meant is None:
            return 0
        rows = 0
        if in_names := sorted(set(changes or ()) & set(self._partitions())):
            raise UnsupportedDataset(
                f"'{self.uri}': column '{in_names[0]}' is in the names of folders, which cannot be rectified: write "
                "the rows to another partition"
            )
        if changes is not None and isinstance(self.format, Parquet):
            # Before the first file is written: each that holds such a row must have the columns.
            for piece in self._pieces():
                with self._open(piece) as file:
                    found = guarded(self.uri, self.format.schema, file)
                left = _left_of(meant, piece)
                if (
                    left is not None
                    and not set(changes) <= set(found.names)
                    and self._has(piece, left)
                ):
                    raise ColumnMissing.among(changes, found.names, f"of '{piece}'")
        for piece in self._pieces():
            left = _left_of(meant, piece)
            if left is None:
                continue
            if not left and changes is not None:
                raise UnsupportedDataset(
                    f"'{self.uri}': only the names of folders say whose rows they are; they cannot be rectified here"
                )
            if not left:
                # All of the file's rows are meant, and its folder's name says whose they are.
                if announce is not None:
                    announce(None)
                rows += self._remove_piece(piece)
                continue
            for attempt in range(_ATTEMPTS):
                if not self._has(piece, left):
                    break
                try:
                    rows += self._rewrite_piece(piece, schema, Rewrite(left, changes), announce)
                    break
                except ChangedMeanwhile:
                    # Another writer was faster: what it wrote may hold the rows as well.
                    if attempt + 1 == _ATTEMPTS:
                        raise
        return rows

    def _remove_piece(self, piece: str) -> int:
        """Remove a file whose rows are all meant, and the folders that it leaves empty."""
        with self._open(piece) as file:
            schema = self._file_schema()
            batches = self.format.scan(file, schema, 65_536, schema.names[:1])
            rows = sum(int(batch.num_rows) for batch in batches)
        if self.filesystem is not None:
            self.filesystem.rm(piece)
            return rows
        root, path = Path(self.location.path), Path(piece)
        path.unlink()
        for folder in path.parents:
            if folder == root or root not in folder.parents or any(folder.iterdir()):
                break
            folder.rmdir()
        return rows

    def _meant(self, conditions: Sequence[Condition]) -> list[TypedCondition] | None:
        """Conditions with values of their columns' types; None if no row can fulfil them."""
        schema, meant = self.schema(), []
        for condition in conditions:
            kind = _wanted(schema, [condition.column], self.uri).field(condition.column).type
            values = condition.typed(kind)
            if len(values):
                meant.append(TypedCondition(condition.column, values, condition.has))
            elif condition.has:
                return None
        return meant

    def _find_in_piece(self, piece: str, conditions: list[TypedCondition], keep: bool) -> Found:
        local = piece if self.filesystem is None else None
        with self._open(piece) as file:
            given = (file, local, conditions, keep, plain)
            found: Found = guarded(self.uri, find_in_parquet, *given)
            return found

    def _has(self, piece: str, conditions: list[TypedCondition]) -> bool:
        if isinstance(self.format, Parquet):
            return self._find_in_piece(piece, conditions, False).rows > 0
        meant = Rewrite(conditions)
        names = list(dict.fromkeys(c.column for c in conditions))
        return any(
            guarded(self.uri, lambda b: pc.any(meant.mask(b.column)).as_py(), batch)
            for batch in self.scan(names)
        )

    def _rewrite_piece(
        self,
        piece: str,
        schema: pa.Schema,
        rewrite: Rewrite,
        announce: Announce | None = None,
    ) -> int:
        """Replace one file by itself with its rows rewritten, as a whole or not at all; ``announce`` is called with
        the SHA-256 of what it will be."""
        # Before it is opened: what is read is this version, or a later one.
        there = self._version_of(piece) if self.filesystem is not None else None
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(self._open(piece))
            if self.filesystem is None:
                before = os.fstat(source.fileno())
                target: Any = stack.enter_context(
                    files.replacing(Path(piece), unless_changed_since=before)
                )
                path = Path(target.name)
            else:
                target, path = stack.enter_context(files.unnamed())
            if isinstance(self.format, Parquet):
                step: tuple[Any, ...] = (rewrite_parquet, source, target, rewrite)
            else:
                text = rewrite_csv if isinstance(self.format, Csv) else rewrite_json_lines
                step = text, source, target, schema, rewrite
            rows: int = guarded(self.uri, *step)
            target.flush()
            if announce is not None:
                with path.open("rb") as staged:
                    announce(hashlib.file_digest(staged, "sha256").hexdigest())
            if self.filesystem is not None:
                if self._version_of(piece) != there:
                    raise ChangedMeanwhile(f"'{self.uri}' was written while it was being rewritten")
                self._upload(str(path), piece)
        return rows

    def _version_of(self, piece: str) -> str:
        """What distinguishes the object that is there from every other: its name, size, time and, if the store
        has one, its checksum.

        :raises ChangedMeanwhile: if it is gone.
        """
        self.filesystem.invalidate_cache()
        try:
            said = self.filesystem.info(piece)
        except FileNotFoundError:
            raise ChangedMeanwhile(
                f"'{self.uri}' was removed while it was being rewritten"
            ) from None
        except Exception as error:  # of its own kind in each client
            raise DatasetError(f"'{self.uri}' cannot be reached ({type(error).__name__})") from None
        # The time of the last read is not a change ("time" of SFTP).
        return str(sorted((k, str(v)) for k, v in said.items() if k not in _READ_TIMES))

    def require_replaceable(self, columns: Collection[str]) -> None:
        """A file is replaced as a whole, whatever its columns were."""
        del columns

    @contextlib.contextmanager
    def replacing(self, schema: pa.Schema) -> Iterator[StagedFile]:
        refuse_tables(self.location.path, self.filesystem, self.uri)
        if self.location.format is None:
            raise UnsupportedDataset(f"'{self.uri}' is a folder; write to a file in it")
        self.format.check_writable(schema, self.uri)
        with contextlib.ExitStack() as stack:
            if self.filesystem is None:
                stack.enter_context(target_folder(Path(self.location.path)))
                file: Any = stack.enter_context(files.replacing(Path(self.location.path)))
                path = Path(file.name)
            else:
                file, path = stack.enter_context(files.unnamed())
            staged = StagedFile(self, file, path, schema)
            try:
                yield staged
                staged.seal()
            except BaseException:
                staged.abandon()
                raise
            if self.filesystem is not None:
                file.flush()
                self._upload(str(path), self.location.path)

    def _upload(self, local: str, final: str) -> None:
        make_remote_folder(self.filesystem, self.location.protocol, final)
        if self.location.protocol in _APPEARS_WHOLE:
            self.filesystem.put_file(local, final)
        else:
            # Each of two writers has a name of its own; what killed writers left is removed.
            with contextlib.suppress(Exception):
                for left in self.filesystem.glob(f"{_escaped(final)}.*.partial"):
                    self.filesystem.rm(left)
            partial = f"{final}.{secrets.token_hex(4)}.partial"
            try:
                self.filesystem.put_file(local, partial)
                self.filesystem.mv(partial, final)
            except BaseException:
                with contextlib.suppress(Exception):
                    self.filesystem.rm(partial)
                raise

    def _pieces(self) -> list[str]:
        path = self.location.path
        if not self.exists():
            raise DatasetNotFound(f"no dataset at '{self.uri}'")
        refuse_tables(path, self.filesystem, self.uri)
        if not self._is_folder():
            return [path]
        if self.filesystem is None:
            below = files_below(path, self.uri)
        else:
            self._refuse_both()
            below = list(self.filesystem.find(path))
        base = path.rstrip("/")
        inside = {p: p[p.index(base) + len(base) :] if base in p else p for p in below}
        refuse_tables_among(list(inside.values()), self.uri)
        shown = [p for p, name in inside.items() if not is_hidden(name)]
        if others := [
            p
            for p in shown
            if not self._is_left_out(p) and p.lower().endswith((".csv", ".jsonl", ".ndjson"))
        ]:
            raise UnsupportedDataset(
                f"folder '{self.uri}' has Parquet and {len(others)} files of another format; a folder has only Parquet files"
            )
        pieces = sorted(p for p in shown if is_parquet(p) and not self._is_left_out(p))
        for piece in pieces if self.filesystem is None else ():
            if Path(piece).is_symlink():
                refuse_tables(piece, None, self.uri)
        if not pieces and self.left_out:
            return []  # everything that is there is examined elsewhere
        if not pieces:
            error = EmptyDataset if self.filesystem is None and not below else DatasetNotFound
            raise error(f"folder '{self.uri}' has no .parquet file")
        return pieces

    def _is_left_out(self, piece: str) -> bool:
        return any(piece == path or piece.startswith(f"{path}/") for path in self.left_out)

    def _open(self, piece: str) -> BinaryIO:
        try:
            if self.filesystem is None:
                return Path(piece).open("rb")
            return self.filesystem.open(piece, "rb")  # type: ignore[no-any-return]
        except OSError as error:
            raise DatasetError(f"'{self.uri}' cannot be opened ({error.strerror})") from None


class StagedFile:
    """The file under its temporary name."""

    def __init__(self, dataset: FileDataset, file: BinaryIO, path: Path, schema: pa.Schema) -> None:
        self._dataset = dataset
        self._file = file
        self._path = path
        self._schema = schema
        self._writer: Any = dataset.format.writer(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        guarded(self._dataset.uri, self._writer.write, batch)

    def seal(self) -> None:
        if self._writer is not None:
            guarded(self._dataset.uri, self._writer.close)
            self._writer = None
            self._file.flush()

    def abandon(self) -> None:
        if self._writer is not None:
            # The file is thrown away; closing only frees the encoder.
            with contextlib.suppress(pa.ArrowException, ValueError, OSError):
                self._writer.close()
            self._writer = None

    def reserve(self) -> None:
        """Not needed: the digests of two files show which of them is there."""

    def digest(self) -> str | None:
        self.seal()
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        self.seal()
        with self._path.open("rb") as file:
            wanted = _wanted(self._schema, columns, self._dataset.uri)
            try:
                needed = wanted.names or self._schema.names[:1]
                for batch in self._dataset.format.scan(file, self._schema, 65_536, needed):
                    yield plain(batch.select(wanted.names))
            except ENGINE_ERRORS as error:
                raise unreadable(self._dataset.uri, error) from None


def _escaped(path: str) -> str:
    """A path, escaped so that its characters are literal in a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def parquet_location(dataset: object) -> str:
    """Where other engines find a Parquet file or folder.

    :raises UnsupportedDataset: if the dataset is not one.
    """
    if not isinstance(dataset, FileDataset) or not isinstance(dataset.format, Parquet):
        raise UnsupportedDataset("the Spark engine reads Parquet files and folders only")
    location = dataset.location
    if location.conn_id is not None:
        raise UnsupportedDataset(
            f"the Spark engine has its own credentials; leave the connection out of '{location}'"
        )
    if location.protocol == "file":
        return Path(location.path).absolute().as_uri()
    return engine_location(location.protocol, location.path)


def engine_location(protocol: str, path: str) -> str:
    """The name that Hadoop's file systems use for a path of an object store."""
    return f"{'s3a' if protocol == 's3' else protocol}://{path}"


def is_parquet(path: str) -> bool:
    """Whether a file of a folder is one of its data files."""
    return path.lower().endswith((".parquet", ".pq"))


def guarded(uri: str, function: Any, *arguments: Any) -> Any:
    """Call, and turn the engine's error, which may quote a value, into one that does not."""
    try:
        return function(*arguments)
    except ENGINE_ERRORS as error:
        raise unreadable(uri, error) from None


def unreadable(uri: str, error: Exception) -> DatasetError:
    """The error without its message, which may hold a value of the data."""
    if isinstance(error, DatasetError):
        return error
    return DatasetError(
        f"'{uri}' cannot be read or written as its suffix says: damaged, of another format, or a "
        f"value does not fit its column's type ({type(error).__name__})"
    )


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert encoded and rare column types to the plain ones that every step works on."""
    wanted = plain_schema(batch.schema)
    if batch.schema.equals(wanted):
        return batch
    arrays = [array.cast(field.type) for array, field in zip(batch.columns, wanted, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `plain` batches."""
    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _checked(schema: pa.Schema, uri: str) -> pa.Schema:
    names = schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"'{uri}' has more than one column named '{twice[0]}'; rename one")
    return plain_schema(schema)


def _wanted(schema: pa.Schema, columns: Sequence[str] | None, uri: str) -> pa.Schema:
    if columns is None:
        return schema
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise ColumnMissing.among(missing, schema.names, f"of '{uri}'")
    return pa.schema([schema.field(name) for name in columns])


def _with_partitions(batch: pa.RecordBatch, piece: str, wanted: pa.Schema | None) -> pa.RecordBatch:
    """A batch of a file with the columns that are in the names of its folders; those of ``wanted``, or all."""
    values = partition_values(piece)
    names = [*batch.schema.names, *(n for n in values if n not in batch.schema.names)]
    if wanted is not None:
        names = wanted.names
    if names == batch.schema.names:
        return batch
    arrays = [
        batch.column(name)
        if name in batch.schema.names
        else pa.array([values.get(name)] * batch.num_rows, pa.string())
        for name in names
    ]
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _left_of(conditions: Sequence[TypedCondition], piece: str) -> list[TypedCondition] | None:
    """The conditions on what is in a file, if those on its folders' names are true; None if one of those
    is not."""
    values = partition_values(piece)
    left = []
    for condition in conditions:
        if condition.column not in values:
            left.append(condition)
        elif (values[condition.column] in condition.values.to_pylist()) is not condition.has:
            return None
    return left
