"""What a column is to an attacker."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a column is to an attacker (the roles of the ARX anonymization tool)."""

    IDENTIFYING = "identifying"
    QUASI_IDENTIFYING = "quasi-identifying"
    SENSITIVE = "sensitive"
    INSENSITIVE = "insensitive"
