"""What Airflow discovers of us, asked of Airflow's own commands."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from airflow_mlsec.provider import get_provider_info
from airflow_mlsec.settings import OPTIONS


def airflow(*commands: str, home: Path) -> list[str]:
    """What commands of Airflow's print, each in turn, in one process: it takes long to start."""
    each = [f"airflow {command}".split() for command in commands]
    code = f"""import sys
from airflow.__main__ import main
for command in {each}:
    sys.argv = command
    main()
    sys.stdout.write('\\0')"""
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")


def test_the_description_follows_airflow_s_schema() -> None:
    import airflow as package

    path = Path(package.__file__).parent / "provider_info.schema.json"
    jsonschema.validate(get_provider_info(), json.loads(path.read_text()))


def test_every_module_and_class_that_it_names_exists() -> None:
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for group in info[kind]:
            for module in group["python-modules"]:
                importlib.import_module(module)
    classes = [
        *info["notifications"],
        *info["extra-links"],
        info["connection-types"][0]["hook-class-name"],
        info["asset-uris"][0]["to_openlineage_converter"],
    ]
    for name in classes:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_a_table_of_sqlite_is_lineage_as_an_inlet() -> None:
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset
    from airflow.sdk import Asset

    found = translate_airflow_asset(Asset("sqlite:///srv/shop.db/people%20of%20ours"), None)
    assert found is not None
    assert (found.namespace, found.name) == ("sqlite", "/srv/shop.db/people of ours")


def test_an_asset_that_a_provider_refuses_stops_no_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    import airflow.sdk.definitions.asset as assets

    from airflow_mlsec.operators._base import assets_of

    def refuse(uri: object) -> object:
        raise ValueError("URI format postgres:// must contain database, schema, and table names")

    ours = assets._get_uri_normalizer
    monkeypatch.setattr(
        assets, "_get_uri_normalizer", lambda s: refuse if s == "postgresql" else ours(s)
    )
    found = assets_of(["postgresql://shop/public.people", "file:///srv/people.parquet"])
    assert [asset.uri for asset in found] == ["file:///srv/people.parquet"]


@pytest.mark.e2e
def test_airflow_lists_us(tmp_path: Path) -> None:
    providers, hooks, notifications, options, plugins, _ = airflow(
        "providers list -o plain",
        "providers hooks -o plain",
        "providers notifications -o plain",
        "config list --section mlsec --include-descriptions",
        "plugins -o plain",
        home=tmp_path,
    )
    assert "airflow-mlsec" in providers
    assert "mlsec" in hooks
    assert "PrivacyAlertNotifier" in notifications
    for option in OPTIONS:
        assert option.name in options
    assert "mlsec" in plugins


def test_the_hook_finds_the_register_by_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_mlsec.errors import SettingError
    from airflow_mlsec.hooks.mlsec import MlsecHook

    monkeypatch.setenv("AIRFLOW__MLSEC__STATE_FOLDER", str(tmp_path))
    assert str(tmp_path / "register.db") in MlsecHook().settings().register_url
    extra = {"conn_type": "mlsec", "extra": {"register_url": f"sqlite:///{tmp_path}/other.db"}}
    monkeypatch.setenv("AIRFLOW_CONN_MLSEC_REGISTER", json.dumps(extra))
    assert MlsecHook().settings().register_url.endswith("other.db")
    assert MlsecHook().test_connection() == (True, "register schema not created yet")
    fields = {
        "conn_type": "mlsec",
        "host": "127.0.0.1",
        "port": 1,
        "login": "u",
        "password": "geheim",
        "schema": "d",
    }
    monkeypatch.setenv("AIRFLOW_CONN_MLSEC_REGISTER", json.dumps(fields))
    assert MlsecHook().settings().register_url == "postgresql+psycopg://u:geheim@127.0.0.1:1/d"
    ok, message = MlsecHook().test_connection()
    assert not ok
    assert "geheim" not in message
    monkeypatch.setenv("AIRFLOW_CONN_MLSEC_REGISTER", json.dumps({"conn_type": "mlsec"}))
    with pytest.raises(SettingError, match="names no register"):
        MlsecHook().settings()
    with pytest.raises(AirflowNotFoundException):
        MlsecHook("nosuch").settings()


def test_datasets_on_object_storage_open_through_an_airflow_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through Airflow's own ObjectStoragePath, on fsspec's in-memory filesystem."""
    import fsspec
    import pyarrow as pa

    from airflow_mlsec.hooks.mlsec import MlsecHook

    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps({"conn_type": "generic"}))
    dataset = MlsecHook().dataset("memory://lake@bucket/people.parquet")
    with dataset.replacing(pa.schema([("a", pa.int64())])) as staged:
        staged.write(pa.RecordBatch.from_pydict({"a": [1, 2]}))
    assert [
        batch.num_rows for batch in MlsecHook().dataset("memory://bucket/people.parquet").scan()
    ] == [2]
    fsspec.filesystem("memory").store.clear()
