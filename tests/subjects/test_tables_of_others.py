"""Tables of a database: what refers to rows, what hangs on them, and what a role may not see."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, DatasetError, MlsecError
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import approve, get_request, rectify, settle
from airflow_mlsec.subjects.handling import _erasing
from tests.actors import who
from tests.approvals import agreed
from tests.conftest import database
from tests.subjects.lake import Lake

HER = "p3@x.test"
FIVE = "INSERT INTO {} SELECT 'p' || i || '@x.test', 't' FROM generate_series(1, 5) i;"
PEOPLE = f"CREATE TABLE people (email text PRIMARY KEY, tag text); {FIVE.format('people')}"


class Shop(Lake):
    """People in tables of a PostgreSQL."""

    uri = ""

    def sql(self, text: str) -> Any:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            done = connection.execute(text)
            return done.fetchall() if done.description else None

    def declare(self, table: str = "public.people", columns: tuple[str, ...] = ("email", "tag")) -> None:  # fmt: skip
        dataset = table if "://" in table else f"postgresql://pg/{table}"
        text = f"version: 1\ndataset: {dataset}\nowner: o\nsubject: {{kind: person, key: email}}\ncolumns:\n"
        for name in columns:
            role = "{role: identifying, transform: {method: drop}}" if name == "email" else "{role: insensitive}"  # fmt: skip
            text += f"  {name}: {role}\n"
        policy, found = parse_policy(text, "p"), open_dataset(dataset)
        agreed(self.register, policy, found.name)
        record_results(self.register, policy, found, "source", [], None)

    def state(self, number: int) -> str:
        """What a request says of the table of people."""
        steps = get_request(self.register, number).steps
        return next(s.status for s in steps if s.kind == "table" and "people" in s.name)

    def states(self, number: int) -> set[str]:
        return {s.status for s in get_request(self.register, number).steps}

    def try_to_erase(self, key: str = HER) -> int:
        """A request whose erasure was asked for, whatever became of it."""
        request = self.opened(key)
        approve(self.register, request.id, who("dpo"), named=["*"])
        try:
            self.handler.erase(request.id)
        except MlsecError as error:
            self.said = str(error)
        return request.id


@pytest.fixture
def shop(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:  # fmt: skip
    made = Shop(tmp_path / "lake", sqlite_register, keys)
    made.uri = postgres_database
    for name in ("MLSEC_CONN_PG", "AIRFLOW_CONN_PG"):
        monkeypatch.setenv(name, postgres_database)
    return made


CHILD = "CREATE TABLE {} (no int, email text REFERENCES {}(email) ON DELETE {}); INSERT INTO {} VALUES (1, 'p3@x.test');"
PARTS = (
    "CREATE TABLE people (email text, y int, tag text{}) PARTITION BY LIST (y); "
    "CREATE TABLE people_24 PARTITION OF people FOR VALUES IN (2024); "
)
FILL = "INSERT INTO people SELECT 'p' || i || '@x.test', 2024, 't' FROM generate_series(1, 5) i; "


@pytest.mark.parametrize(
    ("made", "table", "columns", "child"),
    [
        (f"{PEOPLE} CREATE SCHEMA law; " + CHILD.format("law.inv", "public.people", "CASCADE", "law.inv"),
         "public.people", ("email", "tag"), "law.inv"),
        (f"{PEOPLE} CREATE SCHEMA law; " + CHILD.format("law.inv", "public.people", "SET NULL", "law.inv"),
         "public.people", ("email", "tag"), "law.inv"),
        (PARTS.format(", PRIMARY KEY (email, y)") + FILL +
         "CREATE TABLE inv (no int, email text, y int, FOREIGN KEY (email, y) REFERENCES people(email, y) ON DELETE CASCADE); "
         "INSERT INTO inv VALUES (1, 'p3@x.test', 2024);",
         "public.people_24", ("email", "y", "tag"), "inv"),
        (PARTS.format("") + "ALTER TABLE people_24 ADD PRIMARY KEY (email); " + FILL
         + CHILD.format("inv", "people_24", "CASCADE", "inv"),
         "public.people", ("email", "y", "tag"), "inv"),
    ],
    ids=["another schema", "set null", "of the parent of a partition", "of a partition"],
)  # fmt: skip
def test_what_refers_to_a_row_does_not_go_with_it(
    shop: Shop, made: str, table: str, columns: tuple[str, ...], child: str
) -> None:
    shop.sql(made)
    shop.declare(table, columns)
    before = shop.sql(f"SELECT * FROM {child}")
    number = shop.try_to_erase()
    assert shop.sql(f"SELECT * FROM {child}") == before
    assert shop.states(number) & {"failed", "unknown", "found"}
    with pytest.raises(CheckFailed):
        shop.handler.close(number)


BOSSES = (
    "CREATE TABLE people (email text PRIMARY KEY, boss text REFERENCES people(email) ON DELETE CASCADE, tag text); "
    "INSERT INTO people VALUES ('p3@x.test', NULL, 'a'), ('p4@x.test', 'p3@x.test', 'b'), ('p6@x.test', NULL, 'd');"
)


@pytest.mark.parametrize("engine", ["postgresql", "sqlite"])
def test_who_reports_to_somebody_does_not_go_with_her(shop: Shop, engine: str) -> None:
    at = shop.folder / "s.db"
    if engine == "postgresql":
        shop.sql(BOSSES)
        shop.declare(columns=("email", "boss", "tag"))
    else:
        with sqlite3.connect(at) as connection:
            connection.executescript(BOSSES)
        shop.declare(f"sqlite://{at}/people", ("email", "boss", "tag"))
    shop.try_to_erase()
    count = "SELECT count(*) FROM people"
    left = shop.sql(count) if engine == "postgresql" else sqlite3.connect(at).execute(count).fetchall()  # fmt: skip
    assert left == [(3,)]


def test_a_key_that_others_follow_is_not_changed(shop: Shop) -> None:
    shop.sql(PEOPLE + "CREATE TABLE inv (email text REFERENCES people(email) ON UPDATE CASCADE); INSERT INTO inv VALUES ('p3@x.test')")  # fmt: skip
    shop.declare()
    number = shop.opened(HER, "rectification").id
    rectify(shop.handler, number, "email", "new@x.test")
    assert shop.state(number) == "failed"
    assert shop.sql("SELECT email FROM inv") == [(HER,)]
    assert (HER,) in shop.sql("SELECT email FROM people")


def test_publishing_over_rows_that_others_refer_to_is_refused(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE src (id bigint, email text); INSERT INTO src VALUES (1, 'a'), (2, 'b'); "
        "CREATE TABLE safe (id bigint PRIMARY KEY); INSERT INTO safe VALUES (1), (2); "
        "CREATE TABLE labels (id bigint REFERENCES safe(id) ON DELETE CASCADE); INSERT INTO labels VALUES (1), (2)"
    )
    text = (
        "version: 1\ndataset: postgresql://pg/public.src\nowner: o\ncolumns:\n  id: {role: insensitive}\n"
        "  email: {role: identifying, transform: {method: drop}}\n"
    )
    source, target = (open_dataset(f"postgresql://pg/public.{name}") for name in ("src", "safe"))
    with pytest.raises(DatasetError, match="labels"):
        anonymize(parse_policy(text, "p"), source, target, shop.keys)
    assert shop.sql("SELECT count(*) FROM labels") == [(2,)]


def test_nothing_is_erased_through_a_view(shop: Shop) -> None:
    shop.sql(f"CREATE TABLE base (email text, tag text); {FIVE.format('base')} CREATE VIEW people AS SELECT * FROM base")  # fmt: skip
    shop.declare()
    number = shop.try_to_erase()
    assert shop.state(number) == "found"
    assert shop.sql("SELECT count(*) FROM base") == [(5,)]
    with pytest.raises(CheckFailed, match="view"):
        shop.handler.close(number)


TRIGGER = (
    "CREATE TABLE audit (what text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN INSERT INTO audit VALUES (OLD.email); RETURN OLD; END $$; "
    "CREATE TRIGGER keep AFTER DELETE ON people FOR EACH ROW EXECUTE FUNCTION f();"
)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (TRIGGER, "trigger 'keep'"),
        (
            "CREATE MATERIALIZED VIEW copy AS SELECT * FROM people",
            "materialized view 'copy'",
        ),
    ],
)
def test_what_may_keep_a_deleted_row_is_asked_of_a_person(shop: Shop, more: str, said: str) -> None:
    shop.sql(PEOPLE + more)
    shop.declare()
    number = shop.try_to_erase()
    [step] = [s for s in get_request(shop.register, number).steps if s.name.startswith("triggers")]
    assert step.status == "unknown"
    assert said in str(step.detail)
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(number)


def test_a_trigger_of_sqlite_is_asked_about(shop: Shop) -> None:
    at = shop.folder.parent / "s.db"
    with sqlite3.connect(at) as connection:
        connection.executescript(
            "CREATE TABLE people (email text, tag text); INSERT INTO people VALUES ('p3@x.test', 'a'), ('q@x.test', 'b'); "
            "CREATE TABLE audit (what text); "
            "CREATE TRIGGER keep AFTER DELETE ON people BEGIN INSERT INTO audit VALUES (OLD.email); END;"
        )
    shop.declare(f"sqlite://{at}/people")
    number = shop.try_to_erase()
    assert "unknown" in shop.states(number)
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(number)


@pytest.fixture
def role(shop: Shop) -> Iterator[str]:
    """A role that is no superuser."""
    name = f"r{secrets.token_hex(4)}"
    shop.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    yield name
    shop.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_rows_that_the_role_may_not_see_are_unknown(
    shop: Shop, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql(PEOPLE.replace(" PRIMARY KEY", "") + "INSERT INTO people VALUES ('p3@x.test', 'hidden'); "
             f"GRANT ALL ON people TO {role}; ALTER TABLE people ENABLE ROW LEVEL SECURITY; "
             f"CREATE POLICY a ON people TO {role} USING (tag = 't');")  # fmt: skip
    shop.declare()
    theirs = sa.make_url(shop.uri).set(username=role, password="x").render_as_string(False)
    for name in ("MLSEC_CONN_PG", "AIRFLOW_CONN_PG"):
        monkeypatch.setenv(name, theirs)
    [found] = shop.look(HER).values()
    assert found.status in ("unknown", "failed")
    number = shop.try_to_erase()
    assert shop.state(number) in ("unknown", "failed")
    with pytest.raises(CheckFailed):
        shop.handler.close(number)


@pytest.mark.parametrize(
    ("made", "leaf"),
    [
        ("CREATE TABLE people (email text, tag text) PARTITION BY HASH (email); "
         "CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 1, REMAINDER 0);", "people_0"),
        ("CREATE TABLE people (email text, tag text); CREATE TABLE people_kid () INHERITS (people);", "people_kid"),
    ],
    ids=["partition", "inherited"],
)  # fmt: skip
def test_dead_rows_of_every_table_below_are_vacuumed(shop: Shop, made: str, leaf: str) -> None:
    shop.sql(made + f"ALTER TABLE {leaf} SET (autovacuum_enabled = false); " + FIVE.format(leaf))
    shop.declare()
    [(folder,)] = shop.sql("SHOW data_directory")
    number = shop.try_to_erase()
    assert shop.state(number) == "erased"
    shop.sql("CHECKPOINT")
    [(path,)] = shop.sql(f"SELECT pg_relation_filepath('{leaf}')")
    assert b"p3@x.test" not in Path(folder, path).read_bytes()


def test_dead_rows_of_a_partition_that_a_reader_keeps_are_not_gone(shop: Shop) -> None:
    shop.sql("CREATE TABLE people (email text, tag text); CREATE TABLE people_kid () INHERITS (people); "
             + FIVE.format("people_kid"))  # fmt: skip
    shop.declare()
    with psycopg.connect(shop.uri) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM people")
        number = shop.try_to_erase()
        assert shop.state(number) == "failed"


@pytest.mark.parametrize("key", ["6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff8b86d011b42d00cf4fc964ff"])  # fmt: skip
def test_a_uuid_is_found_however_it_is_written(shop: Shop, key: str) -> None:
    shop.sql("CREATE TABLE people (email uuid, tag text); INSERT INTO people VALUES ('6f9619ff-8b86-d011-b42d-00cf4fc964ff', 'a'), (gen_random_uuid(), 'b')")  # fmt: skip
    shop.declare()
    [found] = shop.look(key).values()
    assert (found.status, found.rows) == ("found", 1)
    shop.try_to_erase(key)
    assert shop.sql("SELECT tag FROM people") == [("b",)]


@pytest.mark.parametrize("key", ["16777216", "16777217"])
def test_a_number_that_single_precision_takes_for_another_is_unknown(shop: Shop, key: str) -> None:
    """2**24 and the next are one number in a column of type REAL."""
    shop.sql("CREATE TABLE people (email real, tag text); INSERT INTO people VALUES (16777217, 'her'), (16777216, 'him')")  # fmt: skip
    shop.declare()
    [found] = shop.look(key).values()
    assert found.status == "unknown"
    shop.try_to_erase(key)
    assert shop.sql("SELECT count(*) FROM people") == [(2,)]


def test_a_number_of_single_precision_in_a_file_is_unknown(
    shop: Shop, write: Callable[[str | Path, pa.Table], str]
) -> None:
    at = shop.folder / "p.parquet"
    write(at, pa.table({"email": pa.array([16777216.0, 5.0], pa.float32()), "tag": ["her", "x"]}))
    shop.declare(f"file://{at}")
    [found] = shop.look("16777217").values()
    assert found.status == "unknown"


def test_two_schemas_on_one_server_are_two_tables(shop: Shop, postgres_uri: str) -> None:
    with database(postgres_uri) as other, psycopg.connect(other, autocommit=True) as connection:
        connection.execute(PEOPLE)
        shop.sql(PEOPLE)
        shop.declare()
        shop.try_to_erase()
        assert connection.execute("SELECT count(*) FROM people").fetchall() == [(5,)]
    assert shop.sql("SELECT count(*) FROM people") == [(4,)]


# --- what a fresh mind has found since


@pytest.mark.parametrize(
    "made",
    [
        f"{PEOPLE} CREATE VIEW v AS SELECT * FROM people; CREATE MATERIALIZED VIEW copy AS SELECT * FROM v;",
        f"{PEOPLE} CREATE TABLE copy (email text); CREATE RULE r AS ON DELETE TO people DO ALSO INSERT INTO copy VALUES (OLD.email);",
        "CREATE TABLE everybody (email text, y int, tag text) PARTITION BY LIST (y); "
        "CREATE TABLE people PARTITION OF everybody FOR VALUES IN (2024); "
        "INSERT INTO everybody SELECT 'p' || i || '@x.test', 2024, 't' FROM generate_series(1, 5) i; "
        "CREATE MATERIALIZED VIEW copy AS SELECT * FROM everybody;",
    ],
    ids=["view of a view", "rule", "of the parent of a partition"],
)  # fmt: skip
def test_what_keeps_a_row_over_a_detour_is_asked_of_a_person(shop: Shop, made: str) -> None:
    shop.sql(made)
    shop.declare(columns=("email", "y", "tag") if "everybody" in made else ("email", "tag"))
    number = shop.try_to_erase()
    assert (HER,) in shop.sql("SELECT email FROM copy")
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(number)


def test_a_kill_after_the_rows_went_hides_no_copy(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql(f"{PEOPLE} CREATE MATERIALIZED VIEW copy AS SELECT * FROM people")
    shop.declare()
    number = shop.opened(HER).id
    approve(shop.register, number, who("dpo"), named=["*"])

    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_erasing, "look_at_copies", cut)
        with pytest.raises(KeyboardInterrupt):
            shop.handler.erase(number)
    shop.handler.erase(number)
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(number)


def test_a_correction_tells_what_keeps_the_value_that_was_wrong(shop: Shop) -> None:
    shop.sql(f"{PEOPLE} CREATE MATERIALIZED VIEW copy AS SELECT * FROM people")
    shop.declare()
    number = shop.opened(HER, "rectification").id
    rectify(shop.handler, number, "tag", "right")
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(number)
    [step] = [s for s in get_request(shop.register, number).steps if s.name.startswith("triggers")]
    settle(shop.register, number, step.name, "manual", "refreshed", who("dpo"))
    shop.handler.close(number)


def test_publishing_over_a_view_touches_no_table_below(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE src (email text, tag text); INSERT INTO src VALUES ('a', 'x'); "
        "CREATE TABLE base (tag text, note text); INSERT INTO base VALUES ('p', 'keep me'); "
        "CREATE VIEW safe AS SELECT tag FROM base"
    )
    text = (
        "version: 1\ndataset: postgresql://pg/public.src\nowner: o\ncolumns:\n  tag: {role: insensitive}\n"
        "  email: {role: identifying, transform: {method: drop}}\n"
    )
    source, target = (open_dataset(f"postgresql://pg/public.{name}") for name in ("src", "safe"))
    with pytest.raises(DatasetError, match="is a view"):
        anonymize(parse_policy(text, "p"), source, target, shop.keys)
    assert shop.sql("SELECT * FROM base") == [("p", "keep me")]


def test_a_role_that_may_not_vacuum_has_not_erased(
    shop: Shop, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql(f"{PEOPLE.replace(' PRIMARY KEY', '')} ALTER TABLE people SET (autovacuum_enabled = false); "
             f"GRANT SELECT, DELETE ON people TO {role}; GRANT pg_read_all_stats TO {role}")  # fmt: skip
    theirs = sa.make_url(shop.uri).set(username=role, password="x").render_as_string(False)
    for name in ("MLSEC_CONN_PG", "AIRFLOW_CONN_PG"):
        monkeypatch.setenv(name, theirs)
    shop.declare()
    number = shop.try_to_erase()
    [step] = [s for s in get_request(shop.register, number).steps if s.kind == "table"]
    assert step.status == "failed"
    assert "may not vacuum" in str(step.detail)


def test_neither_index_nor_statistics_keep_a_key(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE people (email text PRIMARY KEY, friend text, tag text); ALTER TABLE people SET (autovacuum_enabled = false); "
        "INSERT INTO people SELECT 'p' || i || '@x.test', 'p' || (i % 7) || '@y.test', 't' FROM generate_series(1, 20000) i; "
        "UPDATE people SET friend = 'of-p777' WHERE email LIKE 'p777_@x.test'"
    )
    shop.sql("VACUUM ANALYZE people")
    shop.declare(columns=("email", "friend", "tag"))
    number = shop.try_to_erase("p777@x.test")
    assert shop.state(number) == "erased"
    shop.sql("CHECKPOINT")
    [(folder,)] = shop.sql("SHOW data_directory")
    for name in ("people", "people_pkey"):
        [(path,)] = shop.sql(f"SELECT pg_relation_filepath('{name}')")
        assert b"p777@x.test" not in Path(folder, path).read_bytes()
    [(values,)] = shop.sql("SELECT count(*) FROM pg_stats WHERE histogram_bounds::text LIKE '%p777@x%'")  # fmt: skip
    assert values == 0


CASES = {
    "collation of the parent": (
        "CREATE TABLE people (email TEXT COLLATE NOCASE PRIMARY KEY, tag TEXT); INSERT INTO people VALUES ('p3@x.test', 't'), ('q', 'u');"
        "CREATE TABLE inv (email TEXT REFERENCES people(email) ON DELETE CASCADE); INSERT INTO inv VALUES ('P3@X.TEST');"),
    "column in capitals": (
        "CREATE TABLE people (email TEXT PRIMARY KEY, tag TEXT); INSERT INTO people VALUES ('p3@x.test', 't'), ('q', 'u');"
        "CREATE TABLE inv (email TEXT REFERENCES People(EMAIL) ON DELETE CASCADE); INSERT INTO inv VALUES ('p3@x.test');"),
    "affinity": (
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, tag TEXT); INSERT INTO people VALUES (7, 'p3@x.test', 't'), (8, 'q', 'u');"
        "CREATE TABLE inv (email BLOB REFERENCES people(id) ON DELETE CASCADE); INSERT INTO inv VALUES ('7');"),
}  # fmt: skip


def in_sqlite(shop: Shop, made: str, table: str = "people") -> Path:
    at = shop.folder.parent / "s.db"
    with sqlite3.connect(at) as connection:
        connection.executescript(made)
    shop.declare(
        f"sqlite://{at}/{table}",
        ("id", "email", "tag") if "id INTEGER" in made else ("email", "tag"),
    )
    return at


def rows_in(at: Path, query: str) -> list[Any]:
    with sqlite3.connect(at) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("case", CASES)
def test_sqlite_refers_by_rules_of_its_own(shop: Shop, case: str) -> None:
    at = in_sqlite(shop, CASES[case])
    number = shop.try_to_erase()
    assert len(rows_in(at, "SELECT * FROM inv")) == 1
    assert len(rows_in(at, "SELECT * FROM people")) == 2
    with pytest.raises(CheckFailed):
        shop.handler.close(number)


def test_sqlite_changes_no_key_that_others_follow(shop: Shop) -> None:
    at = in_sqlite(shop, CASES["column in capitals"].replace("ON DELETE", "ON UPDATE"))
    number = shop.opened(HER, "rectification").id
    rectify(shop.handler, number, "email", "new@x.test")
    assert shop.state(number) == "failed"
    assert rows_in(at, "SELECT email FROM inv") == [(HER,)]


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE People (email TEXT, tag TEXT); INSERT INTO people VALUES ('p3@x.test', 'a'), ('q', 'b');",
        "CREATE TABLE people (email TEXT, tag TEXT); INSERT INTO people VALUES ('p3@x.test', 'a'), ('q', 'b'); "
        "CREATE TABLE inv (email TEXT REFERENCES people ON DELETE CASCADE); INSERT INTO inv VALUES ('p3@x.test');",
        "CREATE TABLE people (email TEXT PRIMARY KEY, boss TEXT REFERENCES people(email) ON DELETE CASCADE, tag TEXT); "
        "INSERT INTO people VALUES ('p3@x.test', NULL, 'a'), ('q', NULL, 'b');",
    ],
    ids=["a name in capitals", "a reference to no key", "to itself, and nobody refers"],
)
def test_a_table_of_sqlite_can_be_erased_from(shop: Shop, made: str) -> None:
    at = in_sqlite(shop, made)
    if "boss" in made:
        shop.declare(f"sqlite://{at}/people", ("email", "boss", "tag"))
    shop.handler.close(shop.try_to_erase())
    assert [row[0] for row in rows_in(at, "SELECT email FROM people")] == ["q"]


@pytest.mark.parametrize(
    "more",
    [
        "CREATE TABLE audit (w); CREATE TRIGGER k AFTER UPDATE ON people BEGIN INSERT INTO audit VALUES (OLD.email); END;",
        "CREATE VIRTUAL TABLE f USING fts5(email, content='people');",
    ],
    ids=["a trigger on updates", "a full-text index"],
)
def test_what_else_hangs_on_a_table_of_sqlite(shop: Shop, more: str) -> None:
    in_sqlite(shop, f"CREATE TABLE people (email TEXT, tag TEXT); INSERT INTO people VALUES ('p3@x.test', 'a'), ('q', 'b'); {more}")  # fmt: skip
    with pytest.raises(CheckFailed, match="triggers and views"):
        shop.handler.close(shop.try_to_erase())
