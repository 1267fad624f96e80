from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_mlsec.ledger import Asset, AssetKind, latest_finding
from airflow_mlsec.operators.transport import TransportSecurityCheckOperator
from airflow_mlsec.transport import ENCRYPTED_IN_TRANSIT
from tests.transport import servers
from tests.transport.servers import Authority, serving

Context = Callable[..., Any]
PASSWORD = "canary-password-51cd"


def test_connections_of_a_dag_are_checked(
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    authority = Authority.make(tmp_path)
    pushed: dict[str, Any] = {}
    made = context()
    made["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    with serving(servers.context_of(authority.issue("localhost"))) as port:
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", f"http://https://u:{PASSWORD}@localhost:{port}")
        monkeypatch.setenv("AIRFLOW_CONN_PLAIN", f"http://u:{PASSWORD}@localhost:{port}")
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"https://localhost:{port}/")
        good = TransportSecurityCheckOperator(
            task_id="a", connections=["lake"], authorities=str(authority.file)
        )
        found = good.execute(made)
        assert {f["outcome"] for f in found} == {"passed"}
        assert {f["connection"] for f in found} == {"lake", "airflow-api"}
        bad = TransportSecurityCheckOperator(
            task_id="b", connections=["lake", "plain"], api=False, authorities=str(authority.file)
        )
        with pytest.raises(AirflowFailException, match=r"1 of 14 .*: plain \(required\)") as caught:
            bad.execute(made)
        # What was found is there although the task failed.
        assert [f["connection"] for f in pushed["return_value"] if f["outcome"] == "failed"] == [
            "plain"
        ]
        register = bad.hook.register()
        kept = {
            name: register.read(
                partial(
                    latest_finding,
                    asset=Asset(AssetKind.CONNECTION, name),
                    control=ENCRYPTED_IN_TRANSIT,
                )
            )
            for name in ("lake", "plain", "airflow-api")
        }
        assert {name: found and found.outcome.holds for name, found in kept.items()} == {
            "lake": True, "plain": False, "airflow-api": True,
        }  # fmt: skip
        assert PASSWORD not in str(kept)
        bad.dry_run()
        quiet = TransportSecurityCheckOperator(
            task_id="c", connections=["plain"], api=False, live=False
        )
        with pytest.raises(AirflowFailException, match="1 of 1 "):
            quiet.execute(made)
    logged = capsys.readouterr().out
    assert PASSWORD not in logged + str(caught.value) + json.dumps(pushed)
    assert "no TLS" in logged
