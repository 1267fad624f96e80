"""A small clinic: raw records, a policy and settings, for the tests of the Airflow adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests import canaries

POLICY = """\
version: 1
dataset: {raw}
owner: team
controller: Example Clinic
purposes: [research]
lawful_basis: {{basis: consent, source: form 7}}
retention: {{keep: P90Y, from: born}}
subject: {{kind: person, key: email}}
membership: keep
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: person}}}}
  name: {{role: identifying, category: user.name, transform: {{method: drop}}}}
  born: {{role: quasi-identifying, category: user.demographic.date_of_birth, hierarchy: {{kind: date}}}}
  sick: {{role: sensitive, category: user.health_and_medical}}
privacy: {{k_anonymity: 3}}
"""


class Clinic:
    """A folder with raw records (one of them the canaries'), a policy, and Airflow's settings."""

    def __init__(self, folder: Path) -> None:
        from datetime import date

        from airflow_mlsec.datasets import open_dataset

        self.folder = folder
        self.raw, self.safe = f"file://{folder}/raw.parquet", f"file://{folder}/safe.parquet"
        self.table = pa.table(
            {
                "email": [*(f"p{i}@example.org" for i in range(30)), canaries.EMAIL],
                "name": [*(f"Person {i}" for i in range(30)), canaries.NAME],
                "born": [date(1960 + i % 3, 1 + i % 9, 11) for i in range(31)],
                "sick": [i % 2 == 0 for i in range(31)],
            }
        )
        with open_dataset(self.raw).replacing(self.table.schema) as staged:
            staged.write(self.table.to_batches()[0])
        (folder / "policies").mkdir()
        (folder / "policies" / "people.yaml").write_text(POLICY.format(raw=self.raw))

    @property
    def hook(self) -> Any:
        from airflow_mlsec.hooks.mlsec import MlsecHook

        return MlsecHook()


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setenv("AIRFLOW__MLSEC__POLICIES_FOLDER", str(tmp_path / "policies"))
    monkeypatch.setenv("AIRFLOW__MLSEC__STATE_FOLDER", str(tmp_path / "state"))
    return Clinic(tmp_path)


@pytest.fixture
def context() -> Callable[..., Any]:
    """The part of a task's context that the operators read."""

    def make(run_id: str = "run-1", **more: Any) -> dict[str, Any]:
        ti = SimpleNamespace(
            dag_id="dag", task_id="task", run_id=run_id, map_index=-1, try_number=1,
            log_url="http://airflow/log", get_first_reschedule_date=lambda context: None,
        )  # fmt: skip
        return {"ti": ti, **more}

    return make
