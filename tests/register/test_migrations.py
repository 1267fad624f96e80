"""What a register of the first schema holds is carried over."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage import State, column_states, trace
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.lineage.snapshot import names_of, snapshot

NOW = "2026-03-01T12:00:00.000000Z"


def first_schema(register: Register) -> None:
    """A register as version 0.1's first schema left it: /raw, released into /safe, a model."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "airflow_mlsec.register:migrations")
    config.set_main_option("path_separator", "os")
    with register._connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    def rows(table: str, names: str, values: list[tuple[Any, ...]]) -> None:
        columns = names.split()
        made = sa.table(f"mlsec_{table}", *(sa.column(name) for name in columns))
        items = [dict(zip(columns, value, strict=True)) for value in values]
        with register._connect() as connection, connection.begin():
            connection.execute(sa.insert(made), items)

    document = '{"subject": null, "columns": {"email": {"role": "identifying"}}}'
    with register._connect() as connection, connection.begin():
        connection.execute(
            sa.text("INSERT INTO mlsec_policy VALUES ('d', 'p', :document, :now)"),
            {"document": document, "now": NOW},
        )
    rows("dataset", "id namespace name kind policy_digest stage first_seen last_seen", [
        (1, "file", "/raw", "table", "d", "source", NOW, NOW),
        (2, "file", "/safe", "table", None, None, NOW, NOW),
        (3, "file", "/m.onnx", "file", None, None, NOW, NOW),
    ])  # fmt: skip
    rows("column", "id dataset_id name type position role category", [
        (1, 1, "", None, None, None, None), (2, 1, "*", None, None, None, None),
        (3, 1, "email", "string", 0, "identifying", "user.contact.email"),
        (4, 2, "", None, None, None, None), (5, 2, "*", None, None, None, None),
        (6, 2, "mail", "string", 0, None, None),
        (7, 3, "", None, None, None, None), (8, 3, "*", None, None, None, None),
    ])  # fmt: skip
    rows("job", "id namespace name", [(1, "n", "copy"), (2, "n", "train")])
    rows("run", "id uuid job_id state started_at ended_at", [
        (1, "r1", 1, "complete", NOW, NOW), (2, "r2", 2, "complete", NOW, NOW),
    ])  # fmt: skip
    rows("run_dataset", "run_id dataset_id direction", [
        (1, 1, "input"), (1, 2, "output"), (2, 2, "input"), (2, 3, "output"),
    ])  # fmt: skip
    rows("edge", "source_id target_id kind transformation run_id", [
        (1, 2, "whole", None, None), (1, 3, "whole", None, None), (3, 2, "whole", None, None),
        (4, 5, "whole", None, None), (4, 6, "whole", None, None), (6, 5, "whole", None, None),
        (7, 8, "whole", None, None), (3, 6, "direct", "IDENTITY", 1), (5, 7, "indirect", None, 2),
    ])  # fmt: skip
    rows("request", "id kind subject_kind subject_digest status requested_at ledger", [
        (1, "locate", "person", "x", "complete", NOW, "[]"),
    ])  # fmt: skip


def test_the_first_schema_s_graph_is_carried_over(register: Register) -> None:
    first_schema(register)
    before, after = register.upgrade()
    assert (before, after) == ("0001", after)
    assert register.differences() == []
    found = snapshot(register)
    edges = {(s[1:], e[1:], step[0], step[3]) for s, e, step in found["edges"]}
    assert edges == {
        (("/raw", "email"), ("/safe", "mail"), "direct", "IDENTITY"),
        (("/safe", "<out of>"), ("/m.onnx", "<into>"), "assumed", None),
    }
    assert {row[:2] for row in found["assumed"]} == {(("file", "/safe"), ("file", "/m.onnx"))}
    nodes = trace(register, "/raw#email", "down").nodes
    assert {(n.dataset, n.column, n.run) for n in nodes} == {("/safe", "mail", "r1"), ("/m.onnx", "", "r2")}  # fmt: skip
    [declared] = register.rows(sa.select(t.declared_column))
    assert (declared.name, declared.role) == ("email", "identifying")

    def work(connection: sa.Connection) -> dict[str, State]:
        names = names_of(connection)
        return {names[node]: state for node, state in column_states(connection).items()}

    assert register.read(work)["/m.onnx#"] is State.IDENTIFIED


def test_new_rows_get_new_numbers_after_a_migration(register: Register) -> None:
    """PostgreSQL's sequences must go on where the carried rows end."""
    from airflow_mlsec.crypto import VerificationKeys
    from airflow_mlsec.lineage import ingest_event
    from tests.lineage.events import dataset, event, lineage

    first_schema(register)
    register.upgrade()
    if register._url.get_backend_name() == "postgresql":
        # Rows of tables that the migration leaves alone were inserted with ids by hand above.
        register.write(lambda c: c.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('mlsec_dataset', 'id'), 3), "
            "setval(pg_get_serial_sequence('mlsec_job', 'id'), 2)"
        ))  # fmt: skip
    out = dataset("/new", ["x"], columnLineage=lineage("/safe", {"x": ["mail"]}))
    ingest_event(event("next", [], [out]), register, VerificationKeys([]))
    nodes = trace(register, "/raw#email", "down").nodes
    assert ("/new", "x") in {(n.dataset, n.column) for n in nodes}
