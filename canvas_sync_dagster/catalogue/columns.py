"""Short words for declaring columns: one line says how each source spells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from canvas_sync_dagster.catalogue.model import NOTHING, Column, ColumnType

Declare = Callable[..., Column]


def _declare(kind: ColumnType) -> Declare:
    def column(
        name: str,
        report: str | None = None,
        api: str | None = None,
        event: str | None = None,
        *,
        folds: Mapping[str, str] = NOTHING,
        comment: str = "",
        indexed: bool = False,
        optional: bool = False,
    ) -> Column:
        spelled, in_events = _spellings(report), _spellings(event)
        return Column(name, kind, spelled, api, in_events, folds, comment, indexed, optional=optional)

    return column


def _spellings(text: str | None) -> tuple[str, ...]:
    return tuple(text.split("|")) if text else ()


text = _declare(ColumnType.TEXT)
bigint = _declare(ColumnType.BIGINT)
"""An id or another whole number."""
time = _declare(ColumnType.TIMESTAMP)
"""A moment, with time zone."""
numeric = _declare(ColumnType.NUMERIC)
"""A score or another exact number."""
boolean = _declare(ColumnType.BOOLEAN)
json = _declare(ColumnType.JSON)
bigints = _declare(ColumnType.BIGINT_ARRAY)
