"""Attributes of the component, derived from the settings: JSON schema with type, allowed values, default and example.

YAML values are not validated against these types but by the settings, so that a wrong value gets the same message as in
`canvas_sync.yaml`. `dg check yaml` and editors use the schema.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    TypeAdapter,
    WithJsonSchema,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from canvas_sync_dagster.configuration.spelling import spelled

TEXTS: tuple[type, ...] = (SecretStr, timedelta, datetime)
"""Types that a user writes as text."""
TEMPLATE = Annotated[str, Field(pattern=r"\{\{.+\}\}|\$\{.+\}", description="a template such as {{ env.NAME }}")]


class Shape:
    """Annotation of a value that accepts anything, and whose JSON schema is that of a type.

    Args:
        shape: The type.
    """

    def __init__(self, shape: Any) -> None:
        self._shape = shape

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(self._shape).core_schema)


def attributes_of(settings: type[BaseModel], *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the attributes for the fields of settings: name → annotation and field, as `create_model` takes them.

    Args:
        settings: Declaration of the settings.
        without: Fields that are left out.
    """
    fields = {name: field for name, field in settings.model_fields.items() if name not in set(without)}
    return {
        name: (attribute(_written(field), field.description, _examples(field)), _field(field))
        for name, field in fields.items()
    }


def attribute(shape: Any, description: str | None, examples: list[Any] | None) -> Any:
    """Return the annotation of an attribute: any value is accepted; the JSON schema shows this shape."""
    # Dagster takes description and examples from a resolver, not from the field.
    return Annotated[Any, Shape(shape), dg.Resolver.default(description=description, examples=examples)]


@functools.cache
def shape_of(settings: type[BaseModel], without: tuple[str, ...] = ()) -> type[BaseModel]:
    """Return a model whose JSON schema describes settings as users write them in YAML."""
    shapes = {
        name: (_written(field), _field(field)) for name, field in settings.model_fields.items() if name not in without
    }
    config = ConfigDict(extra="forbid", title=settings.__name__)
    made: type[BaseModel] = create_model(settings.__name__, __config__=config, __doc__=settings.__doc__, **shapes)  # type: ignore[call-overload]
    return made


def _field(field: FieldInfo) -> Any:
    return Field(_default(field), alias=field.alias, description=field.description, examples=_examples(field))


def _default(field: FieldInfo) -> bool | int | float | str | None:
    if field.default in (None, (), {}) or field.is_required() or isinstance(field.default, BaseModel):
        return None
    return field.default if isinstance(field.default, (bool, int, float, str)) else spelled(field.default)


def _examples(field: FieldInfo) -> list[Any] | None:
    default = _default(field)
    return field.examples or (None if default is None else [default])


def _written(field: FieldInfo) -> Any:
    """Return the type that a user writes for a setting, with its limits."""
    limits = [each for each in field.metadata if type(each).__module__ == "annotated_types"]
    shape = _shape(field.annotation)
    whole = Annotated[(shape, *limits)] if limits else shape
    return whole if str in (shape, *get_args(shape)) else whole | TEMPLATE


def _shape(declared: Any) -> Any:
    origin, parts = get_origin(declared), get_args(declared)
    if origin is Annotated:
        written = next((each for each in parts if isinstance(each, WithJsonSchema)), None)
        return Annotated[Any, written] if written else _shape(parts[0])
    if origin is Literal:
        return declared
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_shape, parts))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return types.GenericAlias(dict, (str, _shape(parts[1])))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return types.GenericAlias(list, (_shape(parts[0]),)) | str
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        return shape_of(declared)
    return str if declared in TEXTS else declared
