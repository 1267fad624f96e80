"""The kinds of personal data that discovery knows, each with its role and proposed treatment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_mlsec.policy import Role


@dataclass(frozen=True)
class Kind:
    """A kind of data: its role, its Fideslang category, and the transform or hierarchy to propose."""

    name: str
    role: Role
    category: str | None = None
    transform: dict[str, Any] | None = None
    hierarchy: dict[str, Any] | None = None


def _identifying(name: str, category: str, method: str = "drop", **more: Any) -> Kind:
    return Kind(name, Role.IDENTIFYING, category, {"method": method, **more})


def _quasi(name: str, category: str | None = None, **hierarchy: Any) -> Kind:
    return Kind(name, Role.QUASI_IDENTIFYING, category, None, hierarchy or {"kind": "suppress"})


def _sensitive(name: str, category: str | None) -> Kind:
    return Kind(name, Role.SENSITIVE, category)


_DATES = {"kind": "date", "levels": ["month", "year", "decade"]}

KINDS = {
    kind.name: kind
    for kind in (
        _identifying("email", "user.contact.email", "pseudonymize", domain="person"),
        _identifying("phone", "user.contact.phone_number"),
        _identifying("fax", "user.contact.fax_number"),
        _identifying("full name", "user.name"),
        _identifying("first name", "user.name.first"),
        _identifying("last name", "user.name.last"),
        _identifying("street", "user.contact.address.street"),
        _identifying("national id", "user.government_id.national_identification_number"),
        _identifying("passport", "user.government_id.passport_number"),
        _identifying("driving licence", "user.government_id.drivers_license_number"),
        _identifying("vehicle", "user.government_id.vehicle_registration"),
        _identifying("payment card", "user.financial.credit_card"),
        _identifying("bank account", "user.financial.bank_account"),
        _identifying("person id", "user.unique_id", "pseudonymize", domain="person"),
        _identifying("record id", "user.health_and_medical.record_id", "pseudonymize", domain="record"),
        _identifying("insurance id", "user.health_and_medical.insurance_beneficiary_id"),
        _identifying("user name", "user.account.username", "pseudonymize", domain="person"),
        _identifying("password", "user.authorization.password"),
        _identifying("device id", "user.device.device_id"),
        _identifying("cookie", "user.device.cookie_id"),
        _identifying("ip address", "user.device.ip_address"),
        _identifying("personal page", "user.contact.url"),
        _identifying("precise location", "user.location.precise"),
        _identifying("biometrics", "user.biometric"),
        _identifying("photograph", "user.content.self_image"),
        _identifying("free text", "user.content.private", "redact_text"),
        _quasi("date of birth", "user.demographic.date_of_birth", **_DATES),
        _quasi("age", "user.demographic.age_range", kind="interval", widths=[5, 10, 20, 40]),
        _quasi("sex", "user.demographic.gender"),
        _quasi("postal code", "user.contact.address.postal_code", kind="prefix"),
        _quasi("city", "user.contact.address.city"),
        _quasi("region", "user.contact.address.state"),
        _quasi("country", "user.contact.address.country"),
        _quasi("nationality", "user.demographic.profile"),
        _quasi("ethnicity", "user.demographic.race_ethnicity"),
        _quasi("marital status", "user.demographic.marital_status"),
        _quasi("language", "user.demographic.language"),
        _quasi("education", "user.demographic.profile"),
        _quasi("occupation", "user.job_title"),
        _quasi("employer", "user.workplace"),
        _quasi("household", "user.demographic.profile", kind="suppress"),
        _quasi("body measure", "user.demographic.profile", kind="interval", widths=[5, 10, 20, 40]),
        _quasi("location", "user.location.imprecise", kind="interval", widths=[0.1, 1, 10]),
        _quasi("date of an event", None, **_DATES),
        # About persons, although it is unknown what it is.
        _quasi("characteristic"),
        _sensitive("measurement", None),
        _sensitive("health", "user.health_and_medical"),
        _sensitive("genetics", "user.health_and_medical.genetic"),
        _sensitive("income", "user.financial"),
        _sensitive("religion", "user.demographic.religious_belief"),
        _sensitive("politics", "user.demographic.political_opinion"),
        _sensitive("sexual orientation", "user.demographic.sexual_orientation"),
        _sensitive("criminal record", "user.criminal_history"),
        _sensitive("grade", "user.demographic.profile"),
        _sensitive("union", "user.demographic.profile"),
        Kind("other", Role.INSENSITIVE),
    )
}  # fmt: skip
