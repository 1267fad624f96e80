"""Great Expectations, for what only it can do: suites that teams have written, and our own suite for teams that use it.

It is loaded only when a suite runs. Results are taken in its BOOLEAN_ONLY form: the other forms quote the values that
failed.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from airflow_mlsec.controls._control import Answer, failed, passed
from airflow_mlsec.controls.reasons import SuiteFailed, SuiteMet
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.policy import Policy

_MAIL = r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"
_PSEUDONYM = r"^[0-9a-f]{32}$"


def release_suite(policy: Policy, dataset: Dataset) -> Any:
    """An ``ExpectationSuite`` of what a release under this policy looks like, for a data context of your own."""
    gx = great_expectations()
    import great_expectations.expectations as gxe

    schema = dataset.schema()
    kept = [name for name, column in policy.columns.items() if not column.dropped]
    found: list[Any] = [gxe.ExpectTableColumnsToMatchSet(column_set=kept, exact_match=True)]
    for name, column in policy.columns.items():
        if name not in schema.names:
            continue
        if column.method in ("pseudonymize", "vault"):
            found.append(gxe.ExpectColumnValuesToMatchRegex(column=name, regex=_PSEUDONYM))
        elif str(schema.field(name).type) in ("string", "large_string"):
            found.append(gxe.ExpectColumnValuesToNotMatchRegex(column=name, regex=_MAIL))
    return gx.ExpectationSuite(name="release", expectations=found)


def suite_holds(path: str | Path, dataset: Dataset) -> Answer:
    """Whether a dataset meets a suite (JSON, as Great Expectations writes it). The whole dataset is read, because
    an expectation may be about all rows together.

    :raises UsageError: if the file is not a suite.
    """
    gx = great_expectations()
    # Ours may be in it.
    importlib.import_module("airflow_mlsec.controls.table_expectations")
    try:
        described = json.loads(Path(path).read_text())
        suite = gx.ExpectationSuite(
            name=str(described["name"]), expectations=list(described["expectations"])
        )
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: is not a suite of Great Expectations ({type(error).__name__}): expected JSON with `name` and "
            "`expectations`"
        ) from None
    import pyarrow as pa

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    definition = (
        context.data_sources.add_pandas("data")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("batch")
    )
    validation = gx.ValidationDefinition(data=definition, suite=suite, name=suite.name)
    context.suites.add(suite)
    context.validation_definitions.add(validation)
    rows = pa.Table.from_batches(dataset.scan(), dataset.schema()).to_pandas()
    outcome = validation.run(batch_parameters={"dataframe": rows}, result_format="BOOLEAN_ONLY")
    missed = [_name(result) for result in outcome.results if not result.success]
    if missed:
        return failed(SuiteFailed(tuple(dict.fromkeys(missed))))
    return passed(SuiteMet(len(suite.expectations)))


def great_expectations() -> Any:
    """The package, imported so that it contacts nobody and is quiet.

    :raises MlsecError: if it cannot be imported here.
    """
    # By default it sends usage statistics; this product's checks contact nobody.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # It reports each of its own methods while it is imported: 200 lines in a task's log, before five results.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            import great_expectations as gx
    except SystemExit as ended:
        # PySpark, if installed, ends a program that has no file (``python -c``) with exit code 0: such a check would
        # count as passed.
        raise MlsecError(
            "Great Expectations cannot be imported here: PySpark ends a program that has no file of its own. "
            "Run the check from a file (python check.py, mlsec check), or install pyspark[connect]."
        ) from ended
    for name in [*logging.root.manager.loggerDict]:
        if name.startswith("great_expectations."):  # some set a level of their own
            logging.getLogger(name).setLevel(logging.WARNING)
    return gx


def _name(result: Any) -> str:
    config = result.expectation_config
    column = config.kwargs.get("column")
    return f"{config.type} on column {column}" if column else str(config.type)
