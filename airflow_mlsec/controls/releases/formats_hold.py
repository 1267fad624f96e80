from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.column_names import may_be_values
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    judged,
)
from airflow_mlsec.controls.reasons import (
    Formats,
    LooksLikeMail,
    NotPseudonyms,
    UndeclaredUnnamed,
    WrongColumns,
)
from airflow_mlsec.ledger import Reason

_MAIL = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"
_PSEUDONYM = r"^[0-9a-f]{32}$"


class FormatsHold(DatasetControl):
    """Each column has the format that the policy's transform should give it."""

    id = "formats-hold"
    title = Text(
        en="Pseudonyms have their form and no text column looks like an e-mail address",
        de="Pseudonyme haben ihre Form, und keine Textspalte sieht nach E-Mail-Adressen aus",
    )
    severity = Severity.HIGH
    reads = (
        Reads.DATA,
        Reads.POLICY,
    )
    cites = (
        "gdpr:4(5)",
        "gdpr:25",
        "iso-27001:A.8.11",
    )
    remedy = Text(
        en="Make the release again with AnonymizeOperator or `mlsec anonymize`, and find out what wrote to it.",
        de="Erstellen Sie die Freigabe neu mit AnonymizeOperator oder `mlsec anonymize`, und klären Sie, was darin geschrieben hat.",
    )
    example = Example(
        holds="email has 32 hexadecimal digits in every row",
        fails="a note quotes an e-mail address",
    )
    stage = "release"

    def answer(self, question: DatasetQuestion) -> Answer:
        schema, columns = question.dataset.schema(), question.policy.columns
        methods = {name: column.method for name, column in columns.items()}
        kept = {name for name, column in columns.items() if not column.dropped}
        problems: dict[Reason, None] = {}
        if odd := sorted(kept ^ set(schema.names)):
            unnamed = may_be_values(schema.names, kept)
            problems[UndeclaredUnnamed(len(odd)) if unnamed else WrongColumns(tuple(odd))] = None
        coded = [n for n in schema.names if methods.get(n) in ("pseudonymize", "vault")]
        texts = [
            n
            for n in schema.names
            if n in columns and n not in coded and _is_text(schema.field(n).type)
        ]
        for batch in question.dataset.scan([*coded, *texts]) if coded or texts else ():
            for name in coded:
                values = batch.column(name).drop_null().cast(pa.large_string())
                if pc.all(pc.match_substring_regex(values, _PSEUDONYM)).as_py() is False:
                    problems[NotPseudonyms(name)] = None
            for name in texts:
                values = batch.column(name).cast(pa.large_string())
                if pc.any(pc.match_substring_regex(values, _MAIL)).as_py():
                    problems[LooksLikeMail(name)] = None
        return judged(list(problems), Formats(1 + len(coded) + len(texts)))


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))
