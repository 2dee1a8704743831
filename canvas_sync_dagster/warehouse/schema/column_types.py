"""Whether the type of an existing column fits the declared one: pure, and only about PostgreSQL's own types.

Domains, enumerations and the types of extensions are taken as they are: what they accept is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum

from canvas_sync_dagster.catalogue import Column, ColumnType, Model

TEXTS = frozenset({"text", "character varying", "character", "name"})
NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
DATES = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})
TIMES = frozenset({"time with time zone", "time without time zone"})
OTHERS = frozenset({"boolean", "uuid", "json", "jsonb", "bytea", "inet", "interval", "money"})
ARRAYS = frozenset(f"{name}[]" for name in (*TEXTS, *NUMBERS, *DATES, *TIMES, *OTHERS))
KNOWN = TEXTS | NUMBERS | DATES | TIMES | OTHERS | ARRAYS
COMPARABLE: Mapping[ColumnType, frozenset[str]] = {
    ColumnType.TEXT: TEXTS,
    ColumnType.BIGINT: NUMBERS,
    ColumnType.NUMERIC: NUMBERS,
    ColumnType.BOOLEAN: frozenset({"boolean"}),
    ColumnType.TIMESTAMP: DATES,
    ColumnType.JSON: frozenset({"json", "jsonb"}),
    ColumnType.BIGINT_ARRAY: frozenset({"bigint[]"}),
}
"""Declared type → types that take its values and can be compared with it."""
ASSIGNABLE: Mapping[ColumnType, frozenset[str]] = {
    # PostgreSQL assigns a value of any type to a text.
    **dict.fromkeys(ColumnType, TEXTS),
    ColumnType.BIGINT: TEXTS | {"money"},
    ColumnType.NUMERIC: TEXTS | {"money"},
    ColumnType.TIMESTAMP: TEXTS | TIMES,
    ColumnType.BIGINT_ARRAY: TEXTS | {f"{name}[]" for name in (*NUMBERS, *TEXTS, "money")},
}
"""Declared type → types that take its values but cannot be compared with it."""
NARROW = 255
"""Characters below which a limit of a text column is worth a note: Rails created texts of 255 on other databases."""


class Fit(IntEnum):
    """How the type of an existing column fits the declared one."""

    REFUSES = 0
    """PostgreSQL refuses to assign a value."""
    TAKES = 1
    """Values are taken, but cannot be compared with those of a report."""
    FITS = 2


def fit_of(declared: ColumnType, existing: str) -> Fit:
    """Return how a type fits the declared one.

    Args:
        declared: Type in the model.
        existing: Type of the column, as `format_type` spells it.

    >>> fit_of(ColumnType.TEXT, "character varying(255)").name, fit_of(ColumnType.TEXT, "numeric(10,2)").name
    ('FITS', 'REFUSES')
    """
    plain = re.sub(r"\(.*?\)", "", existing)
    if plain not in KNOWN or plain in COMPARABLE[declared]:
        return Fit.FITS
    return Fit.TAKES if plain in ASSIGNABLE[declared] else Fit.REFUSES


def mistyped_columns(schema: str, model: Model, existing: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each column of a table that cannot be written because of its type, with the remedy.

    Args:
        schema: For messages.
        model: What is written.
        existing: Column → type, as far as the table has them.
    """
    for column, found in _written(model, existing):
        fit = fit_of(column.type, found)
        if fit is Fit.REFUSES or (fit is Fit.TAKES and column.name in model.key):
            yield f"{_difference(schema, model, column, found)}. {_remedy(schema, model, column)}."


def doubtful_columns(schema: str, model: Model, existing: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each column that can be written with limitations: what it is, and how to end it.

    Args:
        schema: For messages.
        model: What is written.
        existing: Column → type, as far as the table has them.
    """
    for column, found in _written(model, existing):
        if column.name in model.key:
            continue
        if fit_of(column.type, found) is Fit.TAKES:
            yield (
                f"{_difference(schema, model, column, found)}: loads that must compare the two fail",
                _remedy(schema, model, column),
            )
        limit = re.match(r"character(?: varying)?\((\d+)\)$", found)
        if column.type is ColumnType.TEXT and limit and int(limit[1]) < NARROW:
            yield (
                f"{model.name}: {schema}.{model.table}.{column.name} is {found}: rows with longer texts are rejected",
                f"Run `alter table {schema}.{model.table} alter column {column.name} type text`",
            )


def _written(model: Model, existing: Mapping[str, str]) -> Iterator[tuple[Column, str]]:
    """Yield each column that the table has and that a source fills, with its type."""
    for column in model.columns:
        if column.name in existing and (column.report or column.api or column.event):
            yield column, existing[column.name]


def _difference(schema: str, model: Model, column: Column, found: str) -> str:
    return f"{model.name}: {schema}.{model.table}.{column.name} is {found}, but the model declares {column.type.value}"


def _remedy(schema: str, model: Model, column: Column) -> str:
    table, name, type_ = f"{schema}.{model.table}", column.name, column.type.value
    return (
        f"Declare the type of the table in the mapping of {model.name}, or run `alter table {table} alter column {name} "
        f"type {type_} using {name}::text::{type_}`"
    )
