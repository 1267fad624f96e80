from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import canonical_text
from airflow_mlsec.column_names import may_be_values
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls.reasons import Compared, NotCompared, RawValuesIn, RawValuesSomewhere
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.policy import Role

# Shorter texts, such as "m" or "42", would be found in any table.
_SHORTEST = 5


class NoRawIdentifier(DatasetControl):
    """Look for every identifying value of the source in every text column of the release."""

    id = "no-raw-identifier"
    title = Text(
        en="No identifying value of the source is found in the release",
        de="Kein identifizierender Wert der Quelle findet sich in der Freigabe",
    )
    severity = Severity.CRITICAL
    reads = (
        Reads.DATA,
        Reads.POLICY,
    )
    cites = (
        "gdpr:4(5)",
        "gdpr:5(1)(c)",
        "iso-27001:A.8.11",
        "nist-privacy:CT.DP-P",
    )
    remedy = Text(
        en="Declare the column that repeats the values as identifying, and make the release again.",
        de="Deklarieren Sie die Spalte, die die Werte wiederholt, als identifizierend, und erstellen Sie die Freigabe neu.",
    )
    example = Example(
        holds="no address of the source is in any text of the release",
        fails="a comment column repeats an address",
    )
    stage = "release"

    def answer(self, question: DatasetQuestion) -> Answer:
        raw = question.raw
        if raw is None:
            return unknown(NotCompared())
        named = question.policy.with_role(Role.IDENTIFYING)
        names = [n for n in named if n in raw.schema().names]
        values = _distinct_texts(raw, names)
        found: dict[str, int] = {}
        for batch in question.dataset.scan():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                    continue
                text = canonical_text(column, name)
                count = pc.sum(pc.is_in(text, values)).as_py() or 0
                if count:
                    found[name] = found.get(name, 0) + count
        if found and may_be_values(question.dataset.schema().names, question.policy.columns):
            return failed(RawValuesSomewhere(len(found)))
        if found:
            return failed(RawValuesIn(tuple(f"{n} ({c} rows)" for n, c in sorted(found.items()))))
        return passed(Compared(len(values), len(names)))


def _distinct_texts(dataset: Dataset, names: list[str]) -> pa.Array:
    def texts() -> Iterator[pa.Array]:
        for batch in dataset.scan(names):
            for name, column in zip(names, batch.columns, strict=True):
                if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                    continue
                text = pc.drop_null(canonical_text(column, name)).unique()
                yield text.filter(pc.greater_equal(pc.utf8_length(text), _SHORTEST))

    if not names:
        return pa.array([], pa.large_string())
    found = [*texts()]
    return (
        pa.chunked_array(found, pa.large_string()).unique()
        if found
        else pa.array([], pa.large_string())
    )
