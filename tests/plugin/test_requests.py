"""What the page of requests is given."""

from __future__ import annotations

import json
from pathlib import Path

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.plugin._requests import all_requests, one_request
from airflow_mlsec.register import Register
from tests.subjects.lake import Lake

HER = "anna@x.test"


def test_a_request_is_plain_data_with_its_places_and_their_sentences(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing
) -> None:
    lake = Lake(tmp_path / "lake", sqlite_register, keys)
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    lake.policy()
    number = lake.opened(HER).id
    given = json.loads(json.dumps(one_request(sqlite_register, number, "UTC")))
    raw = next(s for s in given["steps"] if s["name"].endswith("raw.parquet"))
    assert (raw["status"], raw["rows"]) == ("found", 1)
    assert raw["reasons"] == [{"code": "subject-key"}, {"code": "rows-read", "rows": 2}]
    assert raw["detail"] == "the policy's subject key; 2 rows read"
    assert [
        r["id"] for r in json.loads(json.dumps(all_requests(sqlite_register, "UTC")))["requests"]
    ] == [number]
    assert HER not in json.dumps(given)
