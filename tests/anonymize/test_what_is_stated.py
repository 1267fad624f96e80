"""What a release, its report and its evidence say of it is so."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan, anonymize, tells_persons, verify_release
from airflow_mlsec.controls import check_dataset, record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.lineage import latest_release, record_release
from airflow_mlsec.lineage.evidence._evidence import release_state
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    open_request,
    verify_identity,
)
from airflow_mlsec.verify._people import PeopleCounter
from tests.actors import who

ZIP = "zip: {role: quasi-identifying, hierarchy: {kind: suppress}}"
WHO = "who: {role: identifying, transform: {method: METHOD}}"
SUBJECT = {"kind": "person", "key": "who"}


def released(policy: Policy, keys: KeyRing, folder: Path, table: pa.Table, **more: Any) -> Any:
    raw, safe = (open_dataset(str(folder / name)) for name in ("raw.parquet", "safe.parquet"))
    with raw.replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)
    return anonymize(policy, raw, safe, keys, **more)


def whole(folder: Path) -> pa.Table:
    safe = open_dataset(str(folder / "safe.parquet"))
    return pa.Table.from_batches(list(safe.scan()), safe.schema())


# --- persons, and what stands for them


def names(*rows: tuple[str, str]) -> pa.Table:
    return pa.table({"who": [r[0] for r in rows], "zip": [r[1] for r in rows]})


@pytest.mark.parametrize(
    ("spellings", "normalize", "holds"),
    [
        (("anna@x.test", "Anna@X.test"), None, False),
        (("anna@x.test", "Anna@X.test"), "email", True),
        (("anna@x.test", "anna@x.test"), None, True),
    ],
)
def test_pseudonyms_of_several_spellings_are_not_several_people(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path,
    sqlite_register: Register, spellings: tuple[str, str], normalize: str | None, holds: bool,
) -> None:  # fmt: skip
    """Bob is erased; what is left of his class is checked by pseudonyms."""
    lake = tmp_path / "lake"
    lake.mkdir()
    subject = SUBJECT | ({"normalize": normalize} if normalize else {})
    policy = make_policy(
        WHO.replace("METHOD", "pseudonymize, domain: d") + "\n" + ZIP, subject=subject,
        dataset=str(lake / "raw.parquet"), privacy={"k_anonymity": 3, "suppression_limit": 1.0},
    )  # fmt: skip
    extra = [("dan@x.test", "11")] if holds else []
    table = names(
        (spellings[0], "11"), (spellings[1], "11"), ("bob@x.test", "11"), ("cy@x.test", "11"),
        *extra, *((f"q{i}@x.test", "22") for i in range(5)),
    )  # fmt: skip
    done = released(policy, keys, lake, table)
    raw, safe = (open_dataset(str(lake / name)) for name in ("raw.parquet", "safe.parquet"))
    record_results(sqlite_register, policy, raw, "source", [], None)
    record_release(sqlite_register, keys, policy, raw, safe, done.result("r"))  # fmt: skip

    def said() -> Outcome:
        """What the control says, by what the register knows, and without it."""
        [(_, answer)] = check_dataset(
            policy, safe, "release", raw=raw, register=sqlite_register, only=["guarantee-holds"]
        )
        return answer.outcome

    assert said() is Outcome.PASS
    request = open_request(sqlite_register, keys, "gdpr", "erasure", Person("person", ("bob@x.test",)), who("c"), Calendar("UTC"))  # fmt: skip
    verify_identity(sqlite_register, request.id, True, "seen", who("c"))
    handler = Handler(sqlite_register, keys, who("dpo"), roots=(str(lake),))
    handler.locate(request.id)
    approve(sqlite_register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    assert whole(lake).num_rows == table.num_rows - 1
    newest = sqlite_register.read(lambda c: latest_release(c, safe.name))
    assert newest is not None
    checks = {c.check: c.passed for c in newest.checks}
    assert checks["k-anonymity with k=3, counted in persons"] is holds
    assert newest.numbers.k_anonymity == (3 if holds else None)
    assert said() is (Outcome.PASS if holds else Outcome.UNKNOWN)


def test_only_what_stands_for_one_person_each_tells_persons(
    make_policy: Callable[..., Policy],
) -> None:
    none, one, some = None, 0, 1
    plain = make_policy(WHO.replace("METHOD", "pseudonymize, domain: d"), subject=SUBJECT)
    assert [tells_persons(plain, n) for n in (none, some, one)] == [False, False, True]
    declared = make_policy(
        WHO.replace("METHOD", "pseudonymize, domain: d"), subject=SUBJECT | {"normalize": "email"}
    )
    assert tells_persons(declared, some)
    # Its characters are encrypted one by one: another spelling, another ciphertext.
    kept = make_policy(
        WHO.replace("METHOD", "fpe, domain: d, alphabet: alphanumeric"),
        subject=SUBJECT | {"normalize": "email"},
    )
    assert not tells_persons(kept, some)
    assert not tells_persons(make_policy(ZIP), one)


def test_classes_with_the_same_quick_hash_are_two() -> None:
    """Numbers chosen so that DuckDB's `hash` of both pairs is the same: whoever supplies data can."""
    pairs = [(100, 200), (101, -3625151866636916692)]
    counter = PeopleCounter(["a", "b"])
    batch = pa.record_batch(
        {"a": [pairs[0][0]] * 3 + [pairs[1][0]] * 3, "b": [pairs[0][1]] * 3 + [pairs[1][1]] * 3}
    )
    counter.add(batch, pa.array(["anna"] * 3 + ["p1", "p2", "p3"]))
    assert counter.fewest() == (1, 4)


