"""Opening the register, bringing its schema up to date, and running transactions."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from airflow_mlsec import databases
from airflow_mlsec.errors import RegisterError, UsageError
from airflow_mlsec.register._bulk import COUNTED, graph_changes
from airflow_mlsec.register._journal import (
    account_anew,
    append_changes,
    begin_log,
    not_accounted_for,
    note_strangers,
    triggers,
)
from airflow_mlsec.register.tables import VERSION_TABLE
from airflow_mlsec.settings import Settings

Result = TypeVar("Result")
Given = ParamSpec("Given")

# The newest revision in migrations/versions; a test holds the two together.
HEAD = "0021"
# The key in a connection's ``info`` that holds `Register.trusted`.
TRUSTED = "mlsec.trusted"
_RETRIES = 5
# How long to wait for another writer, in milliseconds.
_BUSY = 60_000
_LOCK_ID = 0x6D6C_7365_63  # "mlsec", for PostgreSQL's advisory lock while migrating


# The registers of this process. A forked child must not inherit a lock that another thread holds.
_REGISTERS: weakref.WeakSet[Register] = weakref.WeakSet()


def _unlock_in_child() -> None:
    for register in list(_REGISTERS):
        register._lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)


class _Closing(sqlite3.Connection):
    """Tracks its cursors: a cursor that was not read to its end would show the connection's next user outdated data."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *given: Any, **named: Any) -> sqlite3.Cursor:  # type: ignore[override]
        made: sqlite3.Cursor = super().cursor(*given, **named)
        self._cursors.add(made)
        return made

    def end_reading(self) -> None:
        """Close all cursors."""
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()


def _end_reading(connection: Any, _: Any) -> None:
    if connection is not None:
        connection.end_reading()


def _write_back(connection: sa.Connection) -> None:
    """Move what was written from the write-ahead log into the file, unless there are readers."""
    raw: Any = connection.connection.driver_connection
    cursor = raw.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    with contextlib.suppress(sqlite3.Error):
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY}")
    cursor.close()


