"""Random codes from a vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import pseudonymize
from airflow_mlsec.errors import UsageError
from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform


class Vault(Transform):
    """A random code that is not derived from the value (45 CFR 164.514(c)); the same value has the
    same code within ``domain``. The register's token vault records which code it is."""

    leaves = Leaves.CODE
    roles = frozenset({Role.IDENTIFYING})
    keeps_spellings = False
    # The vault identifies values by their pseudonyms under this key.
    key = "vault"
    takes_vault = True
    of_person = False
    folds_spellings = True

    method: Literal["vault"]
    domain: str = Field(pattern=DOMAIN)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        pseudonymize(pa.array([], kind), given.column, bytes(32))

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class.

        :raises UsageError: without a vault.
        """
        if given.vault is None:
            raise UsageError(
                f"column '{given.column}' gets random codes: give the token vault (RegisterVault)"
            )
        return given.vault.tokens(given.action["domain"], given.column, values)

    @classmethod
    def says(cls, action: Mapping[str, Any]) -> str:
        """The vault that its codes come from."""
        return f"random code of vault {action['domain']}"
