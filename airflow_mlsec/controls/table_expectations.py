"""Expectations for anybody's own suites of Great Expectations: whoever imports this module can use them, over pandas, Parquet,
SQL and Spark.

They ask our independent checker (`airflow_mlsec.verify`), which counts persons, not rows. Only the columns that are needed are
read. No value of them is in a result or an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from airflow_mlsec.controls.expectations import great_expectations
from airflow_mlsec.discovery import identifiers_in
from airflow_mlsec.errors import GuaranteeNotMet, MlsecError
from airflow_mlsec.policy import Policy, load_policy
from airflow_mlsec.verify import Finding, verify_release

great_expectations()

from great_expectations.core.metric_domain_types import MetricDomainTypes  # noqa: E402
from great_expectations.execution_engine import (  # noqa: E402
    PandasExecutionEngine,
    SparkDFExecutionEngine,
    SqlAlchemyExecutionEngine,
)
from great_expectations.expectations.expectation import BatchExpectation  # noqa: E402
from great_expectations.expectations.metrics.metric_provider import metric_value  # noqa: E402
from great_expectations.expectations.metrics.table_metric_provider import (  # noqa: E402
    TableMetricProvider,
)

_COLUMNS = "table.airflow_mlsec_columns"
_PERSON = "person"


class TableColumns(TableMetricProvider):  # type: ignore[misc]
    """The columns that an expectation needs, as Arrow; all of them, if none are named."""

    metric_name = _COLUMNS
    value_keys = ("columns",)

    @metric_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, execution_engine: Any, metric_domain_kwargs: Any, metric_value_kwargs: Any, metrics: Any, runtime_configuration: Any) -> pa.Table:  # noqa: N805  # fmt: skip
        def read(columns: Sequence[str] | None) -> pa.Table:
            frame, *_ = execution_engine.get_compute_domain(
                metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
            )
            chosen = frame if columns is None else frame[list(columns)]
            return pa.Table.from_pandas(chosen, preserve_index=False)

        return _without_values(read, metric_value_kwargs["columns"])

    @metric_value(engine=SqlAlchemyExecutionEngine)  # type: ignore[untyped-decorator]
    def _sqlalchemy(cls, execution_engine: Any, metric_domain_kwargs: Any, metric_value_kwargs: Any, metrics: Any, runtime_configuration: Any) -> pa.Table:  # noqa: N805  # fmt: skip
        import sqlalchemy as sa

        def read(columns: Sequence[str] | None) -> pa.Table:
            selectable, *_ = execution_engine.get_compute_domain(
                metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
            )
            chosen: list[Any] = (
                [sa.text("*")] if columns is None else [sa.column(name) for name in columns]
            )
            rows = execution_engine.execute_query(sa.select(*chosen).select_from(selectable))
            names, found = list(rows.keys()), rows.fetchall()
            return pa.table({name: [row[i] for row in found] for i, name in enumerate(names)})

        return _without_values(read, metric_value_kwargs["columns"])

    @metric_value(engine=SparkDFExecutionEngine)  # type: ignore[untyped-decorator]
    def _spark(cls, execution_engine: Any, metric_domain_kwargs: Any, metric_value_kwargs: Any, metrics: Any, runtime_configuration: Any) -> pa.Table:  # noqa: N805  # fmt: skip
        def read(columns: Sequence[str] | None) -> pa.Table:
            frame, *_ = execution_engine.get_compute_domain(
                metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE
            )
            chosen = frame if columns is None else frame.select(*columns)
            return pa.Table.from_pandas(chosen.toPandas(), preserve_index=False)

        return _without_values(read, metric_value_kwargs["columns"])


def _without_values(read: Any, columns: Sequence[str] | None) -> pa.Table:
    """What was read; an engine's error may quote a value, and becomes one that does not."""
    try:
        return read(columns)
    except Exception as error:
        named = "" if columns is None else f" {', '.join(columns)}"
        raise GuaranteeNotMet(
            f"the columns{named} could not be read ({type(error).__name__}), so the expectation is not met"
        ) from None


class _Checked(BatchExpectation):  # type: ignore[misc]
    """Base: what the checker says about the columns that are named."""

    metric_dependencies: ClassVar = (_COLUMNS,)
    success_keys: ClassVar[tuple[str, ...]] = ("columns",)

    # What the metric reads.
    columns: list[str] | None = None

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        raise NotImplementedError

    def _validate(self, metrics: Mapping[str, Any], runtime_configuration: Any = None, execution_engine: Any = None) -> dict[str, Any]:  # fmt: skip
        del runtime_configuration, execution_engine
        try:
            success, result = self._judge(metrics[_COLUMNS])
        except MlsecError:
            raise
        except Exception as error:
            raise GuaranteeNotMet(
                f"the expectation could not be evaluated ({type(error).__name__}), so it is not met"
            ) from None
        return {"success": success, "result": result}


def _found(policy: Policy, table: pa.Table, *begins: str) -> list[Finding]:
    """What the checker says of the models that are asked about."""
    findings = verify_release(policy, table.schema, table.to_batches())
    return [f for f in findings if f.check.startswith(begins)]


