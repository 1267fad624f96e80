"""The checks that Great Expectations runs, batch by batch and in BOOLEAN_ONLY form: its other
result formats quote the values that failed."""

from __future__ import annotations

import logging
import os
from typing import Any

from airflow_mlsec.datasets import Dataset
from airflow_mlsec.policy import Policy

_EMAIL = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"


def failed_expectations(policy: Policy, dataset: Dataset) -> tuple[list[str], int]:
    """The expectations that a release does not meet (name and column), and how many there are."""
    # It would send usage statistics; this product's checks talk to nobody.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    for name in ("great_expectations", "great_expectations.data_context"):
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = gx.ExpectationSuite(name="release", expectations=_expectations(policy, dataset))
    definition = (
        context.data_sources.add_pandas("release")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("batch")
    )
    validation = gx.ValidationDefinition(data=definition, suite=suite, name="release")
    context.suites.add(suite)
    context.validation_definitions.add(validation)
    failed: dict[str, None] = {}
    for batch in dataset.scan():
        outcome = validation.run(
            batch_parameters={"dataframe": batch.to_pandas()}, result_format="BOOLEAN_ONLY"
        )
        failed.update(
            dict.fromkeys(_name(result) for result in outcome.results if not result.success)
        )
    return list(failed), len(suite.expectations)


def _expectations(policy: Policy, dataset: Dataset) -> list[Any]:
    import great_expectations.expectations as gxe

    schema = dataset.schema()
    kept = [n for n, c in policy.columns.items() if getattr(c.transform, "method", "") != "drop"]
    found: list[Any] = [gxe.ExpectTableColumnsToMatchSet(column_set=kept, exact_match=True)]
    for name, column in policy.columns.items():
        if name not in schema.names:
            continue
        if getattr(column.transform, "method", "") in ("pseudonymize", "vault"):
            found.append(gxe.ExpectColumnValuesToMatchRegex(column=name, regex=r"^[0-9a-f]{32}$"))
        elif str(schema.field(name).type) in ("string", "large_string"):
            found.append(gxe.ExpectColumnValuesToNotMatchRegex(column=name, regex=_EMAIL))
    return found


def _name(result: Any) -> str:
    config = result.expectation_config
    column = config.kwargs.get("column")
    return f"{config.type} on column {column}" if column else str(config.type)
