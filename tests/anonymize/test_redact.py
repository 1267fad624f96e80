"""Free text and fakes: nobody is left in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import PolicyError, UsageError
from airflow_mlsec.policy import Policy
from airflow_mlsec.transforms._fakes import make_fakes
from airflow_mlsec.transforms._redact import redact_text

ALL = ("name", "email", "phone", "card", "iban", "national_id", "ip_address")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("to anna.b+x@mail.example.co.uk.", "to [EMAIL].", id="email"),
        pytest.param("zoë@exämple.de, a@b", "[EMAIL], a@b", id="email-unicode"),
        pytest.param("call +49 (0)30 901820-0 now", "call [PHONE] now", id="phone-international"),
        pytest.param("(212) 736-5000 or 212.736.5000", "[PHONE] or [PHONE]", id="phone-us"),
        pytest.param("paid with 4111 1111 1111 1111", "paid with [CARD]", id="card"),
        pytest.param("5500-0055-5555-5559, 378282246310005", "[CARD], [CARD]", id="cards"),
        pytest.param("order 4111 1111 1111 1112", "order 4111 1111 1111 1112", id="no-card"),
        pytest.param("IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN [IBAN] please", id="iban"),
        pytest.param("DE89370400440532013000", "[IBAN]", id="iban-plain"),
        pytest.param("SSN 123-45-6789", "SSN [NATIONAL_ID]", id="ssn"),
        pytest.param("SSN 000-45-6789", "SSN 000-45-6789", id="no-ssn"),
        pytest.param("CF RSSMRA85T10A562S", "CF [NATIONAL_ID]", id="codice-fiscale"),
        pytest.param("NINO AB123456C", "NINO [NATIONAL_ID]", id="nino"),
        pytest.param("PESEL 44051401359", "PESEL [NATIONAL_ID]", id="pesel"),
        pytest.param("12345678Z", "[NATIONAL_ID]", id="dni"),
        pytest.param("from 192.168.0.254 and fe80::1ff:fe23:4567:890a", "from [IP_ADDRESS] and [IP_ADDRESS]", id="ip"),
        pytest.param("at 12:30:45 on 2024-01-05, 3.14159265", "at 12:30:45 on 2024-01-05, 3.14159265", id="no-number"),
        pytest.param("Dear Mrs. Ann-Marie O'Neil, hello", "Dear [NAME], hello", id="addressed"),
        pytest.param("Herr von der Heide kam", "Herr [NAME] kam", id="addressed-german"),
        pytest.param("room 12 4111111111111111", "room 12 [CARD]", id="runs-together"),
        pytest.param("hetu 131052-308T", "hetu [NATIONAL_ID]", id="hetu"),
        pytest.param("SSN123-45-6789, 123-45-6789x", "SSN[NATIONAL_ID], [NATIONAL_ID]x", id="ssn-glued"),
        pytest.param("IBANDE89370400440532013000", "IBAN[IBAN]", id="iban-glued"),
        pytest.param("to DE 89 3704 0044 0532 0130 00", "to [IBAN]", id="iban-blank"),
        pytest.param("120/80 130/85 125/82 ok", "120/80 130/85 125/82 ok", id="pressures"),
        pytest.param("10.5 12.3 14.7 18.2", "10.5 12.3 14.7 18.2", id="decimals"),
        pytest.param("at 20240115103000", "at 20240115103000", id="moment"),
        pytest.param("", "", id="empty"),
        pytest.param(None, None, id="null"),
    ],
)  # fmt: skip
def test_what_names_somebody_is_replaced(text: str | None, expected: str | None) -> None:
    assert redact_text(pa.array([text], pa.string()), "t", ALL, "US").to_pylist() == [expected]
    # Among many others, so that only some rows are looked at.
    many = pa.array(["nothing here", text, None, "12"], pa.string())
    out = redact_text(many, "t", ALL, "US").to_pylist()
    assert out == ["nothing here", expected, None, "12"]


def test_only_what_is_asked_for_and_phones_by_region() -> None:
    text = pa.array(["a@example.com 030 901820 4111111111111111"])
    assert redact_text(text, "t", ["card"], "US").to_pylist() == ["a@example.com 030 901820 [CARD]"]
    assert redact_text(text, "t", ["phone"], "DE").to_pylist() == [
        "a@example.com [PHONE] 4111111111111111"
    ]


def test_names_of_the_same_row() -> None:
    text = pa.array(["ANA López said: ana. Banana, Lópezes", "Ana came", None, "x"])
    names = pa.array(["Ana López", None, "Bob", "x"])
    out = redact_text(text, "t", ["name"], "US", [("n", names)])
    assert out.to_pylist() == ["[NAME] said: [NAME]. Banana, Lópezes", "Ana came", None, "x"]


def test_names_are_found_however_their_letters_are_written() -> None:
    text = pa.array(["GROSS, Groß, gross", "İPEK ipek", "ΝΊΚΟΣ Νίκος", "O\u2019NEIL"])
    names = pa.array(["Groß", "İpek", "Νίκος", "O'Neil"])
    out = redact_text(text, "t", ["name"], "US", [("n", names)]).to_pylist()
    assert out == ["[NAME], [NAME], [NAME]", "[NAME]", "[NAME]", "[NAME]"]


def test_named_entities_say_what_they_need() -> None:
    try:
        import presidio_analyzer  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"airflow-mlsec\[presidio\]"):
            redact_text(pa.array(["Ann"]), "t", ["name"], "US", named_entities=True)
    else:
        pytest.skip("Presidio is installed; its language model may not be")


@pytest.fixture
def plan_of(make_policy: Callable[..., Policy], keys: KeyRing) -> Callable[..., Plan]:
    def run(columns: str, table: pa.Table, **more: Any) -> Plan:
        policy = make_policy(columns, **more)
        return fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)

    return run


def test_a_plan_reads_names_it_does_not_release(
    plan_of: Callable[..., Plan], keys: KeyRing
) -> None:
    table = pa.table({"who": ["Ida Berg", "Bo Lund"], "note": ["Ida is well", "Ida is ill"]})
    plan = plan_of(
        "who: {role: identifying, transform: {method: drop}}\n"
        "note: {role: sensitive, transform: {method: redact_text, names: [who]}}",
        table,
    )
    assert plan.input_columns() == ["note", "who"]
    out = plan.apply(table, keys)
    assert out.to_pylist() == [{"note": "[NAME] is well"}, {"note": "Ida is ill"}]


def test_fakes_are_the_same_for_the_same_and_stand_in_the_plan(
    plan_of: Callable[..., Plan], keys: KeyRing
) -> None:
    names = [f"Person {i}" for i in range(300)]
    table = pa.table({"name": [*names, *names, None], "alias": [*names, *reversed(names), None]})
    plan = plan_of(
        "name: {role: identifying, transform: {method: fake, kind: name, domain: who}}\n"
        "alias: {role: identifying, transform: {method: fake, kind: name, domain: who}}",
        table,
    )
    out = Plan.from_json(plan.to_json()).apply(table, keys)
    rows = out.to_pylist()
    assert rows[-1] == {"name": None, "alias": None}
    assert [r["name"] for r in rows[:300]] == [r["name"] for r in rows[300:600]]
    # The same domain: the same person has the same fake in both columns.
    assert [r["name"] for r in rows[300:600]] == [r["alias"] for r in rows[300:600]][::-1]
    assert len({r["name"] for r in rows[:300]}) > 200
    assert not set(names) & {r["name"] for r in rows[:300]}
    assert all(" " in r["name"] for r in rows[:300])


def test_fakes_that_do_not_exist(plan_of: Callable[..., Plan]) -> None:
    table = pa.table({"name": ["a"]})
    with pytest.raises(PolicyError, match="no 'name' in locale 'xx_XX'"):
        plan_of(
            "name: {role: identifying, transform: {method: fake, kind: name, locale: xx_XX}}", table
        )
    assert make_fakes("country", "en_US", 50, bytes(32)) == make_fakes(
        "country", "en_US", 50, bytes(32)
    )
