"""Spellings of one key are one person wherever a policy declares it, and two wherever it does not."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlsec.anonymize import NormalForm, Plan, anonymize, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet, PolicyError
from airflow_mlsec.policy import Policy, Subject
from airflow_mlsec.verify._people import PeopleCounter

FORMS = [
    NormalForm("exact"), NormalForm("nfc"), NormalForm("trimmed"), NormalForm("email"), NormalForm("email_without_tag"),
    NormalForm("number"), NormalForm("phone"), NormalForm("phone", "DE"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("nfc", ["\u00e9va", "e\u0301va"]),
        ("trimmed", ["anna", " anna ", "\tanna\n", "anna\u00a0"]),
        ("email", ["anna@x.test", "Anna@X.TEST", " anna@x.test", "ANNA@x.test"]),
        ("email", ["\u00e9va@x.test", "E\u0301VA@x.test", "\u00c9va@x.test"]),
        ("email_without_tag", ["anna@x.test", "Anna+shop@x.test", "anna+a+b@x.test"]),
        ("number", ["7", "007", " 07"]),
        ("number", ["0", "000"]),
        ("phone", ["+49301234567", "0049 30 1234567", "+49 (0)30 123-45-67", "tel:+49-30-1234567", "+49 030 1234567"]),
        ("phone/DE", ["+49301234567", "030 1234567", "(030) 123 45 67", "0049301234567"]),
        ("phone", ["+39 06 69821234", "0039 0669821234"]),
    ],
)  # fmt: skip
def test_what_a_form_takes_for_one(form: str, texts: list[str]) -> None:
    assert len({NormalForm.parse(form).of_text(text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("exact", ["aB3", "AB3", " aB3", "\u00e9", "e\u0301"]),
        ("nfc", ["anna", "Anna", " anna"]),
        ("trimmed", ["anna", "Anna", "an na"]),
        ("email", ["anna@x.test", "anna+shop@x.test", "hanna@x.test"]),
        ("email_without_tag", ["anna@x.test", "anna@y.test", "+anna@x.test", "an.na@x.test"]),
        ("number", ["7", "70", "-7", "7a"]),
        ("phone", ["+49301234567", "0301234567", "+493012345678", "+391234567", "abc"]),
        ("phone/DE", ["0301234567", "0401234567", "+43301234567", "door 7"]),
        ("phone", ["+39 06 69821234", "+39 6 69821234"]),
    ],
)
def test_what_a_form_keeps_apart(form: str, texts: list[str]) -> None:
    assert len({NormalForm.parse(form).of_text(text) for text in texts}) == len(texts)


@given(st.text(max_size=20), st.sampled_from(FORMS))
def test_a_form_of_a_form_is_itself(text: str, form: NormalForm) -> None:
    once = form.of_text(text.encode("utf-8", "ignore").decode())
    assert form.of_text(once) == once
    assert form.name in ("exact", "phone") or unicodedata.is_normalized("NFC", once)


def test_nulls_bytes_and_numbers_stay() -> None:
    for form in FORMS:
        assert form.of(pa.array([None, "a"]), "c").to_pylist() == [None, "a"]
        assert form.of(pa.array([b"A "]), "c").to_pylist() == [b"A "]
    assert NormalForm("number").of(pa.array([7, None]), "c").to_pylist() == ["7", None]


COLUMNS = """
who: {role: identifying, transform: {method: METHOD}}
zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""


def policy_of(
    make_policy: Callable[..., Policy], how: str, k: int | None = None, **subject: Any
) -> Policy:
    privacy = {"k_anonymity": k, "suppression_limit": 1.0} if k else {}
    return make_policy(
        COLUMNS.replace("METHOD", how),
        subject={"kind": "person", "key": "who", **subject},
        privacy=privacy,
    )


