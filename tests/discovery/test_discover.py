"""What columns probably are, from their names and values, and who is alone with which columns."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.discovery import discover, minimal_uniques
from airflow_mlsec.discovery._names import kind_by_name
from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy import parse_policy
from tests import canaries

ROWS = 200


def people(chance: random.Random) -> dict[str, list[Any]]:
    first = [
        "Anna",
        "James",
        "Maria",
        "Thomas",
        "Julia",
        "Pedro",
        "Sofia",
        "Marco",
        "Emma",
        "Peter",
    ]
    last = ["Berg", "Lund", "Rossi", "Garcia", "Klein", "Meyer", "Dubois", "Silva", "Novak", "Ito"]
    names = [f"{chance.choice(first)} {chance.choice(last)}" for _ in range(ROWS)]
    return {
        "name": names,
        "mail": [f"{n.replace(' ', '.').lower()}{i}@example.com" for i, n in enumerate(names)],
        "born": [date(1940, 1, 1) + timedelta(chance.randrange(25_000)) for _ in range(ROWS)],
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customerEmail", "email"), ("E-Mail-Adresse", "email"), ("email_verified", "other"),
        ("TEL_NO", "phone"), ("phone_model", "other"), ("Geburtsdatum", "date of birth"),
        ("fecha_nacimiento", "date of birth"), ("FNAME", "first name"), ("product_name", "other"),
        ("file_name", "other"), ("nome_produto", "other"), ("cognome", "last name"), ("PLZ", "postal code"),
        ("code postal", "postal code"), ("BruttoGehalt", "income"), ("patient_id", "record id"),
        ("KundenNr", "person id"), ("user_agent", "other"), ("age_of_account_days", "other"),
        ("country_of_origin", "other"), ("codice_fiscale", "national id"), ("Konfession", "religion"),
        ("license_plate", "vehicle"), ("ip_version", "other"), ("clientIp", "ip address"),
        ("HIRE_DT", "date of an event"), ("email_sha256", "person id"), ("temperature", None),
    ],
)  # fmt: skip
def test_names_in_many_spellings(name: str, kind: str | None) -> None:
    assert kind_by_name(name) == kind


def found_in(tmp_path: Path, write: Callable[..., str], columns: dict[str, list[Any]]) -> Any:
    return discover(open_dataset(write(tmp_path / "t.parquet", pa.table(columns))))


def luhn(digits: str) -> str:
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(digits))]
    return f"{digits}{-sum(d - 9 * (d > 9) for d in doubled) % 10}"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"] * 70, "bank account"),
        ([luhn(f"4{i:014d}") for i in range(ROWS)], "payment card"),
        ([f"4{i:015d}" for i in range(ROWS)], "doubtful"),
        ([f"{a}-4{b}-{c}" for a in range(100, 110) for b in range(1, 3) for c in range(1000, 1010)], "national id"),
        (["RSSMRA85T10A562S", "MRTMTT91D08F205J"] * 100, "national id"),
        ([f"10.0.{i}.{j}" for i in range(10) for j in range(20)], "ip address"),
        ([f"+49 30 9018{i:04d}" for i in range(ROWS)], "phone"),
        ([f"{10 + i} Oak Street" for i in range(ROWS)], "street"),
        ([f"{c}{i}.{i % 10}" for c in "EIJCF" for i in range(10, 14)] * 10, "health"),
        (["Married-civ-spouse", "Never-married", "Divorced", "Widowed"] * 50, "marital status"),
        (["roman_catholic", "muslim", "none", "hindu"] * 50, "religion"),
        ([f"{'ab'[i % 2]}{i:031x}" for i in range(ROWS)], "doubtful"),
        ([f"called about order {i} and was told to wait for the week" for i in range(ROWS)], "free text"),
        (["widget", "gadget", "gizmo", "sprocket"] * 50, "doubtful"),
        ([18 + i % 70 for i in range(ROWS)], "age"),
        ([float(i) * 1.7 for i in range(ROWS)], "doubtful"),
        ([f"{i % 28 + 1:02d}/0{i % 9 + 1}/202{i % 4}" for i in range(ROWS)], "doubtful"),
    ],
)  # fmt: skip
def test_values_tell_where_names_do_not(
    tmp_path: Path, write: Callable[..., str], values: list[Any], kind: str
) -> None:
    table = {**people(random.Random(1)), "c7": values[:ROWS]}
    found = found_in(tmp_path, write, table)
    [proposal] = [p for p in found.proposals if p.column == "c7"]
    if kind == "doubtful":
        # In a table of people nothing is insensitive because nothing tells what it is.
        assert proposal.role.value in ("quasi-identifying", "sensitive")
        assert proposal.evidence[0].text.startswith("doubtful")
    else:
        assert proposal.kind == kind, proposal.evidence


def test_a_table_without_people_has_no_personal_data(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    found = found_in(
        tmp_path,
        write,
        {
            "name": [f"pump-{i}" for i in range(ROWS)],
            "address": [f"0x{i:04x}" for i in range(ROWS)],
            "state": ["on", "off"] * (ROWS // 2),
            "reading": [i / 7 for i in range(ROWS)],
        },
    )
    assert {p.role.value for p in found.proposals} == {"insensitive"}


def test_the_proposal_is_a_policy_that_works_and_has_no_value(
    tmp_path: Path, write: Callable[..., str], keys: KeyRing
) -> None:
    chance = random.Random(3)
    table = pa.table(
        {
            **people(chance),
            "customer_id": list(range(ROWS)),
            "age": [20 + i % 50 for i in range(ROWS)],
            "zip": [f"{chance.randrange(10_000, 10_030)}" for _ in range(ROWS)],
            "diagnosis": [chance.choice(["flu", "cold", None]) for _ in range(ROWS)],
            "note": [f"{canaries.NAME} wrote to {canaries.EMAIL} about it" for _ in range(ROWS)],
            "blob": [b"x"] * ROWS,
            "parts": [[1, 2]] * ROWS,
            "nothing": pa.nulls(ROWS),
        }
    )
    source = open_dataset(write(tmp_path / "t.parquet", table))
    found = discover(source)
    with pytest.raises(PolicyError, match="nobody has read"):
        parse_policy(found.policy, "proposed.yaml")
    read = found.policy.replace("owner: change-me", "owner: shop")
    policy = parse_policy(read, "proposed.yaml")
    assert policy.subject is not None
    assert policy.subject.key == "customer_id"
    roles = {name: column.role.value for name, column in policy.columns.items()}
    assert roles["name"] == roles["mail"] == roles["blob"] == roles["parts"] == "identifying"
    assert roles["born"] == roles["age"] == roles["zip"] == "quasi-identifying"
    assert roles["diagnosis"] == "sensitive"
    plan = fit_plan(policy, source.schema(), source.scan, keys)
    assert plan.achieved["k_anonymity"] >= 5
    for text in (found.policy, json.dumps(found.to_json())):
        assert canaries.found_in(text) == []
        assert "example.com" not in text
    assert found.singling_out


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=12), st.integers(1, 4))
def test_minimal_uniques_by_their_definition(rows: list[tuple[int, ...]], largest: int) -> None:
    names = ["a", "b", "c", "d"]
    table = pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)})
    alone: dict[tuple[int, ...], set[int]] = {(): set()}
    for size in range(1, 5):
        for columns in itertools.combinations(range(4), size):
            seen = Counter(tuple(row[i] for i in columns) for row in rows)
            alone[columns] = {
                r for r, row in enumerate(rows) if seen[tuple(row[i] for i in columns)] == 1
            }
    expected = {}
    for columns, found in alone.items():
        if not 1 <= len(columns) <= largest:
            continue
        parts = itertools.combinations(columns, len(columns) - 1)
        fresh = found - set().union(*(alone[part] for part in parts))
        if fresh:
            expected[tuple(names[i] for i in columns)] = (len(fresh), len(found))
    assert {
        s.columns: (s.rows, s.rows_in_all) for s in minimal_uniques(table, names, largest)
    } == expected


def test_on_the_command_line(
    mlsec: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    table = write(tmp_path / "t.parquet", pa.table(people(random.Random(2))))
    out = tmp_path / "p.yaml"
    done = mlsec("policy", "discover", table, "--out", out)
    assert done.returncode == 0, done.stderr
    refused = mlsec("policy", "validate", out)
    assert refused.returncode == 2
    assert "nobody has read" in refused.stdout
    out.write_text(out.read_text().replace("owner: change-me", "owner: shop"))
    assert mlsec("policy", "validate", out).returncode == 0
    again = mlsec("policy", "discover", table, "--out", out)
    assert again.returncode == 2
    assert "exists" in again.stderr
    shown = mlsec("policy", "discover", table, "--json", "--no-combinations")
    assert json.loads(shown.stdout)["columns"][1]["kind"] == "email"


SURVIVORS = {
    "class": ["1st", "2nd", "3rd", "crew"], "age": ["adult", "child"], "sex": ["man", "woman"], "survived": ["yes", "no"],
}  # fmt: skip
WAGES = {"treat": [0, 1], "age": [23, 41, 37, 55], "educ": [12, 16, 9], "black": [0, 1], "marr": [1, 0], "re74": [0.0, 9_512.4, 311.9]}  # fmt: skip
CREDIT = {
    "status": ["no account", "below 200"], "duration": [6, 48, 12], "amount": [1_169, 5_951, 2_096], "age": [67, 22, 49],
    "personal_status_sex": ["male single", "female"], "job": ["skilled", "unskilled"], "foreign_worker": ["yes", "no"],
}  # fmt: skip


@pytest.mark.parametrize(
    "columns", [SURVIVORS, WAGES, CREDIT], ids=["survivors", "wages", "credit"]
)
def test_weak_evidence_adds_up_over_the_columns(
    tmp_path: Path, write: Callable[..., str], columns: dict[str, list[Any]]
) -> None:
    """No column tells it alone, and each of them is of a person."""
    table = {name: [v[i * 7 % len(v)] for i in range(ROWS)] for name, v in columns.items()}
    found = found_in(tmp_path, write, table)
    kept = {p.column for p in found.proposals if p.role.value == "insensitive"}
    assert kept <= {"class", "status"}  # the name of a technical field


def test_numbers_like_ages_alone_make_no_people(tmp_path: Path, write: Callable[..., str]) -> None:
    waits = {
        "eruption": [i / 7 for i in range(ROWS)],
        "waiting": [40 + i % 60 for i in range(ROWS)],
    }
    found = found_in(tmp_path, write, waits)
    assert [p.column for p in found.proposals if p.evidence[0].text.startswith("doubtful")] == []
