"""``@task.protect``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_mlsec.decorators._source import SourceOfFunction
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator


class _ProtectDecoratedOperator(SourceOfFunction, EncryptArtifactOperator):
    reads: ClassVar[Sequence[str]] = ()  # the function says what
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *EncryptArtifactOperator.template_fields,
    )
    custom_operator_name = "@task.protect"


def protect_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """``@task.protect(target=…)``: the function makes a model or another file and returns its URI; then it is encrypted
    and signed as `EncryptArtifactOperator` does, with the same arguments but ``source``."""
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=_ProtectDecoratedOperator,
        **kwargs,
    )
