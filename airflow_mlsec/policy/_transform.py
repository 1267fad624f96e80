"""What a transform is: its keys in a policy, what is left of a value after it, and doing it to a column.

This room has none itself. Each is a class in a file of its own, in `airflow_mlsec.transforms` or in another package, and
an entry point of the group ``airflow_mlsec.transforms``; `_registry` finds them by name.
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

    # Of all values the same.
    NOTHING = "nothing"
    # What only who has a key or a vault can tell, or who sees the same value elsewhere: pseudonymous (GDPR Art. 4(5)).
    CODE = "code"
    # Less than the value that may still name a person: some characters, or an invented value that equal ones share.
    PART = "part"
    # A value near what it was.
    NEAR = "near"


class TokenVault(Protocol):
    """Gives random codes."""

    def tokens(self, domain: str, column: str, values: pa.Array) -> pa.Array:
        """The code of each value; a value that has none yet gets one. Nulls stay null."""
        ...


@dataclass(frozen=True)
class Given:
    """What a transform is given beside the values of its column."""

    # The column's name, for messages.
    column: str
    # What the plan says of the column: the keys of the policy, and what was fitted.
    action: Mapping[str, Any]
    # The columns of the same rows that the transform reads.
    beside: Mapping[str, pa.Array]
    # The key of its domain, if it takes one, and the vault, if it takes that.
    secret: bytes = b""
    vault: TokenVault | None = None


# What a plan says of a column whatever its transform, and of a level that a recoding chose.
_OF_PLANS = {"key", "version", "level", "normalize", "normalize_by"}
_OWN = {"generalize": {"level"}}
_ANSWERS = ("leaves", "roles", "keeps_spellings", "key", "of_person", "folds_spellings")


class Transform(Model, ABC):
    """What happens to a column. The fields of a subclass are its keys in a policy, its docstring describes it there.

    A subclass answers all that has no default here, or fails when Python reads it.
    """

    # Its name in policies and plans.
    method: str

    leaves: ClassVar[Leaves]
    # Of which columns it may be the transform.
    roles: ClassVar[frozenset[Role]]
    # Whether spellings of one value ("HIV", "hiv ") can be told to be one after it.
    keeps_spellings: ClassVar[bool]
    # With keys of which purpose it works, None with none: key ``PURPOSE.DOMAIN`` of the ring; then ``domain`` is a field.
    key: ClassVar[str | None]
    # Whether it depends on whose value it is: by column ``by`` (a field), without it by the policy's ``subject.key``.
    of_person: ClassVar[bool]
    # Whether keys of persons are brought to the form that the policy declares first. Right where nothing is turned
    # back: spellings of one person get one code.
    folds_spellings: ClassVar[bool]

    # Whether its codes are a vault's (`Given.vault`) and follow from no key.
    takes_vault: ClassVar[bool] = False
    # Whether it has to see all rows when the plan is made (`fit`).
    sees_rows: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **_more: Any) -> None:
        if inspect.isabstract(cls) or "method" not in cls.__annotations__:
            missing = sorted(cls.__abstractmethods__) or ["method"]
        else:
            # Its own: what a transform that it was made from leaves says nothing of this one.
            missing = [name for name in _ANSWERS if name not in vars(cls)]
            missing += (
                ["domain"] if getattr(cls, "key", None) and "domain" not in cls.model_fields else []
            )
            missing += (
                ["by"] if getattr(cls, "of_person", False) and "by" not in cls.model_fields else []
            )
            missing += ["fit"] if cls.sees_rows and cls.fit is Transform.fit else []
        if missing:
            raise TypeError(f"transform {cls.__qualname__} does not say: {', '.join(missing)}")
        if taken := sorted(_OF_PLANS & set(cls.model_fields) - _OWN.get(cls.name(), set())):
            raise TypeError(
                f"transform {cls.__qualname__}: {', '.join(taken)} cannot be its keys, plans have them for something else"
            )
        if cls.leaves is Leaves.CODE and cls.key is None:
            raise TypeError(
                f"transform {cls.__qualname__}: a code takes a key, or everybody can make it"
            )
        if not re.fullmatch("[a-z][a-z0-9_]{0,63}", cls.name()):
            raise TypeError(
                f"transform {cls.__qualname__}: `method` is a Literal of one name in small letters"
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
        """Refuse a type of values that it cannot work on, before any row is read.

        :raises ColumnType: naming ``given.column``.
        """

    @classmethod
    @abstractmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """The values after it, as many and in the same order. No Python per row, and no value in an error."""

    @classmethod
    def left(cls, action: Mapping[str, Any]) -> Leaves:
        """What is left of a value by what a plan says: as ``leaves``, unless some setting leaves more."""
        del action
        return cls.leaves

    @classmethod
    def reads(cls, action: Mapping[str, Any]) -> list[str]:
        """The other columns of a row that it reads."""
        by = action.get("by") if cls.of_person else None
        return [by] if by else []

    @classmethod
    def says(cls, action: Mapping[str, Any]) -> str:
        """What a plan does to a column, as lineage says it. ``IDENTITY`` is OpenLineage's word for nothing."""
        return str(action["method"])

    def unsuited(self, role: Role) -> str | None:
        """Why it may not be the transform of a column with this role, None if it may."""
        if role in self.roles:
            return None
        if role is Role.IDENTIFYING:
            return f"{self.method} leaves too much of an identifier; use drop, pseudonymize or fpe"
        return f"{self.method} is for {' and '.join(sorted(self.roles))} columns; nothing is left of a value"

    def action(self, column: str, source: str) -> dict[str, Any]:
        """What a plan says of a column; ``source`` is the policy's file, to whose folder other files are relative.

        :raises PolicyError: if the policy asks for what there is not.
        """
        del column, source
        return self.model_dump()

    @classmethod
    def prepared(cls, action: dict[str, Any], secret: bytes) -> dict[str, Any]:
        """The action with what is made once with the key."""
        del secret
        return action

    @classmethod
    def key_name(cls, action: Mapping[str, Any]) -> str | None:
        """The name of the key that it works with, None with none."""
        return None if cls.key is None else f"{cls.key}.{action['domain']}"

    @classmethod
    def keyed(
        cls, action: dict[str, Any], name: str, version: int, secret: bytes
    ) -> dict[str, Any]:
        """The action with the key that it is done with, and what is made once with it; which codes a vault gives follows
        from no version."""
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
        """What the plan says beside the action, from the column's different values and how many rows each has;
        ``persons`` are at most how many persons have it, if some have several rows."""
        raise NotImplementedError
