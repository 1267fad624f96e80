"""The key ``transform`` of a policy's column; its key ``method`` names the transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, SerializeAsAny, WithJsonSchema
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError

from airflow_mlsec.policy._registry import transform_names, transform_of, transforms
from airflow_mlsec.policy._transform import Transform


def _parsed(said: Any) -> Any:
    # Only the transform that is used is imported: some need packages that are slow to import.
    if not isinstance(said, Mapping):
        return said
    method = said.get("method")
    if method is None:
        raise PydanticCustomError("missing_method", "key 'method' is missing")
    if method not in transform_names():
        listed = ", ".join(f"'{name}'" for name in transform_names())
        raise PydanticCustomError(
            "unknown_method",
            "unknown method '{method}'; one of {listed}",
            {"method": method[:64] if isinstance(method, str) else "…", "listed": listed},
        )
    return transform_of(method).model_validate(said)


TransformField = Annotated[
    SerializeAsAny[Transform], BeforeValidator(_parsed), WithJsonSchema({"$comment": "transform"})
]


def with_transforms(schema: dict[str, Any]) -> dict[str, Any]:
    """A policy's JSON schema in which the key ``transform`` is any installed transform."""
    installed = {cls.name(): cls for cls in transforms()}
    pairs: list[tuple[type[BaseModel], Literal["validation"]]]
    pairs = [(cls, "validation") for cls in installed.values()]
    of, defined = models_json_schema(pairs)
    references = {name: of[cls, "validation"] for name, cls in installed.items()}
    one = {
        "discriminator": {
            "mapping": {name: said["$ref"] for name, said in references.items()},
            "propertyName": "method",
        },
        "oneOf": list(references.values()),
    }
    column = schema["$defs"]["Column"]
    choices = column["properties"]["transform"]["anyOf"]
    either = [one if "$comment" in choice else choice for choice in choices]
    properties = {**column["properties"]}
    properties["transform"] = {**properties["transform"], "anyOf": either, "title": "Transform"}
    all_of_it = {
        **schema["$defs"],
        **defined["$defs"],
        "Column": {**column, "properties": properties},
    }
    return {**schema, "$defs": dict(sorted(all_of_it.items()))}
