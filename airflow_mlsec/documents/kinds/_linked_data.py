"""Records of processing as linked data: JSON-LD in the Data Privacy Vocabulary 2.3 (https://w3id.org/dpv), which other
programs read. ``records.shacl.ttl`` beside the kinds says what has to be in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_mlsec.documents._content import Value
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents.kinds._activities import Activity, recipients_of
from airflow_mlsec.policy import EEA, Party, is_special

_CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "dct": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_BASES = {
    "consent": "eu-gdpr:A6-1-a", "contract": "eu-gdpr:A6-1-b", "legal_obligation": "eu-gdpr:A6-1-c",
    "vital_interests": "eu-gdpr:A6-1-d", "public_task": "eu-gdpr:A6-1-e", "legitimate_interests": "eu-gdpr:A6-1-f",
}  # fmt: skip
_CONDITIONS = {
    "explicit_consent": "eu-gdpr:A9-2-a", "employment": "eu-gdpr:A9-2-b", "vital_interests": "eu-gdpr:A9-2-c",
    "non_profit": "eu-gdpr:A9-2-d", "made_public": "eu-gdpr:A9-2-e", "legal_claims": "eu-gdpr:A9-2-f",
    "substantial_public_interest": "eu-gdpr:A9-2-g", "health_care": "eu-gdpr:A9-2-h", "public_health": "eu-gdpr:A9-2-i",
    "research": "eu-gdpr:A9-2-j",
}  # fmt: skip


def linked_data(known: Known, controller: str, every: Iterable[Activity]) -> dict[str, Any]:
    """The record of a controller. What nobody has stated is left out: whoever checks the shape sees it."""
    activities = [_activity(known, controller, number, a) for number, a in enumerate(every, 1)]
    return {
        "@context": _CONTEXT,
        "@type": "dpv:RecordsOfActivities",
        "dpv:hasDataController": _controller(known, controller),
        "dct:hasPart": activities,
    }


def _controller(known: Known, name: str) -> dict[str, Any]:
    found = known.organization.controller(name)
    said: dict[str, Any] = {"@type": "dpv:DataController", "dpv:hasName": name}
    if found is None:
        return said
    said |= _stated({"dpv:hasAddress": found.address, "dpv:hasContact": found.contact})
    if found.country:
        said["dpv:hasCountry"] = _country(found.country)
    if found.dpo is not None and found.dpo != "none":
        said["dpv:hasDataProtectionOfficer"] = {
            "@type": "dpv:DataProtectionOfficer",
            **_stated({"dpv:hasName": found.dpo.name, "dpv:hasContact": found.dpo.contact}),
        }
    if found.representative is not None and found.representative != "none":
        said["dpv:hasRepresentative"] = {
            "@type": "dpv:Representative",
            **_stated({"dpv:hasName": found.representative.name, "dpv:hasContact": found.representative.contact}),
        }  # fmt: skip
    return said


def _activity(known: Known, controller: str, number: int, activity: Activity) -> dict[str, Any]:
    datasets = activity.datasets
    record: dict[str, Any] = {
        "@type": "dpv:DataProcessingRecord",
        "dpv:hasIdentifier": str(number),
        "dpv:hasDataController": {"@type": "dpv:DataController", "dpv:hasName": controller},
        "dpv:hasData": [{"dct:identifier": str(d.name)} for d in datasets],
    }
    if activity.purpose is not None:
        record["dpv:hasPurpose"] = {"@type": "dpv:Purpose", "dct:title": _text(activity.purpose)}
    record["dpv:hasDataSubject"] = [
        {"@type": "dpv:DataSubject", "dct:title": kind}
        for kind in dict.fromkeys(of_policy(d, "subject", "kind") for d in datasets)
        if kind
    ]
    categories = {
        column.get("category")
        for d in datasets
        for column in (of_policy(d, "columns") or {}).values()
        if column.get("category")
    }
    record["dpv:hasPersonalData"] = [
        {
            "@type": "dpv:SpecialCategoryPersonalData" if is_special(name) else "dpv:PersonalData",
            "dct:identifier": name,
        }
        for name in sorted(categories)
    ]
    bases = [_BASES.get(str(of_policy(d, "lawful_basis", "basis"))) for d in datasets]
    bases += [_CONDITIONS.get(str(of_policy(d, "special_categories", "condition"))) for d in datasets]  # fmt: skip
    record["dpv:hasLegalBasis"] = [{"@id": basis} for basis in dict.fromkeys(bases) if basis]
    record["dpv:hasRecipient"] = [_recipient(n, p) for n, p in recipients_of(known, datasets)[0]]
    record["dpv:hasStorageCondition"] = [
        {
            "@type": "dpv:StorageDuration",
            "dpv:hasDuration": {"@value": keep, "@type": "xsd:duration"},
            "dct:description": f"{d.name}: {of_policy(d, 'retention', 'from')}",
        }
        for d in datasets
        if (keep := of_policy(d, "retention", "keep"))
    ]
    methods = {
        str(method)
        for d in datasets
        for column in (of_policy(d, "columns") or {}).values()
        if (method := (column.get("transform") or {}).get("method"))
    }
    record["dpv:hasTechnicalOrganisationalMeasure"] = [
        {"@type": "dpv:TechnicalMeasure", "dct:title": method} for method in sorted(methods)
    ]
    return {name: value for name, value in record.items() if value != []}


def _recipient(name: str, party: Party | None) -> dict[str, Any]:
    said: dict[str, Any] = {"@type": "dpv:Recipient", "dpv:hasName": name}
    if party is not None and party.country is not None:
        abroad = party.country not in EEA
        said["dpv:hasThirdCountry" if abroad else "dpv:hasCountry"] = _country(party.country)
        if party.safeguard is not None:
            said["dct:description"] = _text(party.safeguard)
    return said


def _country(code: str) -> dict[str, str]:
    kind = "dpv:Country" if code in EEA else "dpv:ThirdCountry"
    return {"@type": kind, "dct:identifier": code}


def _text(text: Mapping[str, str] | str) -> Any:
    if isinstance(text, str):
        return text
    return [{"@value": said, "@language": language} for language, said in text.items()]


def _stated(values: Mapping[str, Value | None]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