class Register:
    """The register's database. Cheap to make: nothing is opened before the first use, and each
    process opens its own connections, so it may be used on both sides of a fork."""

    def __init__(self, url: str, now: Callable[[], datetime] | None = None) -> None:
        self._url = _parse(url)
        self._now = now or (lambda: datetime.now(UTC))
        self._ready = False
        self._pooled: tuple[int, sa.Engine] | None = None
        # For SQLite: how many blocks want connections to stay open (`kept_open`), and the engine that keeps them.
        self._keeping, self._lock = 0, threading.Lock()
        self._kept: tuple[int, sa.Engine] | None = None
        self._writing = threading.local()
        # Returns the keys trusted to sign evidence (`key_ring`); without it, none is trusted.
        self.trusted: Callable[[], Any] | None = None
        _REGISTERS.add(self)
        # The settings of the process that opened it; what they ask for applies in addition to the stored rules.
        self.settings: Settings | None = None

    def __repr__(self) -> str:
        return f"Register({self._url.render_as_string(hide_password=True)!r})"

    def secret_url(self) -> str:
        """The database's URL with its password: for another process of ours, never to be shown."""
        return self._url.render_as_string(hide_password=False)

    @classmethod
    def of(cls, settings: Settings) -> Register:
        """The register of the settings in force."""
        if settings.register_url.startswith("sqlite"):
            settings.make_state_folder()
        register = cls(settings.register_url)
        register.settings = settings
        return register

    def files(self) -> list[Path]:
        """The files of the database, if it is SQLite."""
        if self._url.get_backend_name() != "sqlite":
            return []
        endings = ("", "-wal", "-shm", "-journal", ".lock")
        return [Path(f"{self._url.database}{ending}") for ending in endings]

    def now(self) -> str:
        """The current time as the register writes it: UTC, ISO 8601, to the microsecond."""
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def seconds(self) -> int:
        """The current time in seconds since 1970."""
        return int(self._now().timestamp())

    def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run ``work`` in one transaction and retry if the database asks for it. Inside another `write`
        of this thread, it runs as part of that transaction.

        :raises RegisterError: if the database cannot be reached or refuses.
        """
        outer: sa.Connection | None = getattr(self._writing, "connection", None)
        if outer is not None:
            return work(outer)
        self._migrate_once()
        for attempt in range(_RETRIES):
            try:
                with self._connect() as connection:
                    connection.info.pop(COUNTED, None)
                    with connection.begin():
                        note_strangers(connection, self.now())
                        self._writing.connection = connection
                        result = work(connection)
                        append_changes(connection, self.now())
                    own = getattr(self._writing, "own", None)
                    if connection.info.pop(COUNTED, None) and own is not None:
                        own.append(1)
                    if self._keeping:
                        _write_back(connection)
                    return result
            except OperationalError as error:
                if attempt + 1 == _RETRIES or not _transient(error):
                    raise self._failed(error) from None
                time.sleep(0.05 * 2**attempt)
            except SQLAlchemyError as error:
                raise self._failed(error) from None
            finally:
                self._writing.connection = None
        raise AssertionError("unreachable")

    def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run ``work`` on a connection that does not write.

        :raises RegisterError: if the database cannot be reached or refuses.
        """
        self._migrate_once()
        try:
            with self._connect(autocommit=True) as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise self._failed(error) from None

    def within(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run ``work`` on the connection of the `write` that this thread is in, so that it sees what that `write` has
        written. If there is none, same as `read`.

        :raises RegisterError: if the database cannot be reached or refuses.
        """
        outer: sa.Connection | None = getattr(self._writing, "connection", None)
        return self.read(work) if outer is None else work(outer)

    def snapshot(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run ``work`` on a read-only connection that sees the register as it was at one moment.

        :raises RegisterError: if the database cannot be reached or refuses.
        """
        self._migrate_once()
        begin = "BEGIN"
        if self._url.get_backend_name() != "sqlite":
            begin += " ISOLATION LEVEL REPEATABLE READ READ ONLY"
        try:
            with self._connect(autocommit=True) as connection:
                connection.exec_driver_sql(begin)
                try:
                    return work(connection)
                finally:
                    connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError as error:
            raise self._failed(error) from None

    def graph_changes(self) -> int:
        """How often the graph, a policy in force or evidence may have changed so far."""
        return self.read(graph_changes)

    @contextlib.contextmanager
    def counting(self, own: list[int]) -> Iterator[None]:
        """Within the block, ``own`` grows with each change of the graph (`graph_changes`) by this thread."""
        before = getattr(self._writing, "own", None)
        self._writing.own = own
        try:
            yield
        finally:
            self._writing.own = before

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Within the block, connections to SQLite stay open and all threads reuse them. Meant for callers with hundreds of
        queries: opening a register reads its whole schema, and closing the last connection writes back the log.

        Afterwards no connection is open, and everything written is in the file itself: a copy of the file is complete,
        and a file that somebody restores in its place stays as it is.
        """
        if self._url.get_backend_name() != "sqlite":
            yield
            return
        with self._lock:
            self._keeping += 1
        try:
            yield
        finally:
            with self._lock:
                self._keeping -= 1
                kept, last = self._kept, self._keeping == 0
                if last:
                    self._kept = None
            if last and kept is not None:
                kept[1].dispose(close=kept[0] == os.getpid())

    def ask(self, query: str, seconds: int = 30) -> list[sa.Row[Any]]:
        """The rows of a query that was written elsewhere, on a connection that cannot write.

        :raises UsageError: if it is no query, or more than one statement.
        :raises RegisterError: if the database refuses it: also because it writes, or takes longer than ``seconds`` (PostgreSQL).
        """
        text = query.strip().removesuffix(";")
        # On PostgreSQL a second statement could end the transaction that must not write.
        if ";" in text or re.match(r"(select|with)\b", text, re.IGNORECASE) is None:
            raise UsageError(
                "a query is one statement that begins with SELECT or WITH, without ';' in it"
            )

        def work(connection: sa.Connection) -> list[sa.Row[Any]]:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
                try:
                    return [*connection.exec_driver_sql(text)]
                finally:
                    connection.exec_driver_sql("PRAGMA query_only = OFF")
            connection.exec_driver_sql("BEGIN READ ONLY")
            try:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {seconds * 1000}")
                return [*connection.exec_driver_sql(text.replace("%", "%%"))]
            finally:
                connection.exec_driver_sql("ROLLBACK")

        return self.read(work)

    def rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        """All rows of a query."""
        return self.read(lambda connection: list(connection.execute(query)))

    def is_same(self, other: Register) -> bool:
        """Whether another object is for the same database."""
        return self is other or self._url == other._url

    def exists(self) -> bool:
        """Whether there is a register at its URL. The check does not create one.

        :raises RegisterError: if the database cannot be reached.
        """
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").exists():
            return False
        return self.version() is not None

    def version(self) -> str | None:
        """The schema revision of the database, or None if it is empty."""
        try:
            with self._connect(autocommit=True) as connection:
                if not sa.inspect(connection).has_table(VERSION_TABLE):
                    return None
                query: sa.Select[Any] = sa.select(sa.column("version_num")).select_from(
                    sa.table(VERSION_TABLE)
                )
                return connection.execute(query).scalar_one_or_none()
        except SQLAlchemyError as error:
            raise self._failed(error) from None

    def upgrade(self) -> tuple[str | None, str]:
        """Bring the schema to this version; returns the revision before and after.

        Safe to run from many processes at once.

        :raises RegisterError: if the database is newer than this version of the package.
        """
        before = self.version()
        if before != HEAD:
            with self._migration_lock():
                before = self.version()
                if before != HEAD:
                    self._run_migrations()
        self._ready = True
        return before, HEAD

    def differences(self) -> list[str]:
        """How the schema differs from this version's, one line for each difference."""
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        from airflow_mlsec.register.tables import metadata

        found = self.version()
        if found != HEAD:
            return [f"schema revision is {found or 'missing'}, this version needs {HEAD}"]
        with self._connect(autocommit=True) as connection:
            ours = set(metadata.tables)
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table": VERSION_TABLE,
                    "include_name": lambda name, kind, _: kind != "table" or name in ours,
                },
            )
            return [_difference(item) for item in compare_metadata(context, metadata)]

    def _migrate_once(self) -> None:
        if not self._ready:
            self.upgrade()

    def _run_migrations(self) -> None:
        # Imported late: Alembic takes 0.5 s, and most processes find the schema up to date.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", "airflow_mlsec.register:migrations")
        config.set_main_option("path_separator", "os")
        try:
            with self._connect() as connection, connection.begin():
                config.attributes["connection"] = connection
                doubtful = not_accounted_for(connection, self.now())
                command.upgrade(config, "head")
                # On SQLite, an altered table is a new table and has no triggers.
                for statement in triggers(connection.dialect.name):
                    connection.exec_driver_sql(statement)
                begin_log(connection, self.now())
                account_anew(connection, self.now(), HEAD, doubtful)
        except CommandError:
            raise RegisterError(
                f"the register has schema revision {self.version()}, which this version of "
                f"airflow-mlsec does not know (it knows up to {HEAD}); upgrade airflow-mlsec"
            ) from None
        except SQLAlchemyError as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def _migration_lock(self) -> Iterator[None]:
        if self._url.get_backend_name() == "sqlite":
            from airflow_mlsec import files

            with files.locked(Path(f"{self._url.database}.lock")):
                yield
            return
        try:
            with self._connect(autocommit=True) as connection:
                connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_ID)))
                yield  # the lock ends with its connection
        except SQLAlchemyError as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def _connect(self, autocommit: bool = False) -> Iterator[sa.Connection]:
        if self._url.get_backend_name() == "sqlite":
            _create_private(Path(self._url.database or ""))
        engine = self._engine()
        with engine.connect() as connection:
            if autocommit:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.info[TRUSTED] = self.trusted
            try:
                yield connection
            finally:
                if not self._is_in_use(engine):
                    # The block that kept it open has meanwhile ended in another thread.
                    connection.invalidate()

    def _engine(self) -> sa.Engine:
        """This process's engine: a connection must never be used on both sides of a fork."""
        if self._keeping and (kept := self._keeping_engine()) is not None:
            return kept
        if self._pooled is not None and self._pooled[0] == os.getpid():
            return self._pooled[1]
        if self._pooled is not None:
            self._pooled[1].dispose(close=False)
        if self._url.get_backend_name() == "sqlite":
            engine = _sqlite_engine(self._url, poolclass=NullPool)
        else:
            # Keep few idle connections, and only briefly: every task may have a register open.
            engine = sa.create_engine(
                self._url, pool_size=1, max_overflow=15, pool_pre_ping=True, pool_recycle=300,
                hide_parameters=True,
            )  # fmt: skip
        self._pooled = os.getpid(), engine
        return engine

    def _keeping_engine(self) -> sa.Engine | None:
        with self._lock:
            if not self._keeping:
                return None  # the block has just ended in another thread
            if self._kept is not None and self._kept[0] == os.getpid():
                return self._kept[1]
            if self._kept is not None:
                self._kept[1].dispose(close=False)
            engine = _sqlite_engine(
                self._url,
                poolclass=QueuePool,
                pool_size=8,
                max_overflow=-1,
                connect_args={"factory": _Closing},
            )
            sa.event.listen(engine, "checkout", self._take_again)
            sa.event.listen(engine, "checkin", _end_reading)
            self._kept = os.getpid(), engine
            return engine

    def _is_in_use(self, engine: sa.Engine) -> bool:
        with self._lock:
            return any(
                known is not None and known[1] is engine for known in (self._pooled, self._kept)
            )

    def _take_again(self, connection: Any, record: Any, _: Any) -> None:
        """Reuse a connection if the file that it has open is still the register."""
        # It was returned to the pool with the driver's own transaction handling.
        connection.isolation_level = None
        now = _file_of(self._url)
        if record.info.setdefault("file", now) != now:
            raise sa.exc.DisconnectionError("another file is there")

    def _failed(self, error: SQLAlchemyError) -> RegisterError:
        where = self._url.render_as_string(hide_password=True)
        what = databases.described(error, self._url)
        return RegisterError(f"the register {where} failed ({what})", databases.may_pass(error))


