"""Schemes that nothing reads."""

from __future__ import annotations

import pytest

from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import SettingError


@pytest.mark.parametrize("conn_id", ["", "store@"])
def test_a_scheme_that_nothing_reads_lists_what_is_read(
    conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", '{"conn_type": "generic", "password": "canary-7e1f"}')
    with pytest.raises(SettingError) as raised:
        open_dataset(f"snowflake://{conn_id}db/people.parquet")
    said = str(raised.value)
    for scheme in ("s3://", "postgresql://", "sqlite://", "gs://"):
        assert scheme in said
    assert "canary" not in said


def test_a_store_whose_client_is_missing_is_named() -> None:
    with pytest.raises(SettingError, match=r"no filesystem for 'gs://': .*gcsfs"):
        open_dataset("gs://bucket/people.parquet")


def test_a_connection_that_nobody_defined_is_named() -> None:
    with pytest.raises(
        SettingError, match="connection 'nowhere' is not defined: neither in AIRFLOW_CONN_NOWHERE"
    ):
        open_dataset("s3://nowhere@bucket/people.parquet")
