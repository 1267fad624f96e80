"""Records as linked data: terms of the Data Privacy Vocabulary, and the shape that says what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.documents import document_kinds
from tests.documents.office import ORGANIZATION, POLICY, RECORDS, Office, without

NAMES = set((Path(__file__).parent / "dpv-2.3-names.txt").read_text().splitlines())
SHAPE = resources.files("airflow_mlsec.documents.kinds").joinpath("records.shacl.ttl").read_text()


def written(office: Office) -> dict[str, Any]:
    files = document_kinds()[RECORDS].attachments(office.known, "Shop GmbH")
    assert files["records.shacl.ttl"].decode() == SHAPE
    found: dict[str, Any] = json.loads(files[f"{RECORDS}.jsonld"])
    return found


def problems(document: dict[str, Any]) -> set[str]:
    """What a validator says is missing."""
    import pyshacl
    import rdflib

    shapes = rdflib.Graph().parse(data=SHAPE, format="turtle")
    data = rdflib.Graph().parse(data=json.dumps(document), format="json-ld")
    fine, report, _ = pyshacl.validate(data, shacl_graph=shapes)
    said = {str(m) for m in report.objects(None, rdflib.URIRef("http://www.w3.org/ns/shacl#resultMessage"))}  # fmt: skip
    assert fine == (not said)
    return said


def terms(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "@context":
                continue
            yield name
            yield from [value] if name in ("@type", "@id") else terms(value)
    elif isinstance(node, list):
        for part in node:
            yield from terms(part)


def test_what_is_stated_completely_has_the_shape(office: Office) -> None:
    document = written(office)
    assert problems(document) == set()
    used = {t for t in terms(document) if t.startswith(("dpv:", "eu-gdpr:"))}
    assert len(used) > 25
    assert used <= NAMES
    assert {t for t in terms(document) if not t.startswith(("dpv:", "eu-gdpr:", "dct:", "@", "xsd:"))} == set()  # fmt: skip


def test_every_ground_and_condition_is_a_term() -> None:
    from airflow_mlsec.documents.kinds import _linked_data

    for known in (_linked_data._BASES, _linked_data._CONDITIONS):
        assert set(known.values()) <= NAMES


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("purposes",), "Art. 30(1)(b)"),
        (("subject",), "Art. 30(1)(c): no category of data subjects"),
        (("lawful_basis",), "Art. 6(1)"),
        (("retention",), "Art. 30(1)(f)"),
    ],
)
def test_what_is_left_out_does_not(office: Office, path: tuple[str, ...], message: str) -> None:
    stated = without(POLICY, *path)
    if path == ("lawful_basis",):  # a condition of Art. 9(2) is a ground as well
        stated = without(stated, "special_categories")
    office.policy(stated)
    [said] = problems(written(office))
    assert said.startswith(message)


def test_a_recipient_whose_country_nobody_knows_does_not(office: Office) -> None:
    office.organization({**ORGANIZATION, "recipients": [{"name": "Parcels Inc"}]})
    assert any(said.startswith("Art. 30(1)(e)") for said in problems(written(office)))


def test_a_controller_that_nobody_can_write_to_does_not(office: Office) -> None:
    office.organization({**ORGANIZATION, "controllers": [{"name": "Shop GmbH"}]})
    assert any("no contact details" in said for said in problems(written(office)))
