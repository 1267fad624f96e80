from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import calendar_dates
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
)
from airflow_mlsec.controls.reasons import NoDate, NoDateColumn, NotStated, Overdue, Within
from airflow_mlsec.policy import keep_from


class RetentionRespected(DatasetControl):
    """GDPR Art. 5(1)(e): count the records whose date plus the period has passed."""

    id = "retention-respected"
    title = Text(
        en="No record is older than the policy keeps it",
        de="Kein Datensatz ist älter, als die Richtlinie ihn aufbewahrt",
    )
    severity = Severity.HIGH
    reads = (
        Reads.DATA,
        Reads.POLICY,
    )
    cites = (
        "gdpr:5(1)(e)",
        "iso-27001:A.8.10",
        "nist-800-53:SI-12",
        "ccpa-audit:7123(c)(16)",
    )
    remedy = Text(
        en="Run ApplyRetentionOperator on the dataset; give undated records a date.",
        de="Lassen Sie ApplyRetentionOperator auf dem Datenbestand laufen; geben Sie Datensätzen ohne Datum eines.",
    )
    example = Example(
        holds="the oldest record is two years old, three are allowed",
        fails="one record is older than three years, or has no date",
    )
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        retention = question.policy.retention
        if retention is None:
            return failed(NotStated("retention"))
        name = retention.from_
        schema = question.dataset.schema()
        if name not in schema.names:
            return failed(NoDateColumn(name))
        kind = schema.field(name).type
        if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            return failed(NoDate(name, str(kind)))
        oldest = pa.scalar(keep_from(question.on, retention.keep), pa.date32())
        overdue = undated = rows = 0
        for batch in question.dataset.scan([name]):
            days = calendar_dates(batch.column(0))
            overdue += pc.sum(pc.less(days, oldest)).as_py() or 0
            undated += days.null_count
            rows += len(days)
        if overdue or undated:
            return failed(Overdue(overdue, rows, retention.keep, undated))
        return passed(Within(rows, retention.keep))