def keeps_open(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorator: keep the register open (`Register.kept_open`) during the call. The function's first argument is a
    register or an object that has one."""

    name = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def run(*given: Given.args, **named: Given.kwargs) -> Result:
        first: Any = given[0] if given else named[name]
        register = first if isinstance(first, Register) else first.register
        with register.kept_open():
            return function(*given, **named)

    return run


def _parse(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except (SQLAlchemyError, ValueError):
        raise RegisterError("[mlsec] register_url is not a SQLAlchemy URL") from None
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise RegisterError("a SQLite register needs a file: sqlite:////path/register.db")
        return url
    if url.get_backend_name() in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise RegisterError("the register is SQLite or PostgreSQL; see [mlsec] register_url")


def _file_of(url: sa.URL) -> tuple[int, int] | None:
    """The identity (device and inode) of the file there; None if there is no file."""
    with contextlib.suppress(OSError):
        status = os.stat(url.database or "")
        return status.st_dev, status.st_ino
    return None


def _create_private(path: Path) -> None:
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise RegisterError(
                f"the register {path} cannot be created ({error.strerror})"
            ) from None


def _sqlite_engine(url: sa.URL, **pool: Any) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True, **pool)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # We begin transactions ourselves: the driver would begin them too late for DDL.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # A commit is on the disk when it returns: evidence must survive a power failure.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    # Taking the write lock at once makes writers queue instead of failing half-way.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _transient(error: OperationalError) -> bool:
    original = error.orig
    if getattr(original, "sqlstate", None) in ("40001", "40P01", "55P03"):
        return True
    return getattr(original, "sqlite_errorname", "") in ("SQLITE_BUSY", "SQLITE_LOCKED")


def _difference(item: Any) -> str:
    first = item[0] if isinstance(item, list) else item
    parts = [str(getattr(part, "name", part)) for part in first if part is not None][:4]
    return " ".join(parts)
