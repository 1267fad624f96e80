"""The independent checker: does a table hold what its policy promises?

Written from the definitions, over SQL, and shares no code with the fitter: an error there
must not hide here. It runs on the staged output before it is published, and again whenever
somebody asks (`ComplianceCheckOperator`, `mlsec check`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from airflow_mlsec.policy import Policy, Role


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. ``detail`` holds names and counts, never a value."""

    check: str
    passed: bool
    detail: str


def verify_release(
    policy: Policy, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> list[Finding]:
    """Check rows of a release against their policy: columns, identifiers, k-anonymity."""
    return [*_columns(policy, schema), *_rows(policy, schema, batches)]


def _columns(policy: Policy, schema: pa.Schema) -> Iterator[Finding]:
    dropped = [n for n, c in policy.columns.items() if getattr(c.transform, "method", "") == "drop"]
    still = sorted(set(dropped) & set(schema.names))
    yield Finding(
        "no dropped column is present",
        not still,
        f"present: {', '.join(still)}" if still else f"{len(dropped)} dropped",
    )
    unknown = sorted(set(schema.names) - set(policy.columns))
    yield Finding(
        "every column is declared",
        not unknown,
        f"not declared: {', '.join(unknown)}" if unknown else f"{len(schema.names)} declared",
    )
    expected = [n for n in policy.columns if n not in dropped]
    missing = sorted(set(expected) - set(schema.names))
    yield Finding(
        "every released column is present",
        not missing,
        f"missing: {', '.join(missing)}" if missing else f"{len(expected)} present",
    )


def _rows(
    policy: Policy, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[Finding]:
    identifying = [n for n in policy.with_role(Role.IDENTIFYING) if n in schema.names]
    quasi = [n for n in policy.with_role(Role.QUASI_IDENTIFYING) if n in schema.names]
    connection = duckdb.connect(":memory:")
    try:
        # k-anonymity: Sweeney, "k-Anonymity: a Model for Protecting Privacy" (2002), definition 3.
        needed = [*identifying, *quasi]
        if not needed:
            return
        fields = pa.schema([schema.field(n) for n in needed])
        selected = (batch.select(needed) for batch in batches)
        reader = pa.RecordBatchReader.from_batches(fields, selected)
        connection.register("incoming", reader)
        # Only what is checked below, grouped while it streams in.
        failing = ", ".join(
            [
                f"count(*) FILTER (WHERE NOT ({_allowed(policy, n)})) AS {_quoted(f'bad {n}')}"
                for n in identifying
            ]
            or ["count(*) AS total"]
        )
        groups = ", ".join(_quoted(n) for n in quasi) or "1"
        connection.execute(
            f"CREATE TABLE classes AS SELECT {groups}, count(*) AS {_quoted('rows of class')}, {failing} "  # noqa: S608
            f"FROM incoming GROUP BY {groups if quasi else 'ALL'}"
        )
        for name in identifying:
            query = f"SELECT coalesce(sum({_quoted(f'bad {name}')}), 0) FROM classes"  # noqa: S608
            bad = int(connection.execute(query).fetchall()[0][0])
            method = getattr(policy.columns[name].transform, "method", "")
            yield Finding(
                f"identifying column '{name}' holds no raw value",
                bad == 0,
                f"{bad} rows are not what method {method} produces" if bad else f"method {method}",
            )
        k = policy.privacy.k_anonymity
        if k is not None and quasi:
            query = f"SELECT min({_quoted('rows of class')}), count(*) FROM classes"  # noqa: S608
            smallest, number = connection.execute(query).fetchall()[0]
            yield Finding(
                f"k-anonymity with k={k}",
                smallest is None or smallest >= k,
                "no rows"
                if smallest is None
                else f"smallest of {number} classes has {smallest} rows",
            )
    finally:
        connection.close()


def _allowed(policy: Policy, name: str) -> str:
    """SQL that holds for what the column's transform can produce."""
    column, transform = _quoted(name), policy.columns[name].transform
    match transform.method if transform else "":
        case "pseudonymize":
            produced = f"regexp_full_match(CAST({column} AS VARCHAR), '[0-9a-f]{{32}}')"
        case "redact":
            produced = f"CAST({column} AS VARCHAR) = '[redacted]'"
        case "constant":
            text = str(transform.value).replace("'", "''")  # type: ignore[union-attr]
            produced = f"lower(CAST({column} AS VARCHAR)) = lower('{text}')"
        case "mask":
            mark = transform.character.replace("'", "''")  # type: ignore[union-attr]
            kept = transform.keep_first + transform.keep_last  # type: ignore[union-attr]
            text = f"CAST({column} AS VARCHAR)"
            hidden = f"length({text}) - length(replace({text}, '{mark}', ''))"
            # No more characters show than the policy keeps.
            produced = f"length({text}) - ({hidden}) <= {kept}"
        case "generalize":
            produced = f"typeof({column}) = 'VARCHAR'"
        case _:
            produced = "false"
    return f"{column} IS NULL OR {produced}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
