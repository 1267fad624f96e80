"""The text of a protected row in the audit log: the fast encoders against the plain definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.ledger import verify_register
from airflow_mlsec.register import Register, _journal, _log_entries
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._log_entries import LastRows, LogEntry

NOW = "2026-03-01T12:00:00.000000Z"
TABLE = sa.Table(
    "row_text_example",
    sa.MetaData(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("Öffnung", sa.Integer),
    sa.Column("counted", sa.Integer, server_default="7"),
    sa.Column("word", sa.Text, server_default="it's"),
    sa.Column("open", sa.Boolean, server_default=sa.true()),
    sa.Column("content", sa.LargeBinary),
    sa.Column("document", sa.JSON),
    sa.Column("namespaces", sa.JSON(none_as_null=True)),
)
DEFAULTS = {"counted": 7, "word": "it's", "open": True}
# PostgreSQL's text has no NUL and no lone surrogate.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=120)
LONG = st.sampled_from(["x" * 84, "x" * 85, "x" * 510, "x" * 511, "ä" * 510, '"' * 255, '"' * 256])
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | LONG,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)  # fmt: skip
# Not a number alone: SQLite would store 0.0 as 0, and this package stores none.
DOCUMENTS = st.none() | TEXTS | st.lists(JSONS, max_size=3) | st.dictionaries(TEXTS, JSONS, max_size=3)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {
        "Öffnung": st.none() | st.integers(-(2**31), 2**31 - 1),
        "counted": st.none() | st.integers(0, 9),
        "word": st.none() | TEXTS | LONG | st.just("it's"),
        "open": st.none() | st.booleans(),
        "content": st.none() | st.binary(max_size=600),
        "document": DOCUMENTS,
        "namespaces": DOCUMENTS,
    }
)


def plainly(row: dict[str, Any]) -> str:
    """The definition: canonical JSON of what is neither NULL nor the default; what is longer than 512 by digest."""

    def dumped(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    shown = {}
    for name, value in row.items():
        if value is None or (name in DEFAULTS and value == DEFAULTS[name]):
            continue
        content = None
        if isinstance(value, bytes):
            content = value
        elif isinstance(value, str | list | dict) and (
            len(dumped(value)) > 512 or (isinstance(value, dict) and set(value) == {"sha256"})
        ):
            content = dumped(value).encode()
        shown[name] = value if content is None else {"sha256": hashlib.sha256(content).hexdigest()}
    return dumped(shown)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    address = "sqlite://"
    if request.param == "postgresql":
        address = request.getfixturevalue("postgres_uri").replace("postgresql:", "postgresql+psycopg:")  # fmt: skip
    engine = sa.create_engine(address)
    TABLE.drop(engine, checkfirst=True)
    TABLE.create(engine)
    yield engine
    TABLE.drop(engine)
    engine.dispose()


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_the_text_of_a_row_is_that_of_its_definition(
    database: sa.Engine, rows: Sequence[dict[str, Any]]
) -> None:
    named = [{"name": f"r{i}", **row} for i, row in enumerate(rows)]
    with database.connect() as connection:
        connection.execute(sa.insert(TABLE), named)
        found = dict(_journal.protected_rows(connection, TABLE))
        assert found == {(row["name"],): plainly(row) for row in named}
        # As a migration sees it, which has only what the database says of the table.
        there = sa.Table(TABLE.name, sa.MetaData(), autoload_with=connection)
        assert dict(_journal.protected_rows(connection, there, [("r0",)])) == {("r0",): found["r0",]}  # fmt: skip


def test_a_value_that_is_not_json_is_a_row_that_no_entry_knows(sqlite_register: Register) -> None:
    """It was an exception: one row spoiled by hand, and nobody could verify the log."""
    sqlite_register.upgrade()
    rule = {"document": {"a": 1}, "set_at": NOW, "set_by": "anna"}
    sqlite_register.write(lambda c: c.execute(sa.insert(t.rule).values(rule)))

    def digests() -> dict[Any, str]:
        return sqlite_register.read(lambda c: dict(_journal.protected_rows(c, t.rule)))

    before = digests()
    texts = set()
    for spoiled in ("{", '{"a":1}x', "", '"\\ud800"', f'"\\ud800{"a" * 600}"', "[" * 200_000):
        with sqlite_register._connect() as connection, connection.begin():
            connection.exec_driver_sql("UPDATE mlsec_rule SET document = ?", (spoiled,))
        texts.add(digests()[1,])
    assert len(texts) == 6
    assert before[1,] not in texts


def test_what_looks_like_a_digest_does_not_take_the_place_of_what_has_it(
    sqlite_register: Register,
) -> None:
    """A long value is in an entry by its digest: a value that is this digest would look the same."""
    sqlite_register.upgrade()
    rule = {"document": {"a": "x" * 600}, "set_at": NOW, "set_by": "anna"}
    sqlite_register.write(lambda c: c.execute(sa.insert(t.rule).values(rule)))
    content = json.dumps(rule["document"], separators=(",", ":"))
    stands_for_it = {"sha256": hashlib.sha256(content.encode()).hexdigest()}
    with sqlite_register._connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE mlsec_rule SET document = ?", (json.dumps(stands_for_it),))  # fmt: skip
        connection.exec_driver_sql("DELETE FROM mlsec_change")
    [said] = verify_register(sqlite_register, []).findings
    assert said == "mlsec_rule [1]: is not what its last entry says"


KEYS = st.lists(st.integers(0, 3) | st.sampled_from(["a", "b]", 'c"', "ä", "\\", "d\n"]), min_size=1, max_size=2)  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["mlsec_rule", "mlsec_alert"]),
        KEYS,
        st.sampled_from([None, '{"a":1}', '{"a":2}', "[]\n{}"]),
        st.sampled_from([{}, {"imported": True}, {"upgraded": "0016"}, {"imported": True, "upgraded": "0016"},
                         {"stranger": True}, {"unheard": "of"}]),
    )
)  # fmt: skip


@given(CHANGES)
def test_what_the_log_last_says_does_not_depend_on_how_it_is_read(changes: list[Any]) -> None:
    texts = [_journal.entry_text(NOW, table, key, row, **more) for table, key, row, more in changes]
    quick = LastRows.of(LogEntry(i, b"", b"", text) for i, text in enumerate(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_log_entries, "_FIRST_LINE", _log_entries.re.compile("(?!)"))
        slow = LastRows.of(LogEntry(i, b"", b"", text) for i, text in enumerate(texts))
    assert vars(quick) == vars(slow)
    # And against the plainest reading.
    rows: dict[tuple[str, str], str] = {}
    for table, key, row, more in changes:
        if "stranger" not in more:
            rows[table, json.dumps(key)] = row or ""
    said = {_log_entries.row_name(table, json.loads(key)): _log_entries.text_digest(row)
            for (table, key), row in rows.items() if row}  # fmt: skip
    assert quick.rows == said
