"""The numbers of requests, against requests whose ends are known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.documents import document_kinds, files_of
from airflow_mlsec.subjects import (
    Calendar,
    Details,
    Handler,
    Letters,
    Person,
    approve,
    get_request,
    mark_sent,
    open_request,
    restrict,
    settle,
    verify_identity,
    write_letter,
)
from tests.actors import who
from tests.documents.office import POLICY, Office, moment
from tests.documents.test_kinds import EDITION, rows

EMIL, DORA = who("emil"), who("dora")


class Requests:
    """Requests of consumers, and what became of them."""

    def __init__(self, office: Office, folder: Path, write: Callable[..., str]) -> None:
        self.office = office
        columns = {"email": POLICY["columns"]["email"]}
        bare = {k: POLICY[k] for k in ("version", "owner", "subject")} | {"columns": columns}
        for name, people, more in (
            ("mail", ["whole", "part", "newer", "second"], {}),
            ("bills", ["kept", "part"], {"erasure": {"retain": "tax law"}}),
        ):
            place = write(folder / f"{name}.parquet", pa.table({"email": [f"{p}@example.org" for p in people]}))  # fmt: skip
            office.policy({**bare, "dataset": place, **more})
        self.handler = Handler(office.register, office.ring, EMIL)

    def received(self, kind: str, name: str, day: str, law: str = "ccpa") -> int:
        person = Person("customer", (f"{name}@example.org",))
        return open_request(self.office.register, self.office.ring, law, kind, person, EMIL, Calendar(), moment(day)).id  # fmt: skip

    def erased(self, number: int) -> int:
        register = self.office.register
        verify_identity(register, number, True, "log-in", EMIL)
        self.handler.locate(number)
        approve(register, number, DORA)
        self.handler.erase(number)
        for step in get_request(register, number).open_steps():
            settle(register, number, step.name, "manual", "looked", DORA)
        self.handler.close(number)
        return number

    def told(self, number: int, letter: str, day: str, details: Details | None = None) -> None:
        register = self.office.register
        write_letter(register, Letters.of(self.office.settings), number, letter, "en", EMIL, details or Details())  # fmt: skip
        mark_sent(register, number, letter, date.fromisoformat(day), "post", EMIL)


@pytest.fixture
def requests(office: Office, tmp_path: Path, write: Callable[..., str]) -> Requests:
    (tmp_path / "data").mkdir()
    return Requests(office, tmp_path / "data", write)


def table(office: Office, year: str) -> dict[str, tuple[str, ...]]:
    found = rows(office.content("request-metrics", year), "requests")
    return {r["Kind"][1]: tuple(r.values())[1:] for r in found}


def test_each_request_is_counted_as_it_ended(requests: Requests) -> None:
    office = requests.office
    requests.told(requests.erased(requests.received("delete", "whole", "2025-03-01")), "completion", "2025-03-11")  # fmt: skip
    requests.told(requests.erased(requests.received("delete", "part", "2025-03-01")), "completion", "2025-03-12")  # fmt: skip
    # The law keeps everything.
    requests.told(requests.erased(requests.received("delete", "kept", "2025-03-01")), "completion", "2025-03-21")  # fmt: skip
    refused = requests.received("delete", "stranger", "2025-04-01")
    verify_identity(office.register, refused, False, "no answer", EMIL)
    requests.told(refused, "refusal", "2025-04-06", Details(reason="nobody answered", ground="identity"))  # fmt: skip
    requests.received("delete", "whole", "2025-12-31")
    # Of the year before, and under another law.
    requests.received("delete", "whole", "2024-12-31")
    requests.received("erasure", "whole", "2025-06-01", "gdpr")
    stopped = requests.received("opt-out", "whole", "2025-05-01")
    requests.handler.locate(stopped)
    restrict(requests.handler, stopped)
    # Of somebody whose rows stay where they are, and must not be used.
    limited = requests.received("opt-out", "newer", "2025-05-01")
    requests.handler.locate(limited)
    restrict(requests.handler, limited)
    # Refused at first, and then done after all.
    second = requests.received("delete", "second", "2023-05-01")
    requests.told(second, "refusal", "2023-05-11", Details(reason="a mistake", ground="unfounded"))
    requests.told(requests.erased(second), "completion", "2023-06-11")
    assert table(office, "2023")["A"] == ("1", "1", "0", "0", "0", "41", "41")
    found = table(office, "2025")
    assert found["A"] == ("5", "1", "1", "2", "1", "10.5", "11.5")
    assert found["B"] == found["C"] == found["F"] == ("0", "0", "0", "0", "0", "–", "–")
    assert found["E"][:5] == ("2", "2", "0", "0", "0")
    assert float(found["E"][5]) >= 500  # it was stopped today
    for admt in "DG":
        assert found[admt] == ("not applicable before 2027", "", "", "", "", "", "")
    assert (
        "10,5"
        in files_of("x", office.content("request-metrics", "2025"), EDITION)["x.de.html"].decode()
    )
    assert table(office, "2024")["A"][:5] == ("1", "0", "0", "0", "1")


def test_the_last_full_year_comes_first(requests: Requests) -> None:
    requests.received("know", "whole", "2023-05-01")
    years: Any = document_kinds()["request-metrics"].subjects(requests.office.known_on(date(2026, 11, 29)))  # fmt: skip
    assert years == ("2025", "2026", "2024", "2023")
