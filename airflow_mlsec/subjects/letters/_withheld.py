"""What the CCPA forbids to send (11 CCR § 7024(d)): it is described instead. By the category that a policy declares for a
column; where it declares none, by the column's name and by what its values are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from airflow_mlsec.policy import Given
from airflow_mlsec.transforms.redact_text import RedactText

_CATEGORIES = (
    "user.government_id", "user.financial", "user.payment", "user.authorization", "user.biometric",
    "user.health_and_medical.insurance_beneficiary_id", "user.health_and_medical.record_id",
)  # fmt: skip
# Words of column names, for what no check digit tells.
_NAMES = re.compile(
    r"\b(ssn|social security|tax id|itin|passport|driver s?licen[cs]e|driving licen[cs]e|licen[cs]e (no|number)|state id|"
    r"military id|national id|iban|account (no|number)|bank account|routing (no|number)|card (no|number)|credit card|debit card|"
    r"cvv|cvc|pin|password|passwd|passphrase|secret|security (question|answer)|fingerprint|voice ?print|face ?print|"
    r"retina|iris|biometric\w*|insurance (id|no|number)|member id|medical record( no| number)?|mrn)\b"
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MARK = re.compile(r"\[(?:CARD|IBAN|NATIONAL_ID)\]")


def is_withheld(name: str, category: str | None) -> bool:
    """Whether no value of a column is sent."""
    if category is not None:
        return any(category == kind or category.startswith(f"{kind}.") for kind in _CATEGORIES)
    words = re.sub(r"[\W_]+", " ", _HUMP.sub(" ", name)).lower()
    return _NAMES.search(words) is not None


def without_numbers(rows: list[dict[str, Any]], mark: str, region: str) -> list[dict[str, Any]]:
    """Rows in which numbers of cards, accounts and national identities, also within texts, are replaced by a mark.

    :param region: The country of numbers that do not name one (ISO 3166).
    """
    how = Given(
        "text",
        RedactText(
            method="redact_text", entities=["card", "iban", "national_id"], region=region
        ).model_dump(),
        {},
    )

    def shown(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _shown(value, how, mark) for name, value in row.items()}

    return [shown(row) for row in rows]


def _shown(value: Any, how: Given, mark: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    text = str(value)
    if sum(c.isdigit() for c in text) < 8:
        return value
    done = _MARK.sub(lambda _: mark, RedactText.apply(pa.array([text]), how)[0].as_py())
    return value if done == text else done
