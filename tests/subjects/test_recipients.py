from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import STATEMENT_TYPE, KeyRing, verify_payload
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Calendar, Handler, Person, approve, open_request, verify_identity
from tests import canaries
from tests.actors import who
from tests.subjects.shop import CUSTOMERS, Shop


class _Recipient(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        del arguments


@pytest.fixture
def recipient() -> Iterator[Any]:
    """A recipient's server: what it got, and what it answers."""
    server: Any = HTTPServer(("127.0.0.1", 0), _Recipient)
    server.got, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def erased(shop: Shop, contacts: str) -> tuple[Handler, int]:
    text = CUSTOMERS.format(customers=shop.customers) + f"recipients: [{contacts}]\n"
    policy = parse_policy(text, "customers")
    record_results(shop.register, policy, open_dataset(shop.customers), "source", [], None)
    handler = shop.handler()
    person = Person("customer", (canaries.EMAIL,))
    request = open_request(shop.register, shop.keys, "gdpr", "erasure", person, who("c"), Calendar(), datetime.now(UTC))  # fmt: skip
    verify_identity(shop.register, request.id, True, "seen", who("c"))
    handler.locate(request.id)
    approve(shop.register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    return handler, request.id


def told(handler: Handler, number: int, mail: Any = None) -> dict[str, tuple[str, str]]:
    request = handler.notify(number, mail)
    return {s.name: (s.status, str(s.detail)) for s in request.steps if s.kind == "recipient"}


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def test_a_recipient_is_told_over_http_with_a_signed_statement(shop: Shop, recipient: Any) -> None:
    recipient.status = 500
    address = f"http://127.0.0.1:{recipient.server_port}/privacy"
    handler, number = erased(shop, f'{{name: Callers, contact: "{address}"}}')
    assert told(handler, number)["Callers"] == ("failed", "the recipient answered 500")
    recipient.status = 204
    assert told(handler, number)["Callers"] == ("notified", "notified over http, answered 204")
    sent = len(recipient.got)
    told(handler, number)
    assert len(recipient.got) == sent, "told once"
    payload = verify_payload(recipient.got[-1], STATEMENT_TYPE, shop.keys.verification_keys())
    assert json.loads(payload)["predicate"]["subject"]["keys"] == [canaries.EMAIL]


def test_mail_names_nobody(shop: Shop) -> None:
    handler, number = erased(shop, '{name: Printers, contact: "mailto:dpo@printers.example"}')
    status, detail = told(handler, number)["Printers"]
    assert (status, "by hand" in detail) == ("unknown", True)
    sent: list[tuple[str, ...]] = []
    answer = told(handler, number, lambda *message: sent.append(message))
    assert answer["Printers"] == ("notified", "mail sent")
    [(to, subject, body)] = sent
    assert to == "dpo@printers.example"
    assert f"request {number}" in body
    assert canaries.found_in(subject + body) == []


def test_a_mail_server_that_fails_keeps_the_step_open(shop: Shop) -> None:
    def refuse(*message: str) -> None:
        raise ConnectionRefusedError(canaries.EMAIL)

    handler, number = erased(shop, '{name: Printers, contact: "mailto:dpo@printers.example"}')
    assert told(handler, number, refuse)["Printers"] == ("failed", "the mail was not sent (ConnectionRefusedError)")  # fmt: skip


def test_a_name_is_not_sent_in_the_clear_and_no_contact_is_for_a_person(shop: Shop) -> None:
    handler, number = erased(shop, '{name: A, contact: "http://a.example/x"}, {name: B}')
    answer = told(handler, number)
    assert answer["A"] == (
        "failed",
        "the contact is http: a person's name is sent over https only",
    )
    assert answer["B"][0] == "unknown"
