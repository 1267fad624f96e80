"""What was found in each place of a request, and what was done there, stands in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.ledger import (
    Act,
    AssetKind,
    Finding,
    Outcome,
    acts,
    findings,
    log_verifiers,
    verify_register,
)
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Request, act_in_words, get_request, history, reasons, settle
from tests.actors import who
from tests.subjects.shop import Shop
from tests.subjects.test_requests import ready


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def last_said(shop: Shop, request: Request) -> dict[str, str]:
    """By place the state that the ledger's last entry about it gives."""
    found = shop.register.read(lambda c: findings(c, request=request.id))
    done = shop.register.read(lambda c: acts(c, request=request.id))
    entries: list[Finding | Act] = sorted([*found, *done], key=lambda entry: entry.at)
    return {
        e.asset.name: e.verb if isinstance(e, Act) else str(e.evidence["status"])
        for e in entries
        if e.asset.kind is AssetKind.PLACE
    }


def test_the_state_of_each_place_is_what_the_ledger_says_last(shop: Shop) -> None:
    handler = shop.handler()
    number = ready(handler)
    request = get_request(shop.register, number)
    assert last_said(shop, request) == {step.name: step.status for step in request.steps}
    found = shop.register.read(lambda c: findings(c, request=number))
    answers = {f.asset.name: f.outcome for f in found}
    for step in request.steps:
        expected = {"found": Outcome.FAIL, "unknown": Outcome.UNKNOWN, "none": Outcome.PASS}
        assert answers[step.name] is expected.get(step.status, answers[step.name])
        assert next(f for f in reversed(found) if f.asset.name == step.name).reasons == step.reasons
    handler.erase(number)
    settle(shop.register, number, "model.onnx", "manual", "retrained", who("dpo"))
    request = get_request(shop.register, number)
    states = last_said(shop, request)
    assert {
        s.name: s.status for s in request.steps if s.kind != "recipient"
    }.items() <= states.items()
    assert "erased" in states.values()


def test_the_history_says_who_did_what_in_two_languages(shop: Shop) -> None:
    handler = shop.handler()
    number = ready(handler)
    handler.erase(number)
    done = history(shop.register, number)
    assert [type(a.reasons[0]) for a in done if a.asset.kind is AssetKind.REQUEST][:1] == [
        reasons.RequestOpened
    ]
    erased = next(a for a in done if a.verb == "erased" and a.asset.name.endswith("copy.parquet"))
    assert Path(erased.asset.name).name == "copy.parquet"
    assert str(act_in_words(erased)).endswith("copy.parquet: erased: rows that are the person's: 1")
    assert str(act_in_words(erased, "de")).endswith("Zeilen der Person: 1")
    opened = next(a for a in done if isinstance(a.reasons[0], reasons.RequestOpened))
    assert str(act_in_words(opened)).startswith("opened: gdpr erasure, due ")
    assert str(act_in_words(opened, "de")).startswith("eröffnet: gdpr erasure, fällig am ")
    assert not verify_register(shop.register, log_verifiers(shop.register, shop.keys)).findings
