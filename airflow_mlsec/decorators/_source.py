"""What the decorators share: the function makes the source, and the operator takes it from there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, context_merge, determine_kwargs

from airflow_mlsec.errors import UsageError
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators.arguments import uri_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class SourceOfFunction(DecoratedOperator):  # type: ignore[misc]  # a class that Airflow finds by name
    """Calls the decorated function, and gives what it returns to the operator as its ``source``.

    :param python_callable: The function. It returns one dataset: a URI, a path, an `Asset` or an `ObjectStoragePath`,
        or what one of our operators returned.
    :param op_args: Its positional arguments (templated).
    :param op_kwargs: Its arguments by name (templated).
    """

    # Airflow's page shows the source that the function returned.
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "source" in kwargs:
            raise ValueError(
                f"{self.custom_operator_name} takes no source: what the function returns is it"
            )
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            source="",
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        made = self.python_callable(*self.op_args, **kwargs)
        with without_values():
            self.source = uri_of(made, f"what the function of {self.custom_operator_name} returns")
            if not self.source:
                raise UsageError(
                    f"the function of {self.custom_operator_name} returned an empty text; it returns one dataset"
                )
        return super().execute(context)

    def dry_run(self) -> None:
        """Nothing is tried: the function would have to make the source first."""
        self.log.info(
            "%s: what is read is known when the function has run", self.custom_operator_name
        )