@pytest.mark.parametrize("seed", range(20))
def test_persons_of_classes_are_counted_as_by_hand(seed: int) -> None:
    """Over batches, with nulls, numbers that are none, and texts that look like other texts' ends."""
    draw = random.Random(seed)
    texts = ["", "-", "1:a", "a", "a|", None, "\x00", "é"]
    numbers = [None, float("nan"), 0.0, 1.5, 1e300]
    counter, truth = PeopleCounter(["a", "b"], protected=["v"]), {}  # type: ignore[var-annotated]
    for _ in range(4):
        rows = [
            (draw.choice(texts), draw.choice(numbers), draw.choice(texts), f"p{draw.randrange(9)}")
            for _ in range(50)
        ]
        out = [draw.random() < 0.8 for _ in rows]
        batch = pa.record_batch(
            {
                "a": pa.array([r[0] for r in rows], pa.string()),
                "b": pa.array([r[1] for r in rows], pa.float64()),
                "v": pa.array([r[2] for r in rows], pa.string()),
            }
        )
        counter.add(batch, pa.array([r[3] for r in rows]), pa.array(out))
        for (a, b, _, whose), kept in zip(rows, out, strict=True):
            if kept:
                truth.setdefault((a, repr(b)), set()).add(whose)
    persons = set().union(*truth.values())
    assert counter.fewest() == (min(map(len, truth.values())), len(persons))


# --- k-anonymity that is promised


ILL = "ill: {role: sensitive}"


@pytest.mark.parametrize(
    "columns",
    [ILL, f"{ILL}\nzip: {{role: quasi-identifying, transform: {{method: drop}}}}"],
    ids=["no quasi-identifier", "all dropped"],
)
def test_without_quasi_identifiers_all_rows_are_one_class(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, columns: str
) -> None:
    policy = make_policy(
        WHO.replace("METHOD", "drop") + "\n" + columns, subject=SUBJECT, privacy={"k_anonymity": 3}
    )

    def people(number: int) -> pa.Table:
        table = {"who": [f"p{i}" for i in range(number)], "ill": ["hiv"] * number}
        if "zip" in columns:
            table["zip"] = ["1"] * number
        return pa.table(table)

    with pytest.raises(GuaranteeNotMet, match="smallest of 1 classes has 2 rows"):
        released(policy, keys, tmp_path, people(2))
    done = released(policy, keys, tmp_path, people(3))
    assert done.summary()["k_anonymity"] == 3
    # One person's rows are no company for her.
    again = people(3).set_column(0, "who", pa.array(["anna", "anna", "bob"]))
    with pytest.raises(GuaranteeNotMet, match="fewest persons of a class: 2"):
        released(policy, keys, tmp_path, again)


