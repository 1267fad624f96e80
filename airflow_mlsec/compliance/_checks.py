"""One function per check of ``controls.yaml``. Each says passed or not, and why, in names
and counts; what cannot be determined has not passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import calendar_dates, canonical_text, check_types, verify_release
from airflow_mlsec.datasets import Dataset, connection_of
from airflow_mlsec.errors import ColumnType, PolicyError
from airflow_mlsec.lineage import latest_release
from airflow_mlsec.policy import Policy, Role, keep_from
from airflow_mlsec.register import Register, latest_transport_check

# Shorter texts, such as "m" or "42", would be found in any table.
_SHORTEST_IDENTIFIER = 5
# Certificates are checked to last two weeks more; a month-old look says little.
_TRANSPORT_CHECKED_WITHIN = timedelta(days=30)


@dataclass(frozen=True)
class Result:
    """What one check found."""

    passed: bool
    detail: str


@dataclass(frozen=True)
class Subject:
    """What is checked: a dataset under its policy. ``raw`` is the source of a release."""

    policy: Policy
    dataset: Dataset
    raw: Dataset | None
    register: Register | None
    on: date


Check = Callable[[Subject], Result]


def controller_named(s: Subject) -> Result:
    return _stated(s.policy.controller, "controller")


def purposes_stated(s: Subject) -> Result:
    return _stated(s.policy.purposes, "purposes")


def lawful_basis_stated(s: Subject) -> Result:
    return _stated(s.policy.lawful_basis, "lawful_basis")


def retention_stated(s: Subject) -> Result:
    return _stated(s.policy.retention, "retention")


def subject_named(s: Subject) -> Result:
    return _stated(s.policy.subject, "subject")


def categories_stated(s: Subject) -> Result:
    columns = s.policy.columns.items()
    without = [n for n, c in columns if c.category is None and c.role is not Role.INSENSITIVE]
    if without:
        return Result(False, f"no category: {', '.join(without)}")
    return Result(True, f"{len(s.policy.columns)} columns")


def columns_declared(s: Subject) -> Result:
    present, declared = set(s.dataset.schema().names), set(s.policy.columns)
    problems = []
    if extra := sorted(present - declared):
        problems.append(f"not declared: {', '.join(extra)}")
    if missing := sorted(declared - present):
        problems.append(f"declared but missing: {', '.join(missing)}")
    return Result(not problems, "; ".join(problems) or f"{len(declared)} columns")


def methods_applicable(s: Subject) -> Result:
    try:
        check_types(s.policy, s.dataset.schema())
    except (ColumnType, PolicyError) as error:
        return Result(False, str(error))
    return Result(True, f"{len(s.policy.columns)} columns")


def retention_respected(s: Subject) -> Result:
    """GDPR Art. 5(1)(e): count the records whose date plus the period has passed."""
    retention = s.policy.retention
    if retention is None:
        return Result(False, "the policy states no `retention`")
    name = retention.from_
    schema = s.dataset.schema()
    if name not in schema.names:
        return Result(False, f"`retention.from` names '{name}', which the dataset does not have")
    kind = schema.field(name).type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return Result(False, f"column '{name}' has type {kind}; retention counts from a date")
    oldest = pa.scalar(keep_from(s.on, retention.keep), pa.date32())
    overdue = undated = rows = 0
    for batch in s.dataset.scan([name]):
        days = calendar_dates(batch.column(0))
        overdue += pc.sum(pc.less(days, oldest)).as_py() or 0
        undated += days.null_count
        rows += len(days)
    if overdue or undated:
        return Result(
            False, f"{overdue} of {rows} records are past {retention.keep}, {undated} undated"
        )
    return Result(True, f"{rows} records within {retention.keep}")


def guarantee_holds(s: Subject) -> Result:
    findings = verify_release(
        s.policy, s.dataset.schema(), s.dataset.scan(), _whole(s), people=_people(s)
    )
    failed = [f"{f.check} ({f.detail})" for f in findings if not f.passed]
    return Result(not failed, "; ".join(failed) or f"{len(findings)} properties verified")


def _whole(s: Subject) -> dict[str, pa.Table] | None:
    """How often each value of the protected columns is in the source, where a release shows them as they
    are; None if that cannot be told."""
    names = s.policy.privacy.protected
    plain = all(s.policy.columns[name].transform is None for name in names)
    if s.raw is None or not names or not plain or set(names) - set(s.raw.schema().names):
        return None
    found: dict[str, pa.Table] = {}
    for name in names:
        parts = [pa.table({"value": b.column(0)}).group_by("value").aggregate([([], "count_all")])
                 for b in s.raw.scan([name])]  # fmt: skip
        if not parts:
            return None
        whole = pa.concat_tables(parts).group_by("value").aggregate([("count_all", "sum")])
        found[name] = whole.rename_columns(["value", "rows"])
    return found


def _people(s: Subject) -> int | None:
    """How many persons the smallest class has, if the evidence of this very file says that persons were
    counted: the release itself may not tell whose rows are whose."""
    if s.policy.subject is None or s.register is None:
        return None
    predicate = s.register.read(lambda connection: latest_release(connection, s.dataset.name))
    if predicate is None:
        return None
    stated = predicate["target"].get("sha256")
    if predicate["policy"] != s.policy.digest:
        return None  # persons were counted in classes of another policy
    if stated is None or s.dataset.digest() != stated or not predicate["numbers"].get("persons"):
        return None
    fewest: int | None = predicate["numbers"].get("k_anonymity")
    return fewest if s.policy.subject.key not in s.dataset.schema().names else None


def formats_hold(s: Subject) -> Result:
    from airflow_mlsec.compliance._expectations import failed_expectations

    failed, checked = failed_expectations(s.policy, s.dataset)
    return Result(not failed, "; ".join(failed) or f"{checked} expectations met")


def no_raw_identifier(s: Subject) -> Result:
    """Look for every identifying value of the source in every text column of the release."""
    if s.raw is None:
        return Result(False, "the source of the release was not given, so nothing was compared")
    names = [n for n in s.policy.with_role(Role.IDENTIFYING) if n in s.raw.schema().names]
    values = _distinct_texts(s.raw, names)
    found: dict[str, int] = {}
    for batch in s.dataset.scan():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                continue
            text = canonical_text(column, name)
            count = pc.sum(pc.is_in(text, values)).as_py() or 0
            if count:
                found[name] = found.get(name, 0) + count
    if found:
        shown = ", ".join(f"{name} ({count} rows)" for name, count in sorted(found.items()))
        return Result(False, f"identifying values of the source stand in: {shown}")
    return Result(True, f"{len(values)} values of {len(names)} identifying columns compared")


def release_proven(s: Subject) -> Result:
    if s.register is None:
        return Result(False, "no register was given")
    predicate = s.register.read(lambda connection: latest_release(connection, s.dataset.name))
    if predicate is None:
        return Result(False, "the register has no evidence for this dataset")
    if predicate["policy"] != s.policy.digest:
        return Result(False, "the latest evidence is of another version of the policy")
    stated = predicate["target"].get("sha256")
    if stated is not None and s.dataset.digest() != stated:
        return Result(
            False, "the file is not the one that the latest evidence names: it changed since"
        )
    return Result(True, f"plan {predicate['plan'][:12]}")


def transport_secured(s: Subject) -> Result:
    """GDPR Art. 32(1)(a): the latest check of every connection that reaches the dataset and its source."""
    reached = [dataset for dataset in (s.dataset, s.raw) if dataset is not None]
    names = sorted({name for d in reached if (name := connection_of(d.uri)) is not None})
    problems = [text for name in names if (text := _not_secured(s, name))]
    if problems:
        return Result(False, "; ".join(problems))
    return Result(True, f"checked: {', '.join(names)}" if names else "reached by no connection")


def _not_secured(s: Subject, conn_id: str) -> str | None:
    """Why a connection does not count as secured in transit, or None."""
    remedy = "run TransportSecurityCheckOperator or `mlsec transport check --record`"
    if s.register is None:
        return "no register was given"
    row = s.register.read(lambda connection: latest_transport_check(connection, conn_id))
    if row is None:
        return f"connection {conn_id} was never checked: {remedy}"
    day = date.fromisoformat(row.checked_at[:10])
    if not row.passed:
        failed = [f["check"] for f in row.findings if f["outcome"] != "passed"]
        return f"connection {conn_id} did not pass on {day}: {', '.join(failed)}"
    if not row.live:
        return f"connection {conn_id}: only its settings were checked, not its server: {remedy}"
    if s.on - day > _TRANSPORT_CHECKED_WITHIN:
        return f"connection {conn_id} was last checked on {day}: {remedy}"
    return None


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        controller_named,
        purposes_stated,
        lawful_basis_stated,
        categories_stated,
        columns_declared,
        retention_stated,
        retention_respected,
        subject_named,
        methods_applicable,
        guarantee_holds,
        formats_hold,
        no_raw_identifier,
        release_proven,
        transport_secured,
    )
}


def today() -> date:
    """The current date in UTC."""
    return datetime.now(UTC).date()


def _stated(value: object, key: str) -> Result:
    return Result(True, "stated") if value else Result(False, f"the policy states no `{key}`")


def _distinct_texts(dataset: Dataset, names: list[str]) -> pa.Array:
    def texts() -> Iterator[pa.Array]:
        for batch in dataset.scan(names):
            for name, column in zip(names, batch.columns, strict=True):
                if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                    continue
                text = pc.drop_null(canonical_text(column, name)).unique()
                yield text.filter(pc.greater_equal(pc.utf8_length(text), _SHORTEST_IDENTIFIER))

    if not names:
        return pa.array([], pa.large_string())
    found = [*texts()]
    return (
        pa.chunked_array(found, pa.large_string()).unique()
        if found
        else pa.array([], pa.large_string())
    )
