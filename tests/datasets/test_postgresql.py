"""How a table of PostgreSQL is named and reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets import EnvironmentConnections, dataset_name, open_dataset
from airflow_mlsec.datasets.connectors.postgresql import Postgresql
from airflow_mlsec.errors import UnsupportedDataset

ROWS = pa.table({"who": ["Anna", "Bob"]})


def as_json(url: sa.URL, folder: str) -> str:
    return json.dumps({"conn_type": "postgres", "host": folder, "schema": url.database, "login": url.username})  # fmt: skip


def as_uri(url: sa.URL, folder: str) -> str:
    return f"postgres://{url.username}@{quote(folder, safe='')}/{url.database}"


def as_option(url: sa.URL, folder: str) -> str:
    return f"postgres://{url.username}@/{url.database}?host={folder}"


class AirflowsOwn:
    """As tasks have them."""

    def __init__(self, text: str) -> None:
        from airflow.sdk import Connection

        fields = json.loads(text)
        self._connection = Connection(conn_id="crm", **fields)

    def sql_url(self, conn_id: str) -> str:
        from airflow_mlsec.hooks.mlsec import AirflowConnections

        return AirflowConnections.url_of(self._connection)


@pytest.mark.parametrize(
    ("written", "airflow"), [(as_json, False), (as_uri, False), (as_option, False), (as_json, True)]
)
def test_a_socket_s_folder(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch, written: Callable[[sa.URL, str], str], airflow: bool
) -> None:  # fmt: skip
    url = sa.make_url(postgres_database)
    folder = str(url.query["host"])
    assert folder.startswith("/")
    text = written(url, folder)
    monkeypatch.setenv("AIRFLOW_CONN_CRM", text)
    connections: Connections = AirflowsOwn(text) if airflow else EnvironmentConnections()  # type: ignore[assignment]
    uri = f"postgresql://crm/{url.database}.public.people"
    with open_dataset(uri, connections).replacing(ROWS.schema) as staged:
        staged.write(ROWS.to_batches()[0])
    dataset = open_dataset(uri, connections)
    assert [row for batch in dataset.scan() for row in batch.to_pylist()] == ROWS.to_pylist()
    assert dataset.name.namespace == f"postgres://{folder}:5432"
    again = Postgresql().read_again(uri, connections, ()).rows
    assert [row["who"] for row, _ in again] == ["Anna", "Bob"]


def test_airflow_s_own_form_is_the_same_table(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_CRM", postgres_database)
    database = sa.make_url(postgres_database).database
    forms = [f"postgresql://crm/{database}.public.people", f"postgres://crm/{database}/public/people",
             f"postgresql://crm:5432/{database}/public/people"]  # fmt: skip
    with open_dataset(forms[1]).replacing(ROWS.schema) as staged:
        staged.write(ROWS.to_batches()[0])
    assert len({open_dataset(form).name for form in forms}) == 1
    assert len({dataset_name(form) for form in forms}) == 1
    assert len({open_dataset(form).uri for form in forms}) == 1
    assert sum(batch.num_rows for batch in open_dataset(forms[2]).scan()) == 2
    assert dataset_name("postgres://crm/a/b%20c/d%2Fe").name == "a.b c.d/e"


@pytest.mark.parametrize(
    "uri",
    [
        "postgres://user@host:5432/d/s/t", "postgres://:5432/d/s/t", "postgres://host:5432/d/s", "postgres://h/d//t",
        "postgres://h/d/s/t/more", "postgres://h/d/s.x/t", "postgres://h:5432/d.s.t", "postgres://h:x/d/s/t",
    ],
)  # fmt: skip
def test_what_is_half_a_table_is_refused(uri: str) -> None:
    with pytest.raises(UnsupportedDataset):
        dataset_name(uri)
