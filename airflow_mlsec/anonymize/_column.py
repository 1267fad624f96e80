"""One column of a plan: what happens to it, and doing it to a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._nested import in_lists, is_list
from airflow_mlsec.anonymize._normal_forms import NormalForm
from airflow_mlsec.anonymize.recoding import _hierarchies
from airflow_mlsec.anonymize.transforms import _numeric, _transforms
from airflow_mlsec.anonymize.transforms._fakes import choose_fakes
from airflow_mlsec.anonymize.transforms._fpe import encrypt_format, format_of
from airflow_mlsec.anonymize.transforms._redact import redact_text
from airflow_mlsec.anonymize.transforms._vault import TokenVault
from airflow_mlsec.crypto import Key
from airflow_mlsec.errors import ColumnType, PlanError, UsageError

_EXACT = 2.0**53
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

    @property
    def reads(self) -> list[str]:
        """The other columns of the row that its transform reads."""
        by = self.action.get("by")
        return [*self.action.get("names", ()), *([by] if by else [])]

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """The column of a batch, in the type that the plan was fitted on.

        :raises ColumnType: if it cannot have it.
        """
        array = batch.column(self.name)
        if self.method in ("redact", "constant"):
            return array  # nothing is left of it, of whatever type it was
        wanted = arrow_type(self.type)
        if array.type == wanted:
            return array
        # Whole numbers that a float does not hold exactly would become others, or each other.
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
        action, name = self.action, self.name
        if is_list(array.type) and self.method != "keep":
            beside = batch.select(self.reads)
            return in_lists(
                array, lambda values, rows: self._changed(values, beside.take(rows), key_of, vault)
            )
        if form := action.get("normalize"):
            array = NormalForm.parse(form).of(array, name)
        if self.method in _KEYED:
            secret = key_of(action["key"], action["version"]).secret
            return _KEYED[self.method](array, self, batch, secret)
        match self.method:
            case "keep":
                return array
            case "redact":
                return _transforms.redact(array)
            case "constant":
                return _transforms.constant(array, action["value"])
            case "mask":
                kept = action["keep_first"], action["keep_last"]
                return _transforms.mask(array, name, *kept, action["character"])
            case "vault":
                if vault is None:
                    raise UsageError(
                        f"column '{name}' gets random codes: give the token vault (RegisterVault)"
                    )
                return vault.tokens(action["domain"], name, array)
            case "generalize":
                levels = _hierarchies.from_json(action["hierarchy"])
                if action["level"] == 0:
                    return array
                return _hierarchies.label(levels, array, action["level"], name)
            case "top_bottom_coding":
                return _numeric.top_bottom(array, name, action["bottom"], action["top"])
            case "round":
                return _numeric.round_to(array, name, action["to"])
            case "microaggregate":
                return _numeric.microaggregate(array, name, action["borders"], action["means"])
            case "redact_text":
                people = [(other, batch.column(other)) for other in action["names"]]
                how = action["entities"], action["region"], people, action["named_entities"]
                return redact_text(array, name, *how)
        raise PlanError(f"the plan has an unknown method '{self.method}' for column '{name}'")


def _whose(column: PlannedColumn, batch: pa.RecordBatch) -> pa.Array:
    """Whose each value is."""
    by = column.action["by"]
    form = column.action.get("normalize_by")
    return NormalForm.parse(form).of(batch.column(by), by) if form else batch.column(by)


Keyed = Callable[[pa.Array, PlannedColumn, pa.RecordBatch, bytes], pa.Array]
_KEYED: dict[str, Keyed] = {
    "pseudonymize": lambda a, c, b, key: _transforms.pseudonymize(a, c.name, key),
    "tokenize": lambda a, c, b, key: _transforms.tokenize(a, c.name, key),
    "fpe": lambda a, c, b, key: encrypt_format(a, c.name, key, format_of(c.action)),
    "fake": lambda a, c, b, key: choose_fakes(a, c.name, c.action["fakes"], key),
    "shift_date": lambda a, c, b, key: _numeric.shift_dates(
        a, c.name, _whose(c, b), c.action["by"], c.action["days"], key
    ),
    "noise": lambda a, c, b, key: _numeric.add_noise(
        a,
        c.name,
        _whose(c, b),
        c.action["by"],
        c.action,
        key,
    ),
}


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