@pytest.mark.parametrize("how", ["pseudonymize, domain: d", "fake, kind: name"])
def test_spellings_of_one_person_have_one_pseudonym(
    make_policy: Callable[..., Policy], keys: KeyRing, how: str
) -> None:
    rows = pa.table({"who": ["Anna@X.test", " anna@x.test", "bob@x.test"], "zip": ["1", "1", "1"]})

    def names(**subject: Any) -> list[str]:
        policy = policy_of(make_policy, how, **subject)
        plan = fit_plan(policy, rows.schema, lambda c: rows.select(c).to_batches(), keys)
        again = Plan.from_json(plan.to_json())
        found = again.apply(rows, keys).column("who").to_pylist()
        return [str(name) for name in found]

    apart, one = names(), names(normalize="email")
    if how.startswith("pseudonymize"):  # two people may have one fake
        assert len(set(apart)) == 3
        assert one[0] != one[2]
    assert one[0] == one[1]
    # A key that is in its normal form already keeps the pseudonym that it had.
    assert one[2] == apart[2]


def test_dates_of_one_person_are_shifted_alike(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    import datetime

    day = datetime.date(2020, 5, 5)
    rows = pa.table({"who": ["A@x.test", "a@X.test "] * 5, "born": [day] * 10})
    columns = "who: {role: identifying, transform: {method: drop}}\nborn: {role: sensitive, transform: {method: shift_date}}\n"
    subject = {"kind": "person", "key": "who", "normalize": "email"}
    policy = make_policy(columns, subject=subject)
    plan = fit_plan(policy, rows.schema, lambda c: rows.select(c).to_batches(), keys)
    assert len(set(plan.apply(rows, keys).column("born").to_pylist())) == 1


@pytest.mark.parametrize(
    ("subject", "spellings"),
    [
        ({"normalize": "phone", "region": "DE"}, ["030 1234567", "+49301234567", "0049 (0)30 1234567"]),
        ({"normalize": "number"}, ["7", "07", "007"]),
        ({"normalize": "email_without_tag"}, ["a@x.test", "A+1@x.test", "a+2@x.test"]),
    ],
)  # fmt: skip
def test_declared_spellings_are_one_person_for_fitter_and_checker(
    tmp_path: Path,
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    monkeypatch: pytest.MonkeyPatch,
    subject: dict[str, str],
    spellings: list[str],
) -> None:
    from airflow_mlsec.anonymize import _fit

    policy = policy_of(make_policy, "drop", k=3, **subject)
    source, target = (open_dataset(str(tmp_path / f"{n}.parquet")) for n in ("raw", "safe"))
    rows = pa.record_batch({"who": spellings, "zip": ["1", "1", "1"]})
    with source.replacing(rows.schema) as staged:
        staged.write(rows)
    with pytest.raises(GuaranteeNotMet):
        anonymize(policy, source, target, keys)
    # The checker counts by itself.
    monkeypatch.setattr(_fit, "_repeated", lambda *_: None)
    with pytest.raises(GuaranteeNotMet, match="k-anonymity"):
        anonymize(policy, source, target, keys)
    assert not target.exists()


@given(
    st.lists(
        st.sampled_from(["+49", "0049", "030", "(0)", "tel:", " ", "1234567", "39", "0", "-", "a"]),
        min_size=1, max_size=5,
    ).map("".join),
    st.sampled_from(["DE", "IT", None]),
)  # fmt: skip
@settings(max_examples=100)
def test_the_checker_never_counts_more_persons_than_the_form(text: str, region: str | None) -> None:
    form = NormalForm("phone", region)
    subject = Subject(kind="p", key="who", normalize="phone", region=region)
    counter = PeopleCounter([], subject)
    texts = [text, form.of_text(text)]
    counter.add(pa.record_batch({"x": [1, 1]}), pa.array(texts))
    assert counter.fewest()[0] == 1, texts
    assert form.of_text(texts[1]) == texts[1]


def test_a_region_is_of_telephone_numbers(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(PolicyError, match="normalize: phone"):
        policy_of(make_policy, "drop", normalize="email", region="DE")
    with pytest.raises(PolicyError, match="normalize"):
        policy_of(make_policy, "drop", normalize="lower")


def test_a_policy_that_declares_nothing_is_the_policy_that_it_was(
    make_policy: Callable[..., Policy],
) -> None:
    plain = policy_of(make_policy, "drop")
    assert "normalize" not in plain.canonical().decode()
    others = [policy_of(make_policy, "drop", normalize=form.name).digest for form in FORMS[:-1]]
    assert len({plain.digest, *others}) == len(others) + 1
    assert all(a != b for a, b in itertools.pairwise(others))
