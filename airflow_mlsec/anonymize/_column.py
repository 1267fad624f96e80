"""One column of a plan: what happens to it, and applying that to a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._nested import in_lists, is_list
from airflow_mlsec.crypto import Key
from airflow_mlsec.errors import ColumnType, MlsecError, PlanError
from airflow_mlsec.policy import Given, Leaves, TokenVault, Transform, transform_of
from airflow_mlsec.values import NormalForm

# What a plan says about a column that has no transform.
KEEP = "keep"
_EXACT = 2.0**53
_TransformClass = type[Transform]
KeyOf = Callable[[str, int], Key]


@dataclass(frozen=True)
class PlannedColumn:
    """What happens to one column of the source."""

    name: str
    type: str
    role: str
    category: str | None
    action: Mapping[str, Any]

    @property
    def method(self) -> str:
        return str(self.action["method"])

    @property
    def kept(self) -> bool:
        """Whether the output has this column."""
        return self.method != "drop"

    @cached_property
    def _transform(self) -> _TransformClass:
        try:
            return transform_of(self.method)
        except KeyError:
            raise PlanError(
                f"the plan has an unknown method '{self.method}' for column '{self.name}': install its package"
            ) from None

    @property
    def reads(self) -> list[str]:
        """The other columns of the row that its transform reads.

        :raises PlanError: if the method is not known.
        """
        return [] if self.method == KEEP else self._transform.reads(self.action)

    @property
    def takes_vault(self) -> bool:
        """Whether its values get codes from a vault."""
        return self.method != KEEP and self._transform.takes_vault

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """The column of a batch, in the type that the plan was fitted on.

        :raises ColumnType: if it cannot be converted to it.
        """
        array = batch.column(self.name)
        if self.method != KEEP and self._transform.leaves is Leaves.NOTHING:
            return array  # nothing is left of it, whatever its type
        wanted = arrow_type(self.type)
        if array.type == wanted:
            return array
        # Whole numbers that a float does not represent exactly would change, or become equal.
        rounded = pa.types.is_floating(array.type) and pa.types.is_integer(wanted)
        if rounded and (pc.max(pc.abs(array.cast(pa.float64()))).as_py() or 0) >= _EXACT:
            raise ColumnType.unusable(self.name, array.type, f"{wanted}", "the plan")
        try:
            return array.cast(wanted)
        except (pa.ArrowException, TypeError):
            raise ColumnType.unusable(self.name, array.type, f"{wanted}", "the plan") from None

    def transform(self, batch: pa.RecordBatch, key_of: KeyOf, vault: TokenVault | None) -> pa.Array:
        """The column of a batch after its transform.

        :raises ColumnType: if the transform cannot work on the column's type.
        :raises UsageError: if it takes a vault and there is none.
        :raises PlanError: if the method is not known.
        """
        return self._changed(self.values(batch), batch, key_of, vault)

    def _changed(
        self, array: pa.Array, batch: pa.RecordBatch, key_of: KeyOf, vault: TokenVault | None
    ) -> pa.Array:
        if self.method == KEEP:
            return array
        action = self.action
        if is_list(array.type):
            read = batch.select(self.reads)
            return in_lists(
                array, lambda values, rows: self._changed(values, read.take(rows), key_of, vault)
            )
        if form := action.get("normalize"):
            array = NormalForm.parse(form).of(array, self.name)
        secret = b""
        if self._transform.key is not None and not self._transform.takes_vault:
            if not (action.get("key") and action.get("version")):
                # Everybody can make a code that needs no key.
                raise PlanError(
                    f"column '{self.name}': the plan has no key for method '{self.method}', which needs one; fit again"
                )
            secret = key_of(action["key"], action["version"]).secret
        beside = {name: batch.column(name) for name in self.reads}
        given = Given(self.name, action, beside, secret, vault)
        if self._transform.__module__.startswith("airflow_mlsec."):
            return self._transform.apply(array, given)
        try:
            return self._transform.apply(array, given)
        except MlsecError:
            raise
        except Exception as error:
            # Its message may quote a value.
            raise PlanError(
                f"column '{self.name}': method '{self.method}' failed ({type(error).__name__})"
            ) from None


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type that a plan's text names.

    :raises PlanError: if it names none.
    """
    if found := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, tz=([^\]]+))?\]", text):
        return pa.timestamp(found[1], found[2])
    if found := re.fullmatch(r"decimal(128|256)\((\d+), (-?\d+)\)", text):
        make = pa.decimal128 if found[1] == "128" else pa.decimal256
        return make(int(found[2]), int(found[3]))
    if found := re.fullmatch(r"(?:large_)?list<\w+: (.+?)(?: not null)?>", text):
        return pa.list_(arrow_type(found[1]))
    if found := re.fullmatch(r"fixed_size_binary\[(\d+)\]", text):
        return pa.binary(int(found[1]))
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise PlanError(f"the plan has a column of unknown type '{text}'") from None
