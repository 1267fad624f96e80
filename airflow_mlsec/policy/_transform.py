"""The interface of a transform: its keys in a policy, what it leaves of a value, and how it is applied to a column.

This package contains no transforms. Each is a class in a file of its own, in `airflow_mlsec.transforms` or in another
package, with an entry point in the group ``airflow_mlsec.transforms``; `_registry` finds them by name.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args, get_origin

from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._role import Role

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

# A domain of keys: values are linkable within it, and only there.
DOMAIN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class Leaves(StrEnum):
    """What is left of a value after a transform."""

    # The same for all values.
    NOTHING = "nothing"
    # A code that can be attributed only by somebody who has a key or a vault, or who sees the same value elsewhere:
    # pseudonymous (GDPR Art. 4(5)).
    CODE = "code"
    # Less than the value, but it may still identify a person: some characters, or an invented value that equal values
    # share.
    PART = "part"
    # A value close to the original.
    NEAR = "near"


class TokenVault(Protocol):
    """Gives random codes."""

    def tokens(self, domain: str, column: str, values: pa.Array) -> pa.Array:
        """The code of each value; a value that has none yet gets one. Nulls stay null."""
        ...


@dataclass(frozen=True)
class Given:
    """What a transform is given in addition to the values of its column."""

    # The column's name, for messages.
    column: str
    # What the plan says about the column: the keys of the policy, and what was fitted.
    action: Mapping[str, Any]
    # The columns of the same rows that the transform reads.
    beside: Mapping[str, pa.Array]
    # The key of its domain and the vault, if it uses them.
    secret: bytes = b""
    vault: TokenVault | None = None


# Keys that a plan uses for columns of any transform, and for a level that a recoding chose.
_OF_PLANS = {"key", "version", "level", "normalize", "normalize_by"}
_OWN = {"generalize": {"level"}}
_ANSWERS = ("leaves", "roles", "keeps_spellings", "key", "of_person", "folds_spellings")


class Transform(Model, ABC):
    """What happens to a column. The fields of a subclass are its keys in a policy; its docstring is its description.

    A subclass must define everything that has no default here; otherwise its definition fails.
    """

    # Its name in policies and plans.
    method: str

    leaves: ClassVar[Leaves]
    # The roles of the columns that it may be used for.
    roles: ClassVar[frozenset[Role]]
    # Whether spellings of one value ("HIV", "hiv ") can still be recognized as one after it.
    keeps_spellings: ClassVar[bool]
    # The purpose of the keys that it uses (key ``PURPOSE.DOMAIN`` of the ring), for which it needs the field ``domain``;
    # None if it uses no key.
    key: ClassVar[str | None]
    # Whether it depends on whose value it is: column ``by`` (a field) says so, by default the policy's ``subject.key``.
    of_person: ClassVar[bool]
    # Whether persons' keys are first normalized to the form that the policy declares. Correct where codes are never
    # reversed: the spellings of one person's key get one code.
    folds_spellings: ClassVar[bool]

    # Whether its codes come from a vault (`Given.vault`) and are not derived from a key.
    takes_vault: ClassVar[bool] = False
    # Whether it has to see all rows when the plan is made (`fit`).
    sees_rows: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **_more: Any) -> None:
        if inspect.isabstract(cls) or "method" not in cls.__annotations__:
            missing = sorted(cls.__abstractmethods__) or ["method"]
        else:
            # Its own: what its base transform leaves says nothing about this one.
            missing = [name for name in _ANSWERS if name not in vars(cls)]
            missing += (
                ["domain"] if getattr(cls, "key", None) and "domain" not in cls.model_fields else []
            )
            missing += (
                ["by"] if getattr(cls, "of_person", False) and "by" not in cls.model_fields else []
            )
            missing += ["fit"] if cls.sees_rows and cls.fit is Transform.fit else []
        if missing:
            raise TypeError(f"transform {cls.__qualname__} does not define: {', '.join(missing)}")
        if taken := sorted(_OF_PLANS & set(cls.model_fields) - _OWN.get(cls.name(), set())):
            raise TypeError(
                f"transform {cls.__qualname__}: {', '.join(taken)} cannot be its keys, plans use them for something else"
            )
        if cls.leaves is Leaves.CODE and cls.key is None:
            raise TypeError(
                f"transform {cls.__qualname__}: a code needs a key, otherwise everybody can make it"
            )
        if not re.fullmatch("[a-z][a-z0-9_]{0,63}", cls.name()):
            raise TypeError(
                f"transform {cls.__qualname__}: `method` must be a Literal of one name in lowercase"
            )

    @classmethod
    def name(cls) -> str:
        """Its name in policies."""
        said = cls.model_fields["method"].annotation
        names = get_args(said) if get_origin(said) is Literal else ()
        return str(names[0]) if len(names) == 1 else ""

    @classmethod
    @abstractmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Refuse a type of values that it cannot transform, before any row is read.

        :raises ColumnType: naming ``given.column``.
        """

    @classmethod
    @abstractmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """The transformed values, as many and in the same order. No Python code per row, and no value in an error."""

    @classmethod
    def left(cls, action: Mapping[str, Any]) -> Leaves:
        """What is left of a value under a plan's settings: as in ``leaves``, unless a setting leaves more."""
        del action
        return cls.leaves

    @classmethod
    def reads(cls, action: Mapping[str, Any]) -> list[str]:
        """The other columns of a row that it reads."""
        by = action.get("by") if cls.of_person else None
        return [by] if by else []

    @classmethod
    def says(cls, action: Mapping[str, Any]) -> str:
        """What a plan does to a column, as written to lineage. ``IDENTITY`` is OpenLineage's term for no change."""
        return str(action["method"])

    def unsuited(self, role: Role) -> str | None:
        """Why it may not be the transform of a column with this role, None if it may."""
        if role in self.roles:
            return None
        if role is Role.IDENTIFYING:
            return f"{self.method} leaves too much of an identifier; use drop, pseudonymize or fpe"
        return f"{self.method} is for {' and '.join(sorted(self.roles))} columns; it leaves nothing of a value"

    def action(self, column: str, source: str) -> dict[str, Any]:
        """What a plan says about a column. Paths of files are relative to the folder of ``source``, the policy file.

        :raises PolicyError: if the policy asks for something that does not exist.
        """
        del column, source
        return self.model_dump()

    @classmethod
    def prepared(cls, action: dict[str, Any], secret: bytes) -> dict[str, Any]:
        """The action, with what is computed once from the key."""
        del secret
        return action

    @classmethod
    def key_name(cls, action: Mapping[str, Any]) -> str | None:
        """The name of the key that it uses, None if it uses none."""
        return None if cls.key is None else f"{cls.key}.{action['domain']}"

    @classmethod
    def keyed(
        cls, action: dict[str, Any], name: str, version: int, secret: bytes
    ) -> dict[str, Any]:
        """The action with its key, and with what is computed once from the key. The codes of a vault do not depend on a
        key version."""
        if cls.takes_vault:
            return {**action, "key": name}
        return {**cls.prepared(action, secret), "key": name, "version": version}

    def fit(
        self,
        values: pa.Array,
        rows: npt.NDArray[np.int64],
        persons: npt.NDArray[np.float64] | None,
        column: str,
    ) -> dict[str, Any]:
        """What the plan says in addition to the action, computed from the column's distinct values and the rows of each.
        ``persons`` are upper bounds of how many persons have each value, if some persons have several rows."""
        raise NotImplementedError
