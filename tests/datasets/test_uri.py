from __future__ import annotations

import pytest

from airflow_mlsec.datasets import DatasetName, connection_of, dataset_name, file_path
from airflow_mlsec.datasets._uri import parse_uri
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
    assert str(parse_uri(uri)) == canonical
    assert parse_uri(canonical) == parse_uri(uri)
    assert dataset_name(uri) == DatasetName(*name)


def test_postgresql_is_named_by_its_host_where_that_is_known() -> None:
    found = dataset_name("postgresql://crm/public.c", "db.internal:5432", "shop")
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
        parse_uri(uri)


def test_a_password_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(UnsupportedDataset) as error:
        parse_uri("postgresql://user:geheim@host/db.public.t")
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
