from __future__ import annotations

import pytest

from airflow_mlsec.datasets import (
    DatasetName,
    EnvironmentConnections,
    connection_of,
    dataset_name,
    file_path,
    open_dataset,
    parts_of,
    uri_of,
)
from airflow_mlsec.errors import UnsupportedDataset


@pytest.mark.parametrize(
    ("uri", "canonical", "name"),
    [
        ("file:///lake/p.parquet", "file:///lake/p.parquet", ("file", "/lake/p.parquet")),
        ("/lake/../lake/p.csv", "file:///lake/p.csv", ("file", "/lake/p.csv")),
        ("file:///a%20b/ü#1?.csv", "file:///a%20b/%C3%BC%231%3F.csv", ("file", "/a b/ü#1?.csv")),
        ("s3://lake/crm/c.parquet", "s3://lake/crm/c.parquet", ("s3://lake", "crm/c.parquet")),
        ("s3://aws@lake/c.csv", "s3://aws@lake/c.csv", ("s3://lake", "c.csv")),
        ("sqlite:///srv/x.db/people", "sqlite:///srv/x.db/people", ("sqlite", "/srv/x.db/people")),
        (
            "sqlite:////srv//x.db/people",
            "sqlite:///srv/x.db/people",
            ("sqlite", "/srv/x.db/people"),
        ),
        ("file:////srv//x.csv", "file:///srv/x.csv", ("file", "/srv/x.csv")),
        ("//srv//x.csv", "file:///srv/x.csv", ("file", "/srv/x.csv")),
        (
            "postgresql://crm/shop.public.c",
            "postgresql://crm/shop.public.c",
            ("postgres://crm", "shop.public.c"),
        ),
        ("postgresql://crm/c", "postgresql://crm/public.c", ("postgres://crm", "public.c")),
    ],
)
def test_uris_are_read_and_named_as_openlineage_names_them(
    uri: str, canonical: str, name: tuple[str, str]
) -> None:
    assert dataset_name(uri) == DatasetName(*name)
    assert dataset_name(canonical) == dataset_name(uri)
    if not uri.startswith("s3://aws@"):  # whose connection Airflow has to look up
        connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgres://db/x"})
        assert open_dataset(uri, connections).uri == canonical


def test_characters_that_part_a_uri_may_stand_in_names() -> None:
    """A slash in the name of a table is none between names, and a percent sign is not decoded twice."""
    slashed = open_dataset("sqlite:///lake/x.db/a%2Fb%2520")
    assert slashed.uri == "sqlite:///lake/x.db/a%2Fb%2520"
    assert (vars(slashed)["table_name"], vars(slashed)["url"].database) == ("a/b%20", "/lake/x.db")
    known = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgres://h/x"})
    opened = open_dataset("postgresql://crm/shop.public.b%2520c", known)
    assert (opened.uri, vars(opened)["table_name"]) == (
        "postgresql://crm/shop.public.b%2520c",
        "b%20c",
    )


def test_a_name_that_two_tables_would_have_is_refused() -> None:
    """Table ``t.u`` of schema ``s`` and table ``u`` of schema ``s.t`` have one OpenLineage name: one would be in no answer."""
    for uri in ("postgresql://crm/s.t%2Eu", "postgresql://crm/s%2Et.u"):
        with pytest.raises(UnsupportedDataset, match="cannot be told from two"):
            dataset_name(uri)


@pytest.mark.parametrize(
    ("namespace", "name", "uri"),
    [
        ("sqlite", "/lake/x.db/t", "sqlite:///lake/x.db/t"),
        # Of another machine, of several tables that could be called so, and of none.
        ("sqlite://otherhost", "/lake/x.db/t", None),
        ("sqlite", "/lake/x.db//t", None),
        ("sqlite", "/lake/x.db/../t", None),
        ("sqlite", "/x", None),
        ("sqlite", "/lake/x.db/", None),
        ("file", "/lake/a b.csv", "file:///lake/a%20b.csv"),
        ("file://otherhost", "/lake/a.csv", None),
        ("s3://lake", "a.csv", "s3://lake/a.csv"),
        ("postgres://db:5432", "shop.public.t", None),
    ],
)
def test_what_uri_a_name_gives(namespace: str, name: str, uri: str | None) -> None:
    assert uri_of(DatasetName(namespace, name)) == uri


def test_postgresql_is_named_by_its_host_where_that_is_known() -> None:
    known = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgres://db.internal:5432/shop"})
    found = open_dataset("postgresql://crm/public.c", known).name
    assert found == DatasetName("postgres://db.internal:5432", "shop.public.c")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "  ",
        "a\0b",
        "file://host/x.csv",
        "sqlite:///x.db",
        "sqlite://h/x.db/t",
        "postgresql:///t",
        "postgresql://c/",
        "postgresql://c/a.b.c.d",
        "postgresql://c/a..b",
    ],
)
def test_what_is_no_dataset_is_refused(uri: str) -> None:
    with pytest.raises(UnsupportedDataset):
        dataset_name(uri)


def test_a_password_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(UnsupportedDataset) as error:
        parts_of("postgresql://user:geheim@host/db.public.t")
    assert "geheim" not in str(error.value)
    assert "connection" in str(error.value)


def test_only_local_files_have_a_path() -> None:
    assert str(file_path("file:///a/b")) == "/a/b"
    with pytest.raises(UnsupportedDataset, match="not a local file"):
        file_path("s3://bucket/x")


@pytest.mark.parametrize(
    ("uri", "conn_id"),
    [
        ("/x.csv", None), ("sqlite:///x.db/t", None), ("memory://x.csv", None),
        ("s3://lake@bucket/x.csv", "lake"), ("postgresql://crm/people", "crm"),
    ],
)  # fmt: skip
def test_the_connection_that_a_uri_is_reached_by(uri: str, conn_id: str | None) -> None:
    assert connection_of(uri) == conn_id


def test_what_is_elsewhere_must_name_its_connection() -> None:
    with pytest.raises(UnsupportedDataset, match="names no connection"):
        connection_of("s3://bucket/x.csv")
