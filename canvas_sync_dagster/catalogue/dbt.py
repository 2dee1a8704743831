"""The tables as dbt sources and staging models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from canvas_sync_dagster.catalogue.model import SYSTEM_COLUMNS, Column, Model

WARN_AFTER = {"count": 12, "period": "hour"}
"""Four times the default interval of a sync."""
ERROR_AFTER = {"count": 2, "period": "day"}
STAGED_SYSTEM_COLUMNS = ("updated_at", "observed_at")
TERM = "canvas_term_id"
"""Column that staging models of term-scoped tables have, so that models downstream can process one term."""


def dbt_source(
    tenant: str, schema: str, models: Sequence[Model], keys: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, object]:
    """Return a tenant's tables as a dbt source, with freshness, descriptions, and tests of keys and references.

    Args:
        tenant: Slug of the tenant.
        schema: Its schema.
        models: Models of the tables.
        keys: Model → parts of its asset key, where dagster-dbt would not find it by source and table.
    """
    return {
        "name": tenant,
        "schema": schema,
        "description": f"Copy of Canvas, kept by canvas_sync_dagster, of tenant {tenant}.",
        "config": {
            "loaded_at_field": "observed_at",
            "freshness": {"warn_after": WARN_AFTER, "error_after": ERROR_AFTER},
        },
        "tables": [_table(tenant, model, models, keys.get(model.name)) for model in models],
    }


def staging_model(tenant: str, model: Model, models: Sequence[Model]) -> str:
    """Return the SQL of a staging model: the rows that exist, neither deleted nor suspects, with their term.

    Args:
        tenant: Slug of the tenant, the name of the dbt source.
        model: Of the table.
        models: All models of the source; the term is found by way of them.
    """
    by_name = {each.name: each for each in models}
    columns = [f"t.{name}" for name in (*(column.name for column in model.columns), *STAGED_SYSTEM_COLUMNS)]
    joins: list[str] = []
    if len(model.term_by) > 1 and (path := list(_way_to_term(model, by_name))):
        below = "t"
        for column, parent in path:
            joins.append(
                f"left join {{{{ source('{tenant}', '{parent.name}') }}}} as {parent.name} "
                f"on {parent.name}.{parent.key[0]} = {below}.{column}"
            )
            below = parent.name
        columns.append(f"{below}.{path[-1][1].term_by[0]} as {TERM}")
    exists = ["t.missing_since is null"]
    exists += [f"t.{name} is distinct from '{value}'" for name, value in model.deleted_values.items()]
    lines = [
        f"-- {model.comment}",
        "-- Written by `canvas-sync dbt-sources --staging`; later runs overwrite it.",
        "select",
        ",\n".join(f"    {column}" for column in columns),
        f"from {{{{ source('{tenant}', '{model.name}') }}}} as t",
        *joins,
        "where " + "\n    and ".join(exists),
    ]
    return "\n".join(lines) + "\n"


def staging_name(tenant: str, model: Model) -> str:
    """Return the name of a staging model, such as `stg_canvas__courses`."""
    return f"stg_{tenant}__{model.name}"


def _way_to_term(model: Model, models: Mapping[str, Model]) -> Iterator[tuple[str, Model]]:
    """Yield column and parent of each step to the table that has the term; nothing if a parent is not synced."""
    steps: list[tuple[str, Model]] = []
    while len(model.term_by) > 1:
        column, name = model.term_by
        if name not in models:
            return
        steps.append((column, models[name]))
        model = models[name]
    yield from steps


def _table(tenant: str, model: Model, models: Sequence[Model], key: Sequence[str] | None) -> dict[str, object]:
    parents = dict(model.references({each.name: each for each in models}))
    return {
        "name": model.name,
        **({"identifier": model.table} if model.table != model.name else {}),
        "description": model.comment,
        **({"config": {"meta": {"dagster": {"asset_key": list(key)}}}} if key else {}),
        **({"data_tests": [_unique_together(model)]} if len(model.key) > 1 else {}),
        "columns": [
            _column(tenant, model, column, parents.get(column.name)) for column in (*model.columns, *SYSTEM_COLUMNS)
        ],
    }


def _unique_together(model: Model) -> dict[str, Any]:
    return {"unique": {"name": f"unique_{model.name}", "arguments": {"column_name": f"({', '.join(model.key)})"}}}


def _column(tenant: str, model: Model, column: Column, parent: Model | None) -> dict[str, object]:
    tests: list[object] = []
    if column.name in model.key:
        tests += ["not_null", *(["unique"] if len(model.key) == 1 else [])]
    if parent is not None:
        # Canvas itself has rows whose parent it no longer returns, so that one of them is no error.
        arguments = {"to": f"source('{tenant}', '{parent.name}')", "field": parent.key[0]}
        tests.append({"relationships": {"arguments": arguments, "config": {"severity": "warn"}}})
    return {
        "name": column.name,
        "data_type": column.type.value,
        **({"description": column.comment} if column.comment else {}),
        **({"data_tests": tests} if tests else {}),
    }