def _policy(
    quasi_identifiers: Sequence[str],
    person: str | None,
    sensitive: str | None,
    privacy: Mapping[str, Any],
) -> Policy:
    # What a policy has to say of columns, and nothing here asks for.
    anything = {"role": "quasi-identifying", "hierarchy": {"kind": "suppress"}}
    columns: dict[str, Any] = dict.fromkeys(quasi_identifiers, anything)
    if sensitive is not None:
        columns[sensitive] = {"role": "sensitive"}
    document: dict[str, Any] = {
        "version": 1, "dataset": "batch", "owner": "suite", "columns": columns, "privacy": dict(privacy),
    }  # fmt: skip
    if person is not None:
        transform = {"method": "pseudonymize", "domain": _PERSON}
        columns[person] = {"role": "identifying", "transform": transform}
        document["subject"] = {"kind": _PERSON, "key": person}
    return Policy.model_validate(document)


class _Anonymous(_Checked):
    """Base of the privacy models.

    :ivar quasi_identifiers: Columns by which people can be told apart.
    :ivar person: The column that says whose a row is. Without it, ``one_row_each`` has to state that every row is of
        another person; otherwise nobody knows, and the expectation is not met.
    """

    quasi_identifiers: list[str]
    person: str | None = None
    one_row_each: bool = False

    def __init__(self, **given: Any) -> None:
        names = [*given.get("quasi_identifiers", ()), given.get("sensitive"), given.get("person")]
        given["columns"] = list(dict.fromkeys(name for name in names if name is not None))
        super().__init__(**given)

    @property
    def _is_known(self) -> bool:
        return self.person is not None or self.one_row_each

    def _answer(self, findings: Sequence[Finding]) -> tuple[bool, dict[str, Any]]:
        """They all hold, there are some, and it is known whose rows are whose."""
        detail = "; ".join(f.detail for f in findings)
        if not self._is_known:
            return False, {"details": {"why": "unknown: it is not said whose rows are whose (`person`, or `one_row_each`)"}}  # fmt: skip
        figures = [f.figure for f in findings if f.figure is not None]
        observed = {"observed_value": min(figures)} if figures else {}
        return bool(findings) and all(f.passed for f in findings), {**observed, "details": {"why": detail}}  # fmt: skip


class ExpectTableToBeKAnonymous(_Anonymous):
    """Every combination of the quasi-identifiers is shared by at least ``k`` persons (Sweeney, 2002).

    The observed value is how many persons the smallest class has.
    """

    k: int
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "k")

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        policy = _policy(self.quasi_identifiers, self.person, None, {"k_anonymity": self.k})
        return self._answer(_found(policy, table, "k-anonymity"))


class ExpectTableToBeLDiverse(_Anonymous):
    """In every class of the quasi-identifiers the sensitive column has at least ``l`` values, by persons (Machanavajjhala
    et al., 2006). ``kind``: distinct, entropy, or recursive (with ``c``)."""

    sensitive: str
    l: float  # noqa: E741 - the letter that the literature uses
    kind: str = "distinct"
    c: float | None = None
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "l", "kind", "c")

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        said = {"kind": self.kind, "l": self.l, **({"c": self.c} if self.c is not None else {})}
        model = {"l_diversity": {self.sensitive: said}}
        policy = _policy(self.quasi_identifiers, self.person, self.sensitive, model)
        return self._answer(_found(policy, table, f"{self.kind} l-diversity"))  # fmt: skip


class ExpectTableToBeTClose(_Anonymous):
    """In every class of the quasi-identifiers the distribution of the sensitive column is at most ``t`` from that of the
    whole table, by persons (Li et al., 2007). ``distance``: equal or ordered."""

    sensitive: str
    t: float
    distance: str = "equal"
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "t", "distance")

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        model = {"t_closeness": {self.sensitive: {"distance": self.distance, "t": self.t}}}
        policy = _policy(self.quasi_identifiers, self.person, self.sensitive, model)
        return self._answer(_found(policy, table, "t-closeness"))


class ExpectColumnToHoldNoIdentifiers(_Checked):
    """No value of a column identifies a person: no e-mail address, telephone number, bank account, national id, device
    address, and no names, as far as values show it."""

    column: str
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "column")

    def __init__(self, **given: Any) -> None:
        given["columns"] = [given.get("column")]
        super().__init__(**given)

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        found = identifiers_in(self.column, table.column(self.column))
        if found is None:
            return True, {"observed_value": 0}
        kind, number = found
        return False, {"observed_value": number, "details": {"why": f"its values are of kind: {kind}"}}  # fmt: skip


class ExpectColumnsToMatchPolicy(_Checked):
    """The table has the columns of a release under a policy, and their values are what its transforms make.

    :ivar policy: The policy's file.
    """

    policy: str
    success_keys: ClassVar[tuple[str, ...]] = ("columns", "policy")

    def _judge(self, table: pa.Table) -> tuple[bool, dict[str, Any]]:
        policy = load_policy(Path(self.policy))
        plain = policy.model_copy(update={"privacy": type(policy.privacy)()})
        bad = [f for f in verify_release(plain, table.schema, table.to_batches()) if not f.passed]
        why = "; ".join(f"{f.check}: {f.detail}" for f in bad)
        return not bad, {"observed_value": len(bad), **({"details": {"why": why}} if bad else {})}