def test_what_was_counted_in_rows_is_not_anonymous(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    """All rows of a class may be one person's, if nothing says whose rows they are."""
    claimed = {"claimed_by": "dpo", "reason": "r"}
    email = "email: {role: identifying, transform: {method: drop}}"
    columns = f"{email}\n{ZIP}\n{ILL}"
    table = pa.table(
        {"email": ["anna@x.test"] * 5 + [f"p{i}@x.test" for i in range(5)], "zip": ["99"] * 5 + ["11"] * 5, "ill": ["hiv"] * 10}
    )  # fmt: skip
    policy = make_policy(columns, anonymity=claimed, privacy={"k_anonymity": 5})
    done = released(policy, keys, tmp_path, table)
    assert (
        release_state(policy, done.plan.to_json(), done.checks(), done.released) == "pseudonymous"
    )
    subject = {"kind": "person", "key": "email"}
    policy = make_policy(columns, anonymity=claimed, privacy={"k_anonymity": 5}, subject=subject)
    alone = table.set_column(0, "email", pa.array([f"q{i}@x.test" for i in range(10)]))
    done = released(policy, keys, tmp_path, alone)
    assert release_state(policy, done.plan.to_json(), done.checks(), done.released) == "anonymous"


# --- a report is of its own data


def test_a_report_has_no_figures_of_other_data(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    policy = make_policy(
        f"{WHO.replace('METHOD', 'drop')}\n{ZIP}", subject=SUBJECT, privacy={"k_anonymity": 2}
    )
    first = released(policy, keys, tmp_path, names(*((f"p{i}", "1") for i in range(60))), plan_path=tmp_path / "plan.json")  # fmt: skip
    assert first.report()["risk"]["highest_risk"] == pytest.approx(1 / 60)
    plan = Plan.load(tmp_path / "plan.json", keys.verification_keys())
    second = released(policy, keys, tmp_path, names(("p1", "1"), ("p2", "1")), plan=plan).report()
    assert second["k_anonymity"] == 2
    assert second["achieved"] == {}
    assert second["ncp"] is None
    assert set(second["risk"].values()) == set(second["loss"].values()) == {None}


# --- transforms


@pytest.mark.parametrize(
    ("value", "alphabet", "kept"),
    [
        ("anna.schmidt.1234567@x.test", "digits", True),
        ("DE12 3456 7890 1234", "digits", True),
        ("DE12 3456 7890 1234", "alphanumeric", False),
        ("4111-1111-1111-1111", "digits", False),
        ("\u0661\u0662 1234567", "digits", True),  # digits of Arabic
        ("ñandu7654321", "alphanumeric", True),
        ("\u24bf\u24c4\u24bd\u24c3 39335317", "digits", True),  # in circles
        ("+49 (30) 123-4567/89", "digits", False),
    ],
)
@pytest.mark.parametrize("role", ["identifying", "sensitive"])
def test_what_encryption_leaves_of_an_identifier_is_seen(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path,
    value: str, alphabet: str, kept: bool, role: str,
) -> None:  # fmt: skip
    column = WHO.replace("METHOD", f"fpe, domain: d, alphabet: {alphabet}")
    policy = make_policy(column.replace("identifying", role))
    table = pa.table({"who": [value]})
    if kept:
        with pytest.raises(GuaranteeNotMet, match="keep letters or digits that are not of the alphabet"):  # fmt: skip
            released(policy, keys, tmp_path, table)
        return
    released(policy, keys, tmp_path, table)
    [made] = whole(tmp_path).column("who").to_pylist()
    assert made != value
    found = verify_release(policy, table.schema, table.to_batches())
    assert all(f.passed for f in found)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", None])
def test_a_date_of_long_ago_is_somebody_s(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, unit: str | None
) -> None:
    """Only dates that stand for none stay: they are the same for everybody."""
    policy = make_policy(
        WHO.replace("METHOD", "drop")
        + "\nday: {role: sensitive, transform: {method: shift_date, days: 90}}", subject=SUBJECT,
    )  # fmt: skip
    days = [
        date(1899, 3, 4), date(1812, 2, 7), date(1900, 1, 1), date(1899, 12, 30), date(1753, 1, 1),
        date(1900, 1, 2), date(2020, 5, 5),
    ]  # fmt: skip
    if unit is None:
        given = pa.array(days, pa.date32())
    else:
        given = pa.array([datetime(d.year, d.month, d.day) for d in days], pa.timestamp(unit))
    released(policy, keys, tmp_path, pa.table({"who": ["p"] * len(days), "day": given}))
    made = whole(tmp_path).column("day").cast(pa.date32()).to_pylist()
    moved = {day: (new - day).days for day, new in zip(days, made, strict=True)}
    stay = {date(1900, 1, 1), date(1899, 12, 30), date(1753, 1, 1)}
    assert {day for day, by in moved.items() if by == 0} == stay
    assert len({by for day, by in moved.items() if day not in stay}) == 1
