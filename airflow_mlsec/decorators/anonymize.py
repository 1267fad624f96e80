"""``@task.anonymize``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_mlsec.decorators._source import SourceOfFunction
from airflow_mlsec.operators.anonymize import AnonymizeOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator


class _AnonymizeDecoratedOperator(SourceOfFunction, AnonymizeOperator):
    reads: ClassVar[Sequence[str]] = ()  # the function says what
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *AnonymizeOperator.template_fields,
    )
    custom_operator_name = "@task.anonymize"


def anonymize_task(
    python_callable: Callable[..., Any] | None = None, **kwargs: Any
) -> TaskDecorator:
    """``@task.anonymize(policy=…, target=…)``: the function makes a dataset and returns its URI; then it is anonymized
    as `AnonymizeOperator` does, with the same arguments but ``source``."""
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=_AnonymizeDecoratedOperator,
        **kwargs,
    )
